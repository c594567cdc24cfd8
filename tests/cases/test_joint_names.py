"""Item 6: left and right are found in the usual spellings; without all pairs nothing is flipped, and a line says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from explore.cli import main
from explore.data import open_dataset
from explore.data.augment import AUGMENTS, Augment
from explore.data.batches import batch_at
from explore.data.colours import LEFT, RIGHT, limb_colour
from explore.data.mix import to_skeleton
from explore.data.sample import training_notes
from explore.data.skeleton import H36M17, pair_joints, skeleton_from_edges
from explore.data.skeleton_checks import problems_3d
from tests.helpers.layouts import custom, edit, standing

SPELLINGS = (
    ("R_Hip", "L_Hip"), ("r_hip", "l_hip"), ("Hip.R", "Hip.L"), ("RightHip", "LeftHip"), ("hip_right", "hip_left"),
    ("R-Hip", "L-Hip"), ("right hip", "left hip"), ("rHip", "lHip"), ("hipR", "hipL"), ("RHip", "LHip"),
    ("HipRight", "HipLeft"), ("righthip", "lefthip"), ("RIGHT_HIP", "LEFT_HIP"), ("rhip", "lhip"), ("RHIP", "LHIP"),
    ("R Hip", "L Hip"), ("hip-r", "hip-l"), ("Hip_R_01", "Hip_L_01"), ("mixamorig:RightUpLeg", "mixamorig:LeftUpLeg"),
)  # fmt: skip
ALWAYS = Augment(flip_p=1.0)


@pytest.mark.parametrize(("right", "left"), SPELLINGS)
def test_usual_spellings(right: str, left: str) -> None:
    assert pair_joints(["Pelvis", left, right, "Neck"]) == (((2, 1),), ())
    assert limb_colour("Pelvis", "r_hip") == RIGHT and limb_colour("left knee", "LeftAnkle") == LEFT


@pytest.mark.parametrize(
    ("names", "unpaired"),
    [
        (["pelvis", "r_hip", "neck"], ("r_hip",)),
        (["Pelvis", "hip1", "hip2"], ("hip1", "hip2")),
        (["Marker_00", "Marker_01"], ("Marker_00", "Marker_01")),
        (["Pelvis", "R_Hip", "right hip", "L_Hip"], ("R_Hip", "right hip", "L_Hip")),
        (["Hips", "Spine1", "L5", "Top_of_Head", "MidHip", "chest", "ShoulderCenter"], ()),
    ],
)
def test_joints_without_a_counterpart(names: list[str], unpaired: tuple[str, ...]) -> None:
    assert pair_joints(names)[1] == unpaired


def write(root: Path, names: list[str], **category: object) -> str:
    """Write a custom set of Human3.6M joints with these names; return its specification."""
    path = custom(root, 8)
    edit(path, lambda content: content["categories"][0].update(keypoints=names, **category))
    path.with_name("test.json").unlink()
    return f"custom:{root}"


def spelled(name: str) -> str:
    side, _, part = name.rpartition("_")
    return f"{part.lower()}.{side.lower()}" if side else name.lower()


def test_other_spellings_are_flipped_checked_and_mixed_like_the_standard_ones(tmp_path: Path) -> None:
    standard = open_dataset(write(tmp_path / "a", list(H36M17.names)), "train")
    other = open_dataset(write(tmp_path / "b", [spelled(name) for name in H36M17.names]), "train")
    assert other.skeleton.flip_pairs == standard.skeleton.flip_pairs and training_notes(other) == []
    assert other.skeleton.names[1] == "hip.r"
    flipped = [batch_at(data, 0, 8, 32, ALWAYS, 0) for data in (standard, other)]
    assert (flipped[0].target == flipped[1].target).all() and (flipped[0].images == flipped[1].images).all()
    assert (to_skeleton(other, standard.skeleton).joints_cam == standard.joints_cam).all()
    swapped = standing(H36M17, 6)[:, H36M17.flip_order]
    assert [kind for kind, _ in problems_3d(other.skeleton, swapped, [""] * 6, "set")] == ["sides"]


def test_without_pairs_nothing_is_flipped_and_a_note_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"Marker_{number:02d}" for number in range(17)]
    spec = write(tmp_path, names)
    data = open_dataset(spec, "train")
    plain, flipped = (batch_at(data, 0, 8, 32, augment, 0) for augment in (AUGMENTS["none"], ALWAYS))
    assert (plain.images == flipped.images).all() and (plain.target == flipped.target).all()
    expected = "no left-right counterpart of Marker_00, Marker_01"
    assert expected in training_notes(data)[0] and "images are not flipped" in training_notes(data)[0]
    assert main(["data", "check", spec, "--sheet", str(tmp_path / "sheet.png")]) == 0
    assert expected in capsys.readouterr().out.replace("\n", " ")


def test_pairs_may_be_listed(tmp_path: Path) -> None:
    names = [f"Marker_{number:02d}" for number in range(17)]
    data = open_dataset(write(tmp_path, names, flip_pairs=[["Marker_01", "Marker_04"], [3, 6]]), "train")
    assert data.skeleton.flip_pairs == ((1, 4), (2, 5)) and data.skeleton.flippable and training_notes(data) == []


def test_an_unpaired_joint_stops_flipping_of_all() -> None:
    skeleton = skeleton_from_edges("custom", ["pelvis", "r_hip", "l_hip", "r_knee"], [(0, 1), (0, 2), (1, 3)], "pelvis")
    assert skeleton.flip_pairs == ((1, 2),) and not skeleton.flippable
    assert np.array_equal(H36M17.flip_order[H36M17.flip_order], np.arange(17))
