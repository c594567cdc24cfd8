"""MediaPipe's Pose Landmarker on images or a video: a program that needs only mediapipe and numpy.

    python task_child.py REQUEST.json

mediapipe is not installed beside this project, because it replaces OpenCV. Keys of the request:
    task      the .task file
    source    .npz with one RGB image (H, W, 3) uint8 for each key, in the order of the keys; or a video
    mode      IMAGE, VIDEO or LIVE_STREAM
    step_ms   time between two images
    limit     largest number of images
    out       .npz of the results: found (N,), landmarks (N, 33, 5) x, y, z px of the image, visibility and presence,
              world (N, 33, 3) m, ms (N,)
The last line of the output is the version of mediapipe.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


def main(request: dict[str, Any]) -> None:
    """Run the Pose Landmarker as the request says."""
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    answers: list[Any] = []
    arrived = threading.Event()

    def receive(result: Any, image: Any, timestamp_ms: int) -> None:
        answers.append(result)
        arrived.set()

    mode = request["mode"]
    options = vision.PoseLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=request["task"]),
        running_mode=getattr(vision.RunningMode, mode),
        result_callback=receive if mode == "LIVE_STREAM" else None,
    )
    rows = []
    with vision.PoseLandmarker.create_from_options(options) as landmarker:
        for number, pixels in enumerate(images(request["source"], request.get("limit"))):
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
            now = round(number * request.get("step_ms", 33))
            started = time.perf_counter()
            if mode == "IMAGE":
                result = landmarker.detect(image)
            elif mode == "VIDEO":
                result = landmarker.detect_for_video(image, now)
            else:
                arrived.clear()
                landmarker.detect_async(image, now)
                if not arrived.wait(60):
                    raise TimeoutError(f"no result for image {number}")
                result = answers.pop()
            rows.append(row(result, pixels) | {"ms": 1000 * (time.perf_counter() - started)})
    found: dict[str, Any] = {key: np.array([each[key] for each in rows]) for key in rows[0]}
    np.savez(request["out"], **found)
    print(mediapipe.__version__)


def images(source: str, limit: int | None) -> Iterator[np.ndarray]:
    """Yield RGB images."""
    if Path(source).suffix == ".npz":
        with np.load(source, allow_pickle=False) as stored:
            for key in stored.files[:limit]:
                yield np.ascontiguousarray(stored[key])
        return
    import cv2

    video = cv2.VideoCapture(source)
    count = 0
    while count != limit:
        read, image = video.read()
        if not read:
            return
        count += 1
        yield np.ascontiguousarray(image[..., ::-1])


def row(result: Any, pixels: np.ndarray) -> dict[str, Any]:
    """Return the first pose of a result; NaN if there is none."""
    height, width = pixels.shape[:2]
    landmarks, world = np.full((33, 5), np.nan), np.full((33, 3), np.nan)
    if result.pose_landmarks:
        points = result.pose_landmarks[0]
        landmarks = np.array([[p.x * width, p.y * height, p.z * width, p.visibility, p.presence] for p in points])
        world = np.array([[p.x, p.y, p.z] for p in result.pose_world_landmarks[0]])
    return {"found": bool(result.pose_landmarks), "landmarks": landmarks, "world": world}


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
