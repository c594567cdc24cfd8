"""Colours of limbs, which distinguish left from right, and of people, whose hues differ from the limbs'."""

from __future__ import annotations

import colorsys

from explore.data.skeleton import joint_keys

LEFT, RIGHT, MIDDLE = "#ff8a1f", "#2f8fff", "#e9edf2"
PEOPLE = ("#1fa971", "#d6317f", "#7c4ddb", "#c9a400", "#00a3b4", "#c0392b", "#6b8e23", "#a0529c")


def limb_colour(start: str, end: str) -> str:
    """Return the colour of the line between two joints, by their names (`L_Knee`, `right wrist`, `Head`)."""
    (first, _), (last, _) = joint_keys((start, end))
    if {first, last} == {"L", "R"}:
        return MIDDLE
    return {"L": LEFT, "R": RIGHT, "": MIDDLE}[last or first]


def person_colour(index: int) -> str:
    """Return the colour of a person: hand-picked ones first, then hues spread by the golden ratio."""
    if index < len(PEOPLE):
        return PEOPLE[index]
    red, green, blue = colorsys.hls_to_rgb((index * 0.618034) % 1, 0.42, 0.6)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def rgb(colour: str) -> tuple[int, int, int]:
    """Return `#rrggbb` as three bytes."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
