"""One person in one picture, and a set of them kept as columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np

from explore.data.skeleton import Skeleton


@dataclass(frozen=True)
class Sample:
    """One annotated person. Pixel coordinates are continuous: pixel i spans i to i + 1.

    image:      path of the picture
    size:       (width, height) px of the picture
    bbox:       (4,) x, y, w, h px, tight, inside the picture
    joints_img: (J, 3) x px, y px, depth mm relative to the root joint; 0 where unknown
    joints_cam: (J, 3) camera coordinates, mm; NaN where the data set has no 3D
    vis:        (J,) 1 where the joint is annotated
    has_depth:  whether the annotated joints have a depth; a 2D set's have none
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
    """Samples as columns: `dataset.joints_cam` is (N, J, 3), `dataset[i]` a Sample.

    name: what results say they were measured on (`human36m`, `synthetic-easy`)
    hash: content hash of the annotations and of the list of files
    has_depth: (N,) bool
    skipped: how many samples were left out as faulty, by kind (see explore.data.faults)
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
    has_depth: np.ndarray
    root_depth: np.ndarray
    f: np.ndarray
    c: np.ndarray
    subject: np.ndarray
    action: tuple[str, ...]
    camera: np.ndarray
    frame: np.ndarray
    skipped: dict[str, int] = field(default_factory=dict)

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

    @cached_property
    def groups(self) -> tuple[np.ndarray, ...]:
        """Indices that training draws from in turn: samples with depth and samples without, where there are both."""
        parts = (np.nonzero(self.has_depth)[0], np.nonzero(~self.has_depth)[0])
        return tuple(part for part in parts if len(part))

    def picture_hash(self) -> str:
        """Hash of the pictures' sizes in bytes: quick to take, and another one for files that were replaced."""
        sizes = [path.stat().st_size if path.is_file() else -1 for path in map(self.path, range(len(self)))]
        return sha256(np.array(sizes, "<i8").tobytes()).hexdigest()[:12]

    def take(self, indices: Sequence[int] | np.ndarray) -> Dataset:
        """The chosen samples as a data set of its own; name and hash stay those of the whole."""
        chosen = [int(index) for index in indices]
        columns = {}
        for column in fields(self):
            value = getattr(self, column.name)
            if isinstance(value, np.ndarray):
                value = value[chosen]
            elif column.name in ("files", "action"):
                value = tuple(value[index] for index in chosen)
            columns[column.name] = value
        return Dataset(**columns)
