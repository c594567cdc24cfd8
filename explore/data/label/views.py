"""True 3D labels from synchronised videos of one scene by calibrated cameras.

The teacher labels every video on its own (explore.data.label.dataset), on frames without lens distortion. Its joints in
px are then triangulated over the views. Nothing of the teacher's depth remains in the labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from arch.errors import InputError
from explore.data.crop import project
from explore.data.framing import Region
from explore.data.label.annotations import Labelled
from explore.data.label.calibration import Array, CalibratedCamera, match_videos, read_calibration
from explore.data.label.config import LabelFilters
from explore.data.label.filters import MARGIN, MIN_VIS, SAME_PERSON, Filtered, annotate, without_odd_bones
from explore.data.label.journal import PersonRecord, ShotRecord
from explore.data.label.mapping import JointMap
from explore.data.label.shot import Shot
from explore.data.label.synchrony import check_views
from explore.data.label.triangulation import INLIER, Observation, Triangulated, associate, triangulate, with_sides
from explore.data.skeleton import Skeleton
from explore.data.split import VIEWS

SAME_RATE = 0.01  # largest relative difference of the frame rates of two videos
MIN_PRESENCE = 0.5  # probability of a person below which the teacher's joints are not triangulated
FOCAL_DIGIT = 0.001  # px, last digit of the focal length in a journal
MIN_AGREEING = 0.75  # fraction of a person's joints on which two views must agree
UNITS_MM = (1.0, 10.0, 1000.0)  # of calibrations: mm, cm, m
EXTENT_MM = 1500.0  # largest distance of two joints of a person, to recognise the unit of a calibration


@dataclass(frozen=True)
class VideoFacts:
    """A video file, the SHA-256 of its content, its size in px and its frames per second."""

    path: Path
    key: str
    width: int
    height: int
    fps: float


@dataclass(frozen=True)
class Views:
    """The videos of a scene and the camera of each, in px of the video.

    path: of the calibration; lenses: the cameras with their distortion; cameras: the same without, as after `undistort`
    """

    path: Path
    videos: tuple[VideoFacts, ...]
    lenses: tuple[CalibratedCamera, ...]

    @property
    def cameras(self) -> tuple[CalibratedCamera, ...]:
        return tuple(replace(lens, distortion=np.zeros(4)) for lens in self.lenses)

    @property
    def unit(self) -> int:
        """A number for the scene, which belongs to one part of the data."""
        return 1 + int(self.videos[0].key[:7], 16)

    def view_of(self, key: str) -> int:
        """Return the index of the video that a frame with this key is from.

        Raises:
            InputError: none, because the set was made of other inputs.
        """
        found = [index for index, video in enumerate(self.videos) if key.startswith(f"{video.key}#")]
        if not found:
            raise InputError(f"--views {self.path}: the set has images of other inputs, too; give another --out")
        return found[0]

    def check(self, frames: Mapping[int, Sequence[Observation]]) -> None:
        """Check the calibration and the synchrony of the videos; see `check_views`."""
        names = [video.path.name for video in self.videos]
        check_views(frames, self.cameras, names, self.videos[0].fps, f"--views {self.path}")


def open_views(path: Path, videos: Sequence[VideoFacts]) -> Views:
    """Read a calibration and assign its cameras to videos by name or order.

    Raises:
        InputError: a calibration that cannot be read or is of other cameras, or videos with different frame rates.
    """
    lenses = []
    for camera, video in zip(
        match_videos(read_calibration(path), [video.path for video in videos], path), videos, strict=True
    ):
        try:
            lenses.append(camera.scaled_to(video.width, video.height))
        except ValueError as error:
            raise InputError(
                f"--views {path}: camera {camera.name} {error}, but {video.path.name} has {video.width} x {video.height}; "
                "give the calibration of these cameras"
            ) from None
        if abs(video.fps / videos[0].fps - 1) > SAME_RATE:
            raise InputError(
                f"--views {path}: the videos are not synchronised: {videos[0].path.name} has {videos[0].fps:g} frames/s, "
                f"{video.path.name} {video.fps:g}; convert them to one rate"
            )
    return Views(path, tuple(videos), tuple(lenses))


def undistorted(shots: Iterable[Shot], views: Views, view: int) -> Iterator[Shot]:
    """Yield the shots of one video without lens distortion.

    Images are named by frame first, so that the last frames of a set are the same moments in all views.
    """
    lens = views.lenses[view]
    maps = None
    for shot in shots:
        height, width = shot.image.shape[:2]
        if maps is None:
            maps = cv2.initUndistortRectifyMap(
                lens.matrix, lens.distortion, np.eye(3), lens.matrix, (width, height), cv2.CV_16SC2
            )
        image = cv2.remap(shot.image, *maps, cv2.INTER_LINEAR) if lens.distortion.any() else shot.image
        people = [
            (number, Region(lens.undistort(roi.centre[None])[0] * lens.f + lens.c, roi.size, roi.rotation))
            for number, roi in shot.people
        ]
        folder, _, frame = shot.name.rpartition("/")
        yield replace(
            shot,
            name=f"{VIEWS}/{frame}-{folder}",
            unit=views.unit,
            people=people,
            focal=float(lens.f.mean()),
            image=image,
        )


def check_images(shots: Iterable[ShotRecord], views: Views | None, folder: Path) -> None:
    """Check that the images of the set `folder` suit `views`: without lens distortion, or as filmed if None.

    The focal length of an image is that of the lens whose distortion was removed.

    Raises:
        InputError: the set was labelled without --views or with another calibration, or --views is missing now.
    """
    for shot in shots:
        if not shot.image:
            continue
        flat = shot.image.startswith(f"{VIEWS}/")
        if views is None:
            if flat:
                raise InputError(f"--out {folder}: labelled with --views; give --views again, or another --out")
            continue
        focal = float(views.lenses[views.view_of(shot.key)].f.mean()) * shot.scale
        if not flat or abs(shot.focal - focal) > FOCAL_DIGIT:
            raise InputError(
                f"--out {folder}: labelled without --views, or with another calibration; give another --out"
            )


# ---- from the journal to people in 3D ----


@dataclass(frozen=True, eq=False)
class Seen:
    """One person in one image of a journal."""

    shot: ShotRecord
    person: PersonRecord


def observations(
    shots: Iterable[ShotRecord], views: Views, joints: JointMap
) -> tuple[dict[int, list[Observation]], dict[tuple[int, int, int], Seen]]:
    """Return the people in all views by frame number, in px of the videos, and their records by (frame, view, number).

    A person whom the teacher found twice in an image is returned once.
    """
    frames: dict[int, list[Observation]] = {}
    records: dict[tuple[int, int, int], Seen] = {}
    for shot in shots:
        view = views.view_of(shot.key)
        frame = int(shot.key.rpartition("#")[2])
        own: list[Observation] = []
        for person in sorted(shot.people, key=lambda person: -person.presence):
            px = joints.image @ (person.table[:, :2] / shot.scale)
            size = max(float(np.ptp(px, axis=0).max()), 1.0)
            twice = any(np.linalg.norm(px - other.px, axis=1).mean() < SAME_PERSON * size for other in own)
            if person.presence < MIN_PRESENCE or twice:
                continue
            weights = np.clip(joints.visibility @ person.table[:, 6], 0, 1)
            weights[weights < MIN_VIS] = 0
            own.append(Observation(view, px, weights, size, person.number))
            records[frame, view, person.number] = Seen(shot, person)
        frames.setdefault(frame, []).extend(own)
    return frames, records


@dataclass(frozen=True, eq=False)
class Scene:
    """The people of all frames that at least two views show.

    people: triangulated joints and the observations that they are from, by frame number; unit_mm: unit of the joints
    """

    people: dict[int, list[tuple[Triangulated, list[Observation]]]]
    unit_mm: float

    def place(self, frame: int, view: int, number: int) -> tuple[Triangulated, list[Observation], int] | None:
        """Return a person with its observations and the index of one of them, or None if no other view shows it."""
        for found, group in self.people.get(frame, []):
            for row, person in enumerate(group):
                if (person.view, person.number) == (view, number):
                    return found, group, row
        return None


def reconstruct(
    frames: Mapping[int, Sequence[Observation]], cameras: Sequence[CalibratedCamera], skeleton: Skeleton
) -> Scene:
    """Triangulate all people that at least two views show."""
    people = {
        frame: [(triangulate(group, cameras), group) for group in people_of(seen, cameras, skeleton)]
        for frame, seen in sorted(frames.items())
    }
    every = [found for groups in people.values() for found, _ in groups]
    return Scene(people, cameras[0].unit_mm or _unit_mm(every))


def people_of(
    seen: Sequence[Observation], cameras: Sequence[CalibratedCamera], skeleton: Skeleton
) -> list[list[Observation]]:
    """Return the views of each person of one moment, with consistent sides."""
    groups = associate(seen, cameras)
    return [with_sides(group, cameras, skeleton.flip_order) for group in groups] if skeleton.flippable else groups


def _unit_mm(people: Sequence[Triangulated]) -> float:
    """Return the unit in which people are most nearly EXTENT_MM large."""
    extents = []
    for person in people:
        points = person.points[person.agree.any(0)]
        if len(points):
            extents.append(np.linalg.norm(points[:, None] - points[None], axis=-1).max())
    if not extents:
        return UNITS_MM[0]
    return min(UNITS_MM, key=lambda unit: abs(np.log(unit * np.median(extents) / EXTENT_MM)))


def filter_views(shots: Iterable[ShotRecord], views: Views, joints: JointMap, filters: LabelFilters) -> list[Filtered]:
    """Return each person in each view that shows it, like `filters.apply_filters`.

    An annotation has two more keys for each joint: `reprojection_px`, the distance of the projected joint from the
    teacher's in this image (null without a joint), and `views`, the number of views that agree on the joint.

    Raises:
        InputError: videos that are not synchronised, or a calibration of other cameras.
    """
    frames, records = observations(shots, views, joints)
    views.check(frames)
    scene = reconstruct(frames, views.cameras, joints.skeleton)
    found: list[Filtered] = []
    for (frame, view, number), seen in records.items():
        place = scene.place(frame, view, number)
        if place is None:
            found.append(Filtered(annotate(seen.shot, seen.person, joints), "alone"))
            continue
        person = _labelled(*place, seen, views.cameras[view], scene.unit_mm)
        px = _px(person)
        inside = np.asarray(((px >= 0) & (px <= np.array(person.size))).all(1))
        known, needed = person.vis > 0, [joints.skeleton.root, *joints.skeleton.depth_joints]
        reason = "views" if known.mean() < MIN_AGREEING or not known[needed].all() else ""
        if not reason and (inside[known].mean() < filters.min_inside or not inside[needed].all()):
            reason = "outside"
        found.append(Filtered(replace(person, vis=np.where(inside, person.vis, 0.0), unit=views.unit), reason))
    return without_odd_bones(found, joints.skeleton, filters.max_bone_ratio)


def _labelled(
    found: Triangulated, group: Sequence[Observation], row: int, seen: Seen, camera: CalibratedCamera, unit_mm: float
) -> Labelled:
    """Return one person in one view. The weight of a joint grows with the number of views and their agreement."""
    shot, count = seen.shot, found.agree.sum(0)
    limits = INLIER * np.array([[person.size] for person in group])
    relative = np.where(found.agree, found.errors / limits, 0).sum(0) / np.maximum(count, 1)
    vis = np.where(count >= 2, np.clip((count - 1) / 2, 0, 1) * (1 - relative / 2), 0.0)
    cam = camera.to_camera(found.points) * unit_mm
    vis = np.where(cam[:, 2] > 0, vis, 0.0)
    cam[vis == 0] = np.nan
    f, c = camera.f * shot.scale, camera.c * shot.scale
    px = project(cam[vis > 0], f, c) if vis.any() else np.zeros((1, 2))
    low, high = px.min(0), px.max(0)
    margin = MARGIN * max(float((high - low).max()), 1.0)
    errors = [round(float(value) * shot.scale, 2) if np.isfinite(value) else None for value in found.errors[row]]
    return Labelled(
        shot.image, (shot.width, shot.height), f, c, np.concatenate([low - margin, high - low + 2 * margin]), cam, vis,
        depth_weight=1.0, unit=shot.unit, mask=seen.person.mask,
        extra={"reprojection_px": errors, "views": count.tolist()},
    )  # fmt: skip


def _px(person: Labelled) -> Array:
    """Return the joints (J, 2) in px; joints of weight 0 are outside the image."""
    known = person.vis > 0
    px: Array = np.full((len(known), 2), -1.0)
    px[known] = project(person.cam[known], person.f, person.c)
    return px
