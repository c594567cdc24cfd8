"""What a user asked of all pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from explore.predict.boxes import Entry


@dataclass(frozen=True)
class Wish:
    """What one call of `predict` is to do with every picture.

    out:                folder for what is written
    entries, option:    boxes, and the option that they came by; without them people are looked for
    whole:              every picture is one person's box, root_depth mm away where that is given
    focal, principal:   px, of every picture
    seconds, suffix:    how much of a film, and what is written of it
    """

    out: Path
    entries: Sequence[Entry] = ()
    option: str = "--bbox"
    whole: bool = False
    root_depth: float | None = None
    focal: float | None = None
    principal: tuple[float, float] | None = None
    seconds: float = math.inf
    suffix: str = "mp4"
