"""What INPUT may be: a photo, a film, a folder of both, or a camera."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from arch.errors import InputError

PHOTOS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
FILMS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")
CAMERA_FPS = 25.0  # of the film that is written of a camera, whatever the camera gives
SHORT = 0.97  # share of the frames that the file speaks of, under which its end is missing


@dataclass(frozen=True)
class Film:
    """A video file, or a camera by its number."""

    name: str
    path: Path | None = None
    camera: int | None = None

    @property
    def stem(self) -> str:
        return self.path.stem if self.path else f"camera-{self.camera}"

    def open(self) -> Reel:
        """Its frames from the first on.

        Raises:
            InputError: no such file or camera, nothing that can be decoded.
        """
        return Reel(self)


class Reel:
    """An open film. width, height px; fps; count: frames that the file speaks of, None where it does not know."""

    def __init__(self, film: Film) -> None:
        quiet()
        self.film = film
        if film.path is not None and not film.path.is_file():
            raise InputError(f"{film.name}: no such file; give photos, videos, a folder of them, or camera:0")
        source: Any = film.camera if film.path is None else str(film.path)
        self._capture = cv2.VideoCapture(source)
        first = self._capture.read()[1] if self._capture.isOpened() else None
        if first is None:
            self._capture.release()
            if film.path is None:
                raise InputError(f"{film.name}: no camera gives pictures there; plug it in, or give another number")
            raise InputError(f"{film.name}: no video that can be decoded, or cut off before its index; fetch it again")
        self._first: np.ndarray | None = first
        self.height, self.width = first.shape[:2]
        fps, count = (float(self._capture.get(key)) for key in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT))
        self.fps_known = 0 < fps <= 1000 and film.path is not None
        self.fps = fps if self.fps_known else CAMERA_FPS
        self.count = int(count) if film.path and 0 < count < 1e9 else None
        self.frames, self._ended = 0, False

    def read(self) -> np.ndarray | None:
        """The next frame (H, W, 3) RGB uint8; None after the last."""
        frame, self._first = self._first, None
        if frame is None and self.frames:
            frame = self._capture.read()[1]
        if frame is None or frame.shape[:2] != (self.height, self.width):
            self._ended = True
            return None
        self.frames += 1
        return np.ascontiguousarray(frame[:, :, ::-1])

    @property
    def cut(self) -> bool:
        """Whether the last frame was read, and the file speaks of more."""
        return self._ended and self.count is not None and self.frames < math.floor(SHORT * self.count)

    def close(self) -> None:
        self._capture.release()


def quiet() -> None:
    """OpenCV and FFmpeg say nothing by themselves; what failed is said in our words."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def inputs(given: Sequence[str]) -> tuple[list[Path], list[Path], list[Film]]:
    """Photos named one by one, photos of folders, and films.

    Raises:
        InputError: nothing there, a folder without pictures, two whose results would have the same name.
    """
    named: list[Path] = []
    found: list[Path] = []
    films: list[Film] = []
    for text in given:
        path = Path(text)
        if camera := re.fullmatch(r"camera:(\d{1,3})", text):
            films.append(Film(text, camera=int(camera[1])))
        elif path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in PHOTOS + FILMS)
            if not inside:
                raise InputError(f"{path}: no photos or videos in this folder; they end in {', '.join(PHOTOS + FILMS)}")
            found += [file for file in inside if file.suffix.lower() in PHOTOS]
            films += [Film(str(file), file) for file in inside if file.suffix.lower() in FILMS]
        elif path.suffix.lower() in FILMS:
            films.append(Film(text, path))
        else:
            named.append(path)
    every: list[Path | Film] = [*named, *found, *films]
    stems = [item.stem for item in every]
    for item, stem in zip(every, stems, strict=True):
        if stems.count(stem) > 1:
            name = item.name if isinstance(item, Film) else str(item)
            raise InputError(f"{name}: {stem}-pose files would be written twice; run inputs of one name one by one")
    return named, found, films
