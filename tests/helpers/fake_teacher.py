"""A teacher for tests: it sees the same standing person in every region, and can stop after some images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from explore.data.framing import Region
from explore.data.label.teacher import TeacherPose
from explore.data.skeleton import H36M18
from tests.helpers.layouts import standing

HEIGHT_MM = 2500.0  # that a region spans


@dataclass
class FakeTeacher:
    """calls: number of poses returned by all teachers; stop_after: number of calls after which Ctrl-C is pressed."""

    name: str = "fake"
    fingerprint: str = "f" * 64
    skeleton = H36M18
    presence: float = 1.0
    calls: ClassVar[list[int]] = []
    stop_after: ClassVar[int | None] = None
    world: np.ndarray = field(default_factory=lambda: standing(H36M18, 1)[0])

    def label(self, image: np.ndarray, roi: Region) -> TeacherPose:
        if self.stop_after is not None and len(self.calls) >= self.stop_after:
            raise KeyboardInterrupt
        self.calls.append(image.shape[0])
        world = self.world - self.world[0]
        scale = roi.size / HEIGHT_MM
        px = np.concatenate([roi.centre + world[:, :2] * scale, world[:, 2:] * scale], 1)
        mask = np.zeros(image.shape[:2], np.uint8)
        low, high = px[:, :2].min(0).clip(0).astype(int), px[:, :2].max(0).astype(int)
        mask[low[1] : high[1], low[0] : high[0]] = 255
        return TeacherPose(px, world, np.full(18, 0.9), self.presence, mask)


def load(name: str, place: str) -> FakeTeacher:
    return FakeTeacher(name)
