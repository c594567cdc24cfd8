"""People in photos and videos as `Shot`s: regions of interest for the teachers of explore.data.label."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Container, Iterator
from contextlib import closing
from pathlib import Path

from arch.errors import InputError
from arch.files import sha256_file
from explore.data.images import read_image
from explore.data.label.shot import Shot
from explore.data.label.views import VideoFacts
from explore.predict.camera import choose_camera, equivalent_focal
from explore.predict.detector import Detector
from explore.predict.inputs import VideoReader, VideoSource
from explore.predict.pipeline import find_region
from explore.predict.tracker import Tracker


def photo_shot(path: Path, detector: Detector, focal: float | None, done: Container[str]) -> Shot | None:
    """Return the people of a photo, or None if its key is in `done`.

    focal: px; None: from EXIF, else the longer side

    Raises:
        InputError: the photo cannot be read.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; give photos, videos or folders of both")
    try:
        key = sha256_file(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if key in done:
        return None
    image = read_image(path)
    height, width = image.shape[:2]
    camera = choose_camera(width, height, focal, None, None if focal else equivalent_focal(path))
    people = [(box.number, find_region(detector, image, box.bbox)) for box in detector.detect(image)]
    return Shot(key, str(path), f"{_plain(path.stem)}-{key[:8]}", _unit(key), people, float(camera.f[0]), image)


def video_facts(path: Path) -> VideoFacts:
    """Return size and frame rate of a video. InputError: the video cannot be decoded."""
    with closing(VideoReader(VideoSource(str(path), path))) as reader:
        return VideoFacts(path, sha256_file(path), reader.width, reader.height, reader.fps)


class VideoShots:
    """The people in every n-th frame of a video, tracked through all frames.

    Raises:
        InputError: the video cannot be decoded.
    """

    def __init__(self, path: Path, detector: Detector, every: int, focal: float | None) -> None:
        self._reader = VideoReader(VideoSource(str(path), path))
        self.key, self.count, self.frame = sha256_file(path), self._reader.count, 0
        self._path, self._detector, self._every = path, detector, every
        self._focal = float(choose_camera(self._reader.width, self._reader.height, focal).f[0])

    @property
    def truncated(self) -> str:
        """A line if the video ended before the number of frames that it announces, else an empty string."""
        if not self._reader.truncated:
            return ""
        return f"{self._path}: ends after {self._reader.frames} of {self.count} frames; download it again"

    def shots(self, done: Container[str], last_frame: float = math.inf) -> Iterator[Shot]:
        """Yield the frames up to `last_frame` whose key is not in `done`. `frame`: number of the frame read last."""
        tracker, reader = Tracker(self._detector), self._reader
        folder = f"{_plain(self._path.stem)}-{self.key[:8]}"
        with closing(reader):
            while reader.frames <= last_frame and (image := reader.read()) is not None:
                self.frame = reader.frames - 1
                boxes = tracker.update(image, reader.time_s)
                key = f"{self.key}#{self.frame}"
                if self.frame % self._every or key in done:
                    continue
                people = [(box.number, find_region(self._detector, image, box.bbox)) for box in boxes]
                name = f"{folder}/{self.frame:06d}"
                yield Shot(key, str(self._path), name, _unit(self.key), people, self._focal, image)


def _plain(stem: str) -> str:
    """Return the name of a file without characters that some file systems reject."""
    return re.sub(r"[^\w-]+", "_", stem)[:80]


def _unit(key: str) -> int:
    """Return a positive number below 2**31 that follows from the content of a file."""
    return 1 + int(hashlib.sha256(key.encode()).hexdigest()[:7], 16)
