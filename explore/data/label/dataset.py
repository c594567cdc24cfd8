"""A set of pseudo-labels: images, masks and the journal while it is labelled, then annotations, report and sheets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict

from arch.errors import printable
from arch.files import write_atomic
from explore.data.label.annotations import Labelled, write_annotations
from explore.data.label.config import SKELETONS, LabelFilters
from explore.data.label.filters import REASONS, Filtered, apply_filters, counts, projected
from explore.data.label.journal import Header, Journal, PersonRecord, ShotRecord
from explore.data.label.labels_2d import read_labels_2d
from explore.data.label.mapping import JointMap
from explore.data.label.shot import Shot
from explore.data.label.teacher import Teacher, label_person
from explore.data.label.views import Views, filter_views
from explore.data.readers.common import read_json
from explore.data.sample import evenly_spread
from explore.data.sheet import Frame, contact_sheet
from explore.data.skeleton import Skeleton
from explore.data.skeleton_checks import median_bone_lengths

JPEG_QUALITY = 95
MASK_SIDE = 512  # px of the longer side of a mask, which the teacher returns at 256 px
MASK_LEVELS = 16  # grey levels of a mask, which keep its file small
SHOWN = 36  # people on a contact sheet
SHEET, REJECTED, REPORT, TEXT = "sheet.png", "rejected.png", "report.json", "report.txt"
SINGLE = (
    "the set {contains}: validation and test parts may show the same person as the training part; add photos or videos of "
    "other people"
)


def header_of(teacher: Teacher) -> Header:
    """Return the first line of the journal of a set that `teacher` labels."""
    skeleton = teacher.skeleton
    return Header(teacher=teacher.name, fingerprint=teacher.fingerprint, skeleton=skeleton.name, joints=skeleton.names)


def label_shots(shots: Iterable[Shot], teacher: Teacher, journal: Journal, folder: Path, max_side: int) -> None:
    """Label images, store them below FOLDER/images and FOLDER/masks, and add each to the journal at once.

    max_side: px; larger images are stored reduced. Images in which nobody was found are not stored.
    """
    for shot in shots:
        height, width = shot.image.shape[:2]
        scale = min(1.0, max_side / max(height, width))
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        people = []
        for number, roi in shot.people:
            label = label_person(teacher, shot.image, roi)
            pose = label.pose
            table = np.concatenate(
                [
                    pose.image * scale, pose.world, pose.visibility[:, None],
                    label.flip_px[:, None] * scale, label.flip_mm[:, None],
                ], 1,
            )  # fmt: skip
            mask, box = "", None
            if pose.mask is not None and (bounds := mask_bounds(pose.mask)) is not None:
                mask = f"{shot.name}-{number}.png"
                box = (bounds * scale).round(1).tolist()
                _write_image(folder / "masks" / mask, _small_mask(pose.mask))
            joints = [[round(value, 3) for value in row] for row in table.tolist()]
            people.append(
                PersonRecord(number=number, presence=round(pose.presence, 4), joints=joints, mask=mask, mask_box=box)
            )
        image = ""
        if people:
            image = f"{shot.name}.jpg"
            reduced = shot.image if scale == 1 else cv2.resize(shot.image, size, interpolation=cv2.INTER_AREA)
            _write_image(folder / "images" / image, reduced[..., ::-1])
        journal.add(
            ShotRecord(
                key=shot.key, source=printable(shot.source), image=image, unit=shot.unit, width=size[0], height=size[1],
                scale=scale, focal=round(shot.focal * scale, 3), people=people,
            )
        )  # fmt: skip


def mask_bounds(mask: np.ndarray) -> np.ndarray | None:
    """Return the bounds x, y, w, h px of a mask (H, W) uint8 where it is above one half, or None if it is empty."""
    above = mask > 127
    rows, columns = np.flatnonzero(above.any(1)), np.flatnonzero(above.any(0))
    if not len(rows):
        return None
    return np.array([columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]], np.float64)


def _small_mask(mask: np.ndarray) -> np.ndarray:
    scale = min(1.0, MASK_SIDE / max(mask.shape))
    small = mask if scale == 1 else cv2.resize(mask, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    step = 255 / (MASK_LEVELS - 1)
    levels: np.ndarray = np.rint(np.rint(small / step) * step).astype(np.uint8)
    return levels


def _write_image(path: Path, image: np.ndarray) -> None:
    """Encode a mask or a BGR image by the suffix of its file."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if path.suffix == ".jpg" else []
    write_atomic(path, cv2.imencode(path.suffix, image, quality)[1].tobytes())


class LabelReport(BaseModel):
    """Report of a labelled set, as written to report.json.

    images, empty: number of images looked at, and of those in which nobody was found
    people:        number of people found; kept = train + test
    rejected:      number of people left out by each filter (explore.data.label.filters.REASONS)
    broken:        one line for each input that could not be read
    bones_mm:      median bone lengths of the kept people, by the name of the outer joint
    """

    model_config = ConfigDict(frozen=True)

    folder: str
    teacher: str
    fingerprint: str
    skeleton: str
    images: int
    empty: int
    people: int
    train: int
    test: int
    units: int
    rejected: dict[str, int]
    depth_weight: float
    broken: list[str]
    warnings: list[str]
    bones_mm: dict[str, float]
    filters: LabelFilters
    seconds: float

    @property
    def kept(self) -> int:
        return self.train + self.test

    @property
    def text(self) -> str:
        """The report in readable lines."""
        lines = [
            f"images    {self.images} labelled by {self.teacher}; nobody found in {self.empty}",
            f"people    {self.people} found, {self.kept} kept: {self.train} train, {self.test} test, of {self.units} photos "
            "or videos",
        ]
        lines += [f"left out  {count:>5} {reason}: {REASONS[reason]}" for reason, count in self.rejected.items()]
        lines += [f"skipped   {line}" for line in self.broken]
        lines += [f"warning   {line}" for line in self.warnings]
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class SetOptions:
    """How the journal becomes a data set.

    labels_2d: COCO-style file with 2D labels of photos; broken: lines for the report; views: cameras of the videos, to
        triangulate the people
    """

    joints: JointMap
    filters: LabelFilters
    test_fraction: float
    labels_2d: Path | None = None
    broken: Sequence[str] = ()
    views: Views | None = None


def skeleton_of(folder: Path) -> str:
    """Return the name of the skeleton that an earlier run gave to a set, if it is one of `SKELETONS`; else ''."""
    path = folder / REPORT
    about = read_json(path) if path.exists() else None
    name = about.get("skeleton") if isinstance(about, dict) else None
    return name if name in SKELETONS else ""


def finish(folder: Path, header: Header, journal: Journal, options: SetOptions, seconds: float) -> LabelReport:
    """Write annotations, contact sheets and report of everything in the journal."""
    shots = list(journal.records())
    if options.views is None:
        sources = [shot.source for shot in shots]
        labels_2d = read_labels_2d(options.labels_2d, sources) if options.labels_2d else {}
        filtered = apply_filters(shots, options.joints, options.filters, labels_2d)
    else:
        filtered = filter_views(shots, options.views, options.joints, options.filters)
    kept = [one.person for one in filtered if not one.reason]
    skeleton = options.joints.skeleton
    parts = write_annotations(folder, skeleton, kept, options.test_fraction)
    units = len({person.unit for person in kept})
    report = LabelReport(
        folder=str(folder),
        teacher=header.teacher,
        fingerprint=header.fingerprint,
        skeleton=skeleton.name,
        images=len(shots),
        empty=sum(not shot.people for shot in shots),
        people=len(filtered),
        train=len(parts["train"]),
        test=len(parts["test"]),
        units=units,
        rejected=counts(filtered),
        depth_weight=round(float(np.mean([person.depth_weight for person in kept])), 3) if kept else 0.0,
        broken=list(options.broken),
        warnings=_warnings(kept),
        bones_mm=median_bone_lengths(skeleton, np.stack([person.cam for person in kept])) if kept else {},
        filters=options.filters,
        seconds=round(seconds, 1),
    )
    write_atomic(folder / REPORT, report.model_dump_json(indent=1) + "\n")
    write_atomic(folder / TEXT, report.text + "\n")
    _write_sheet(folder / SHEET, [one for one in filtered if not one.reason], folder, skeleton)
    _write_sheet(folder / REJECTED, [one for one in filtered if one.reason], folder, skeleton)
    return report


def _warnings(people: Sequence[Labelled]) -> list[str]:
    """Return a line if the people cannot be separated into parts that show different people."""
    if len({person.unit for person in people}) != 1:
        return []
    several = len({person.image for person in people}) < len(people)
    contains = "is made of a single photo or video" if several else "contains a single person"
    return [SINGLE.format(contains=contains)]


def _write_sheet(path: Path, filtered: Sequence[Filtered], folder: Path, skeleton: Skeleton) -> None:
    """Write a contact sheet of evenly chosen people, or remove it if there are none."""
    if not filtered:
        path.unlink(missing_ok=True)
        return
    frames = [_frame(filtered[index], folder) for index in evenly_spread(len(filtered), SHOWN)]
    write_atomic(path, contact_sheet(frames, skeleton))


def _frame(one: Filtered, folder: Path) -> Frame:
    person: Labelled = one.person
    px = np.where(person.vis[:, None] > 0, projected(person), np.nan)
    return Frame(folder / "images" / person.image, person.bbox, px, one.reason or Path(person.image).stem[:26])
