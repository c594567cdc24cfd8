"""Colours of limbs and of people. Limbs tell left from right, people's hues keep away from both."""

from __future__ import annotations

import colorsys

LEFT, RIGHT, MIDDLE = "#ff8a1f", "#2f8fff", "#e9edf2"
PEOPLE = ("#1fa971", "#d6317f", "#7c4ddb", "#c9a400", "#00a3b4", "#c0392b", "#6b8e23", "#a0529c")


def limb_colour(start: str, end: str) -> str:
    """Colour of the bone between two joints by name (`L_Knee`, `R_Wrist`, `Head`)."""
    for side, colour in (("L_", LEFT), ("R_", RIGHT)):
        if end.startswith(side) or (start.startswith(side) and not end.startswith(("L_", "R_"))):
            return colour
    return MIDDLE


def person_colour(index: int) -> str:
    """A hue a person: hand-picked ones first, then hues that keep their distance by the golden ratio."""
    if index < len(PEOPLE):
        return PEOPLE[index]
    red, green, blue = colorsys.hls_to_rgb((index * 0.618034) % 1, 0.42, 0.6)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def rgb(colour: str) -> tuple[int, int, int]:
    """`#rrggbb` as three bytes."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
