"""A film or a camera, frame by frame: people, their joints in FILM-pose.jsonl, the painted frames in FILM-pose.mp4."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from arch.errors import InputError
from explore.predict import record
from explore.predict.boxes import Box, boxes_of
from explore.predict.camera import Camera, choose_camera
from explore.predict.clock import Clock
from explore.predict.detect import Detector, Follower
from explore.predict.inputs import CAMERA_FPS, Film, Reel, quiet
from explore.predict.paint import Painter
from explore.predict.pipeline import Model, Person, find_people
from explore.predict.wish import Wish
from explore.progress import Display

CODECS = {"mp4": ("avc1", "mp4v"), "webm": ("VP80",)}  # OpenCV's own builds have no encoder for avc1, others do


def predict_film(
    film: Film, models: Sequence[Model], wish: Wish, detector: Detector | None, display: Display
) -> dict[str, Any]:
    """What was found, in figures; the files hold the rest. A film that ends early, or is stopped, keeps what it had.

    Raises:
        InputError: it cannot be opened, a box lies outside, or the files cannot be written.
    """
    with closing(film.open()) as reel:
        camera = choose_camera(reel.width, reel.height, wish.focal, wish.principal)
        for entry in wish.entries:  # before anything is written
            boxes_of([entry], wish.option, film.name, entry.frame or 0, reel.width, reel.height)
        follower, clock = (Follower(detector) if detector else None), Clock()
        stopped, people, passed = False, 0, 0.0
        display.stage(film.name)
        with _written(film, reel, models, camera, wish) as (files, put):
            began = time.monotonic()
            try:
                while True:
                    with clock("read"):
                        image = reel.read()
                    if image is None:
                        break
                    index = reel.frames - 1
                    passed = time.monotonic() - began if film.path is None else index / reel.fps
                    if passed >= wish.seconds:
                        break
                    with clock("detect"):
                        boxes = _boxes(film, wish, follower, image, index)
                    found = [_people(model, image, boxes, camera, clock) for model in models]
                    put(image, found, index, passed, clock)
                    clock.frames += 1
                    people += bool(boxes)
                    display.update(min(index / reel.count, 1.0) if reel.count else 0.0, f"frame {index + 1}")
            except KeyboardInterrupt:
                stopped = True
        report = clock.report()
        return {
            "film": film.name,
            "size_px": [reel.width, reel.height],
            "fps": reel.fps,
            "seconds": round(passed, 3) if film.path is None else round(clock.frames / reel.fps, 3),
            **report,
            "frames_with_people": people,
            "assumed": _assumed(reel, camera, wish),
            "incomplete": _incomplete(reel, stopped),
            "differences_mm": put.differences(),
            "files": [str(file) for file in files],
        }


def _boxes(film: Film, wish: Wish, follower: Follower | None, image: np.ndarray, index: int) -> list[Box]:
    height, width = image.shape[:2]
    if wish.entries:
        return boxes_of(wish.entries, wish.option, film.name, index, width, height)
    if follower is None:
        return [Box(1, np.array([0.0, 0, width, height]), wish.root_depth)]
    return [Box(number, box) for number, box in follower.next(image)]


def _people(model: Model, image: np.ndarray, boxes: Sequence[Box], camera: Camera, clock: Clock) -> list[Person]:
    places, depths, numbers = ([getattr(box, key) for box in boxes] for key in ("bbox", "root_depth", "number"))
    return find_people(model.bundle, model.session, image, places, camera, depths, numbers, clock, model.label)


def _assumed(reel: Reel, camera: Camera, wish: Wish) -> list[str]:
    said = ["the whole frame is one person's box"] if wish.whole else []
    said += camera.assumed
    given = [entry.depth for entry in wish.entries] or [wish.root_depth]
    if None in given:
        said.append("root depth (the padded box spans 2 m)")
    if reel.film.path is not None and not reel.fps_known:
        said.append(f"{reel.fps:g} frames/s (the file does not say)")
    return said


def _incomplete(reel: Reel, stopped: bool) -> str | None:
    if stopped and reel.film.path is not None:
        return f"stopped after {reel.frames} frames; what was done is kept"
    if reel.cut:
        return f"ends after {reel.frames} of {reel.count} frames; what could be read is kept"
    return None


class _Files:
    """A line of JSON and a painted picture for every frame."""

    def __init__(self, lines: list[Any], writer: cv2.VideoWriter, painters: list[Painter], models: Sequence[Model],
                 live: bool) -> None:  # fmt: skip
        self.lines, self.writer, self.painters, self.models, self.live = lines, writer, painters, models, live
        self._pictures = 0
        self._apart: list[float] = []

    def __call__(self, image: np.ndarray, found: list[list[Person]], index: int, passed: float, clock: Clock) -> None:
        with clock("draw"):
            note = f"frame {index} · {passed:.2f} s"
            rows = [
                painter.frame(image, people, passed, note if not row else "")
                for row, (painter, people) in enumerate(zip(self.painters, found, strict=True))
            ]
            picture = np.ascontiguousarray(np.concatenate(rows)[:, :, ::-1])
        with clock("write"):
            for file, model, people in zip(self.lines, self.models, found, strict=True):
                line = {"frame": index, "time_s": round(passed, 4), "people": record.of_people(people, model.bundle)}
                file.write(json.dumps(line, separators=(",", ":")) + "\n")
            due = math.floor(passed * CAMERA_FPS) + 1 if self.live else self._pictures + 1
            for _ in range(due - self._pictures):  # a camera's film keeps its time, however fast frames come
                self.writer.write(picture)
            self._pictures = max(due, self._pictures)
        if len(found) > 1:
            root = self.models[0].bundle.manifest.skeleton.root
            first, *others = ([person.mm - person.mm[root] for person in people] for people in found)
            self._apart += [
                float(np.linalg.norm(a - b, axis=1).mean())
                for other in others
                for a, b in zip(first, other, strict=True)
            ]

    def differences(self) -> float | None:
        """Mean mm between the first model's joints and the others', root joints laid together."""
        return round(float(np.mean(self._apart)), 1) if self._apart else None


@contextmanager
def _written(
    film: Film, reel: Reel, models: Sequence[Model], camera: Camera, wish: Wish
) -> Iterator[tuple[list[Path], _Files]]:
    """Files beside their places, which they take when the block ends well."""
    painters = [
        Painter(model.bundle.manifest.skeleton, reel.width, reel.height, model.title, len(models)) for model in models
    ]
    size = (painters[0].size[0], sum(painter.size[1] for painter in painters))
    names = [f"{film.stem}-pose{f'-{model.label}' if len(models) > 1 else ''}.jsonl" for model in models]
    places = [wish.out / f"{film.stem}-pose.{wish.suffix}", *(wish.out / name for name in names)]
    parts = [place.with_name(f".{place.stem}.part{place.suffix}") for place in places]
    with ExitStack() as stack:
        try:
            lines = [stack.enter_context(open(part, "w", encoding="utf-8")) for part in parts[1:]]
        except OSError as error:
            raise InputError(f"--out {wish.out}: cannot be written ({error.strerror}); choose another folder") from None
        for part in parts:
            stack.callback(part.unlink, missing_ok=True)
        fps = CAMERA_FPS if film.path is None else reel.fps
        writer = _writer(parts[0], wish.suffix, fps, size)
        stack.callback(writer.release)
        for file, model in zip(lines, models, strict=True):
            about = {"film": film.name, "size_px": [reel.width, reel.height], "fps": fps}
            file.write(json.dumps({**about, **record.header(camera, model.bundle)}) + "\n")
        try:
            yield places, _Files(lines, writer, painters, models, film.path is None)
            writer.release()
            for file in lines:
                file.close()
            for part, place in zip(parts, places, strict=True):
                os.replace(part, place)
        except OSError as error:
            raise InputError(f"--out {wish.out}: cannot be written ({error.strerror}); choose another folder") from None


def _writer(path: Path, suffix: str, fps: float, size: tuple[int, int]) -> cv2.VideoWriter:
    """An encoder for RGB pictures of (width, height) px."""
    quiet()
    for code in CODECS[suffix]:
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), fps, size)
        if writer.isOpened():
            return writer
    raise InputError(f"{path.parent}: OpenCV cannot write {suffix} there; choose another folder, or another --film")
