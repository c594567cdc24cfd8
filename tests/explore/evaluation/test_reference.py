"""Comparison with the evaluation of the reference code, of which EDGEPOSE_REFERENCE names a clone."""

from __future__ import annotations

import importlib
import json
import os
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch

from arch.network import build
from arch.space import preset
from benchmarks.data import VARIABLE, reference_folder
from explore.data import Human36MOptions, open_dataset
from explore.data.crop import affine, to_camera
from explore.evaluation.metrics import score
from explore.train.loop import predict, to_input
from tests.helpers import layouts

pytestmark = pytest.mark.skipif(not os.environ.get(VARIABLE), reason=f"{VARIABLE} names no clone of the reference")
CELLS = 32


class Coco:
    """The part of pycocotools that the reference readers call."""

    def __init__(self, path: str | None = None) -> None:
        self.dataset: dict[str, Any] = {}
        if path:
            self.dataset = json.loads(Path(path).read_text())
            self.createIndex()

    def createIndex(self) -> None:
        self.anns = {entry["id"]: entry for entry in self.dataset["annotations"]}
        self.imgs = {entry["id"]: entry for entry in self.dataset["images"]}

    def loadImgs(self, number: int) -> list[Any]:
        return [self.imgs[number]]


@pytest.fixture
def reference(monkeypatch):
    """Return a function that imports modules of the clone. Its configuration, which requires GPUs, is replaced."""
    root = reference_folder()
    assert root
    config, coco = types.ModuleType("config"), types.ModuleType("pycocotools.coco")
    config.cfg = types.SimpleNamespace(
        input_shape=(256, 256), output_shape=(CELLS, CELLS), depth_dim=CELLS, bbox_3d_shape=(2000, 2000, 2000),
        use_gt_info=True, flip_test=True, set_args=lambda gpus: None,
    )  # fmt: skip
    coco.COCO = Coco
    stand_ins = {"config": config, "pycocotools": types.ModuleType("pycocotools"), "pycocotools.coco": coco}
    for name, module in stand_ins.items():
        monkeypatch.setitem(sys.modules, name, module)
    for folder in ("main", "common", "data", "data/Human36M", "data/MuPoTS"):
        monkeypatch.syspath_prepend(str(root / folder))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(root) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def in_cells(rows: list[dict[str, Any]], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy predictions in heatmap cells of the reference, and the matrices of its crops."""
    box = np.stack([row["bbox"] for row in rows])
    joints = np.stack([row["joint_img"] for row in rows])
    pixels = (joints[..., :2] - box[:, None, :2]) / box[:, None, 2:] * CELLS
    depth = (joints[..., 2:] / 1000 + 1) / 2 * CELLS
    matrix = np.zeros((len(rows), 2, 3))
    for axis in (0, 1):
        matrix[:, axis, axis] = 256 / box[:, 2 + axis]
        matrix[:, axis, 2] = -256 / box[:, 2 + axis] * box[:, axis]
    cells = np.concatenate([pixels, depth], -1)
    return cells + rng.normal(0, 1, cells.shape), matrix


def reference_human36m(reference: Any, root: Path, protocol: int) -> Any:
    module = reference("Human36M")
    made = module.Human36M.__new__(module.Human36M)
    made.load_data = list  # the folder is only known afterwards
    made.__init__("test")
    del made.load_data
    made.img_dir, made.annot_path = str(root / "images"), str(root / "annotations")
    made.protocol, made.get_subject, made.get_subsampling_ratio = protocol, lambda: [9], lambda: 5
    made.data = made.load_data()
    return made


@pytest.mark.parametrize("protocol", [1, 2])
def test_human36m_by_action_with_the_annotated_root(reference, tmp_path, protocol, capsys):
    layouts.human36m(tmp_path, 60)
    path = tmp_path / "annotations" / "Human36M_subject9_data.json"
    path.write_text(path.read_text().replace('"subject": 1', '"subject": 9'))
    theirs = reference_human36m(reference, tmp_path, protocol)
    ours = open_dataset(f"human36m:{tmp_path}", "test", Human36MOptions(test_subjects=(9,), test_step=5))
    assert len(theirs.data) == len(ours) >= 12
    np.testing.assert_allclose([row["joint_cam"] for row in theirs.data], ours.joints_cam, atol=1e-3)
    names = theirs.action_name
    ours = replace(ours, action=tuple(names[index % 15] for index in range(len(ours))))
    for index, row in enumerate(theirs.data):
        row["img_path"] = f"act_{index % 15 + 2:02d}/{Path(row['img_path']).name}"
    cells, matrix = in_cells(theirs.data, np.random.default_rng(0))
    summary = theirs.evaluate(cells, str(tmp_path))
    scores = score(to_camera(cells / CELLS, matrix, 256, ours.f, ours.c, ours.root_depth), ours)
    total, by_action = (
        (scores.mpjpe, scores.per_action) if protocol == 2 else (scores.rigid_mpjpe, scores.rigid_per_action)
    )
    head, actions = summary.split("tot: ")[1].split("\n")
    assert float(head) == pytest.approx(total, abs=0.01) and total > 20
    words = actions.split()
    printed = {name.rstrip(":"): float(value) for name, value in zip(words[::2], words[1::2], strict=True)}
    for name, value in by_action.items():
        assert printed[name] == pytest.approx(value, abs=0.01), name


def test_mupots_predictions_in_camera_mm(reference, tmp_path, capsys):
    layouts.mupots(tmp_path, 12)
    ours = open_dataset(f"mupots:{tmp_path}", "test")
    module = reference("MuPoTS")
    made = module.MuPoTS.__new__(module.MuPoTS)
    made.load_data = list
    made.__init__("test")
    rows = [
        {
            "f": ours.f[index], "c": ours.c[index], "bbox": np.array([*ours.bbox[index]]), "img_path": f"TS1/{index}.jpg",
            "root_cam": ours.joints_cam[index, ours.skeleton.root], "joint_img": ours.joints_img[index],
        }
        for index in range(len(ours))
    ]  # fmt: skip
    made.data = rows
    cells, matrix = in_cells(rows, np.random.default_rng(1))
    made.evaluate(cells, str(tmp_path))
    saved = scipy.io.loadmat(tmp_path / "preds_3d_kpt_mupots.mat")
    mine = to_camera(cells / CELLS, matrix, 256, ours.f, ours.c, ours.root_depth)
    for index in range(len(ours)):
        np.testing.assert_allclose(saved[f"TS1_{index}"][0], mine[index, :17], rtol=1e-6)


def test_detected_boxes_and_root_depths(reference, tmp_path, capsys):
    layouts.human36m(tmp_path, 40)
    path = tmp_path / "annotations" / "Human36M_subject9_data.json"
    path.write_text(path.read_text().replace('"subject": 1', '"subject": 9'))
    rng = np.random.default_rng(2)
    found = [
        {
            "image_id": 10 + index, "bbox": [*rng.uniform(0, 20, 2), *[float(rng.uniform(60, 90))] * 2],
            "root_cam": [0.0, 0.0, float(rng.uniform(3000, 7000))],
        }
        for index in range(40)
    ]  # fmt: skip
    file = tmp_path / "bbox_root.json"
    file.write_text(json.dumps(found))
    sys.modules["config"].cfg.use_gt_info = False
    module = reference("Human36M")
    theirs = module.Human36M.__new__(module.Human36M)
    theirs.load_data = list
    theirs.__init__("test")
    del theirs.load_data
    theirs.annot_path, theirs.human_bbox_root_dir = str(tmp_path / "annotations"), str(file)
    theirs.get_subject, theirs.get_subsampling_ratio = lambda: [9], lambda: 5
    theirs.data = theirs.load_data()
    options = Human36MOptions(test_subjects=(9,), test_step=5, detected=str(file))
    ours = open_dataset(f"human36m:{tmp_path}", "test", options)
    assert len(theirs.data) == len(ours) >= 12
    for row in theirs.data:
        row["img_path"] = f"act_02/{Path(row['img_path']).name}"
    cells = rng.uniform(0, CELLS, (len(ours), 18, 3))
    summary = theirs.evaluate(cells, str(tmp_path))
    # the matrices of the crops that our networks see, of boxes that are told without the padding
    matrix = np.stack([affine(bbox, 256) for bbox in ours.bbox])
    scores = score(to_camera(cells / CELLS, matrix, 256, ours.f, ours.c, ours.root_depth), ours)
    assert float(summary.split("tot: ")[1].split()[0]) == pytest.approx(scores.mpjpe, abs=0.01)
    annotated = score(to_camera(cells / CELLS, matrix, 256, ours.f, ours.c, ours.joints_cam[:, 0, 2]), ours)
    assert abs(annotated.mpjpe - scores.mpjpe) > 5


def test_the_flip_test(reference, tmp_path, monkeypatch):
    """Run the reference's test loop with our network."""
    net = build(preset("paper-XS-relu@64"), 0).eval()
    with torch.no_grad():  # random weights answer the middle of the crop
        net.get_parameter("steps.head.0.0.conv.weight").mul_(30)
    rng = np.random.default_rng(3)
    crops = rng.integers(0, 256, (5, 64, 64, 3), np.uint8)
    data = open_dataset(f"human36m:{_one_frame(tmp_path)}", "test", Human36MOptions(test_subjects=(9,), test_step=5))
    given: list[np.ndarray] = []

    class Tester:
        flip_pairs = data.skeleton.flip_pairs

        def __init__(self, backbone: str) -> None:
            self.batch_generator: list[torch.Tensor] = []

        def _make_batch_generator(self) -> None:
            self.batch_generator = [to_input(crops[:3]).contiguous(), to_input(crops[3:]).contiguous()]

        def _make_model(self, epoch: int) -> None:
            pass

        def model(self, images: torch.Tensor) -> torch.Tensor:
            return net(images) - 0.5  # theirs counts from the first cell's centre, ours from its edge

        def _evaluate(self, preds: np.ndarray, folder: str) -> None:
            given.append(preds)

    base, vis = types.ModuleType("base"), types.ModuleType("utils.vis")
    base.Tester, vis.vis_keypoints = Tester, None
    monkeypatch.setitem(sys.modules, "base", base)
    monkeypatch.setitem(sys.modules, "utils.vis", vis)
    cfg = sys.modules["config"].cfg
    cfg.output_shape, cfg.result_dir = (net.arch.heatmap_size, net.arch.heatmap_size), str(tmp_path)
    monkeypatch.setattr(sys, "argv", ["test.py", "--gpu", "0", "--epochs", "1-1"])
    reference("test").main()
    cells = np.array([net.arch.heatmap_size, net.arch.heatmap_size, net.arch.depth_bins])
    ours = predict(net, crops, flip_order=data.skeleton.flip_order) * cells
    np.testing.assert_allclose(given[0] + 0.5, ours, atol=1e-4)
    assert np.abs(ours - predict(net, crops) * cells).max() > 0.05


def _one_frame(root: Path) -> Path:
    layouts.human36m(root, 1)
    return root
