"""Mixes: joints by name, what is not annotated masked, half of a batch with depth and half without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from arch.errors import InputError
from arch.space import preset
from explore import metrics
from explore.config import SearchConfig
from explore.data import H36M18, MUCO21, Human36MOptions, open_dataset, to_skeleton
from explore.data.crop import AUGMENTS, batch_at, epoch_length, sample_at
from explore.search.dataset import open_judge
from explore.train.loss import pose_loss
from tests.explore import layouts

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data"
ONE = Human36MOptions(train_subjects=(1,), test_subjects=(9,), test_step=5)


@pytest.fixture
def spec(tmp_path):
    layouts.human36m(tmp_path / "h36m", 3)
    layouts.mpii(tmp_path / "mpii", 7)
    layouts.mscoco(tmp_path / "coco", 4)
    return f"human36m:{tmp_path / 'h36m'}+mpii:{tmp_path / 'mpii'}+mscoco:{tmp_path / 'coco'}"


def test_a_mix_has_the_first_sets_joints(spec):
    data = open_dataset(spec, "train", ONE)
    assert len(data) == 14 and data.name == "human36m+mpii+mscoco" and data.skeleton is H36M18
    assert data.has_depth.sum() == 3 and all(data.path(i).is_file() for i in range(14))
    for name, mpii, coco in (("Torso", 0, 0), ("L_Ankle", 1, 1), ("Nose", 0, 1), ("Head", 1, 0), ("Thorax", 1, 1)):
        joint = H36M18.index(name)
        assert (data.vis[3:10, joint] == mpii).all() and (data.vis[10:, joint] == coco).all(), name
    own = open_dataset(spec.split("+")[1], "train")
    ankle = own.skeleton.index("R_Ankle")
    assert (data.joints_img[3:10, H36M18.index("R_Ankle")] == own.joints_img[:, ankle]).all()


def test_the_test_part_is_the_first_ones(spec):
    data = open_dataset(spec, "test", ONE)
    assert data.name == "human36m" and len(data) == 3


def test_hashes_and_names_of_a_mix_tell_its_parts(spec):
    first, second, third = spec.split("+")
    whole = open_dataset(spec, "train", ONE)
    assert whole.hash != open_dataset(f"{first}+{third}+{second}", "train", ONE).hash
    assert open_dataset(first, "train", ONE).groups[0].tolist() == [0, 1, 2]


def test_batches_are_half_and_half_and_every_sample_comes_as_often(spec):
    data = open_dataset(spec, "train", ONE)
    assert epoch_length(data) == 22
    counts = np.zeros(14, int)
    for step in range(33 * 4):
        batch = [sample_at(data, step * 4 + slot, 5) for slot in range(4)]
        assert data.has_depth[batch].sum() == 2
        np.add.at(counts, batch, 1)
    assert (counts[:3] == 88).all() and (counts[3:] == 24).all()
    batch = batch_at(data, 2, 4, 32, AUGMENTS["paper"], 5)
    assert batch.has_depth.tolist() == [1, 0, 1, 0]
    assert (batch.images == batch_at(data, 2, 4, 32, AUGMENTS["paper"], 5).images).all()


def test_depths_follow_the_root_of_the_skeleton(tmp_path):
    layouts.muco(tmp_path, 3)
    muco = open_dataset(f"muco:{tmp_path}", "train")
    data = to_skeleton(muco, H36M18)
    assert data.has_depth.all() and (data.joints_img[:, H36M18.root, 2] == 0).all()
    wrist = (H36M18.index("L_Wrist"), MUCO21.index("L_Wrist"))
    assert (data.joints_cam[:, wrist[0]] == muco.joints_cam[:, wrist[1]]).all()
    assert (data.vis[:, H36M18.index("Nose")] == 0).all()
    assert metrics.mean_pose_error(data, data) < 100


def test_sets_without_a_common_joint(tmp_path, spec):
    path = layouts.custom(tmp_path / "own", 2)
    text = path.read_text()
    for name in layouts.H36M17.names:
        text = text.replace(f'"{name}"', f'"x{name}"')
    path.write_text(text)
    with pytest.raises(InputError, match="none of its joints"):
        open_dataset(f"{spec}+custom:{tmp_path / 'own'}", "train", ONE)


def test_unknown_parts_of_a_mix_are_named():
    with pytest.raises(InputError, match=r"data 'coco:/y' is unknown"):
        open_dataset("human36m:/x+coco:/y", "test")


@pytest.mark.parametrize("head", ["volumetric", "depthmap", "simcc"])
def test_masked_depth_costs_nothing_and_teaches_nothing(head):
    arch = preset("paper-XS-relu@64").replace(head=head)
    count = {"volumetric": arch.joints * arch.depth_bins, "depthmap": 2 * arch.joints}
    shape = (2, count[head], arch.heatmap, arch.heatmap) if head != "simcc" else (
        2, arch.joints, 4 * arch.heatmap + arch.depth_bins)  # fmt: skip
    raw = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    target = torch.full((2, arch.joints, 3), 0.4)
    other = target.clone()
    other[1, :, 2] = 0.9
    seen, depth = torch.ones(2, arch.joints), torch.tensor([1.0, 0.0])
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
    assert batch.has_depth.tolist() == [1, 0] * 4 and batch.faults == () and batch.images.std() > 20


def test_another_set_to_test_on(tmp_path):
    layouts.muco(tmp_path / "muco", 4)
    layouts.mscoco(tmp_path / "coco", 4)
    layouts.mupots(tmp_path / "mupots", 4)
    layouts.human36m(tmp_path / "h36m", 4)
    data = f"muco:{tmp_path / 'muco'}+mscoco:{tmp_path / 'coco'}"
    study = SearchConfig.model_validate({"data": data, "dataset": {"test_on": f"mupots:{tmp_path / 'mupots'}"}})
    judge = open_judge(study)
    assert judge.train.name == "muco+mscoco" and judge.test.name == "mupots"
    scores = metrics.score(judge.evaluation.to_camera(judge.evaluation.target), judge.test)
    assert set(scores.sequences) == {"TS1", "TS2"} and scores.sequences["TS1"].pck_rel == 1
    assert judge.mean_pose_mm < 100
    other = {"test_on": f"human36m:{tmp_path / 'h36m'}", "test_subjects": [9]}
    judge = open_judge(SearchConfig.model_validate({"data": data, "dataset": other}))
    found = metrics.score(judge.evaluation.to_camera(judge.evaluation.target), judge.test)
    assert "Nose" not in found.per_joint and found.per_joint["L_Knee"] < 0.1
    with pytest.raises(InputError, match="muco: has a train part only; name another set"):
        open_judge(SearchConfig.model_validate({"data": data}))
