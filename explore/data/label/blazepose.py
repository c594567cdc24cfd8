"""BlazePose (MediaPipe Pose, Apache-2.0) as a teacher: 33 landmarks in px, in metres, and a mask of the person.

Crop, landmark refinement and the second region follow MediaPipe's pose_landmark_cpu graph.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from explore.data.crop import region_matrix, warp
from explore.data.framing import Region, region_of_circle
from explore.data.label.fetch import MODELS, model_file
from explore.data.label.teacher import TeacherPose
from explore.data.skeleton import BLAZEPOSE33
from quantize.runtimes.litert import interpreter

INPUT_SIZE = 256  # px
LANDMARKS, AUXILIARY = 33, (33, 34)  # landmarks 33 and 34 are the hips' centre and a point on the person's circle
MIN_PRESENCE = 0.5  # presence above which the landmarks give the region of the second pass
MIN_RADIUS = 5.0  # px of the image
REFINEMENT_CELLS, REFINEMENT_SCORE = 7, 0.5  # window and least score of the heatmap refinement
HIPS = (23, 24)


@dataclass(frozen=True)
class _Output:
    """Raw result for one crop: landmarks (39, 5), world (39, 3) m, mask (256, 256) logits."""

    landmarks: np.ndarray
    presence: float
    world: np.ndarray
    mask: np.ndarray


class BlazePose:
    """BlazePose's landmark model. The joint order is that of the skeleton `blazepose33`."""

    skeleton = BLAZEPOSE33

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.fingerprint = name, MODELS[name].sha256
        self._interpreter: Any = interpreter(path, 1)
        self._input = self._interpreter.get_input_details()[0]["index"]
        details = self._interpreter.get_output_details()
        self._outputs = {tuple(detail["shape"].tolist()): detail["index"] for detail in details}

    def label(self, image: np.ndarray, roi: Region) -> TeacherPose:
        """Return the pose in a region of an image; the first pass's landmarks give the region of the second."""
        output = self._run(image, roi)
        if output.presence > MIN_PRESENCE:
            hips, rim = self._to_image(output.landmarks[list(AUXILIARY), :2], roi)
            if float(np.linalg.norm(rim - hips)) > MIN_RADIUS:
                roi = region_of_circle(hips, rim)
                output = self._run(image, roi)
        return self._pose(output, roi, image.shape[:2])

    def _run(self, image: np.ndarray, roi: Region) -> _Output:
        crop = warp(image, region_matrix(roi, INPUT_SIZE), INPUT_SIZE)
        self._interpreter.set_tensor(self._input, crop[None].astype(np.float32) / 255)
        self._interpreter.invoke()

        def tensor(*shape: int) -> np.ndarray:
            return np.array(self._interpreter.get_tensor(self._outputs[(1, *shape)])[0])

        landmarks, heatmap = tensor(195).reshape(39, 5), tensor(64, 64, 39)
        landmarks[:, :2] = refined(landmarks[:, :2] / INPUT_SIZE, heatmap) * INPUT_SIZE
        mask = tensor(INPUT_SIZE, INPUT_SIZE, 1)[..., 0]
        return _Output(landmarks, float(tensor(1)[0]), tensor(117).reshape(39, 3), mask)

    @staticmethod
    def _to_image(px: np.ndarray, roi: Region) -> np.ndarray:
        """Return px (K, 2) of the crop as px of the image."""
        matrix = region_matrix(roi, INPUT_SIZE)
        points: np.ndarray = (px - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
        return points

    def _pose(self, output: _Output, roi: Region, shape: tuple[int, int]) -> TeacherPose:
        landmarks, world = output.landmarks[:LANDMARKS], 1000 * output.world[:LANDMARKS]
        cos, sin = math.cos(roi.rotation), math.sin(roi.rotation)
        world[:, :2] = world[:, :2] @ np.array([[cos, sin], [-sin, cos]])  # the crop is rotated, the image is not
        depth = landmarks[:, 2:3] * roi.size / INPUT_SIZE
        visible = _sigmoid(landmarks[:, 3]) * _sigmoid(landmarks[:, 4])
        return TeacherPose(
            np.concatenate([self._to_image(landmarks[:, :2], roi), depth], 1).astype(np.float64),
            (world - world[list(HIPS)].mean(0)).astype(np.float64),
            visible.astype(np.float64),
            output.presence,
            _full_mask(output.mask, roi, shape),
        )


def load(name: str, place: str) -> BlazePose:
    """Return the teacher, whose model is fetched on first use. Raises InputError as `fetch.model_file`."""
    return BlazePose(name, model_file(name))


def refined(points: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Return points (K, 2), fractions of the crop, moved to the centre of the heatmap's mass around them.

    heatmap: (H, W, K) logits. A point stays where it is outside the heatmap, and where no score around it is above 0.5.
    """
    height, width, _ = heatmap.shape
    half, moved = REFINEMENT_CELLS // 2, points.copy()
    columns, rows = (points * [width, height]).astype(int).T
    for joint, (column, row) in enumerate(zip(columns.tolist(), rows.tolist(), strict=True)):
        if not (0 <= column < width and 0 <= row < height):
            continue
        top, left = max(row - half, 0), max(column - half, 0)
        score = _sigmoid(heatmap[top : row + half + 1, left : column + half + 1, joint])
        if score.max() < REFINEMENT_SCORE:
            continue
        y, x = np.mgrid[top : top + score.shape[0], left : left + score.shape[1]]
        moved[joint] = (score * x).sum() / score.sum() / width, (score * y).sum() / score.sum() / height
    return moved


def _full_mask(logits: np.ndarray, roi: Region, shape: tuple[int, int]) -> np.ndarray:
    """Return a mask (256, 256) of the crop as uint8 (H, W) of the image, 0 outside the crop."""
    matrix = region_matrix(roi, INPUT_SIZE)
    matrix[:, 2] += 0.5 * (matrix[:, 0] + matrix[:, 1]) - 0.5  # OpenCV counts from pixel centres
    mask = np.rint(255 * _sigmoid(logits)).astype(np.uint8)
    full: np.ndarray = cv2.warpAffine(mask, matrix, shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return full


def _sigmoid(x: np.ndarray) -> np.ndarray:
    value: np.ndarray = 1 / (1 + np.exp(-np.clip(x, -60, 60)))
    return value
