"""Smoothing of the people in a video with One-Euro filters: less jitter at rest, little lag in motion.

Joints in px and in camera mm are filtered apart, because the depth of the root joint jitters, too. The speed of a
joint is relative to the size of the person, so that the settings fit videos of any resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from arch.decode import CROP_SIDE_MM
from explore.predict.pipeline import Person
from quantize.sdk.edgepose_decoder import OneEuro

RESET_AFTER = 1.0  # s after which a person who was not seen starts anew


@dataclass
class _Filters:
    px: OneEuro = field(default_factory=OneEuro)
    mm: OneEuro = field(default_factory=OneEuro)
    time_s: float = 0.0


@dataclass
class Smoother:
    """The filters of all people in a video, by model and number."""

    _filters: dict[tuple[str, int], _Filters] = field(default_factory=dict)

    def smooth(self, model: str, people: Sequence[Person], time_s: float, padding: float) -> list[Person]:
        """Return the people of the next frame with smoothed joints.

        Args:
            model: label of the model that predicted them.
            time_s: time of the frame, s.
            padding: side of a person's region in longer sides of the box, for people without a region of interest.
        """
        smoothed = []
        for person in people:
            own = self._filters.get((model, person.number))
            if own is None or time_s - own.time_s > RESET_AFTER:
                own = self._filters[model, person.number] = _Filters()
            own.time_s = time_s
            side = person.region.size if person.region else padding * float(max(person.bbox[2:]))
            px, mm = own.px.filter(person.px, time_s, side), own.mm.filter(person.mm, time_s, CROP_SIDE_MM)
            smoothed.append(replace(person, px=px, mm=mm))
        return smoothed
