"""Skin, hair and clothes, as functions of where a point lies on the body in the rest pose.

The same function that tells a vertex how thick its garment is tells a pixel its colour, so that hems and
patterns are as sharp as the picture, not as coarse as the mesh.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np

from explore.data.synthetic.body import PARTS, Body

SKIN_TONES = np.array(
    [[236, 188, 160], [224, 172, 138], [198, 134, 98], [160, 106, 76], [120, 80, 58], [86, 58, 44], [244, 208, 184]],
    np.float32,
)
HAIR_TONES = np.array(
    [[28, 22, 20], [60, 42, 30], [105, 75, 45], [190, 155, 100], [120, 115, 112], [130, 60, 30]], np.float32
)
_DENIM = np.array([45, 60, 95], np.float32)
_PART = {name: index for index, name in enumerate(PARTS)}


class Cover(IntEnum):
    """What lies on a point of the body."""

    SKIN = 0
    TOP = 1
    BOTTOM = 2
    SHOE = 3
    HAIR = 4
    BEARD = 5
    EYE = 6
    BROW = 7
    LIPS = 8
    BELT = 9
    SOLE = 10


@dataclass(frozen=True)
class Landmarks:
    """Points of one person in the rest pose that clothes hang on, m."""

    floor: float
    waist: float
    neck: float
    hip: float
    chest: float
    ear: np.ndarray
    left_eye: np.ndarray
    right_eye: np.ndarray
    nose: np.ndarray


@dataclass(frozen=True)
class Outfit:
    """One person's looks. Colours are RGB 0 to 255; lengths are shares of a limb; heights metres."""

    marks: Landmarks
    skin: np.ndarray
    hair: np.ndarray
    top: np.ndarray
    top_second: np.ndarray
    bottom: np.ndarray
    bottom_second: np.ndarray
    shoe: np.ndarray
    sole: np.ndarray
    pattern: str
    bottom_pattern: str
    frequency: float
    waist: float
    hem: float
    collar: float
    collar_v: float
    sleeve: float
    trouser: float
    shoe_height: float
    belt: bool
    bald: bool
    hair_slope: float
    hair_line: float
    long_hair: bool
    beard: bool
    thickness: np.ndarray
    texture: np.ndarray


PATTERNS = ("plain", "stripes", "plaid", "print", "dots", "blocks")


def surface(body: Body, vertices: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """(V, 12) float32: position, share along arm and leg (0 shoulder or hip, 1 wrist or ankle), PARTS weights."""

    def share(first: str, middle: str, last: str) -> np.ndarray:
        along = np.zeros(len(vertices), np.float32)
        for side, mine in (("L", vertices[:, 0] > 0), ("R", vertices[:, 0] <= 0)):
            a, b, c = (heads[body.bone_index[bone + side]] for bone in (first, middle, last))
            upper, lower = b - a, c - b
            on_upper = ((vertices - a) @ upper) / (upper @ upper)
            on_lower = ((vertices - b) @ lower) / (lower @ lower)
            whole = np.where(on_lower > 0, 1 + on_lower, np.minimum(on_upper, 1)) / 2
            along[mine] = whole[mine]
        return along

    arm = share("upperarm01.", "lowerarm01.", "wrist.")
    leg = share("upperleg01.", "lowerleg01.", "foot.")
    return np.concatenate([vertices, arm[:, None], leg[:, None], body.part_weights], 1, dtype=np.float32)


def landmarks(body: Body, vertices: np.ndarray, heads: np.ndarray) -> Landmarks:
    """Landmarks of a person from rest vertices (V, 3) and bone heads (B, 3)."""
    nose, left_eye, right_eye, left_ear, right_ear = body.keypoints[:5] @ vertices

    def height(bone: str) -> float:
        return float(heads[body.bone_index[bone]][2])

    return Landmarks(
        floor=float(vertices[:, 2].min()),
        waist=height("spine04"),
        neck=height("neck01"),
        hip=height("upperleg01.L"),
        chest=height("spine01"),
        ear=(left_ear + right_ear) / 2,
        left_eye=left_eye,
        right_eye=right_eye,
        nose=nose,
    )


def hsv(
    rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float] = (0.1, 1.0)
) -> np.ndarray:
    """A colour of random hue."""
    colour = rng.uniform(0, 180), rng.uniform(*saturation) * 255, rng.uniform(*value) * 255
    return cv2.cvtColor(np.array([[colour]], np.uint8), cv2.COLOR_HSV2RGB)[0, 0].astype(np.float32)


def sample_outfit(rng: np.random.Generator, marks: Landmarks) -> Outfit:
    """Draw one person's looks."""
    u = rng.uniform
    skin = SKIN_TONES[rng.integers(len(SKIN_TONES))] * u(0.85, 1.1) + rng.normal(0, 5, 3)
    top = hsv(rng, (0, 0.75 if rng.random() < 0.8 else 0.95), (0.08, 1))
    bottom = hsv(rng, (0, 0.45), (0.05, 0.75))
    if rng.random() < 0.35:
        bottom = _DENIM * u(0.5, 1.5)
    if rng.random() < 0.07:
        bottom = top
    top_second = np.clip(top + rng.normal(0, 65, 3), 0, 255)
    bottom_second = np.clip(bottom + rng.normal(0, 40, 3), 0, 255)
    long_top = rng.random() < 0.35
    waist = marks.waist + u(-0.06, 0.05)
    sole = np.full(3, u(200, 245)) if rng.random() < 0.5 else np.full(3, u(15, 60))
    return Outfit(
        marks=marks,
        skin=skin.astype(np.float32),
        hair=HAIR_TONES[rng.integers(len(HAIR_TONES))] * u(0.7, 1.2),
        top=top,
        top_second=top_second,
        bottom=bottom,
        bottom_second=bottom_second,
        shoe=hsv(rng, (0, 0.5), (0.05, 0.9)),
        sole=sole,
        pattern=str(rng.choice(PATTERNS, p=(0.42, 0.16, 0.12, 0.12, 0.08, 0.1))),
        bottom_pattern=str(rng.choice(("plain", "stripes", "plaid"), p=(0.84, 0.08, 0.08))),
        frequency=u(60, 200),
        waist=waist,
        hem=marks.hip - u(-0.02, 0.22) if long_top else waist,
        collar=marks.neck + u(-0.05, 0.01),
        collar_v=u(0.04, 0.13) if rng.random() < 0.5 else 0.02,
        sleeve=float(rng.choice((0.06, 0.3, 0.45, 0.95), p=(0.12, 0.3, 0.18, 0.4))),
        trouser=float(rng.choice((0.25, 0.5, 0.97), p=(0.15, 0.2, 0.65))),
        shoe_height=u(0.93, 1.0),
        belt=not long_top and rng.random() < 0.4,
        bald=rng.random() < 0.08,
        hair_slope=u(0.5, 0.9),
        hair_line=u(-0.015, 0.03),
        long_hair=rng.random() < 0.35,
        beard=rng.random() < 0.2,
        # in the order of Cover
        thickness=np.array(
            [0, u(0.008, 0.026), u(0.006, 0.02), 0.006, u(0.008, 0.024), 0.002, 0, 0, 0, 0.016, 0.008], np.float32
        ),
        texture=rng.normal(0, 1, (4, 3)).astype(np.float32),
    )


def cover(points: np.ndarray, outfit: Outfit) -> np.ndarray:
    """Cover of each surface point; points: (N, 12) as from `surface`."""
    marks = outfit.marks
    x, y, z, arm_share, leg_share = points[:, :5].T
    part = {name: points[:, 5 + index] for name, index in _PART.items()}
    limb = np.maximum(part["arm"] + part["hand"], part["leg"] + part["foot"])
    head = part["head"] > 0.5
    arm = (part["arm"] + part["hand"] > 0.5) & (part["hand"] < 0.5)
    leg = (part["leg"] + part["foot"] > 0.5) & (part["foot"] < 0.5)
    trunk = (limb <= 0.5) & ~head
    result = np.zeros(len(points), np.int8)

    collar = outfit.collar - outfit.collar_v * np.clip(1 - np.abs(x) / 0.07, 0, 1) * (y < marks.ear[1])
    result[(trunk & (z < outfit.waist)) | (leg & (leg_share < outfit.trouser))] = Cover.BOTTOM
    result[(trunk & (z >= outfit.waist) & (z < collar)) | (arm & (arm_share < outfit.sleeve))] = Cover.TOP
    result[(trunk | leg) & (z < outfit.waist) & (z > outfit.hem)] = Cover.TOP
    if outfit.belt:
        result[trunk & (np.abs(z - outfit.waist + 0.015) < 0.016)] = Cover.BELT
    shoe = (part["foot"] > 0.5) | (leg & (leg_share > outfit.shoe_height))
    result[shoe] = Cover.SHOE
    result[shoe & (z < marks.floor + 0.02)] = Cover.SOLE

    eye_height = (marks.left_eye[2] + marks.right_eye[2]) / 2
    if not outfit.bald:
        behind, above = y - marks.ear[1], z - marks.ear[2]
        scalp = head & (above + behind * outfit.hair_slope > outfit.hair_line) & (above > -0.07)
        face = (behind < -0.03) & (z < eye_height + 0.045)
        result[scalp & ~face] = Cover.HAIR
        if outfit.long_hair:
            fall = (head | (part["neck"] > 0.5)) & (behind > -0.01) & (z > marks.neck - 0.02)
            result[fall] = Cover.HAIR
        if outfit.beard:
            chin = head & (behind < 0) & (z < eye_height - 0.06) & (z > eye_height - 0.14)
            result[chin] = Cover.BEARD
    front = head & (y < marks.ear[1] - 0.04)
    for eye in (marks.left_eye, marks.right_eye):
        dx, dz = np.abs(x - eye[0]), z - eye[2]
        result[front & (dx < 0.022) & (np.abs(dz - 0.022) < 0.005)] = Cover.BROW
        result[front & ((dx / 0.014) ** 2 + (dz / 0.006) ** 2 < 1)] = Cover.EYE
    mouth = (x / 0.024) ** 2 + ((z - marks.nose[2] + 0.045) / 0.008) ** 2 < 1
    result[front & mouth] = Cover.LIPS
    return result


def colours(points: np.ndarray, covers: np.ndarray, outfit: Outfit) -> np.ndarray:
    """RGB (N, 3) float32, 0 to 255, of surface points with the covers that `cover` found."""
    position = points[:, :3]
    palette = np.stack(
        [
            outfit.skin,
            outfit.top,
            outfit.bottom,
            outfit.shoe,
            outfit.hair,
            outfit.hair * 0.6 + outfit.skin * 0.4,
            np.array([52, 42, 40], np.float32),
            outfit.hair * 0.7 + outfit.skin * 0.2,
            outfit.skin * 0.75 + np.array([40, 0, 8], np.float32),
            outfit.bottom * 0.4,
            outfit.sole,
        ]
    ).astype(np.float32)
    rgb = palette[covers]
    for piece, second, pattern in (
        (Cover.TOP, outfit.top_second, outfit.pattern),
        (Cover.BOTTOM, outfit.bottom_second, outfit.bottom_pattern),
    ):
        if pattern != "plain":
            marked = (covers == piece) & _pattern(pattern, position, outfit)
            rgb[marked] = second
    strands = np.sin(position @ (outfit.texture[0] * 300)) * 0.1 + 0.97
    hairy = (covers == Cover.HAIR) | (covers == Cover.BEARD)
    rgb[hairy] *= strands[hairy, None]
    blotches = np.sin(position @ (outfit.texture[1] * 30)) * 5
    return rgb + blotches[:, None]


def folds(points: np.ndarray, covers: np.ndarray, outfit: Outfit) -> np.ndarray:
    """Brightness factor (N,) of creases in cloth; 1 elsewhere."""
    cloth = (covers == Cover.TOP) | (covers == Cover.BOTTOM)
    position = points[:, :3]
    bent = position @ (outfit.texture[2] * 28)
    crease = np.sin(bent + 1.8 * np.sin(position @ (outfit.texture[3] * 17))) * np.sin(
        position @ (outfit.texture[1] * 45)
    )
    return np.where(cloth, 1 + 0.11 * crease, 1).astype(np.float32)


def _pattern(pattern: str, position: np.ndarray, outfit: Outfit) -> np.ndarray:
    x, y, z = position.T
    f = outfit.frequency
    if pattern == "stripes":
        return np.sin(z * f) > 0
    if pattern == "plaid":
        return (np.sin(z * f) > 0.3) | (np.sin(x * f) > 0.3)
    if pattern == "dots":
        return np.sin(z * f) * np.sin(x * f) > 0.5
    if pattern == "blocks":
        return z > outfit.marks.chest - 0.05
    # a print on the chest
    return (np.abs(x) < 0.1) & (y < 0) & (np.abs(z - outfit.marks.chest + 0.05) < 0.1)
