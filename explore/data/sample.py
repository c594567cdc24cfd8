"""Samples: one person in one image, and data sets that store many of them as columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np

from explore.data.framing import Region, region_of_box, region_of_joints, roi_of
from explore.data.skeleton import Skeleton

LISTED = 6  # joint names in a message


def evenly_spread(count: int, wanted: int) -> list[int]:
    """Return `wanted` of `count` indices, evenly spread, or all if there are fewer."""
    return sorted(set(np.linspace(0, count - 1, min(wanted, count)).round().astype(int).tolist()))


@dataclass(frozen=True)
class Sample:
    """One annotated person. Pixel coordinates are continuous: pixel i spans i to i + 1.

    image:      path of the image
    size:       (width, height) px of the image
    bbox:       (4,) x, y, w, h px, tight, inside the image
    joints_img: (J, 3) x px, y px, depth mm relative to the root joint; 0 where unknown
    joints_cam: (J, 3) camera coordinates, mm; NaN without 3D and for each joint that is not annotated
    vis:        (J,) weight of the joint, 0 to 1; 0 where it is not annotated
    has_depth:  whether the annotated joints have a depth
    root_depth: depth of the root joint, mm; NaN without 3D
    f, c:       (2,) focal lengths and principal point, px
    """

    image: Path
    size: tuple[int, int]
    bbox: np.ndarray
    joints_img: np.ndarray
    joints_cam: np.ndarray
    vis: np.ndarray
    has_depth: bool
    root_depth: float
    f: np.ndarray
    c: np.ndarray
    subject: int
    action: str
    camera: int
    frame: int


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples as columns: `dataset.joints_cam` is (N, J, 3), `dataset[i]` is a Sample.

    name:         name in results (`human36m`, `synthetic-easy`)
    hash:         content hash of the annotations and of the list of files
    files:        image files, relative to root
    vis:          (N, J) float32, see Sample; a sample without any visible joint is an image without people (`negative`)
    depth_weight: (N,) weight of the depths, 0 to 1; 0: without depth
    skipped:      number of skipped samples by kind of error (explore.data.sample_errors)
    left_out:     number of annotations by the reason why they are no samples, such as crowds
    origin:       name of each sample's data set in a mix; empty: all samples are from `name`
    masks:        image file of each person's mask, relative to root, empty for those without; empty: none has one
    part, weights: in a weighted mix, the index of each sample's data set, and the weight of each data set
    framing:      `box` or `roi`, see explore.data.framing
    """

    name: str
    split: str
    root: Path
    skeleton: Skeleton
    hash: str
    files: tuple[str, ...]
    size: np.ndarray
    bbox: np.ndarray
    joints_img: np.ndarray
    joints_cam: np.ndarray
    vis: np.ndarray
    depth_weight: np.ndarray
    root_depth: np.ndarray
    f: np.ndarray
    c: np.ndarray
    subject: np.ndarray
    action: tuple[str, ...]
    camera: np.ndarray
    frame: np.ndarray
    skipped: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    origin: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    part: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()
    framing: str = "box"

    def __len__(self) -> int:
        return len(self.files)

    def path(self, index: int) -> Path:
        return self.root / self.files[index]

    def __getitem__(self, index: int) -> Sample:
        return Sample(
            image=self.path(index),
            size=(int(self.size[index, 0]), int(self.size[index, 1])),
            bbox=self.bbox[index],
            joints_img=self.joints_img[index],
            joints_cam=self.joints_cam[index],
            vis=self.vis[index],
            has_depth=bool(self.has_depth[index]),
            root_depth=float(self.root_depth[index]),
            f=self.f[index],
            c=self.c[index],
            subject=int(self.subject[index]),
            action=self.action[index],
            camera=int(self.camera[index]),
            frame=int(self.frame[index]),
        )

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def framed(self, framing: str) -> Dataset:
        """Return the data set with another framing of its crops, and with a hash of its own.

        Raises:
            InputError: framing roi for a skeleton without hips or shoulders.
        """
        if framing == self.framing:
            return self
        if framing == "roi":
            roi_of(self.skeleton)
        return replace(self, framing=framing, hash=sha256(f"{self.hash} {framing}".encode()).hexdigest()[:12])

    def region(self, index: int) -> Region:
        """Return the region of a sample's unaugmented crop, by the rules of explore.data.framing."""
        if self.framing == "roi" and not self.negative[index]:
            known = self.vis[index] > 0
            if found := region_of_joints(self.joints_img[index, :, :2], known, roi_of(self.skeleton)):
                return found
        return region_of_box(self.bbox[index])

    @property
    def origins(self) -> tuple[str, ...]:
        """Name of the data set of each sample, also where all samples are from one."""
        return self.origin or (self.name,) * len(self)

    @property
    def has_depth(self) -> np.ndarray:
        """(N,) whether the annotated joints have a depth."""
        return np.asarray(self.depth_weight > 0)

    @cached_property
    def negative(self) -> np.ndarray:
        """(N,) whether the sample is an image without people."""
        return ~np.asarray((self.vis > 0).any(1))

    @cached_property
    def groups(self) -> tuple[tuple[np.ndarray, float], ...]:
        """Indices and weight of each group of samples that training draws from in turn, empty groups left out.

        The groups are the parts of a weighted mix, otherwise the samples with depth (and images without people) and
        those without, with equal weights.
        """
        if self.weights:
            number, weights = np.array(self.part), self.weights
        else:
            deep = self.has_depth
            number, weights = np.where(deep | (self.negative & deep.any()), 0, 1), (1.0, 1.0)
        found = ((np.nonzero(number == group)[0], weight) for group, weight in enumerate(weights))
        return tuple((indices, weight) for indices, weight in found if len(indices))

    @property
    def notes(self) -> list[str]:
        """One line for each thing to know before training: annotations left out, and joints without counterpart."""
        name, found = f"{self.name} ({self.split})", []
        if self.left_out:
            found.append(f"{name}: {len(self)} samples; left out: {_counted(self.left_out)}")
        if not self.skeleton.flippable:
            unpaired = self.skeleton.unpaired
            more = f" and {len(unpaired) - LISTED} more" if len(unpaired) > LISTED else ""
            found.append(
                f"data {self.name}: no left-right counterpart of {', '.join(unpaired[:LISTED])}{more}: images are not flipped; "
                "name the pairs like R_Hip and L_Hip, or list them as flip_pairs in the category"
            )
        return found

    def file_sizes(self) -> list[int]:
        """Return the size of each image file, bytes; -1 where it is missing."""
        return [path.stat().st_size if path.is_file() else -1 for path in map(self.path, range(len(self)))]

    @cached_property
    def image_hash(self) -> str:
        """A hash of the sizes of the image files, which changes when files are replaced and is fast to compute."""
        return sha256(np.array(self.file_sizes(), "<i8").tobytes()).hexdigest()[:12]

    def scorable(self) -> Dataset:
        """Return a test part without the people who are annotated in 2D only, if others are in 3D."""
        flat = int((~self.has_depth).sum())
        if self.split != "test" or not 0 < flat < len(self):
            return self
        left_out = Counter(self.left_out) + Counter({"in 2D only": flat})
        return replace(self.take(np.flatnonzero(self.has_depth)), left_out=dict(left_out))

    def take(self, indices: Sequence[int] | np.ndarray) -> Dataset:
        """Return the chosen samples as a data set with the name and hash of the whole."""
        chosen = [int(index) for index in indices]
        columns = {}
        for column in fields(self):
            value = getattr(self, column.name)
            if isinstance(value, np.ndarray):
                value = value[chosen]
            elif column.name in ("files", "action") or (column.name in ("origin", "masks", "part") and value):
                value = tuple(value[index] for index in chosen)
            columns[column.name] = value
        return Dataset(**columns)


def training_notes(*parts: Dataset) -> list[str]:
    """Return the lines to print before training: samples skipped and the `notes` of each part, without repeats."""
    lines: dict[str, None] = {}
    for part in parts:
        name = f"{part.name} ({part.split})"
        if part.skipped:
            lines[f"{name}: {len(part)} samples; skipped: {_counted(part.skipped)}; data check lists them"] = None
        lines.update(dict.fromkeys(part.notes))
    return list(lines)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
