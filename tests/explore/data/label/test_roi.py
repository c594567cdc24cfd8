"""Regions of interest and the averaging over an image and its mirror image."""

import math

import numpy as np
import pytest

from arch.errors import InputError
from explore.data.crop import region_matrix
from explore.data.framing import Region, region_of_box, region_of_circle
from explore.data.label.teacher import TeacherPose, label_person, open_teacher
from explore.data.skeleton import BLAZEPOSE33, H36M18


def test_head_is_up_in_the_crop_of_a_lying_person():
    region = region_of_circle(np.array([100.0, 50.0]), np.array([140.0, 50.0]))  # the head is on the right
    assert region.size == pytest.approx(100) and region.rotation == pytest.approx(math.pi / 2)
    matrix = region_matrix(region, 200)
    hips, head = (matrix[:, :2] @ point + matrix[:, 2] for point in ([100, 50], [140, 50]))
    assert np.allclose(hips, [100, 100]) and np.allclose(head, [100, 20])


def test_region_of_a_box_is_upright_and_wider():
    region = region_of_box(np.array([10.0, 20.0, 40.0, 80.0]))
    assert region.centre.tolist() == [30, 60] and region.size == 100 and region.rotation == 0


class Pointing:
    """A teacher whose joints are at fixed places of the crop, with the left wrist 10 px further out than the right."""

    name, fingerprint, skeleton = "pointing", "0", H36M18

    def label(self, image, roi):
        at = np.zeros((18, 2))
        at[H36M18.index("R_Wrist")], at[H36M18.index("L_Wrist")] = [-20, 0], [30, 0]
        px = np.concatenate([roi.centre + at, np.zeros((18, 1))], 1)
        world = np.concatenate([10 * at, np.zeros((18, 1))], 1)
        mask = np.zeros(image.shape[:2], np.uint8)
        mask[:, : image.shape[1] // 2] = 255
        return TeacherPose(px, world, np.ones(18), 1.0, mask)


def test_image_and_mirror_image_are_averaged():
    label = label_person(Pointing(), np.zeros((60, 200, 3), np.uint8), Region(np.array([80.0, 30.0]), 60.0))
    wrists = [H36M18.index("R_Wrist"), H36M18.index("L_Wrist")]
    # the mirror image has the left hand's 30 px on the right hand
    assert label.pose.image[wrists, 0].tolist() == [80 - 25, 80 + 25]
    assert label.pose.world[wrists, 0].tolist() == [-250, 250]
    assert label.flip_px[wrists].tolist() == [10, 10] and label.flip_mm[wrists].tolist() == [100, 100]
    assert label.flip_px.sum() == 20
    assert set(np.unique(label.pose.mask)) == {127}  # each half is the person in one of the two


def test_unknown_teachers_are_refused():
    with pytest.raises(InputError, match=r"--teacher 'blazepose-ful' is not one of .*did you mean 'blazepose-full'"):
        open_teacher("blazepose-ful")
    with pytest.raises(InputError, match="--teacher 'bundle' is not one of"):
        open_teacher("bundle")


def test_blazepose_landmarks_are_paired_and_connected():
    assert len(BLAZEPOSE33) == 33 and BLAZEPOSE33.flippable and len(BLAZEPOSE33.flip_pairs) == 16
    assert BLAZEPOSE33.names[BLAZEPOSE33.root] == "Nose"
    order = {"L_Ear": 7, "L_Shoulder": 11, "R_Hip": 24, "L_Ankle": 27, "R_Foot_Index": 32}  # MediaPipe's
    assert {name: BLAZEPOSE33.index(name) for name in order} == order
