"""Inputs of `predict`: photos, videos, folders of both, and cameras."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from arch.errors import InputError

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif")
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")
CAMERA_FPS = 25.0  # of the video written of a camera, whatever rate the camera delivers
MAX_DRAWN_FPS, RATE_FRAMES = 60.0, 100  # of a drawn video of variable rate; frames that decide the rate
IRREGULAR = 0.75  # shortest interval between frames, relative to the mean, below which the rate is variable
COMPLETE = 0.97  # fraction of the frames announced by a file below which the file counts as truncated


@dataclass(frozen=True)
class VideoSource:
    """A video file, or a camera by its number.

    stem: first part of the names of output files; in_folder: whether the user named the folder instead of the file
    """

    name: str
    path: Path | None = None
    camera: int | None = None
    stem: str = ""
    in_folder: bool = False


class VideoReader:
    """Decodes a video frame by frame.

    width, height: px
    fps:           mean frames per second; `fps_known` tells whether the file states it
    count:         number of frames that the file announces, or None
    frames:        number of frames read
    time_s:        time of the last frame read, by the file's timestamps; frames may be unevenly spaced
    untimed:       number of frames whose timestamp is missing or not later than the frame before; `fps` spaces them

    Raises:
        InputError: there is no such file or camera, or the file cannot be decoded.
    """

    def __init__(self, source: VideoSource) -> None:
        silence_opencv()
        self.source = source
        if source.path is not None and not source.path.is_file():
            raise InputError(f"{source.name}: no such file; give photos, videos, a folder of them, or camera:0")
        device: Any = source.camera if source.path is None else str(source.path)
        self._capture = cv2.VideoCapture(device)
        first = self._capture.read()[1] if self._capture.isOpened() else None
        if first is None:
            self._capture.release()
            if source.path is None:
                raise InputError(f"{source.name}: this camera delivers no frames; connect it or give another number")
            raise InputError(f"{source.name}: cannot be decoded as a video, or its index is cut off; download it again")
        self._first: np.ndarray | None = first
        self._start_s = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000
        self.time_s, self.untimed = 0.0, 0
        self.height, self.width = first.shape[:2]
        fps, count = (float(self._capture.get(key)) for key in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT))
        self.fps_known = 0 < fps <= 1000 and source.path is not None
        self.fps = fps if self.fps_known else CAMERA_FPS
        self.count = int(count) if source.path and 0 < count < 1e9 else None
        self.frames, self._ended = 0, False

    def read(self) -> np.ndarray | None:
        """Return the next frame (H, W, 3) RGB uint8, or None after the last one."""
        frame, self._first = self._first, None
        if frame is None and self.frames:
            frame = self._capture.read()[1]
        if frame is None or frame.shape[:2] != (self.height, self.width):
            self._ended = True
            return None
        if self.frames:
            self._advance()
        self.frames += 1
        return np.ascontiguousarray(frame[:, :, ::-1])

    def _advance(self) -> None:
        """Set the time of the frame just read."""
        time_s = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000 - self._start_s
        if not math.isfinite(time_s) or time_s <= self.time_s:
            self.untimed += 1
            time_s = self.time_s + 1 / self.fps
        self.time_s = time_s

    def drawn_fps(self) -> float:
        """Return the constant rate of a drawn video: `fps`, or up to MAX_DRAWN_FPS if its first frames are faster."""
        if self.source.path is None:
            return CAMERA_FPS
        capture, times = cv2.VideoCapture(str(self.source.path)), list[float]()
        while len(times) < RATE_FRAMES and capture.grab():
            times.append(float(capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000)
        capture.release()
        intervals = np.diff(times)
        intervals = intervals[intervals > 1e-3]
        if not len(intervals) or intervals.min() > IRREGULAR / self.fps:
            return self.fps
        return max(self.fps, min(round(1 / float(intervals.min()), 3), MAX_DRAWN_FPS))

    @property
    def truncated(self) -> bool:
        """Whether the video ended before the number of frames that the file announces."""
        return self._ended and self.count is not None and self.frames < math.floor(COMPLETE * self.count)

    def close(self) -> None:
        """Release the file or camera."""
        self._capture.release()


def silence_opencv() -> None:
    """Turn off the log output of OpenCV and FFmpeg; call it before their first use."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@dataclass(frozen=True)
class PhotoSource:
    """A photo file. stem, in_folder: as of VideoSource."""

    path: Path
    stem: str
    in_folder: bool


def parse_inputs(given: Sequence[str]) -> tuple[list[PhotoSource], list[VideoSource]]:
    """Sort inputs, and the files in folders, into photos and videos; those named by the user come first.

    Results are named by the input without its suffix, or with it if another one has the same name without it.

    Raises:
        InputError: a folder without photos and videos, or two inputs whose results would have the same name.
    """
    photos: list[tuple[Path, bool]] = []
    videos: list[tuple[Path, bool]] = []
    cameras: list[VideoSource] = []
    for text in given:
        path = Path(text)
        if camera := re.fullmatch(r"camera:(\d{1,3})", text):
            cameras.append(VideoSource(text, camera=int(camera[1]), stem=f"camera-{int(camera[1])}"))
        elif text.startswith("camera:") and not path.exists():
            raise InputError(f"{text}: not the number of a camera; give camera:0")
        elif path.is_dir():
            suffixes = PHOTO_SUFFIXES + VIDEO_SUFFIXES
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in suffixes)
            if not inside:
                raise InputError(f"{path}: no photos or videos in this folder; supported are {', '.join(suffixes)}")
            photos += [(file, True) for file in inside if file.suffix.lower() in PHOTO_SUFFIXES]
            videos += [(file, True) for file in inside if file.suffix.lower() in VIDEO_SUFFIXES]
        else:
            (videos if path.suffix.lower() in VIDEO_SUFFIXES else photos).append((path, False))
    photos.sort(key=lambda photo: photo[1])
    named_photos = zip(photos, _stems([path for path, _ in photos]), strict=True)
    video_stems = _stems([*(path for path, _ in videos), *(Path(camera.stem) for camera in cameras)])
    named_videos = zip(videos, video_stems[: len(videos)], strict=True)
    return (
        [PhotoSource(path, stem, in_folder) for (path, in_folder), stem in named_photos],
        [VideoSource(str(path), path, None, stem, in_folder) for (path, in_folder), stem in named_videos] + cameras,
    )


def _stems(paths: Sequence[Path]) -> list[str]:
    """Return the first part of the names of the results of inputs of one kind."""
    count = Counter(path.stem for path in paths)
    stems = [path.stem if count[path.stem] == 1 else path.name for path in paths]
    seen: set[str] = set()
    for path, stem in zip(paths, stems, strict=True):
        if stem in seen:
            raise InputError(f"{path}: another input also writes {stem}-pose files; run them separately")
        seen.add(stem)
    return stems
