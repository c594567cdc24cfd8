"""Training, validation and test parts that share no person, clip or image.

A validation part is held out of the training split by the largest unit of which there are several: subjects, else
clips, else images. Clips are

- (subject, action) where subjects are known, over all cameras, because cameras record the same moment
- the sequence, for test sets that have sequences instead of subjects
- else the images of one folder whose names differ only in a final number, except in sets of unrelated images;
  synchronised videos are one clip

Samples in one image, or of one moment in synchronised videos, stay together. Images of one sequence, if there is
nothing larger to hold out, are cut into two contiguous runs, so that neighbouring frames of a video are separated at one
place only.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from arch.errors import InputError
from explore.data.sample import Dataset, evenly_spread

LAST_SUBJECT = ("human36m", "mpi_inf_3dhp")  # data sets whose last training subject is for validation by default
SEQUENCES = ("mupots", "mpi_inf_3dhp")  # data sets whose action is the name of a sequence
UNRELATED = ("mpii", "mscoco", "muco")  # data sets of images that belong to no clip
PERFORMERS = {"muco": "mpi_inf_3dhp"}  # composited data set: the one whose performers it shows
VIEWS = "views"  # folder of images of synchronised videos, whose names begin with the frame (`data label --views`)
SYNTHETIC = "synthetic"  # beginning of the names of rendered sets, whose subjects are the same bodies
MAX_VALIDATION = 5000  # frames of a validation part, evenly spread
MAX_COMPARED = 50_000  # images of a part up to which files are compared by content as well
COMPARED_TAIL_BYTES = 4096  # bytes at the end of a file that identify its content, with its length

Labels = NDArray[np.int64]


# ---- identity of samples ----


def subject_names(data: Dataset) -> list[str]:
    """Return the subject of each sample, such as `human36m S8`; empty where it is unknown."""
    return [
        f"{_family(origin)} S{subject}" if subject else ""
        for origin, subject in zip(data.origins, data.subject.tolist(), strict=True)
    ]


def clip_names(data: Dataset) -> list[str]:
    """Return the clip of each sample, such as `human36m S8 Walking`, or its image where it belongs to no clip."""
    names = []
    rows = zip(data.origins, subject_names(data), data.action, file_names(data), strict=True)
    for origin, subject, action, file in rows:
        if _family(origin) in (SYNTHETIC, *UNRELATED):
            names.append(file)  # each rendered frame has a pose, a body and a camera of its own
        elif subject and action:
            names.append(f"{subject} {action}")
        elif origin in SEQUENCES and action:
            names.append(f"{origin} {action}")
        else:
            names.append(f"{subject} {_sequence(file)}".strip())
    return names


def file_names(data: Dataset) -> list[str]:
    """Return the path of the image of each sample, with symbolic links of folders resolved."""
    folders: dict[str, str] = {}
    names = []
    for file in data.files:
        folder, name = os.path.split(file)
        if folder not in folders:
            folders[folder] = os.path.realpath(data.root / folder)
        names.append(f"{folders[folder]}/{name}")
    return names


def _family(origin: str) -> str:
    """Return the name under which data sets share the numbers of their subjects."""
    return SYNTHETIC if origin.startswith(SYNTHETIC) else origin


def _sequence(file: str) -> str:
    """Return the path without the final number of its name, which is the same for all frames of a video."""
    return re.sub(r"\d+$", "", os.path.splitext(moment(file))[0])


def moment(file: str) -> str:
    """Return the path, of images of synchronised videos without the camera, so that it is the same in all views."""
    return re.sub(rf"(\b{VIEWS}/\d+)-[^/]*$", r"\1", file)


def _labels(names: Sequence[str]) -> Labels:
    labels: Labels = np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)[1].astype(np.int64)
    return labels


# ---- validation part ----


def hold_out(train: Dataset, subjects: Collection[int] | None = None, fraction: float = 0.1) -> tuple[Dataset, Dataset]:
    """Return the training part and the validation part of a training split.

    The validation part consists of samples with depth, of the first data set of a mix that has any. The choice
    depends on the arguments only, and hardly on samples that are added later.

    subjects: for validation; None: the last one of LAST_SUBJECT, else `fraction` of the subjects, clips or images

    Raises:
        InputError: subjects that the split lacks, or nothing to hold out without cutting a clip.
    """
    origins = np.array(train.origins)
    if not train.has_depth.any():
        raise InputError(f"data {train.name}: annotates no depth; put a 3D set before it")
    origin = str(origins[train.has_depth][0])
    source = origins == origin
    files = _labels([moment(file) for file in file_names(train)])
    present = sorted({int(subject) for subject in train.subject[source & train.has_depth] if subject})
    if subjects is None and origin in LAST_SUBJECT and len(present) > 1:
        subjects = present[-1:]
    if subjects is not None:
        held = _of_subjects(train, source, files, subjects, present)
    else:
        held = _of_groups(train, source, files, fraction)
    validation = np.nonzero(held & source & train.has_depth)[0]
    rest = np.nonzero(~held)[0]
    shown = _part(train, validation[evenly_spread(len(validation), MAX_VALIDATION)], "validation")
    return _part(train, rest, "train"), replace(shown, name=origin)


def _of_subjects(
    train: Dataset, source: NDArray[np.bool_], files: Labels, subjects: Collection[int], present: list[int]
) -> NDArray[np.bool_]:
    """Return which samples show the subjects, or share an image with one of these."""
    listed = ", ".join(str(subject) for subject in present) or "none"
    for subject in subjects:
        if subject not in present:
            raise InputError(
                f"{train.root}: dataset.val-subjects: {subject} is not a training subject; choose among {listed}"
            )
    names = zip(subject_names(train), train.files, strict=True)
    groups = _merged(_labels([subject or file for subject, file in names]), files)
    held: NDArray[np.bool_] = np.isin(groups, groups[source & np.isin(train.subject, list(subjects))])
    if held[source & train.has_depth].all():
        raise InputError(
            f"{train.root}: dataset.val-subjects: no training sample is left without subject "
            f"{', '.join(map(str, subjects))}; choose fewer among {listed}"
        )
    return held


def _of_groups(train: Dataset, source: NDArray[np.bool_], files: Labels, fraction: float) -> NDArray[np.bool_]:
    """Return which samples belong to a fixed share of the subjects, else of the clips, else of the images."""
    eligible = source & train.has_depth
    subjects, clips = subject_names(train), clip_names(train)
    for names in (subjects, clips):
        groups = _merged(_labels(names), files)
        first = {int(groups[index]): names[index] for index in np.nonzero(eligible)[0][::-1]}
        if len(first) > 1 and not (names is subjects and "" in first.values()):
            order = sorted(first, key=lambda group: hashlib.sha256(first[group].encode()).digest())
            return np.isin(groups, order[: _share(fraction, len(order))])
    index = int(np.nonzero(eligible)[0][0])
    if (subjects[index] and train.action[index]) or train.origins[index] in SEQUENCES:
        raise InputError(
            f"{train.root}: all training samples are of one clip ({clips[index]}), so that none can be held out for "
            "validation; add another subject or action, or omit `action` if the images are unrelated"
        )
    paths = file_names(train)
    last: dict[int, str] = {int(files[index]): paths[index] for index in np.nonzero(eligible)[0]}
    order = sorted(last, key=lambda file: natural_key(last[file]))
    if len(order) < 2:
        raise InputError(f"{train.root}: has one training image, so that none can be held out for validation; add more")
    return np.isin(files, order[-_share(fraction, len(order)) :])


def _share(fraction: float, count: int) -> int:
    return min(max(1, round(fraction * count)), count - 1)


def natural_key(path: str) -> list[tuple[int, str]]:
    """Return a sort key in which frame 10 follows frame 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path)]


def _merged(groups: Labels, files: Labels) -> Labels:
    """Return the groups (N,) with those joined that share a file (N,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = int(groups.max()) + 1
    nodes = count + int(files.max()) + 1
    graph = coo_array((np.ones(len(groups), np.int8), (groups, count + files)), shape=(nodes, nodes))
    joined: Labels = connected_components(graph, directed=False)[1][groups].astype(np.int64)
    return joined


def _part(data: Dataset, indices: NDArray[np.int_], name: str) -> Dataset:
    """Return the samples as a part with a hash of its own."""
    digest = hashlib.sha256(f"{data.hash} {name} ".encode() + indices.astype("<i8").tobytes()).hexdigest()[:12]
    return replace(data.take(indices), split=name, hash=digest)


# ---- parts that must not overlap ----


def check_disjoint(**parts: Dataset) -> None:
    """Check that no two parts share a subject, performer, clip or image. Keywords are the parts' names in messages.

    Raises:
        InputError: the parts and what they share.
    """
    for (one, first), (other, second) in combinations(parts.items(), 2):
        found = _shared(first, second)
        if found:
            raise InputError(
                f"data {first.name}: the {one} and the {other} part share {found}; "
                "people or images that were trained on cannot be used for evaluation: choose other parts (dataset.*)"
            )


def _shared(one: Dataset, other: Dataset) -> str:
    """Return what two parts share, or an empty string."""
    subjects = [set(subject_names(part)) - {""} for part in (one, other)]
    held_out = {one.split, other.split} == {"train", "validation"}
    both = subjects[0] & subjects[1]
    if held_out:  # of the only subject of a data set, clips are held out
        count = Counter(name.rpartition(" ")[0] for name in subjects[0] | subjects[1])
        both = {name for name in both if count[name.rpartition(" ")[0]] > 1}
    if both:
        return f"subject {min(both)} (give different people different numbers)"
    for first, (second, known) in ((one, (other, subjects[1])), (other, (one, subjects[0]))):
        for composite, performers in PERFORMERS.items():
            seen = sorted(name for name in known if name.startswith(f"{performers} "))
            if composite in first.origins and composite not in second.origins and seen:
                return f"performer {seen[0]}, whom {composite} shows too"
    files = [file_names(part) for part in (one, other)]
    if same := set(files[0]) & set(files[1]):
        return f"the image {min(same)}"
    if clip := _shared_clip(one, other):
        return f"the clip {clip}"
    if not held_out and max(len(one), len(other)) <= MAX_COMPARED:
        return _shared_copy(one, other)
    return ""


def _shared_clip(one: Dataset, other: Dataset) -> str:
    """Return a folder of frames, of unknown subjects, from which both parts have images, or an empty string.

    A folder that holds all images of both parts, or that other folders of images lie in, is no clip.
    """
    folders = []
    for part in (one, other):
        rows = zip(part.origins, subject_names(part), file_names(part), part.negative.tolist(), strict=True)
        folders.append(
            {
                os.path.dirname(file)
                for origin, subject, file, negative in rows
                if not subject and not negative and _family(origin) not in UNRELATED
            }
        )
    every = folders[0] | folders[1]
    holders = {parent for folder in every for parent in map(str, PurePath(folder).parents) if parent in every}
    both = (folders[0] & folders[1]) - holders
    return min(both) if both and len(every - holders) > 1 else ""


def _shared_copy(one: Dataset, other: Dataset) -> str:
    """Return an image of which both parts have a copy with the same box, or an empty string."""
    sizes = [part.file_sizes() for part in (one, other)]
    common = (set(sizes[0]) & set(sizes[1])) - {-1}
    seen = {_content(one, index): index for index, size in enumerate(sizes[0]) if size in common}
    for index, size in enumerate(sizes[1]):
        if size in common and (copy := seen.get(_content(other, index))) is not None:
            return f"an image: {other.path(index)} is a copy of {one.path(copy)}"
    return ""


def _content(data: Dataset, index: int) -> tuple[bytes, tuple[float, ...]]:
    """Return what identifies a copied sample: length and end of its image file, and its box."""
    with data.path(index).open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(max(0, length - COMPARED_TAIL_BYTES))
        digest = hashlib.sha256(length.to_bytes(8, "little") + file.read()).digest()
    return digest, tuple(np.round(data.bbox[index], 2).tolist())
