"""The contract of all teachers, on a rendered person with exact joints. A BlazePose model must have been fetched before."""

import math

import numpy as np
import pytest

from explore.data import open_dataset
from explore.data.framing import Region, region_of_box
from explore.data.images import read_image
from explore.data.label.config import TEACHERS
from explore.data.label.fetch import MODELS
from explore.data.label.mapping import joint_map
from explore.data.label.teacher import label_person, open_teacher
from explore.data.synthetic.config import SyntheticConfig
from explore.host import default_cache
from tests.helpers import ROOT

BUNDLE = ROOT / "results" / "version-0.1" / "bundles" / "4d9892a5a7" / "litert"


@pytest.fixture(params=TEACHERS)
def teacher(request):
    if request.param == "bundle":
        return open_teacher(f"bundle:{BUNDLE}")
    if not (default_cache() / "teachers" / MODELS[request.param].name).is_file():
        pytest.skip(f"{request.param} has not been fetched on this machine")
    return open_teacher(request.param)


@pytest.fixture(scope="module")
def person(tmp_path_factory):
    """Return the image of a person, the region around the box, and the exact joints in px (18, 2)."""
    config = SyntheticConfig(level="easy", size=256, train_frames=1, test_frames=1)
    sample = open_dataset("synthetic:easy", "train", config, cache=tmp_path_factory.mktemp("cache"))[0]
    return read_image(sample.image), region_of_box(sample.bbox), sample.joints_img[:, :2]


def test_a_teacher_returns_the_pose_of_the_person(teacher, person):
    image, region, true = person
    pose, count = teacher.label(image, region), len(teacher.skeleton)
    assert pose.image.shape == pose.world.shape == (count, 3) and pose.visibility.shape == (count,)
    assert ((pose.visibility >= 0) & (pose.visibility <= 1)).all() and 0.5 < pose.presence <= 1
    px = joint_map(teacher.skeleton, "").image @ pose.image[:, :2]
    assert np.linalg.norm(px - true, axis=1).mean() < 0.08 * region.size
    hips = [teacher.skeleton.index(name) for name in ("L_Hip", "R_Hip")]
    assert np.linalg.norm(pose.world[hips].mean(0)) < 60  # mm from the origin
    assert 300 < np.ptp(pose.world, axis=0).max() < 2500
    if pose.mask is not None:
        inside = pose.mask[tuple(true[:, ::-1].round().astype(int).T)]
        assert pose.mask.shape == image.shape[:2] and (inside > 127).mean() > 0.8 and (pose.mask < 128).mean() > 0.5


def test_the_mirror_image_gives_a_similar_pose(teacher, person):
    image, region, _ = person
    label = label_person(teacher, image, region)
    assert np.median(label.flip_px) < 0.05 * region.size and np.median(label.flip_mm) < 150


def test_a_rotated_image_gives_the_rotated_pose(teacher, person):
    """BlazePose rotates its crop; px and mm refer to the image as it is."""
    if teacher.name not in MODELS:
        pytest.skip("only BlazePose rotates its crops")
    image, region, _ = person
    side = len(image)
    turned = np.ascontiguousarray(np.rot90(image, -1))  # clockwise
    centre = np.array([side - region.centre[1], region.centre[0]])
    pose, other = teacher.label(image, region), teacher.label(turned, Region(centre, region.size, math.pi / 2))
    expected = np.stack([side - pose.image[:, 1], pose.image[:, 0]], 1)
    assert np.linalg.norm(other.image[:, :2] - expected, axis=1).mean() < 0.01 * region.size
    world = np.stack([-pose.world[:, 1], pose.world[:, 0], pose.world[:, 2]], 1)
    assert np.linalg.norm(other.world - world, axis=1).mean() < 30
