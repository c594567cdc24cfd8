"""Comparison of MediaPipe's Pose Landmarker with our own decode of the same crops.

mediapipe runs in a Python of its own, which EDGEPOSE_MEDIAPIPE names, because it replaces the OpenCV of this
environment. The crop that the Pose Landmarker takes is known from a second .task file, whose landmarks are the corners
of the region.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from arch.errors import InputError, shortened
from explore.export.task_body import body_of_bundle, landmarks_of
from explore.predict.detector import MODEL as DETECTOR
from quantize import child_process, task, task_child
from quantize.bundle import Bundle
from quantize.convert import ConversionError
from quantize.runtimes import Array

VARIABLE = "EDGEPOSE_MEDIAPIPE"
OLDEST, TESTED = (0, 10, 21), "1.2.3"
INSTALL = f"run: python3 -m venv mp && mp/bin/pip install mediapipe=={TESTED} && export {VARIABLE}=mp/bin/python"
VERSION_S, TIMEOUT_S = 60.0, 600.0
CROP = 0.01  # mean deviation that a crop with other roundings may cause, as a fraction of its side
IMAGES = 20
PLACES = 32  # in a px, of OpenCV 4


@dataclass(frozen=True)
class Tracked:
    """Results of the Pose Landmarker for N images.

    found (N,) bool; landmarks (N, 33, 5): x, y, z px of the image, visibility, presence; world (N, 33, 3) m; ms (N,)
    """

    found: NDArray[np.bool_]
    landmarks: Array
    world: Array
    ms: Array
    version: str


def check(file: str | None) -> None:
    """Check that MediaPipe can run a .task file that is going to be written.

    Raises:
        InputError: there is no such file, or no mediapipe.
    """
    if file is None:
        raise InputError("verify: mediapipe runs .task files; add --task FILE")
    mediapipe_python()


def mediapipe_python() -> Path:
    """Return the Python that has mediapipe.

    Raises:
        InputError: there is none, or its mediapipe is too old.
    """
    given = os.environ.get(VARIABLE, "")
    if not given:
        raise InputError(f"verify: mediapipe: {VARIABLE} is not set; {INSTALL}")
    python = Path(given).expanduser()
    code = "import importlib.metadata as m; print(m.version('mediapipe'))"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=VERSION_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{VARIABLE}={given}: not a Python ({shortened(error, 120)}); {INSTALL}") from None
    if done.returncode:
        raise InputError(f"{VARIABLE}={given}: has no mediapipe; {INSTALL}")
    version = done.stdout.strip()
    if tuple(map(int, re.findall(r"\d+", version)[:3])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise InputError(f"{VARIABLE}={given}: mediapipe {version} is older than {oldest}; {INSTALL}")
    return python


def run_landmarker(
    python: Path, file: Path, source: Path | Sequence[NDArray[np.uint8]], mode: str = "IMAGE", **options: Any
) -> Tracked:
    """Run the Pose Landmarker with a .task file.

    source: a video, or RGB images (H, W, 3); mode: IMAGE, VIDEO or LIVE_STREAM; options: see quantize.task_child

    Raises:
        ConversionError: MediaPipe failed; its last lines are in the message.
    """
    with tempfile.TemporaryDirectory() as scratch:
        out, request = Path(scratch, "results.npz"), Path(scratch, "request.json")
        if not isinstance(source, Path):
            images: dict[str, Any] = {f"{index:06}": image for index, image in enumerate(source)}
            source = Path(scratch, "images.npz")
            np.savez(source, **images)
        keys = {"task": str(file.absolute()), "source": str(source.absolute()), "mode": mode, "out": str(out)}
        request.write_text(json.dumps(keys | options))
        try:
            done = subprocess.run(
                [python, task_child.__file__, request],
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                errors="replace",
            )
        except subprocess.TimeoutExpired:
            raise ConversionError(f"{file}: MediaPipe took longer than {TIMEOUT_S:g} s and was stopped") from None
        if done.returncode or not out.is_file():
            raise ConversionError(f"{file}: MediaPipe cannot run it: {child_process.failure(done)}")
        with np.load(out, allow_pickle=False) as stored:
            found = {key: stored[key] for key in ("found", "landmarks", "world", "ms")}
    return Tracked(**found, version=done.stdout.strip().splitlines()[-1])


def regions(python: Path, size: int, images: Sequence[NDArray[np.uint8]]) -> Array:
    """Return the region (N, 2, 3) that the Pose Landmarker crops in each image; NaN where it finds nobody.

    A matrix maps fractions of the crop's side to px of the image. size: side of the crop, px
    """
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "region.task")
        file.write_bytes(task.archive(DETECTOR.read_bytes(), task.region_model(size)))
        corners = run_landmarker(python, file, images).landmarks[:, :3, :2]
    origin = corners[:, 0]
    return np.stack([corners[:, 1] - origin, corners[:, 2] - origin, origin], 2)


def crop_like_mediapipe(image: NDArray[np.uint8], region: Array, size: int) -> NDArray[np.uint8]:
    """Return the crop (size, size, 3) of a region (2, 3): bilinear, without averaging, with the border continued.

    MediaPipe contains an OpenCV of version 4, whose places are rounded to 1/32 px. OpenCV 5 does not round them.
    """
    y, x = np.mgrid[:size, :size] / size
    places = np.rint(np.stack([x, y, np.ones_like(x)], 2) @ region.T * PLACES).astype(np.int64)
    whole, rest = places // PLACES, places % PLACES
    table = (rest[..., 1] * PLACES + rest[..., 0]).astype(np.uint16)
    cropped = cv2.remap(image, whole.astype(np.int16), table, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cropped, np.uint8)


def verify(bundle: Bundle, file: Path, images: Sequence[NDArray[np.uint8]]) -> dict[str, Any]:
    """Compare the landmarks of the Pose Landmarker with our decode of its crops, in px of the crop.

    Raises:
        InputError: no mediapipe.
        ConversionError: MediaPipe fails, finds nobody, or deviates by more.
    """
    python, size = mediapipe_python(), bundle.arch.input_size
    results = run_landmarker(python, file, images)
    where = regions(python, size, images)
    chosen = np.flatnonzero(results.found & np.isfinite(where).all((1, 2))).tolist()
    if not len(chosen):
        raise ConversionError(f"{file}: MediaPipe finds nobody in {len(images)} images; give data with whole people")
    crops = np.stack([crop_like_mediapipe(images[index], where[index], size) for index in chosen])
    px = deviations(bundle, crops, where[chosen], results.landmarks[chosen, :, :2])
    found = {"version": results.version, "images": len(images), "people": len(chosen)}
    found |= {"mean_px": float(px.mean()), "max_px": float(px.max())}
    most = CROP * size
    if px.mean() > most:
        raise ConversionError(
            f"{file}: MediaPipe {results.version} and the bundle differ by {px.mean():.2f} px of {size} ({px.max():.2f} at "
            f"most), more than {most:.2f}; report this as a bug"
        )
    return found


def deviations(bundle: Bundle, crops: NDArray[np.uint8], where: Array, landmarks: Array) -> Array:
    """Return the distances (N, 33) of landmarks (N, 33, 2) px of the image from our decode of crops, px of the crop."""
    with closing(bundle.session()) as session:
        joints, _ = bundle.run_crops(crops, session)
    size = bundle.arch.input_size
    own, _ = landmarks_of(joints, body_of_bundle(bundle.manifest), size)
    expected = np.einsum("nab,nkb->nka", where[:, :, :2], own / size) + where[:, None, :, 2]
    side = np.linalg.norm(where[:, :, 0], axis=1)[:, None]
    return np.asarray(np.linalg.norm(landmarks - expected, axis=2) / side * size)
