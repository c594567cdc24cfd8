"""Contract tests of all readers, on generated files and, if present, on real ones."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from arch.errors import InputError
from explore.cli import main
from explore.data import Human36MOptions, open_dataset
from explore.data.augment import AUGMENTS
from explore.data.batches import batch_at, evaluation_arrays
from explore.data.config import MpiInf3dhpOptions
from explore.data.crop import project
from explore.data.readers import READERS
from explore.data.readers.mpi_inf_3dhp import fit_camera
from explore.data.readers.muco import separated
from explore.data.skeleton import MUCO21
from tests.helpers import ROOT
from tests.helpers.layouts import (
    LAYOUTS,
    REAL_DATA,
    C,
    F,
    Layout,
    custom,
    edit,
    mpi_inf_3dhp,
    mupots,
    standing,
)

REAL = REAL_DATA
CAMERA_0 = MpiInf3dhpOptions(train_subjects=(1,), cameras=(0,))

pytestmark = pytest.mark.usefixtures("first_fault_aborts")

each = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
each_json = pytest.mark.parametrize("layout", [la for la in LAYOUTS if la.json], ids=lambda layout: layout.name)


def read(layout: Layout, root: Path, split: str | None = None):
    options = CAMERA_0 if layout.name == "mpi_inf_3dhp" else None
    if layout.name == "human36m":
        options = Human36MOptions(train_subjects=(1,), test_subjects=(9,), test_step=5)
    return open_dataset(f"{layout.name}:{root}", split or layout.splits[0], options)


def test_every_reader_has_a_layout():
    assert {layout.name for layout in LAYOUTS} == set(READERS) - {"negatives"}  # they have no people; see test_mix


# ---- data sets ----


@each
def test_columns(layout, tmp_path):
    layout.write(tmp_path, 4)
    for split in layout.splits:
        data = read(layout, tmp_path, split)
        joints = len(data.skeleton)
        assert len(data) == 4 and data.name == layout.name and data.split == split
        assert data.skeleton.name == layout.skeleton and data.skipped == {}
        assert (data.has_depth == layout.has_depth).all() and data.has_depth.shape == (4,)
        assert data.joints_img.shape == data.joints_cam.shape == (4, joints, 3) and data.vis.shape == (4, joints)
        assert np.isfinite(data.joints_img).all() and (data.bbox[:, 2:] > 0).all()
        assert all(
            len(getattr(data, f.name)) == 4 for f in fields(data) if isinstance(getattr(data, f.name), np.ndarray)
        )
        assert [data.path(i).is_file() for i in range(4)] == [True] * 4
        assert (data.size == [120, 100]).all()
        sample = data[1]
        assert sample.image.is_file() and sample.has_depth == layout.has_depth


@each
def test_joints_project_to_their_pixels(layout, tmp_path):
    layout.write(tmp_path, 4)
    data = read(layout, tmp_path)
    seen = data.vis > 0
    assert seen.mean() > 0.8
    if not layout.has_depth:
        assert np.isnan(data.joints_cam).all() and np.isnan(data.root_depth).all()
        assert (data.f == 1500).all() and (data.c == [60, 50]).all() and (data.joints_img[..., 2] == 0).all()
        return
    np.testing.assert_allclose(data.f, np.tile(F, (4, 1)))
    px = project(data.joints_cam, data.f[:, None], data.c[:, None])
    np.testing.assert_allclose(px[seen], data.joints_img[..., :2][seen], atol=1e-6)
    depth = data.joints_img[..., 2] + data.root_depth[:, None]
    np.testing.assert_allclose(depth[seen], data.joints_cam[..., 2][seen])
    assert (data.joints_img[:, data.skeleton.root, 2] == 0).all()


@each
def test_batches_and_evaluation_arrays(layout, tmp_path):
    layout.write(tmp_path, 4)
    data = read(layout, tmp_path)
    batch = batch_at(data, 2, 6, 32, AUGMENTS["paper"], 0)
    assert batch.vis.sum() > 30 and np.isfinite(batch.target).all() and batch.errors == ()
    assert (batch.depth_weight == layout.has_depth).all()
    whole = evaluation_arrays(data, 32)
    if layout.has_depth:
        back = whole.to_camera(whole.target)
        np.testing.assert_allclose(back[data.vis > 0], data.joints_cam[data.vis > 0], atol=0.05)


@each
def test_hash_depends_on_content_and_files(layout, tmp_path):
    layout.write(tmp_path / "a", 4)
    layout.write(tmp_path / "b", 5)
    one = read(layout, tmp_path / "a").hash
    assert read(layout, tmp_path / "a").hash == one != read(layout, tmp_path / "b").hash


@each
def test_missing_splits(layout, tmp_path):
    layout.write(tmp_path, 2)
    for split in {"train", "test"} - set(layout.splits):
        if layout.name != "mpi_inf_3dhp":
            with pytest.raises(InputError, match=f"split only; name another set for the {split} split"):
                read(layout, tmp_path, split)
    with pytest.raises(InputError, match="give train or test"):
        read(layout, tmp_path, "validation")


# ---- invalid input ----


@each
def test_empty_folder(layout, tmp_path):
    with pytest.raises(InputError, match=str(tmp_path)) as caught:
        read(layout, tmp_path)
    assert "\n" not in str(caught.value)


@each
def test_truncated_annotations(layout, tmp_path):
    path = layout.write(tmp_path, 4)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=rf"{path.name}: not (a )?valid .*fetch"):
        read(layout, tmp_path)


@each_json
@pytest.mark.parametrize("table", ["images", "annotations"])
def test_empty_split_and_missing_table(layout, table, tmp_path):
    path = layout.write(tmp_path, 4)
    edit(path, lambda d: d.update({"annotations": []}))
    with pytest.raises(InputError):
        read(layout, tmp_path)
    edit(path, lambda d: d.pop(table))
    with pytest.raises(InputError, match=f"key '{table}' is missing"):
        read(layout, tmp_path)


def no_area(entry):
    entry["bbox"] = [10, 10, 0, 20]


def outside(entry):
    entry["bbox"] = [500, 10, 20, 20]


@each_json
@pytest.mark.parametrize(("damage", "message"), [(no_area, "no area"), (outside, "lies outside")])
def test_invalid_box(layout, damage, message, tmp_path):
    path = layout.write(tmp_path, 4)
    edit(path, lambda d: damage(d["annotations"][2]))
    with pytest.raises(InputError, match=rf"{path.name}: annotation 2.*{message}"):
        read(layout, tmp_path)


@each
def test_missing_image(layout, tmp_path):
    layout.write(tmp_path, 4)
    file = read(layout, tmp_path).path(2)
    file.unlink()
    with pytest.raises(InputError, match=f"{file.name}: image missing"):
        read(layout, tmp_path)


@each_json
def test_joints_that_are_not_finite(layout, tmp_path):
    path = layout.write(tmp_path, 4)
    if layout.name == "human36m":
        path = path.with_name("Human36M_subject1_joint_3d.json")
        edit(path, lambda d: d["2"]["1"]["10"][3].__setitem__(1, float("nan")))
    else:
        key = "keypoints_cam" if layout.has_depth else "keypoints"
        edit(path, lambda d: d["annotations"][2].update({key: _spoiled(d["annotations"][2][key])}))
    with pytest.raises(InputError, match=rf"{path.name}: .*not finite"):
        read(layout, tmp_path)


def _spoiled(joints):
    first = joints[3]
    joints[3] = float("nan") if not isinstance(first, list) else [first[0], float("nan"), *first[2:]]
    return joints


@each_json
@pytest.mark.parametrize("key", ["bbox", "image_id", "file_name", "width"])
def test_missing_keys_are_named(layout, key, tmp_path):
    path = layout.write(tmp_path, 4)
    table = "images" if key in ("file_name", "width") else "annotations"
    edit(path, lambda d: d[table][0].pop(key))
    with pytest.raises(InputError, match=f"'{key}'"):
        read(layout, tmp_path)


@pytest.mark.parametrize("layout", [la for la in LAYOUTS if la.json and la.has_depth], ids=lambda la: la.name)
def test_missing_camera(layout, tmp_path):
    path = layout.write(tmp_path, 4)
    if layout.name == "human36m":
        edit(path.with_name("Human36M_subject1_camera.json"), lambda d: d.clear())
        message = "camera 1 is missing"
    else:
        key = "intrinsic" if layout.name == "mupots" else "f"
        edit(path, lambda d: d["images"][0].pop(key))
        message = f"image 10: key '{key}'"
    with pytest.raises(InputError, match=message):
        read(layout, tmp_path)


def orphan(entry):
    entry["image_id"] = 900 + entry["id"]


@pytest.mark.parametrize("layout", [la for la in LAYOUTS if la.json and "train" in la.splits], ids=lambda la: la.name)
@pytest.mark.parametrize(("damage", "kind"), [(no_area, "box"), (orphan, "missing")])
def test_two_faulty_samples_of_a_small_split_are_skipped(layout, damage, kind, tmp_path, monkeypatch):
    monkeypatch.undo()
    path = layout.write(tmp_path, 8)
    for count in (1, 2, 3):
        edit(path, lambda d, last=count - 1: damage(d["annotations"][last]))
        if count < 3:
            data = read(layout, tmp_path, "train")
            assert len(data) == 8 - count and data.skipped == {kind: count}
    with pytest.raises(InputError, match=r"annotation 0.*\(and 2 of 8 samples more\)"):
        read(layout, tmp_path, "train")


@pytest.mark.parametrize("layout", [la for la in LAYOUTS if la.json and "train" in la.splits], ids=lambda la: la.name)
def test_few_sample_errors_are_skipped_and_counted_in_training_only(layout, tmp_path):
    path = layout.write(tmp_path, 100)
    if layout.name == "human36m":
        edit(path.with_name("Human36M_subject9_data.json"), lambda d: no_area(d["annotations"][7]))
    edit(path, lambda d: no_area(d["annotations"][7]))
    data = read(layout, tmp_path, "train")
    assert len(data) == 99 and data.skipped == {"box": 1}
    edit(path, lambda d: no_area(d["annotations"][8]))
    with pytest.raises(InputError, match=r"annotation 7.*\(and 1 of 100 samples more\)"):
        read(layout, tmp_path, "train")
    if layout.name == "human36m":
        with pytest.raises(InputError, match="annotation 7"):
            read(layout, tmp_path, "test")


# ---- single readers ----


def test_muco_keeps_the_nearest_and_separated_people():
    roots = np.array([[0, 0, 5000], [0, 0, 3000], [100, 0, 9000], [2000, 0, 6000.0]])
    assert separated(roots) == [1, 3]  # 0 and 2 lie in front of each other
    assert separated(roots[:1]) == [0]
    assert separated(np.array([[0, 0, 3000], [600, 0, 3000], [1100, 0, 3100.0]])) == [0, 1, 2]
    assert separated(np.array([[0, 0, 3000], [600, 0, 3000], [1000, 0, 3100.0]])) == [0]


def test_coco_midpoints_and_crowds(tmp_path):
    layout = next(layout for layout in LAYOUTS if layout.name == "mscoco")
    path = layout.write(tmp_path, 4)

    def change(d):
        d["annotations"][0]["keypoints"][3 * 5 + 2] = 0  # the left shoulder
        d["annotations"][1]["iscrowd"] = 1
        d["annotations"][2]["num_keypoints"] = 0

    edit(path, change)
    data = read(layout, tmp_path)
    assert len(data) == 2 and data.skipped == {}
    thorax, pelvis = (data.skeleton.index(name) for name in ("Thorax", "Pelvis"))
    hips = [data.skeleton.index("L_Hip"), data.skeleton.index("R_Hip")]
    assert data.vis[0, thorax] == 0 and data.vis[1, thorax] == 1
    np.testing.assert_allclose(data.joints_img[:, pelvis, :2], data.joints_img[:, hips, :2].mean(1))


def test_mupots_drops_invalid_people_and_reads_sequences(tmp_path):
    path = mupots(tmp_path, 4)
    edit(path, lambda d: d["annotations"][1].update(is_valid=0))
    data = open_dataset(f"mupots:{tmp_path}", "test")
    assert len(data) == 3 and data.action == ("TS1", "TS1", "TS2")
    assert (data.vis[:, 17:] == 0).all() and np.isnan(data.joints_cam[:, 17:]).all()
    assert data.skeleton.scored.tolist() == list(range(17))


def test_mpi_inf_3dhp_cameras_and_frames(tmp_path):
    mpi_inf_3dhp(tmp_path, 3)
    data = open_dataset(f"mpi_inf_3dhp:{tmp_path}", "train", CAMERA_0)
    np.testing.assert_allclose(data.joints_cam, standing(MUCO21, 3))
    assert data.frame.tolist() == [0, 5, 10] and data.subject.tolist() == [1, 1, 1]
    all_cameras = MpiInf3dhpOptions(train_subjects=(1,))
    assert open_dataset(f"mpi_inf_3dhp:{tmp_path}", "train", all_cameras).files == data.files  # one video was extracted
    with pytest.raises(InputError, match=r"the train part lacks subject 2, 3, 4, 5, 6, 7, 8; .* among 1 with"):
        open_dataset(f"mpi_inf_3dhp:{tmp_path}", "train")
    with pytest.raises(InputError, match="9 cameras, not 12"):
        open_dataset(f"mpi_inf_3dhp:{tmp_path}", "train", MpiInf3dhpOptions(train_subjects=(1,), cameras=(12,)))
    with pytest.raises(InputError, match=r"TS\*/annot_data\.mat"):
        open_dataset(f"mpi_inf_3dhp:{tmp_path}", "test")
    (tmp_path / "S1/Seq1/camera.calibration").write_text("intrinsic 1 2 3\n")
    with pytest.raises(InputError, match="not 16 numbers"):
        open_dataset(f"mpi_inf_3dhp:{tmp_path}", "train", CAMERA_0)


@pytest.mark.parametrize("folder", ["SX/Seq1", "S1/SeqX", "S1_old/Seq1"])
def test_mpi_inf_3dhp_folders_without_a_number(folder, tmp_path, capsys):
    place = mpi_inf_3dhp(tmp_path, 3).parent
    shutil.copytree(place, tmp_path / folder)
    assert main(["data", "check", f"mpi_inf_3dhp:{tmp_path}", "--sheet", str(tmp_path / "a.png"), "--json"]) == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem["problem"].startswith(f"{tmp_path / folder}: * of S*/Seq*/annot.mat is not a number there; rename")


def test_mpi_inf_3dhp_test_sequences(tmp_path):
    h5py = pytest.importorskip("h5py", reason="MATLAB 7.3 files need h5py")
    folder = tmp_path / "mpi_inf_3dhp_test_set" / "TS1"
    mupots(tmp_path / "other", 3)
    (folder / "imageSequence").mkdir(parents=True)
    for number, file in enumerate(sorted((tmp_path / "other").rglob("*.jpg"))):
        file.rename(folder / "imageSequence" / f"img_{number + 1:06d}.jpg")
    camera = standing(MUCO21, 3)[:, :17]
    with h5py.File(folder / "annot_data.mat", "w") as file:
        file["annot3"] = camera[:, None]
        file["annot2"] = project(camera, F, C)[:, None]
        file["valid_frame"] = np.array([[1.0], [0.0], [1.0]])
    data = open_dataset(f"mpi_inf_3dhp:{tmp_path}", "test")
    assert len(data) == 2 and data.action == ("TS1", "TS1")
    assert any("left out: 5 test sequences that are absent" in note for note in data.notes)
    np.testing.assert_allclose(data.f, [F, F], rtol=1e-6)
    np.testing.assert_allclose(data.joints_cam[1, :17], camera[2])


def test_camera_fitted_to_joints_and_pixels():
    camera = standing(MUCO21, 8)
    f, c = fit_camera(project(camera, F, C), camera)
    np.testing.assert_allclose([*f, *c], [*F, *C])


def test_example_of_the_custom_layout(tmp_path):
    from explore.data.readers import custom as module

    text = (module.__doc__ or "").split("\n\n")[1]
    content = json.loads(text)
    path = tmp_path / "annotations" / "train.json"
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    file = tmp_path / "images" / content["images"][0]["file_name"]
    file.parent.mkdir(parents=True)
    import cv2

    cv2.imwrite(str(file), np.zeros((720, 1280, 3), np.uint8))
    data = open_dataset(f"custom:{tmp_path}", "train")
    assert data.skeleton.names == ("Pelvis", "R_Hip", "L_Hip", "Neck") and data.skeleton.parents == (-1, 0, 0, 0)
    assert data.skeleton.flip_pairs == ((1, 2),) and data.action == ("Walking",) and data.subject.tolist() == [3]
    assert len(text.strip().splitlines()) <= 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flip_pairs": [["R_Hip", "Tail"]]}, "flip_pairs: not pairs"),
        ({"keypoints": ["A", "A"]}, "repeat"),
        ({"root": "Hip"}, "root 'Hip'"),
        ({"skeleton": [[1, 99]]}, "bones refer to joints"),
        ({"skeleton": [[1, 2], [2, 3], [1, 3]]}, "ring"),
        ({"skeleton": [[1, "x"]]}, "category"),
    ],
)
def test_invalid_custom_skeletons(change, message, tmp_path):
    path = custom(tmp_path, 2)
    edit(path, lambda d: d["categories"][0].update(change))
    with pytest.raises(InputError, match=message):
        open_dataset(f"custom:{tmp_path}", "train")


def test_custom_annotation_without_depth(tmp_path):
    path = custom(tmp_path, 4)

    def change(d):
        d["annotations"][0].pop("keypoints_cam")
        d["annotations"][0]["keypoints"] = [30.0, 40.0, 2] * 17

    edit(path, change)
    data = open_dataset(f"custom:{tmp_path}", "train")
    assert data.has_depth.tolist() == [False, True, True, True] and len(data.groups) == 2


def test_detected_boxes_and_root_depths(tmp_path):
    layout = LAYOUTS[0]
    layout.write(tmp_path, 3)
    found = [{"image_id": 10 + n, "bbox": [10, 20, 50, 50], "root_cam": [0, 0, 5000 + n]} for n in range(3)]
    file = tmp_path / "bbox_root" / "bbox_root_human36m_output.json"
    file.parent.mkdir()
    file.write_text(json.dumps(found))
    options = Human36MOptions(test_subjects=(9,), test_step=5, detected="bbox_root/bbox_root_human36m_output.json")
    plain = read(layout, tmp_path, "test")
    data = open_dataset(f"human36m:{tmp_path}", "test", options)
    assert data.root_depth.tolist() == [5000, 5001, 5002] and data.hash != plain.hash
    np.testing.assert_allclose(data.bbox, [[15, 25, 40, 40]] * 3)  # their boxes are padded already
    assert (data.joints_cam == plain.joints_cam).all()
    file.write_text(json.dumps(found[:2]))
    with pytest.raises(InputError, match="no detection of image_id 12"):
        open_dataset(f"human36m:{tmp_path}", "test", options)
    file.write_text(json.dumps([found[0] | {"bbox": [1, 2, 0, 3]}]))
    with pytest.raises(InputError, match="entry 0: bbox has no area"):
        open_dataset(f"human36m:{tmp_path}", "test", options)


def test_data_and_metrics_do_not_import_torch():
    code = (
        "import explore.data, sys; assert 'scipy' not in sys.modules\n"
        "import explore.evaluation.metrics, explore.data.synthetic.dataset; assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# ---- real files ----


@pytest.mark.skipif(not (REAL / "mpii").is_dir(), reason=f"no MPII samples at {REAL / 'mpii'}")
def test_real_mpii():
    data = open_dataset(f"mpii:{REAL / 'mpii'}", "train")
    assert len(data) == 5 and data.skipped == {}
    _check_real(data)


@pytest.mark.skipif(not (REAL / "mscoco").is_dir(), reason=f"no COCO samples at {REAL / 'mscoco'}")
def test_real_coco():
    data = open_dataset(f"mscoco:{REAL / 'mscoco'}", "test")
    assert len(data) == 12  # of 14 annotations two have no keypoints
    _check_real(data)


def _check_real(data):
    x, _, w, _ = data.bbox.T[:, :, None]
    seen = data.vis > 0
    inside = (data.joints_img[..., 0] >= x - 5) & (data.joints_img[..., 0] <= x + w + 5)
    assert inside[seen].mean() > 0.98
    batch = batch_at(data, 0, 6, 64, AUGMENTS["paper"], 0)
    assert batch.errors == () and batch.images.std() > 20 and not batch.depth_weight.any()
