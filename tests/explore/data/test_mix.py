"""Mixing of data sets: joints matched by name, masks, and balanced batches."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from arch.decode import decode_with_confidence
from arch.errors import InputError
from arch.heads import HEADS
from arch.space import preset
from explore.data import Human36MOptions, join, open_dataset
from explore.data.augment import AUGMENTS, Augment
from explore.data.batches import batch_at, epoch_length, sample_at
from explore.data.config import DataConfig
from explore.data.mix import to_skeleton
from explore.data.skeleton import BLAZEPOSE33, H36M18, MUCO21
from explore.data.split import check_disjoint, hold_out
from explore.evaluation import metrics
from explore.evaluation.evaluator import open_evaluator
from explore.train.loss import pose_loss
from tests.explore.data.test_split import dataset
from tests.helpers import layouts
from tests.helpers.layouts import REAL_DATA, edit

REAL = REAL_DATA
ONE = Human36MOptions(train_subjects=(1,), test_subjects=(9,), test_step=5)


@pytest.fixture
def spec(tmp_path):
    layouts.human36m(tmp_path / "h36m", 3)
    layouts.mpii(tmp_path / "mpii", 7)
    layouts.mscoco(tmp_path / "coco", 4)
    return f"human36m:{tmp_path / 'h36m'}+mpii:{tmp_path / 'mpii'}+mscoco:{tmp_path / 'coco'}"


def test_mix_has_the_joints_of_the_first_set(spec):
    data = open_dataset(spec, "train", ONE)
    assert len(data) == 14 and data.name == "human36m+mpii+mscoco" and data.skeleton is H36M18
    assert data.has_depth.sum() == 3 and all(data.path(i).is_file() for i in range(14))
    for name, mpii, coco in (("Torso", 0, 0), ("L_Ankle", 1, 1), ("Nose", 0, 1), ("Head", 1, 0), ("Thorax", 1, 1)):
        joint = H36M18.index(name)
        assert (data.vis[3:10, joint] == mpii).all() and (data.vis[10:, joint] == coco).all(), name
    own = open_dataset(spec.split("+")[1], "train")
    ankle = own.skeleton.index("R_Ankle")
    assert (data.joints_img[3:10, H36M18.index("R_Ankle")] == own.joints_img[:, ankle]).all()


def test_test_split_is_the_first_sets(spec):
    data = open_dataset(spec, "test", ONE)
    assert data.name == "human36m" and len(data) == 3


def test_hash_of_a_mix_depends_on_the_order_of_its_parts(spec):
    first, second, third = spec.split("+")
    whole = open_dataset(spec, "train", ONE)
    assert whole.hash != open_dataset(f"{first}+{third}+{second}", "train", ONE).hash
    assert open_dataset(first, "train", ONE).groups[0][0].tolist() == [0, 1, 2]


def test_batches_are_balanced_and_samples_equally_frequent(spec):
    data = open_dataset(spec, "train", ONE)
    assert epoch_length(data) == 22
    counts = np.zeros(14, int)
    for step in range(33 * 4):
        batch = [sample_at(data, step * 4 + slot, 5) for slot in range(4)]
        assert data.has_depth[batch].sum() == 2
        np.add.at(counts, batch, 1)
    assert (counts[:3] == 88).all() and (counts[3:] == 24).all()
    batch = batch_at(data, 2, 4, 32, AUGMENTS["paper"], 5)
    assert batch.depth_weight.tolist() == [1, 0, 1, 0]
    assert (batch.images == batch_at(data, 2, 4, 32, AUGMENTS["paper"], 5).images).all()


def test_depths_are_relative_to_the_target_skeletons_root(tmp_path):
    layouts.muco(tmp_path, 3)
    muco = open_dataset(f"muco:{tmp_path}", "train")
    data = to_skeleton(muco, H36M18)
    assert data.has_depth.all() and (data.joints_img[:, H36M18.root, 2] == 0).all()
    wrist = (H36M18.index("L_Wrist"), MUCO21.index("L_Wrist"))
    assert (data.joints_cam[:, wrist[0]] == muco.joints_cam[:, wrist[1]]).all()
    assert (data.vis[:, H36M18.index("Nose")] == 0).all()
    assert metrics.mean_pose_error(data, data) < 100


def test_people_without_a_derived_joint_are_no_images_without_people():
    vis, cam = np.ones((2, 33), np.float32), np.random.default_rng(0).normal(4000, 100, (2, 33, 3))
    vis[1] = np.arange(33) == BLAZEPOSE33.index("Nose")  # from which no joint of H36M18 follows
    data = replace(dataset("custom", ["a.jpg", "b.jpg"]), skeleton=BLAZEPOSE33, vis=vis, joints_cam=cam, joints_img=cam)
    found = to_skeleton(data, H36M18)
    assert found.files == ("a.jpg",) and found.left_out == {"without a visible joint of h36m18": 1}


def test_sets_without_a_common_joint_are_rejected(tmp_path, spec):
    path = layouts.custom(tmp_path / "own", 2)
    text = path.read_text()
    for name in layouts.H36M17.names:
        text = text.replace(f'"{name}"', f'"x{name}"')
    path.write_text(text)
    with pytest.raises(InputError, match="none of its joints"):
        open_dataset(f"{spec}+custom:{tmp_path / 'own'}", "train", ONE)


def test_unknown_reader_in_a_mix():
    with pytest.raises(InputError, match=r"data 'coco:/y' is unknown"):
        open_dataset("human36m:/x+coco:/y", "test")


def network_shape(arch, batch):
    """Return the shape of the raw output."""
    return (batch, *HEADS[arch.head_spec.name].raw_shape(arch.head_spec))


@pytest.mark.parametrize("head", ["volumetric", "heatmap-2.5d", "simcc"])
def test_masked_depth_does_not_affect_the_loss(head):
    arch = preset("paper-XS-relu@64").replace(head=head)
    raw = torch.randn(network_shape(arch, 2), generator=torch.Generator().manual_seed(0))
    target = torch.full((2, arch.num_joints, 3), 0.4)
    other = target.clone()
    other[1, :, 2] = 0.9
    seen, depth = torch.ones(2, arch.num_joints), torch.tensor([1.0, 0.0])
    masked = [float(pose_loss(raw, each, seen, arch, 0.1, depth)) for each in (target, other)]
    assert masked[0] == masked[1]
    assert float(pose_loss(raw, other, seen, arch, 0.1)) != float(pose_loss(raw, target, seen, arch, 0.1))
    everywhere = pose_loss(raw, target, seen, arch, 0.1, torch.ones(2))
    assert float(everywhere) == pytest.approx(float(pose_loss(raw, target, seen, arch, 0.1)))


@pytest.mark.skipif(not (REAL / "mpii").is_dir(), reason=f"no real samples at {REAL}")
def test_real_frames_in_a_mix():
    options = Human36MOptions(train_subjects=(1, 5, 7), test_subjects=(8,), train_step=1, test_step=1)
    data = open_dataset(f"human36m:{REAL / 'human36m'}+mpii:{REAL / 'mpii'}", "train", options)
    assert len(data) == 8
    batch = batch_at(data, 1, 8, 64, AUGMENTS["paper"], 0)
    assert batch.depth_weight.tolist() == [1, 0] * 4 and batch.errors == () and batch.images.std() > 20


def test_test_on_another_data_set(tmp_path):
    layouts.muco(tmp_path / "muco", 4)
    layouts.mscoco(tmp_path / "coco", 4)
    layouts.mupots(tmp_path / "mupots", 4)
    layouts.human36m(tmp_path / "h36m", 4)
    data = f"muco:{tmp_path / 'muco'}+mscoco:{tmp_path / 'coco'}"
    study = DataConfig.model_validate({"data": data, "dataset": {"test_on": f"mupots:{tmp_path / 'mupots'}"}})
    evaluator = open_evaluator(study)
    assert evaluator.train.name == "muco+mscoco" and evaluator.data.name == "mupots"
    scores = metrics.score(evaluator.evaluation.to_camera(evaluator.evaluation.target), evaluator.data)
    assert set(scores.sequences) == {"TS1", "TS2"} and scores.sequences["TS1"].pck_rel == 1
    assert evaluator.mean_pose_mm < 100
    other = {"test_on": f"human36m:{tmp_path / 'h36m'}", "test_subjects": [9]}
    evaluator = open_evaluator(DataConfig.model_validate({"data": data, "dataset": other}))
    found = metrics.score(evaluator.evaluation.to_camera(evaluator.evaluation.target), evaluator.data)
    assert "Nose" not in found.per_joint and found.per_joint["L_Knee"] < 0.1
    with pytest.raises(InputError, match="muco: has a train split only; name another set"):
        open_evaluator(DataConfig(data=data))


# ---- weights, masks, images without people ----


def test_weights_are_shares_of_the_samples_not_of_the_frames(spec):
    human36m, mpii, coco = spec.split("+")
    data = open_dataset(f"{human36m}*0.5+{mpii}*0.2+{coco}*0.3", "train", ONE)
    assert data.skeleton is H36M18 and len(data) == 14
    drawn = [sample_at(data, place, 5) for place in range(10 * 42)]
    parts = np.array(data.part)[drawn].reshape(42, 10)
    assert (np.sort(parts) == [0, 0, 0, 0, 0, 1, 1, 2, 2, 2]).all()  # in every ten consecutive samples
    seen = np.bincount(drawn, minlength=14)
    assert (seen[:3] == 70).all() and (seen[3:10] == 12).all()  # a small set is repeated
    assert np.ptp(seen[10:]) <= 1
    assert epoch_length(data) == 35  # seven frames of mpii at a fifth of the samples
    assert data.hash not in {
        open_dataset(spec, "train", ONE).hash,
        open_dataset(f"{spec}*1".replace("+", "*1+"), "train", ONE).hash,
    }


def test_equal_weights_of_one_3d_and_one_2d_set_change_nothing(spec):
    plain = "+".join(spec.split("+")[:2])
    weighted = plain.replace("+", "*0.5+") + "*0.5"
    first, second = (open_dataset(each, "train", ONE) for each in (plain, weighted))
    assert [sample_at(first, place, 1) for place in range(60)] == [sample_at(second, place, 1) for place in range(60)]


@pytest.mark.parametrize("change", ["{0}*0.5+{1}", "{0}*0.5+{1}*0"])
def test_weights_of_some_sets_only_are_rejected(spec, change):
    with pytest.raises(InputError, match="give each data set a weight above 0"):
        open_dataset(change.format(*spec.split("+")), "train", ONE)


def pseudo_labels(root, count=4):
    """Write a set as `data label` does: certainty of joints and depths, masks, and an image without people."""
    path = layouts.custom(root, count)
    (root / "masks").mkdir()
    for number in range(count):
        mask = np.zeros((30, 40), np.uint8)
        mask[:, 20:] = 255
        cv2.imwrite(str(root / "masks" / f"{number}.png"), mask)

    def change(content):
        content["images"].append({"id": 99, "file_name": "99.jpg", "width": 40, "height": 30, "negative": True})
        for number, annotation in enumerate(content["annotations"]):
            annotation |= {"visibility": [1.0] + [0.25] * 15 + [0.0], "mask": f"{number}.png"}
            annotation["depth_weight"] = [0.4, 1.0, 0.0, 0.4][number]

    cv2.imwrite(str(root / "images" / "99.jpg"), np.full((30, 40, 3), 200, np.uint8))
    edit(path, change)
    return path


def test_certainty_of_pseudo_labels_weights_the_loss(tmp_path):
    pseudo_labels(tmp_path)
    data = open_dataset(f"custom:{tmp_path}", "train")
    assert data.vis[0].tolist() == [1.0] + [0.25] * 15 + [0.0] and np.isnan(data.joints_cam[0, 16]).all()
    assert data.depth_weight.tolist() == [0.4, 1.0, 0.0, 0.4, 0.0]
    assert data.has_depth.tolist() == [True, True, False, True, False] and data.negative.tolist() == [False] * 4 + [
        True
    ]
    batch = batch_at(data, 0, 10, 32, AUGMENTS["none"], 0)
    assert batch.errors == () and set(batch.depth_weight.round(1).tolist()) <= {0.0, np.float32(0.4).item(), 1.0} | {
        0.4
    }
    people = batch.negative == 0
    assert (batch.vis[people].max(1) == 1).all() and (batch.vis[people][:, 1:16] <= 0.25).all()
    assert (batch.vis[~people] == 0).all() and 0 < (~people).sum() < 5
    arch = preset("paper-XS-relu@64").replace(num_joints=17)
    shape = (1, 17 * arch.depth_bins, arch.heatmap_size, arch.heatmap_size)
    raw = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    target, seen, count = torch.full((1, 17, 3), 0.4), torch.ones(1, 17), torch.tensor(17.0)
    losses = [float(pose_loss(raw, target, seen, arch, 0.1, torch.tensor([w]), count)) for w in (0.0, 0.4, 1.0)]
    assert losses[1] - losses[0] == pytest.approx(0.4 * (losses[2] - losses[0]), rel=1e-3)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("visibility", [1.5] * 17, "visibility is not between 0 and 1"),
        ("visibility", [1.0] * 3, "visibility has 3 values"),
        ("depth_weight", -1, "depth_weight is not between 0 and 1"),
        ("mask", "none.png", "mask missing"),
    ],
)
@pytest.mark.usefixtures("first_fault_aborts")
def test_invalid_keys_of_pseudo_labels(key, value, message, tmp_path):
    edit(pseudo_labels(tmp_path), lambda content: content["annotations"][0].update({key: value}))
    with pytest.raises(InputError, match=message):
        open_dataset(f"custom:{tmp_path}", "train")


def test_the_mask_separates_the_person_from_a_new_background(tmp_path):
    pseudo_labels(tmp_path)
    data = open_dataset(f"custom:{tmp_path}", "train").take([0, 1])
    replaced, plain = (
        batch_at(data, 0, 8, 64, augment, 3).images for augment in (Augment(background_p=1.0), Augment())
    )
    data = replace(data, masks=())
    assert (batch_at(data, 0, 8, 64, Augment(background_p=1.0), 3).images == plain).all()
    same = (replaced == plain).all(3)
    assert same.any() and not same.all()
    left, right = same[:, :, :28].mean(), same[:, :, 36:].mean()
    assert left < 0.2 < 0.95 < right or right < 0.2 < 0.95 < left or same.mean(1).std() > 0.2


def test_images_without_people(tmp_path):
    layouts.custom(tmp_path / "own", 6)
    folder = tmp_path / "empty" / "rooms"
    folder.mkdir(parents=True)
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((90, 60 + number, 3), 60 * number, np.uint8))
    own, empty = f"custom:{tmp_path / 'own'}", f"negatives:{tmp_path / 'empty'}"
    data = open_dataset(f"{own}*0.75+{empty}*0.25", "train")
    assert data.negative.sum() == 3 and not data.has_depth[data.negative].any()
    batch = batch_at(data, 0, 8, 32, AUGMENTS["real"], 0)
    assert batch.negative.sum() == 2 and batch.errors == ()
    train, validation = hold_out(data)
    assert train.negative.sum() == 3 and not validation.negative.any()
    assert (train.name, validation.name) == ("custom+negatives", "custom")
    check_disjoint(training=train, validation=validation, test=open_dataset(f"{own}+{empty}", "test"))
    with pytest.raises(InputError, match="shows no people; name a data set with people before it"):
        open_dataset(f"{empty}+{own}", "train")
    with pytest.raises(InputError, match="no images"):
        open_dataset(f"{own}+negatives:{tmp_path / 'own' / 'annotations'}", "train")


@pytest.mark.parametrize("head", ["volumetric", "heatmap-2.5d", "simcc"])
def test_images_without_people_lower_the_confidence_only(head):
    arch = preset("paper-XS-relu@64").replace(head=head)
    raw = (3 * torch.randn(network_shape(arch, 2), generator=torch.Generator().manual_seed(0))).requires_grad_()
    seen, empty = torch.stack([torch.ones(arch.num_joints), torch.zeros(arch.num_joints)]), torch.tensor([0.0, 1.0])
    target = torch.full((2, arch.num_joints, 3), 0.4)
    before = decode_with_confidence(raw.detach().numpy(), arch)[1].mean(1)
    for _ in range(30):
        (gradient,) = torch.autograd.grad(pose_loss(raw, target, seen, arch, 1.0, seen[:, 0], None, empty), raw)
        raw = (raw - 200 * gradient).detach().requires_grad_()
    after = decode_with_confidence(raw.detach().numpy(), arch)[1].mean(1)
    assert after[1] < 0.5 * before[1] and after[0] > after[1]
    ignored = pose_loss(raw, target + 0.1 * empty[:, None, None], seen, arch, 1.0, seen[:, 0], None, empty)
    assert ignored.item() == pose_loss(raw, target, seen, arch, 1.0, seen[:, 0], None, empty).item()


def test_joined_specifications_have_no_weights():
    assert join("custom:a+b*0.4+synthetic:full*0.6", "mpii:c") == "custom:a+b+synthetic:full+mpii:c"
    assert join("custom:a", "custom:a*0.5+mpii:c*0.5") == "custom:a+mpii:c"


def test_a_broken_background_is_replaced_by_another(tmp_path):
    pseudo_labels(tmp_path / "own")
    (tmp_path / "empty").mkdir()
    for name in ("good", "bad"):
        cv2.imwrite(str(tmp_path / "empty" / f"{name}.png"), np.full((90, 60, 3), 60, np.uint8))
    data = open_dataset(f"custom:{tmp_path / 'own'}*0.5+negatives:{tmp_path / 'empty'}*0.5", "train")
    data = data.take([index for index, file in enumerate(data.files) if not file.endswith("99.jpg")])
    (tmp_path / "empty" / "bad.png").write_bytes(b"broken")
    batch = batch_at(data, 0, 32, 32, Augment(background_p=1.0), 0)
    assert len(batch.images) == 32 and all("bad.png" in line for line in batch.errors) and batch.errors


def test_an_annotation_of_an_image_without_people_is_rejected(tmp_path):
    edit(pseudo_labels(tmp_path), lambda content: content["images"][0].update({"negative": True}))
    with pytest.raises(InputError, match="is marked negative; drop the annotation or the key negative"):
        open_dataset(f"custom:{tmp_path}", "train")
