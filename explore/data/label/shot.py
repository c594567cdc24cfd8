"""Images in which people are to be labelled, with a region of interest (explore.data.framing) of each person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from explore.data.framing import Region


@dataclass(frozen=True)
class Shot:
    """One image in which people are to be labelled.

    key:    identifies the image among all inputs, by content: the same photo under another name has the same key
    source: path of the photo or video, for messages
    name:   of the image in the labelled set, relative to images/, without suffix
    unit:   number of the photo or video, by content; images of one unit belong to one part of the data
    people: number of each person in the photo, or of the track in the video, and the region of interest
    focal:  focal length, px
    image:  RGB uint8 (H, W, 3)
    """

    key: str
    source: str
    name: str
    unit: int
    people: list[tuple[int, Region]]
    focal: float
    image: np.ndarray
