"""Labelled people as a data set for custom:PATH."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from explore.data import open_dataset
from explore.data.crop import project
from explore.data.label.annotations import Labelled, split_by_unit, write_annotations
from explore.data.skeleton import H36M18
from explore.data.split import check_disjoint, hold_out
from tests.helpers.layouts import boxes, standing

SIZE, F, C = (64, 48), np.array([60.0, 60.0]), np.array([32.0, 24.0])


def people(units, name="photo{unit}.jpg"):
    """Return one person for each of `units`."""
    cams = standing(H36M18, len(units))
    found = []
    for index, (unit, cam) in enumerate(zip(units, cams, strict=True)):
        bbox = np.array(boxes(project(cam, F, C)[None])[0])
        vis = np.linspace(0.1, 1, 18)
        image = name.format(unit=unit, index=index)
        found.append(Labelled(image, SIZE, F, C, bbox, cam, vis, 0.5, unit, f"{index}.png"))
    return found


def write(folder, found, fraction=0.2):
    for person in found:
        for part, file in (("images", person.image), ("masks", person.mask)):
            path = folder / part / file
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.full((SIZE[1], SIZE[0], 3), 90, np.uint8))
    return write_annotations(folder, H36M18, found, fraction)


def test_the_reader_reads_what_was_written(tmp_path):
    found = people(range(1, 11))
    parts = write(tmp_path, found)
    assert (len(parts["train"]), len(parts["test"])) == (8, 2)
    train, test = (open_dataset(f"custom:{tmp_path}", split) for split in ("train", "test"))
    check_disjoint(train=train, test=test)
    assert train.skeleton.names == H36M18.names and train.skeleton.parents == H36M18.parents
    assert np.allclose(train.joints_cam, [person.cam for person in parts["train"]], atol=0.051)
    assert np.allclose(train.depth_weight, 0.5) and np.allclose(train.vis, np.linspace(0.1, 1, 18), atol=1e-3)
    assert train.masks == tuple(f"masks/{person.mask}" for person in parts["train"])
    rest, validation = hold_out(train)
    assert len(rest) == 7 and len(validation) == 1


def test_the_part_of_a_photo_does_not_change_when_others_are_added():
    few, many = people(range(100, 120)), people(range(100, 140))
    test = [{person.unit for person in split_by_unit(found, 0.2)["test"]} for found in (few, many)]
    assert len(test[0]) == 4 and len(test[1]) == 8
    assert len(test[0] & test[1]) >= 3


def test_videos_stay_whole():
    found = people([1] * 10 + [2] * 10 + [3] * 10)
    parts = split_by_unit(found, 0.1)
    assert {len(part) for part in parts.values()} == {10, 20}
    assert not {p.unit for p in parts["train"]} & {p.unit for p in parts["test"]}


@pytest.mark.parametrize(("small", "large"), [(1, 2), (2, 1)])
def test_the_smaller_of_two_videos_is_the_test_part(small, large):
    parts = split_by_unit(people([large] * 20 + [small] * 4), 0.1)
    assert {person.unit for person in parts["test"]} == {small} and len(parts["train"]) == 20


def test_the_end_of_a_single_video_is_its_test_part(tmp_path):
    found = people([5] * 20, "film/{index:06d}.jpg")
    parts = write(tmp_path, found, 0.1)
    assert [person.image for person in parts["test"]] == ["film/000018.jpg", "film/000019.jpg"]
    train, test = (open_dataset(f"custom:{tmp_path}", split) for split in ("train", "test"))
    check_disjoint(train=train, test=test)
    rest, validation = hold_out(train)
    assert len(validation) == 2 and max(rest.files) < min(validation.files)
    views = [replace(one, image=f"views/{index // 2:06d}-{index % 2}.jpg") for index, one in enumerate(found[:10])]
    assert len(split_by_unit(views, 0.3)["test"]) == 4  # two moments, each in two views


def test_a_split_without_people_has_no_file(tmp_path):
    write(tmp_path, people([1, 2, 3]), 0.4)
    assert (tmp_path / "annotations" / "test.json").is_file()
    write(tmp_path, people([1]), 0.4)
    assert not (tmp_path / "annotations" / "test.json").exists()
