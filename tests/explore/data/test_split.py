"""Held-out validation parts and the check for overlapping parts, on data sets made in memory."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arch.errors import InputError
from explore.data.mix import mix
from explore.data.sample import Dataset
from explore.data.skeleton import H36M17
from explore.data.split import MAX_VALIDATION, check_disjoint, clip_names, file_names, hold_out
from tests.helpers.layouts import pictures

JOINTS = len(H36M17)


def dataset(
    name: str,
    files: Sequence[str],
    subject: Sequence[int] | int = 0,
    action: Sequence[str] | str = "",
    has_depth: bool = True,
    root: Path = Path("/data"),
    split: str = "train",
) -> Dataset:
    """Return a data set with one person per entry of `files`."""
    count = len(files)
    return Dataset(
        name, split, root, H36M17, f"hash of {name}", tuple(files),
        np.full((count, 2), 100), np.tile(np.array([10.0, 10, 50, 80]), (count, 1)), np.zeros((count, JOINTS, 3)),
        np.zeros((count, JOINTS, 3)), np.ones((count, JOINTS), np.float32), np.full(count, has_depth),
        np.full(count, 4000.0), np.ones((count, 2)), np.ones((count, 2)),
        np.full(count, subject) if isinstance(subject, int) else np.array(subject),
        (action,) * count if isinstance(action, str) else tuple(action), np.zeros(count, int), np.arange(count),
    )  # fmt: skip


def numbered(count: int, pattern: str = "{}.jpg") -> list[str]:
    return [pattern.format(index) for index in range(count)]


def subjects_of(data: Dataset) -> set[int]:
    return set(data.subject.tolist())


# ---- what is held out ----


@pytest.mark.parametrize("name", ["human36m", "mpi_inf_3dhp"])
def test_the_last_subject_of_the_known_sets_is_for_validation(name: str) -> None:
    data = dataset(name, numbered(50), np.repeat([1, 5, 6, 7, 8], 10))
    train, validation = hold_out(data)
    assert subjects_of(validation) == {8} and subjects_of(train) == {1, 5, 6, 7}
    assert (train.split, validation.split) == ("train", "validation")
    assert len({data.hash, train.hash, validation.hash}) == 3
    assert hold_out(data)[1].hash == validation.hash
    train, validation = hold_out(data, (1, 7))
    assert subjects_of(validation) == {1, 7} and subjects_of(train) == {5, 6, 8}
    check_disjoint(training=train, validation=validation)


def test_other_sets_hold_out_a_share_of_the_subjects() -> None:
    data = dataset("custom", numbered(200), np.repeat(np.arange(1, 21), 10))
    train, validation = hold_out(data, fraction=0.2)
    assert len(subjects_of(validation)) == 4 and not subjects_of(train) & subjects_of(validation)
    order = np.random.default_rng(0).permutation(200)
    assert subjects_of(hold_out(data.take(order), fraction=0.2)[1]) == subjects_of(validation)


def test_clips_are_held_out_whole_where_subjects_are_unknown() -> None:
    data = dataset("custom", [f"images/{clip}/{frame:04d}.jpg" for clip in "abcde" for frame in range(7)])
    train, validation = hold_out(data)
    assert len(set(clip_names(validation))) == 1 and len(validation) == 7
    assert not set(clip_names(train)) & set(clip_names(validation))
    moments = dataset("custom", [f"images/views/{n:06d}-cam{view}-1a.jpg" for view in (1, 2) for n in range(10)])
    assert hold_out(moments)[1].files == ("images/views/000009-cam1-1a.jpg", "images/views/000009-cam2-1a.jpg")
    named = dataset("custom", [f"{clip}_{frame}.jpg" for clip in ("walk", "run") for frame in range(5)])
    assert len(set(clip_names(hold_out(named)[1]))) == 1


def test_all_cameras_of_a_clip_stay_together() -> None:
    rows = [(action, camera, frame) for action in "abc" for camera in range(4) for frame in range(3)]
    files = [f"{action}_{camera}/{frame}.jpg" for action, camera, frame in rows]
    data = dataset("human36m", files, 1, [action for action, _, _ in rows])
    train, validation = hold_out(data)
    assert len(set(validation.action)) == 1 and len(validation) == 12
    assert not set(train.action) & set(validation.action)
    check_disjoint(training=train, validation=validation)  # there is no second subject to hold out
    with pytest.raises(InputError, match="share subject human36m S1"):
        check_disjoint(training=train, test=replace(validation, split="test"))


def test_people_in_one_image_stay_together() -> None:
    files = [f"{n}.jpg" for n in range(10) for _ in range(2)]
    data = dataset("custom", files, [1, 2] * 5 + [3, 4] * 5)
    train, validation = hold_out(data)
    assert subjects_of(validation) in ({1, 2}, {3, 4}) and not set(train.files) & set(validation.files)
    strangers = dataset("custom", ["0.jpg", "0.jpg", "1.jpg", "2.jpg", "2.jpg"], [1, 0, 0, 2, 0])
    assert [part.files for part in hold_out(strangers, (1,))] == [("1.jpg", "2.jpg", "2.jpg"), ("0.jpg", "0.jpg")]
    coco = mix([dataset("muco", files), dataset("mscoco", numbered(4), has_depth=False, root=Path("/coco"))])
    train, validation = hold_out(coco)
    assert set(validation.origins) == {"muco"} and len(validation) == 2
    assert len(train) == 22 and train.origins.count("mscoco") == 4


def test_unrelated_images_are_cut_in_the_order_of_their_numbers() -> None:
    train, validation = hold_out(dataset("custom", numbered(20)))
    assert validation.files == ("18.jpg", "19.jpg") and len(train) == 18


def test_validation_has_3d_samples_of_the_first_3d_set() -> None:
    flat = dataset("mpii", numbered(10), has_depth=False, root=Path("/mpii"))
    deep = dataset("custom", numbered(10), np.repeat([1, 2], 5), root=Path("/own"))
    train, validation = hold_out(mix([flat, deep, dataset("human36m", numbered(4), 1, root=Path("/h"))]))
    assert set(validation.origins) == {"custom"} and validation.has_depth.all()
    assert set(train.origins) == {"mpii", "custom", "human36m"}
    some = replace(deep, depth_weight=np.arange(10) % 5 > 0)
    train, validation = hold_out(some, (2,))
    assert len(validation) == 4 and len(train) == 5  # the flat sample of the held-out subject is in neither part


def test_large_validation_parts_are_thinned_evenly() -> None:
    count = 3 * MAX_VALIDATION
    train, validation = hold_out(dataset("human36m", numbered(2 * count), np.repeat([1, 8], count)))
    assert len(validation) == MAX_VALIDATION and len(train) == count
    assert np.diff(validation.frame).max() <= 4


@pytest.mark.parametrize(
    ("data", "subjects", "message"),
    [
        (dataset("human36m", numbered(4), [1, 1, 5, 5]), (9,), r"dataset\.val-subjects: 9 is not .* among 1, 5"),
        (dataset("human36m", numbered(4), [1, 1, 5, 5]), (1, 5), "no training sample is left"),
        (dataset("custom", numbered(4)), (1,), "among none"),
        (dataset("custom", ["0.jpg", "0.jpg"], [1, 2]), (2,), "no training sample is left"),
        (dataset("human36m", numbered(4), 1, "Walking"), None, r"one clip \(human36m S1 Walking\)"),
        (dataset("custom", ["0.jpg"]), None, "one training image"),
        (dataset("mpii", numbered(4), has_depth=False), None, "annotates no depth"),
    ],
)
def test_nothing_to_hold_out(data: Dataset, subjects: tuple[int, ...] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        hold_out(data, subjects)


# ---- parts that overlap ----


def test_shared_subjects_and_performers_are_rejected_by_name() -> None:
    one = dataset("human36m", numbered(4), [1, 1, 5, 5])
    other = dataset("human36m", numbered(4, "test/{}.jpg"), [5, 5, 9, 9], root=Path("/copy"), split="test")
    with pytest.raises(InputError, match="the training and the test part share subject human36m S5"):
        check_disjoint(training=one, test=other)
    mixed = mix([dataset("mscoco", numbered(3), has_depth=False, root=Path("/coco")), one])
    with pytest.raises(InputError, match="human36m S5"):
        check_disjoint(training=mixed, test=other)
    easy = dataset("synthetic-easy", numbered(2), 9)
    with pytest.raises(InputError, match="synthetic S9"):
        check_disjoint(training=easy, test=dataset("synthetic-full", numbered(2, "a/{}.jpg"), 9))
    check_disjoint(training=one, test=dataset("custom", numbered(4, "own/{}.jpg"), [1, 1, 5, 5]))
    muco, mpi = dataset("muco", numbered(3, "muco/{}.jpg")), dataset("mpi_inf_3dhp", numbered(3, "S8/{}.jpg"), 8)
    with pytest.raises(InputError, match="share performer mpi_inf_3dhp S8, whom muco shows too"):
        check_disjoint(training=muco, validation=mpi)
    check_disjoint(training=muco, test=dataset("mpi_inf_3dhp", numbered(3, "TS1/{}.jpg"), 0, "TS1"))


def test_shared_images_and_clips_are_rejected_by_name(tmp_path: Path) -> None:
    one = dataset("custom", ["images/a.jpg", "images/b.jpg"], root=tmp_path)
    with pytest.raises(InputError, match=r"share the image .*/b\.jpg"):
        check_disjoint(training=one, test=dataset("custom", ["b.jpg"], root=tmp_path / "images", split="test"))
    (tmp_path / "images").mkdir()
    (tmp_path / "link").symlink_to("images")
    with pytest.raises(InputError, match="share the image"):
        check_disjoint(training=one, test=dataset("custom", ["link/b.jpg"], root=tmp_path, split="test"))
    clips = dataset("custom", ["images/a/1.jpg", "images/b/1.jpg"], root=tmp_path)
    with pytest.raises(InputError, match=r"share the clip .*/images/b"):
        check_disjoint(training=clips, test=dataset("custom", ["images/b/2.jpg"], root=tmp_path, split="test"))
    flat = dataset("custom", ["images/1.jpg"], root=tmp_path)
    check_disjoint(
        training=flat, test=dataset("custom", ["images/2.jpg", "images/c/3.jpg"], root=tmp_path, split="test")
    )


def test_copied_images_are_rejected_by_name(tmp_path: Path) -> None:
    pictures(tmp_path, numbered(3))
    (tmp_path / "test").mkdir()
    shutil.copy(tmp_path / "1.jpg", tmp_path / "test" / "other.jpg")
    one = dataset("custom", numbered(3), root=tmp_path)
    other = dataset("custom", ["other.jpg"], root=tmp_path / "test", split="test")
    with pytest.raises(InputError, match=r"other\.jpg is a copy of .*/1\.jpg"):
        check_disjoint(training=one, test=other)
    check_disjoint(training=one, test=replace(other, bbox=other.bbox + 1))  # another person in the same picture
    assert file_names(one)[0] == str((tmp_path / "0.jpg").resolve())
