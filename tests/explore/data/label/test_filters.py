"""From a journal to annotated people: camera coordinates, weights and filters."""

import json

import numpy as np
import pytest

from arch.errors import InputError
from explore.data.crop import project
from explore.data.label.config import LabelFilters
from explore.data.label.filters import annotate, apply_filters, counts, projected, translation
from explore.data.label.journal import PersonRecord, ShotRecord
from explore.data.label.labels_2d import read_labels_2d
from explore.data.label.mapping import handmade_map, joint_map
from explore.data.skeleton import BLAZEPOSE33, COCO17, H36M18
from tests.helpers.layouts import standing

F, SIZE = 900.0, (640, 480)
C = np.array(SIZE) / 2
OWN = joint_map(H36M18, "")


def person(cam, number=1, presence=0.99, vis=0.9, flip_px=1.0, flip_mm=20.0, **more):
    """Return the record of a person with joints (18, 3) camera mm, as a perfect teacher sees it."""
    px = project(cam, np.full(2, F), C)
    depth = (cam[:, 2:] - cam[0, 2]) * F / cam[0, 2]
    columns = [px, depth, cam - cam[0], np.tile([vis, flip_px, flip_mm], (18, 1))]
    return PersonRecord(number=number, presence=presence, joints=np.concatenate(columns, 1).tolist(), **more)


def shot(*people, key="a", source="photos/a.jpg"):
    return ShotRecord(
        key=key, source=source, image=f"{key}.jpg", unit=len(key), width=SIZE[0], height=SIZE[1], scale=0.5, focal=F,
        people=list(people),
    )  # fmt: skip


def cams(count, seed=0):
    return standing(H36M18, count, seed) * [0.5, 0.5, 1] + [0, 0, 1000]


def reasons(*people, labels_2d=None, **thresholds):
    return [one.reason for one in apply_filters([shot(*people)], OWN, LabelFilters(**thresholds), labels_2d or {})]


def test_exact_joints_are_recovered_up_to_rounding():
    cam = cams(1)[0]
    found = annotate(shot(person(cam)), person(cam), OWN)
    assert np.abs(found.cam - cam).max() < 1e-6
    assert np.allclose(translation(cam - cam[0], project(cam, np.full(2, F), C), np.full(2, F), C), cam[0])
    low, high = projected(found).min(0), projected(found).max(0)
    assert (found.bbox[:2] < low).all() and (found.bbox[:2] + found.bbox[2:] > high).all()


def test_depths_weigh_less_where_the_mirror_image_disagrees():
    cam = cams(1)[0]
    sure, unsure = (annotate(shot(), person(cam, flip_mm=flip), OWN).depth_weight for flip in (0, 120))
    assert sure == pytest.approx(0.5) and unsure == pytest.approx(90 / (90 + 150))


def test_joints_outside_the_image_are_not_annotated():
    cam = cams(1)[0] * [1, 2, 1]  # twice as tall
    cam[:, 1] += cam[0, 2] * 160 / F - cam[0, 1]  # and so low that the feet are below the image
    record = person(cam)
    found = annotate(shot(record), record, OWN)
    outside = project(cam, np.full(2, F), C)[:, 1] > SIZE[1] * 1.02
    assert outside.any() and (found.vis[outside] == 0).all() and (found.vis[~outside] > 0).all()
    assert reasons(record, min_inside=0.95) == ["outside"] and reasons(record, min_inside=0.6) == [""]


def test_the_mask_bounds_the_box_but_not_far_from_the_joints():
    record = person(cams(1)[0], mask="m.png", mask_box=(0, 0, 640, 480))
    found, px = annotate(shot(record), record, OWN), project(cams(1)[0], np.full(2, F), C)
    extent = np.ptp(px, axis=0).max()
    assert np.allclose(found.bbox[:2], px.min(0) - 0.2 * extent) and found.mask == "m.png"


@pytest.mark.parametrize(
    ("reason", "record", "threshold"),
    [
        ("presence", {"presence": 0.6}, {"min_presence": 0.5}),
        ("visibility", {"vis": 0.3}, {"min_visibility": 0.2}),
        ("flip", {"flip_px": 30.0}, {"max_flip": 0.5}),
        ("flip", {"flip_mm": 130.0}, {"max_flip_mm": 200}),
    ],
)
def test_each_threshold_leaves_out_what_misses_it(reason, record, threshold):
    one = person(cams(1)[0], **record)
    assert reasons(one) == [reason] and reasons(one, **threshold) == [""]


def test_small_and_near_people_are_left_out():
    near = cams(1)[0] * [0.1, 0.1, 1] + [0, 0, 150 - cams(1)[0][:, 2].min()]
    assert reasons(person(cams(1)[0]), min_size=400) == ["size"]
    assert reasons(person(near)) == ["near"]


def test_a_person_found_twice_is_kept_once():
    cam = cams(1)[0]
    found = apply_filters([shot(person(cam, 1, 0.95), person(cam + 5, 2, 0.99))], OWN, LabelFilters(), {})
    assert [one.reason for one in found] == ["", "duplicate"]  # the most certain first
    assert counts(found) == {"duplicate": 1}


def test_odd_bones_and_twisted_people_are_left_out():
    people = cams(6)
    people[1, H36M18.index("L_Wrist")] += [400, 0, 0]
    pair = [H36M18.index("R_Shoulder"), H36M18.index("L_Shoulder")]
    people[2, pair] = people[2, pair[::-1]]
    filtered = apply_filters([shot(person(cam), key=str(n)) for n, cam in enumerate(people)], OWN, LabelFilters(), {})
    assert [one.reason for one in filtered] == ["", "bones", "bones", "", "", ""]


def test_2d_labels_decide_where_they_exist(tmp_path):
    cam = cams(1)[0]
    px = project(cam, np.full(2, F), C) / 0.5  # of the photo, which is stored at half its size
    keypoints = np.zeros((17, 3))
    for joint, name in enumerate(COCO17.names):
        if name in H36M18.names and name != "Nose":
            keypoints[joint] = [*px[H36M18.index(name)], 2]
    category = {"name": "person", "keypoints": [name.lower() for name in COCO17.names]}

    def labels(shift):
        moved = keypoints + np.array([shift, 0, 0])
        content = {
            "categories": [category],
            "images": [{"id": 7, "file_name": "a.jpg"}],
            "annotations": [{"id": 1, "image_id": 7, "keypoints": moved.ravel().tolist()}],
        }
        (tmp_path / "2d.json").write_text(json.dumps(content))
        return read_labels_2d(tmp_path / "2d.json", ["photos/a.jpg", "photos/b.jpg"])

    assert set(labels(0)) == {"photos/a.jpg"}
    assert reasons(person(cam), labels_2d=labels(0)) == [""]
    assert reasons(person(cam), labels_2d=labels(300)) == ["labels-2d"]
    other = apply_filters([shot(person(cam), source="photos/b.jpg")], OWN, LabelFilters(), labels(300))
    assert [one.reason for one in other] == [""]


def test_the_map_of_landmarks():
    found = joint_map(BLAZEPOSE33, "")
    assert found.skeleton == H36M18 and found.image.shape == found.world.shape == (18, 33)
    assert np.allclose(found.image.sum(1), 1, atol=2e-3) and np.allclose(found.visibility.sum(1), 1)
    hips = [BLAZEPOSE33.index("L_Hip"), BLAZEPOSE33.index("R_Hip")]
    assert np.allclose(handmade_map()[0, hips], 0.5)
    # left and right have the same weights
    mirrored = found.world[H36M18.flip_order][:, BLAZEPOSE33.flip_order]
    assert np.abs(mirrored - found.world).max() < 1e-3
    landmarks = joint_map(BLAZEPOSE33, "blazepose33")
    assert landmarks.skeleton == BLAZEPOSE33 and (landmarks.image == np.eye(33)).all()
    with pytest.raises(InputError, match=r"--skeleton blazepose33: the teacher's skeleton h36m18 has no L_Eye_Inner"):
        joint_map(H36M18, "blazepose33")
