"""Framing: the square region of an image that becomes the network's input.

`box` is an upright square around the person's box, black beyond the image. `roi` is the region of interest of
MediaPipe's PoseLandmarker, and continues the border pixels beyond the image: a person is described by the centre of the
hips and the radius of a circle around the whole body; the region is centred on the hips, 2.5 times as wide as the
radius, and rotated so that the shoulders' centre is above the hips' centre.

A sample whose hips or shoulders are not annotated has the upright square around its box, as in `box`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from arch.decode import BOX_PADDING
from arch.errors import InputError
from explore.data.skeleton import Skeleton, joint_keys
from quantize.manifest import Roi
from quantize.sdk.edgepose_decoder import REGION_SCALE

# Radius of the circle / largest distance of a joint from the hips' centre: between the medians of BlazePose's own
# circles on photos (1.18 and 1.01) and on rendered people (1.12 and 1.04). Joints end at ankles and wrists, landmarks
# at toes.
REACH_JOINTS, REACH_LANDMARKS = 1.15, 1.02
MIN_RADIUS = 1.0  # px, below which joints describe no region


@dataclass(frozen=True)
class Region:
    """A square region of interest. centre: (2,) px; size: side, px; rotation: clockwise, rad."""

    centre: np.ndarray
    size: float
    rotation: float = 0.0

    def mirrored(self, width: int) -> Region:
        """Return the region in the mirrored image, which is `width` px wide."""
        return Region(np.array([width - self.centre[0], self.centre[1]]), self.size, -self.rotation)

    @property
    def extent(self) -> float:
        """Side of the upright square around the region, px."""
        return self.size * (abs(math.cos(self.rotation)) + abs(math.sin(self.rotation)))


def region_of_circle(hips: np.ndarray, rim: np.ndarray) -> Region:
    """Return the region of a person. hips: centre of the hips (2,) px; rim: point on the circle above it (2,) px."""
    x, y = (float(value) for value in rim - hips)
    return Region(np.asarray(hips, np.float64), REGION_SCALE * math.hypot(x, y), math.atan2(x, -y))


def region_of_box(bbox: np.ndarray) -> Region:
    """Return the upright region around a box x, y, w, h px, for use where hips and rotation are unknown."""
    return Region(np.asarray(bbox[:2] + bbox[2:] / 2, np.float64), BOX_PADDING * float(max(bbox[2:])))


def region_of_joints(px: np.ndarray, known: np.ndarray, roi: Roi) -> Region | None:
    """Return the region of a person with joints (J, 2) px, or None if hips or shoulders are not known (J,)."""
    hips, shoulders = list(roi.hips), list(roi.shoulders)
    if not known[hips].all() or not known[shoulders].all():
        return None
    centre = px[hips].mean(0)
    radius = roi.reach * math.sqrt(float(np.square(px[known] - centre).sum(1).max()))
    if radius < MIN_RADIUS:
        return None
    x, y = px[shoulders].mean(0) - centre
    return Region(centre.astype(np.float64), roi.scale * radius, math.atan2(x, -y))


@lru_cache(maxsize=16)
def roi_of(skeleton: Skeleton) -> Roi:
    """Return the joints that describe the region of a person.

    Raises:
        InputError: the skeleton has no hips or no shoulders.
    """
    keys = joint_keys(skeleton.names)

    def find(*choices: tuple[tuple[str, str], ...]) -> tuple[int, ...]:
        for choice in choices:
            if set(choice) <= set(keys):
                return tuple(keys.index(key) for key in choice)
        raise InputError(
            f"framing roi: the skeleton {skeleton.name} ({', '.join(skeleton.names)}) has no "
            f"{choices[0][0][1]}s; use framing box, or name the joints R_Hip, L_Hip, R_Shoulder and L_Shoulder"
        )

    hips = find((("R", "hip"), ("L", "hip")), (("", "pelvis"),))
    shoulders = find((("R", "shoulder"), ("L", "shoulder")), (("", "thorax"),), (("", "neck"),))
    ends = {part for _, part in keys}
    landmarks = any("toe" in part or "footindex" in part for part in ends)
    return Roi(hips=hips, shoulders=shoulders, reach=REACH_LANDMARKS if landmarks else REACH_JOINTS, scale=REGION_SCALE)
