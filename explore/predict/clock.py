"""Where the time of a prediction goes, stage by stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

STAGES = ("read", "detect", "crop", "network", "decode", "draw", "write")


@dataclass
class Clock:
    """Seconds a stage, of a model where several run; `frames` counts pictures."""

    seconds: dict[tuple[str, str], float] = field(default_factory=dict)
    frames: int = 0

    @contextmanager
    def __call__(self, stage: str, model: str = "") -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            key = (stage, model)
            self.seconds[key] = self.seconds.get(key, 0.0) + time.perf_counter() - began

    def of_models(self) -> float:
        """Seconds of crop, network and decode so far."""
        return sum(spent for (_, model), spent in self.seconds.items() if model)

    def report(self) -> dict[str, float | list[dict[str, float | str]]]:
        """Frames a second over all stages, and mean ms a frame of each."""
        frames = max(self.frames, 1)
        total = sum(self.seconds.values())
        keys = sorted(self.seconds, key=lambda key: STAGES.index(key[0]))
        return {
            "frames": self.frames,
            "frames_per_s": round(self.frames / total, 2) if total else 0.0,
            "ms_per_frame": [
                {"stage": stage, "model": model, "ms": round(1000 * self.seconds[stage, model] / frames, 3)}
                for stage, model in keys
            ],
        }
