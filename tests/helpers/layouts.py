"""Writers of small data sets in the layout of each reader."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.io import savemat

from explore.data.crop import project
from explore.data.readers.mpi_inf_3dhp import FROM_28
from explore.data.skeleton import COCO17, H36M17, MPII16, MUCO21, Skeleton
from tests.helpers import ROOT

REAL_DATA = ROOT.parent / "shared" / "data"  # real samples, if present
REFERENCE_BUNDLE = min(ROOT.glob("results/reference/bundles/*/litert"))  # INT8, 64 px
OLD_BUNDLE = ROOT / "results/version-0.1/bundles/4d9892a5a7/litert"  # of version 0.1; INT8, 64 px

WIDTH, HEIGHT, F, C = 120, 100, np.array([150.0, 150.0]), np.array([60.0, 50.0])

# A standing person facing the camera, mm from the pelvis; the knees a little forward.
STANDING = {
    "Pelvis": (0, 0, 0), "Hip": (130, 0, 0), "Knee": (140, 430, -60), "Ankle": (150, 860, 0), "Torso": (0, -230, 0),
    "Spine": (0, -230, 0), "Thorax": (0, -480, 0), "Neck": (0, -500, 0), "Nose": (0, -600, -100), "Head": (0, -680, 0),
    "Head_top": (0, -760, 0), "Shoulder": (180, -480, 0), "Elbow": (230, -200, 20), "Wrist": (240, 50, -30),
    "Hand": (240, 120, -40), "Toe": (150, 880, -150), "Eye": (35, -630, -90), "Ear": (75, -620, 0),
}  # fmt: skip


def standing(skeleton: Skeleton, count: int, seed: int = 0) -> np.ndarray:
    """Return (count, J, 3) camera mm of people facing the camera, with their right side at negative x."""
    side = {"R_": -1, "L_": 1}
    person = np.array(
        [
            np.array(STANDING[name.removeprefix("R_").removeprefix("L_")], float) * [side.get(name[:2], 1), 1, 1]
            for name in skeleton.names
        ]
    )
    rng = np.random.default_rng(seed)
    place = rng.uniform([-500, -300, 4500], [500, 300, 6000], (count, 1, 3))
    return person * rng.uniform(0.9, 1.1, (count, 1, 1)) + place


def boxes(px: np.ndarray) -> list[list[float]]:
    low, high = px.min(1), px.max(1)
    return [[float(v) for v in (*a, *(b - a))] for a, b in zip(low, high, strict=True)]


def pictures(folder: Path, names: list[str], seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 255, (10, 12, 3), np.uint8)
        cv2.imwrite(str(folder / name), cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))


def dump(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def edit(path: Path, change: Callable[[Any], object]) -> None:
    """Apply a change to the content of a JSON file."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def images(names: list[str], **more: object) -> list[dict[str, Any]]:
    return [{"id": 10 + n, "file_name": name, "width": WIDTH, "height": HEIGHT, **more} for n, name in enumerate(names)]


def flat(px: np.ndarray) -> list[float]:
    return np.c_[px, np.full(len(px), 2.0)].ravel().tolist()


# ---- one writer per reader: (root, number of people) -> main annotation file ----


def human36m(root: Path, count: int) -> Path:
    """Write subjects 1 and 9 in the same poses, on different images; the other subjects are empty."""
    camera = standing(H36M17, count)
    found = boxes(project(camera, F, C))
    annotations = [{"id": n, "image_id": 10 + n, "keypoints_vis": [True] * 17, "bbox": found[n]} for n in range(count)]
    eye = {"R": np.eye(3).tolist(), "t": [0, 0, 0], "f": F.tolist(), "c": C.tolist()}
    joints = {"2": {"1": {str(5 * n): camera[n].tolist() for n in range(count)}}}
    for subject in (1, 5, 6, 7, 8, 9, 11):
        stem = root / "annotations" / f"Human36M_subject{subject}"
        mine = subject in (1, 9)
        content: dict[str, Any] = {"images": [], "annotations": []}
        if mine:
            clip = f"s_{subject:02d}_act_02_subact_01_ca_01"
            names = [f"{clip}/{clip}_{n + 1:06d}.jpg" for n in range(count)]
            pictures(root / "images", names, subject)
            facts = {"subject": subject, "action_name": "Directions", "action_idx": 2, "subaction_idx": 1, "cam_idx": 1}
            entries = [entry | {"frame_idx": 5 * n} for n, entry in enumerate(images(names, **facts))]
            content = {"images": entries, "annotations": annotations}
        dump(Path(f"{stem}_data.json"), content)
        dump(Path(f"{stem}_camera.json"), {"1": eye} if mine else {})
        dump(Path(f"{stem}_joint_3d.json"), joints if mine else {})
    return root / "annotations" / "Human36M_subject1_data.json"


def mpii(root: Path, count: int) -> Path:
    names = [f"images/{n}.jpg" for n in range(count)]
    return _flat(root, root, root / "annotations" / "train.json", MPII16, names)


def mscoco(root: Path, count: int) -> Path:
    names = [f"{n:012d}.jpg" for n in range(count)]
    for seed, part in ((1, "val2017"), (0, "train2017")):
        file = root / "annotations" / f"person_keypoints_{part}.json"
        _flat(root, root / "images" / part, file, COCO17, names, seed)
    return file


def _flat(root: Path, folder: Path, file: Path, skeleton: Skeleton, names: list[str], seed: int = 0) -> Path:
    px = project(standing(skeleton, len(names)), F, C)
    pictures(folder, names, seed)
    found = boxes(px)
    annotations = [
        {
            "id": n, "image_id": 10 + n, "bbox": found[n], "num_keypoints": len(skeleton), "iscrowd": 0,
            "keypoints": flat(px[n]),
        }
        for n in range(len(names))
    ]  # fmt: skip
    dump(file, {"images": images(names), "annotations": annotations})
    return file


def muco(root: Path, count: int) -> Path:
    names = [f"augmented_set/{n}.jpg" for n in range(count)]
    pictures(root / "data", names)
    entries = images(names, f=F.tolist(), c=C.tolist())
    file = root / "data" / "MuCo-3DHP.json"
    dump(file, {"images": entries, "annotations": _pairs(21, count)})
    return file


def mupots(root: Path, count: int) -> Path:
    names = [f"TS{n % 2 + 1}/img_{n:06d}.jpg" for n in range(count)]
    pictures(root / "data" / "MultiPersonTestSet", names)
    annotations = [annotation | {"is_valid": 1} for annotation in _pairs(17, count)]
    file = root / "data" / "MuPoTS-3D.json"
    dump(file, {"images": images(names, intrinsic=[*F, *C]), "annotations": annotations})
    return file


def _pairs(joints: int, count: int) -> list[dict[str, Any]]:
    camera = standing(MUCO21, count)[:, :joints]
    px = project(camera, F, C)
    found = boxes(px)
    return [
        {
            "id": n, "image_id": 10 + n, "bbox": found[n], "keypoints_img": px[n].tolist(),
            "keypoints_cam": camera[n].tolist(),
        }
        for n in range(count)
    ]  # fmt: skip


def custom(root: Path, count: int) -> Path:
    """Write the same people as train.json, on images/N.jpg, and as test.json, on images/test/N.jpg."""
    camera = standing(H36M17, count)
    found = boxes(project(camera, F, C))
    bones = [[a + 1, b + 1] for a, b in H36M17.edges]
    annotations = [
        {"id": n, "image_id": 10 + n, "bbox": found[n], "keypoints_cam": camera[n].tolist(), "action": "Posing"}
        for n in range(count)
    ]
    for seed, split, folder in ((1, "test", "test/"), (0, "train", "")):
        names = [f"{folder}{n}.jpg" for n in range(count)]
        pictures(root / "images", names, seed)
        file = root / "annotations" / f"{split}.json"
        content = {
            "categories": [{"keypoints": list(H36M17.names), "skeleton": bones}],
            "images": images(names, f=F.tolist(), c=C.tolist()),
            "annotations": annotations,
        }
        dump(file, content)
    return file


def mpi_inf_3dhp(root: Path, count: int) -> Path:
    folder = root / "S1" / "Seq1"
    pictures(folder / "imageFrames" / "video_0", [f"frame_{5 * n + 1:06d}.jpg" for n in range(count)])
    camera = np.zeros((5 * count - 4, 28, 3))
    camera[::5, FROM_28] = standing(MUCO21, count)
    camera[..., 2] += np.where(camera[..., 2] == 0, 5000, 0)
    px = project(camera, F, C)
    cells = {}
    for key, value in (("annot2", px), ("annot3", camera)):
        cells[key] = np.empty((9, 1), object)
        for number in range(9):
            cells[key][number, 0] = value.reshape(len(value), -1)
    savemat(folder / "annot.mat", cells)
    matrix = np.eye(4)
    matrix[[0, 1], [0, 1]], matrix[[0, 1], 2] = F, C
    line = "  intrinsic   " + " ".join(f"{value:g}" for value in matrix.ravel())
    (folder / "camera.calibration").write_text("Skeletool Camera Calibration File V1.0\n" + f"{line}\n" * 9)
    return folder / "annot.mat"


def custom_with(root: Path, count: int, names: Sequence[str]) -> str:
    """Write a custom set with these joints, connected to the first; unknown names lie at the neck. Return its specification."""
    custom(root, count)
    for split in ("train", "test"):
        edit(root / "annotations" / f"{split}.json", lambda content: choose_joints(content, names))
    return f"custom:{root}"


def choose_joints(content: dict[str, Any], names: Sequence[str]) -> None:
    listed = content["categories"][0]["keypoints"]
    chosen = [listed.index(name if name in listed else "Neck") for name in names]
    bones = [[1, number] for number in range(2, len(names) + 1)]
    content["categories"] = [{"keypoints": list(names), "skeleton": bones}]
    for annotation in content["annotations"]:
        annotation["keypoints_cam"] = [annotation["keypoints_cam"][index] for index in chosen]


@dataclass(frozen=True)
class Layout:
    """A reader's writer, skeleton and splits, whether its samples have depth, and whether its annotations are JSON."""

    name: str
    write: Callable[[Path, int], Path]
    skeleton: str
    splits: tuple[str, ...]
    has_depth: bool
    json: bool = True


LAYOUTS = (
    Layout("human36m", human36m, "h36m18", ("train", "test"), True),
    Layout("mpii", mpii, "mpii16", ("train",), False),
    Layout("mscoco", mscoco, "coco19", ("train", "test"), False),
    Layout("muco", muco, "muco21", ("train",), True),
    Layout("mupots", mupots, "muco21", ("test",), True),
    Layout("mpi_inf_3dhp", mpi_inf_3dhp, "muco21", ("train",), True, json=False),
    Layout("custom", custom, "custom", ("train", "test"), True),
)
