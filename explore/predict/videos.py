"""Prediction of a video or camera, written as VIDEO-pose.jsonl and VIDEO-pose.mp4."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import cv2
import numpy as np

from arch.errors import InputError
from arch.files import temporary_prefix
from explore.data.framing import Region
from explore.predict import pipeline, records
from explore.predict.boxes import boxes_of_frame, is_of
from explore.predict.camera import Camera, choose_camera
from explore.predict.detector import Detector
from explore.predict.inputs import VideoReader, VideoSource, silence_opencv
from explore.predict.pipeline import Model, Person, PredictOptions, StageTimer
from explore.predict.smoothing import Smoother
from explore.predict.tracker import Tracker
from explore.predict.video_frame import FrameRenderer
from explore.progress import Display

MAX_PAUSE = 60.0  # s between two frames; the drawn video shortens longer ones, the JSON Lines keep their times
CODECS = {"mp4": ("avc1", "mp4v"), "webm": ("VP80",)}  # OpenCV's own builds have no avc1 encoder, others do


def predict_video(
    source: VideoSource, models: Sequence[Model], options: PredictOptions, detector: Detector | None, display: Display
) -> dict[str, Any]:
    """Predict every frame, write the results, and return a summary.

    A video that is truncated, or interrupted by Ctrl-C, SIGTERM or SIGHUP, keeps the results of the frames read so far.
    Without a detector, the boxes are given or the full frame is one. With one, people are tracked, by models of framing
    roi with the joints of the frame before.

    Raises:
        InputError: the video cannot be opened, a box lies outside, or the files cannot be written.
    """
    with closing(VideoReader(source)) as reader:
        camera = choose_camera(reader.width, reader.height, options.focal, options.principal)
        for entry in options.entries:  # check all boxes before anything is written
            boxes_of_frame([entry], options.option, source.name, entry.frame or 0, reader.width, reader.height)
        tracker = Tracker(detector) if detector and options.detects else None
        region_of = partial(pipeline.find_region, detector) if detector else None
        followed: dict[str, dict[int, Region]] = {}
        smoother = Smoother() if options.smooth else None
        timer = StageTimer()
        interrupted, frames_with_people, time_s, end_s = False, 0, 0.0, 0.0
        length_s = min(options.seconds, reader.count / reader.fps if reader.count else math.inf)
        display.stage(source.name)
        with _open_writer(reader, models, camera, options) as writer:
            started = time.monotonic()
            try:
                while True:
                    with timer.stage("read"):
                        image = reader.read()
                    if image is None:
                        break
                    index = reader.frames - 1
                    time_s = time.monotonic() - started if source.path is None else reader.time_s
                    if time_s >= options.seconds:
                        break
                    find = partial(tracker.update, time_s=time_s) if tracker else None
                    with timer.stage("detect"):
                        boxes = pipeline.choose_boxes(source.name, index, image, options, find)
                    people = [
                        pipeline.predict_people(
                            model, image, boxes, camera, timer, region_of, _still_followed(tracker, followed, model)
                        )
                        for model in models
                    ]
                    if tracker:
                        followed = _follow(tracker, models, people)
                    if tracker and followed:  # joints of lost people are meaningless
                        people = [[one for one in found if one.number in tracker.followed] for found in people]
                    if smoother:
                        people = [
                            smoother.smooth(model.label, found, time_s, model.bundle.manifest.preprocessing.box_padding)
                            for model, found in zip(models, people, strict=True)
                        ]
                    writer.write(image, people, index, time_s, timer)
                    timer.frames += 1
                    end_s = time_s + 1 / reader.fps
                    frames_with_people += bool(people[0])
                    display.update(min(time_s / length_s, 1.0), f"frame {index + 1}")
            except KeyboardInterrupt:
                interrupted = True
        return {
            "video": source.name,
            "size_px": [reader.width, reader.height],
            "fps": reader.fps,
            "seconds": round(time_s if source.path is None else end_s, 3),
            **timer.report(),
            "frames_with_people": frames_with_people,
            "assumed": _assumptions(reader, camera, options),
            "incomplete": _why_incomplete(reader, interrupted),
            "interrupted": interrupted,
            "differences_mm": writer.mean_difference(),
            "files": [str(path) for path in writer.paths],
        }


def _follow(
    tracker: Tracker, models: Sequence[Model], people: Sequence[Sequence[Person]]
) -> dict[str, dict[int, Region]]:
    """Give the tracker the people of the first model with framing roi.

    Returns the regions of the people who are followed, by model with framing roi and number.
    """
    own = {
        model.label: {person.number: person for person in found}
        for model, found in zip(models, people, strict=True)
        if model.bundle.manifest.preprocessing.roi
    }
    if not own:
        return {}
    tracker.follow(
        {
            number: (person.following, float(person.confidence.mean()))
            for number, person in next(iter(own.values())).items()
        }
    )
    return {
        label: {number: person.following for number, person in found.items() if person.following is not None}
        for label, found in own.items()
    }


def _still_followed(
    tracker: Tracker | None, followed: Mapping[str, Mapping[int, Region]], model: Model
) -> dict[int, Region]:
    """Return the regions of the people whom the tracker follows also after the detections of this frame."""
    numbers = tracker.followed if tracker else ()
    return {number: region for number, region in followed.get(model.label, {}).items() if number in numbers}


def _assumptions(reader: VideoReader, camera: Camera, options: PredictOptions) -> list[str]:
    own = [entry for entry in options.entries if is_of(entry, reader.source.name)]
    depths = [entry.depth for entry in own] or [options.root_depth]
    texts = records.assumptions("frame", camera, options.full_image, None in depths)
    if reader.source.path is not None and not reader.fps_known:
        texts.append(f"{reader.fps:g} frames/s (the file does not state it)")
    if reader.source.path is not None and reader.untimed:
        texts.append(f"the times of {reader.untimed} frames (their timestamps are missing or do not increase)")
    return texts


def _why_incomplete(reader: VideoReader, interrupted: bool) -> str | None:
    if interrupted and reader.source.path is not None:
        return f"stopped after {reader.frames} frames; the results so far are kept"
    if reader.truncated:
        return f"ends after {reader.frames} of {reader.count} frames; the results so far are kept"
    return None


@dataclass
class VideoWriter:
    """Writes the drawn video to paths[0], and a JSON Lines file for each model to the other paths."""

    paths: list[Path]
    files: Sequence[TextIO]
    encoder: cv2.VideoWriter
    renderers: list[FrameRenderer]
    models: Sequence[Model]
    fps: float
    live: bool
    _frames_written: int = 0
    _skipped_s: float = 0.0
    _last: np.ndarray | None = None
    _differences: list[float] = field(default_factory=list)

    def write(
        self, image: np.ndarray, people: list[list[Person]], index: int, time_s: float, timer: StageTimer
    ) -> None:
        """Write one frame (H, W, 3) RGB uint8. people: of each model."""
        with timer.stage("draw"):
            note = f"frame {index} · {time_s:.2f} s"
            rows = [
                renderer.render(image, own, time_s, "" if row else note)
                for row, (renderer, own) in enumerate(zip(self.renderers, people, strict=True))
            ]
            drawn = np.ascontiguousarray(np.concatenate(rows)[:, :, ::-1])
        with timer.stage("write"):
            for file, model, own in zip(self.files, self.models, people, strict=True):
                line = {
                    "frame": index,
                    "time_s": round(time_s, 4),
                    "people": records.people_records(own, model.bundle),
                }
                file.write(json.dumps(line, separators=(",", ":")) + "\n")
            # Repeat or drop frames, so that the drawn video, which has a constant rate, shows each at its time.
            due = math.floor((time_s - self._skipped_s) * self.fps + (0 if self.live else 0.5)) + 1
            if (surplus := due - self._frames_written - math.ceil(MAX_PAUSE * self.fps)) > 0:
                due -= surplus
                self._skipped_s += surplus / self.fps
            for missing in range(due - self._frames_written, 0, -1):
                self.encoder.write(drawn if missing == 1 or self._last is None else self._last)
            self._last = drawn
            self._frames_written = max(due, self._frames_written)
        root = self.models[0].bundle.manifest.skeleton.root
        first, *others = ([person.mm - person.mm[root] for person in own] for own in people)
        self._differences += [
            float(np.linalg.norm(a - b, axis=1).mean()) for other in others for a, b in zip(first, other, strict=True)
        ]

    def mean_difference(self) -> float | None:
        """Return the mean distance in mm between the root-aligned joints of the first model and of the others."""
        return round(float(np.mean(self._differences)), 1) if self._differences else None


@contextmanager
def _open_writer(
    reader: VideoReader, models: Sequence[Model], camera: Camera, options: PredictOptions
) -> Iterator[VideoWriter]:
    """Write to temporary files that are renamed at the end of the block, and removed if it raises."""
    source = reader.source
    renderers = [
        FrameRenderer(model.bundle.manifest.skeleton, reader.width, reader.height, model.title, len(models))
        for model in models
    ]
    size = (renderers[0].size[0], sum(renderer.size[1] for renderer in renderers))
    names = [f"{source.stem}-pose{f'-{model.label}' if len(models) > 1 else ''}.jsonl" for model in models]
    paths = [options.out / name for name in (f"{source.stem}-pose.{options.video_format}", *names)]
    temporary = [path.with_name(f"{temporary_prefix(path.name)}video.part{path.suffix}") for path in paths]
    with ExitStack() as stack:
        try:
            options.out.mkdir(parents=True, exist_ok=True)
            for path in temporary:
                stack.callback(path.unlink, missing_ok=True)
            files = [stack.enter_context(open(path, "w", encoding="utf-8")) for path in temporary[1:]]
            fps = reader.drawn_fps()
            encoder = _open_encoder(temporary[0], options.video_format, fps, size)
            stack.callback(encoder.release)
            for file, model in zip(files, models, strict=True):
                video = {"video": source.name, "size_px": [reader.width, reader.height], "fps": reader.fps}
                video["smoothing"] = "One-Euro filter" if options.smooth else None
                file.write(json.dumps({**video, **records.header(camera, model.bundle)}) + "\n")
            yield VideoWriter(paths, files, encoder, renderers, models, fps, source.path is None)
            encoder.release()
            for file in files:
                file.close()
            for part, path in zip(temporary, paths, strict=True):
                os.replace(part, path)
        except OSError as error:
            raise pipeline.output_error(options.out, error) from None


def _open_encoder(path: Path, suffix: str, fps: float, size: tuple[int, int]) -> cv2.VideoWriter:
    """Open an encoder for BGR frames of (width, height) px."""
    silence_opencv()
    for code in CODECS[suffix]:
        encoder = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), fps, size)
        if encoder.isOpened():
            return encoder
    raise InputError(f"{path.parent}: OpenCV cannot write {suffix} files here; choose another folder or --video-format")
