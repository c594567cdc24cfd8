"""`data label`: pseudo-labels of unlabelled photos and videos by a teacher, as a data set for `custom:SET`."""

from __future__ import annotations

import argparse
import math
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from arch.errors import InputError, not_one_of, printable
from arch.files import check_output_folder, remove_leftovers
from explore.data.label.config import SKELETONS, TEACHERS, LabelFilters
from explore.host import started_by
from explore.options import add_options, take
from explore.progress import Display

if TYPE_CHECKING:
    from explore.data.label.dataset import LabelReport
    from explore.data.label.journal import Journal
    from explore.data.label.shot import Shot
    from explore.data.label.views import Views

HELP = "label the people in photos and videos by a teacher, as a data set to train on"
EXAMPLE = """python explore.py data label photos/ videos/ --out sets/mine
         python explore.py data label walk.mp4 --every 5 --teacher blazepose-heavy --out sets/walk
         python explore.py search --data custom:sets/mine+synthetic:full

The model of a BlazePose teacher (Apache-2.0) is fetched on first use with pip or npm. An interrupted run continues where
it stopped; more inputs can be added to a set later; other thresholds are applied without labelling again."""

MAX_VALUE = 10_000_000  # frames or px
CHECKED_FRAMES = 30  # labelled frames of each video after which calibration and synchrony are checked


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("inputs", nargs="+", metavar="INPUT", help="folder (with its subfolders), video or photo")
    names = "|".join(name + (":PATH" if name == "bundle" else "") for name in TEACHERS)
    add("--teacher", default="blazepose-full", metavar="NAME", help=f"{names} (default: %(default)s)")
    add("--out", type=Path, required=True, metavar="SET", help="folder of the data set, new or to be continued")
    add("--every", type=int, default=10, metavar="N", help="label every n-th frame of a video (default: %(default)s)")
    add("--skeleton", default="", metavar="|".join(SKELETONS),
        help="joints of the data set (default: those of the set if it exists, else h36m18; of a bundle: its own)")  # fmt: skip
    add("--views", type=Path, metavar="CALIBRATION",
        help="triangulate people from synchronised videos by calibrated cameras; Qualisys .qca.txt, Pose2Sim .toml, or "
        "OpenCV .yml, .json or folder")  # fmt: skip
    add("--keypoints", type=Path, metavar="FILE",
        help="2D labels of the photos, COCO-style JSON; people who disagree with them are left out")  # fmt: skip
    add("--focal", type=float, metavar="PX", help="focal length (default: from EXIF, else the longer side)")
    add("--max-side", type=int, default=1280, metavar="PX", help="store larger images reduced (default: %(default)s)")
    add("--test-fraction", type=float, default=0.1, metavar="X",
        help="fraction of the people in the test split, in whole photos and videos (default: %(default)s)")  # fmt: skip
    group = parser.add_argument_group("thresholds")
    add_options(group, LabelFilters, only=tuple(LabelFilters.model_fields))  # type: ignore[arg-type]


def run(args: argparse.Namespace) -> int:
    from explore.data.label import dataset, mapping
    from explore.data.label.journal import Journal
    from explore.data.label.labels_2d import read_labels_2d
    from explore.data.label.teacher import open_teacher
    from explore.data.label.views import check_images, observations
    from explore.data.skeleton import BLAZEPOSE33
    from explore.host import try_lock

    started = time.monotonic()
    filters = take(args, LabelFilters, {})
    photos, videos = _inputs(args)
    check_output_folder(args.out, "--out")
    remove_leftovers(args.out, recursive=True)
    views = _views(args.views, photos, videos) if args.views else None
    if args.keypoints and not read_labels_2d(args.keypoints, [str(photo) for photo in photos]):
        raise InputError(f"{args.keypoints}: images: none is one of the photos; correct file_name, or omit --keypoints")
    teacher = open_teacher(args.teacher)
    own = BLAZEPOSE33.name if args.teacher.startswith("bundle:") and teacher.skeleton == BLAZEPOSE33 else ""
    joints = mapping.joint_map(teacher.skeleton, args.skeleton or dataset.skeleton_of(args.out) or own)
    try:
        lock = try_lock(args.out / ".lock")
    except OSError as error:
        raise InputError(f"--out {args.out}: cannot be written ({error.strerror}); give another folder") from None
    if lock is None:
        raise InputError(f"--out {args.out}: another run labels this set; wait for it or give another folder")
    header = dataset.header_of(teacher)
    with lock, closing(Journal(args.out, header)) as journal, Display() as display:
        check_images(journal.records(), views, args.out)
        source = _Source(photos, videos, args.every, args.focal, display, views)
        if views is not None:  # check the calibration before hours of labelling
            first = source.shots(journal, last_frame=CHECKED_FRAMES * args.every)
            dataset.label_shots(first, teacher, journal, args.out, args.max_side)
            views.check(observations(journal.records(), views, joints)[0])
        dataset.label_shots(source.shots(journal), teacher, journal, args.out, args.max_side)
        if len(source.broken) == len(photos) + len(videos):
            raise InputError(source.broken[0])
        options = dataset.SetOptions(
            joints, filters, args.test_fraction, args.keypoints, source.broken + source.cut, views
        )
        report = dataset.finish(args.out, header, journal, options, time.monotonic() - started)
    _check_result(report, args.inputs)
    print(report.model_dump_json() if args.json else _summary(report))
    return 0


def _inputs(args: argparse.Namespace) -> tuple[list[Path], list[Path]]:
    """Return the photos and videos of the command line, those in folders included."""
    from explore.predict.inputs import PHOTO_SUFFIXES, VIDEO_SUFFIXES

    for name, low, high in (
        ("every", 1, MAX_VALUE),
        ("max_side", 64, MAX_VALUE),
        ("test_fraction", 0, 0.9),
        ("focal", 1, MAX_VALUE),
    ):
        value = getattr(args, name)
        if value is not None and not low <= value <= high:
            raise InputError(f"--{name.replace('_', '-')} {value}: out of range; give {low} to {high}")
    if args.skeleton and args.skeleton not in SKELETONS:
        raise InputError(f"--skeleton {not_one_of(args.skeleton, SKELETONS)}")
    photos: dict[Path, None] = {}
    videos: dict[Path, None] = {}
    own = args.out.resolve()
    for text in args.inputs:
        path = Path(text)
        if not path.exists():
            raise InputError(f"{path}: no such file or folder; give folders, videos or photos")
        files = [file for file in sorted(path.rglob("*")) if not _is_output(file, own)] if path.is_dir() else [path]
        own_photos = [file for file in files if file.suffix.lower() in PHOTO_SUFFIXES]
        own_videos = [file for file in files if file.suffix.lower() in VIDEO_SUFFIXES]
        if not own_photos and not own_videos:
            supported = ", ".join(PHOTO_SUFFIXES + VIDEO_SUFFIXES)
            raise InputError(f"{path}: no photos or videos; supported are {supported}")
        photos.update(dict.fromkeys(own_photos))
        videos.update(dict.fromkeys(own_videos))
    return list(photos), list(videos)


def _is_output(file: Path, folder: Path) -> bool:
    """Return whether a file was written into the set `folder`, which may be inside a folder of photos."""
    from explore.data.label.dataset import REJECTED, SHEET

    place = file.resolve()
    if not place.is_relative_to(folder):
        return False
    return place.relative_to(folder).parts[:1] in (("images",), ("masks",), (SHEET,), (REJECTED,))


def _views(calibration: Path, photos: Sequence[Path], videos: Sequence[Path]) -> Views:
    """Return the cameras of the videos."""
    from explore.data.label.views import open_views
    from explore.predict.people import video_facts

    if photos:
        raise InputError(
            f"{photos[0]}: a photo, but --views needs synchronised videos; give videos only, or omit --views"
        )
    return open_views(calibration, [video_facts(video) for video in videos])


@dataclass
class _Source:
    """The images to label. broken, cut: lines for inputs that could not be read at all, or not to their end."""

    photos: Sequence[Path]
    videos: Sequence[Path]
    every: int
    focal: float | None
    display: Display
    views: Views | None = None
    broken: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)

    def shots(self, journal: Journal, last_frame: float = math.inf) -> Iterator[Shot]:
        """Yield the images that are not in the journal, of videos up to a frame.

        Files that cannot be read are reported and skipped.
        """
        from explore.data.label.views import undistorted
        from explore.predict.detector import Detector
        from explore.predict.people import VideoShots, photo_shot

        detector = Detector()
        if self.photos:
            self.display.stage(f"label {len(self.photos)} photos")
        for index, photo in enumerate(self.photos):
            self.display.update(index / len(self.photos), f"{index}/{len(self.photos)}")
            try:
                shot = photo_shot(photo, detector, self.focal, journal.keys)
            except InputError as error:
                self._skip(error)
                continue
            if shot is not None:
                yield shot
        for index, video in enumerate(self.videos):
            self.display.stage(f"label {video.name}")
            try:
                frames = VideoShots(video, detector, self.every, self.focal)
            except InputError as error:
                self._skip(error)
                continue
            shots = frames.shots(journal.keys, last_frame)
            for shot in shots if self.views is None else undistorted(shots, self.views, index):
                self.display.update(frames.frame / frames.count if frames.count else 0.0, f"frame {frames.frame}")
                yield shot
            if frames.truncated and frames.truncated not in self.cut:
                self.cut.append(frames.truncated)

    def _skip(self, error: InputError) -> None:
        self.broken.append(printable(str(error)))
        self.display.log(f"skipped: {error}")


def _check_result(report: LabelReport, inputs: Sequence[str]) -> None:
    """Raise an InputError if nobody was found, or if the filters left out everybody."""
    given = inputs[0] if len(inputs) == 1 else f"{inputs[0]} and {len(inputs) - 1} more inputs"
    if not report.people:
        raise InputError(
            f"{given}: nobody found (images: {report.images}); give images in which people are larger or less occluded"
        )
    if not report.kept:
        counts = ", ".join(f"{reason} {count}" for reason, count in report.rejected.items())
        raise InputError(
            f"{given}: all {report.people} people were left out ({counts}); look at {report.folder}/rejected.png and "
            "relax the threshold, see data label --help"
        )


def _summary(report: LabelReport) -> str:
    folder = report.folder
    data = f"custom:{folder}"
    return (
        f"{report.text}\n"
        f"sheet     {folder}/sheet.png\n"
        f"check     {started_by()} data check {shlex.quote(data)}\n"
        f"next      {started_by()} search --data {shlex.quote(f'{data}+synthetic:full')}\n"
        f"{folder}"
    )
