"""Skin, hair and clothes as functions of the position on the body in the rest pose.

The same function determines the thickness of a garment at a vertex and its colour at a pixel, so that hems and patterns
have the resolution of the image, not of the mesh.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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


class Material(IntEnum):
    """Material on a point of the body."""

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
    HAT = 11
    GLOVE = 12


@dataclass(frozen=True)
class Landmarks:
    """Heights and points of one person in the rest pose that position the clothes, m."""

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
    """Appearance of one person. Colours are RGB 0 to 255, lengths fractions of a limb, heights metres.

    weave: strength of the fabric's fine texture; photo: (H, W, 3) uint8, shown by the pattern `photo`
    bare: a top that covers the chest only; barefoot: no shoes
    """

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
    hat: bool = False
    gloves: bool = False
    bare: bool = False
    barefoot: bool = False
    weave: float = 0.0
    photo: np.ndarray | None = None


PATTERNS = ("plain", "stripes", "plaid", "print", "dots", "blocks")


def surface(body: Body, vertices: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """Return (V, 12) float32: position, fraction along arm and leg (0 at the trunk, 1 at the end), PARTS weights."""

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
    """Return the landmarks of a person from rest vertices (V, 3) and bone heads (B, 3)."""
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
    """Return an RGB colour of random hue."""
    colour = rng.uniform(0, 180), rng.uniform(*saturation) * 255, rng.uniform(*value) * 255
    return cv2.cvtColor(np.array([[colour]], np.uint8), cv2.COLOR_HSV2RGB)[0, 0].astype(np.float32)


def sample_outfit(rng: np.random.Generator, marks: Landmarks) -> Outfit:
    """Sample the appearance of one person."""
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
        # in the order of Material
        thickness=np.array(
            [0, u(0.008, 0.026), u(0.006, 0.02), 0.006, u(0.008, 0.024), 0.002, 0, 0, 0, 0.016, 0.008], np.float32
        ),
        texture=rng.normal(0, 1, (4, 3)).astype(np.float32),
    )


def vary(rng: np.random.Generator, outfit: Outfit, photo: np.ndarray) -> Outfit:
    """Return the outfit with the variety of the level `full`: prints, loose and long garments, hats, gloves, skin tones,
    sports tops, bare feet.

    photo: (H, W, 3) uint8, from which prints are taken
    """
    u = rng.uniform
    first, second = SKIN_TONES[rng.integers(len(SKIN_TONES), size=2)]
    thickness = np.append(outfit.thickness, [u(0.015, 0.04), 0.003]).astype(np.float32)
    if rng.random() < 0.35:
        thickness[[Material.TOP, Material.BOTTOM]] = u(0.02, 0.05), u(0.012, 0.035)
    kinds, chances = (*PATTERNS, "photo", "upright", "patches"), (0.3, 0.12, 0.1, 0.08, 0.06, 0.06, 0.14, 0.06, 0.08)
    long_coat = rng.random() < 0.12
    channels = rng.permutation(3)
    bare = rng.random() < 0.12
    return replace(
        outfit,
        skin=((first + u(0, 1) * (second - first)) * u(0.8, 1.15) + rng.normal(0, 6, 3)).astype(np.float32),
        pattern=str(rng.choice(kinds, p=chances)),
        bottom_pattern=str(
            rng.choice(("plain", "stripes", "plaid", "photo", "patches"), p=(0.72, 0.06, 0.07, 0.09, 0.06))
        ),
        top_second=np.clip(outfit.top + rng.normal(0, u(20, 110), 3), 0, 255),
        hem=outfit.waist if bare else outfit.marks.hip - u(0.2, 0.45) if long_coat else outfit.hem,
        sleeve=-1.0 if bare else 0.95 if long_coat else outfit.sleeve,
        hat=rng.random() < 0.2,
        gloves=rng.random() < 0.06,
        bare=bare,
        barefoot=rng.random() < (0.6 if bare else 0.1),
        weave=u(0, 14),
        thickness=thickness,
        photo=photo[..., channels],
    )


def materials(points: np.ndarray, outfit: Outfit) -> np.ndarray:
    """Return the Material (N,) of surface points (N, 12), as from `surface`."""
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
    result[(trunk & (z < outfit.waist)) | (leg & (leg_share < outfit.trouser))] = Material.BOTTOM
    result[(trunk & (z >= outfit.waist) & (z < collar)) | (arm & (arm_share < outfit.sleeve))] = Material.TOP
    result[(trunk | leg) & (z < outfit.waist) & (z > outfit.hem)] = Material.TOP
    if outfit.bare:
        result[trunk & (z >= outfit.waist) & (np.abs(z - marks.chest + 0.04) > 0.08)] = Material.SKIN
    if outfit.belt:
        result[trunk & (np.abs(z - outfit.waist + 0.015) < 0.016)] = Material.BELT
    shoe = (part["foot"] > 0.5) | (leg & (leg_share > outfit.shoe_height))
    if not outfit.barefoot:
        result[shoe] = Material.SHOE
        result[shoe & (z < marks.floor + 0.02)] = Material.SOLE

    eye_height = (marks.left_eye[2] + marks.right_eye[2]) / 2
    if not outfit.bald:
        behind, above = y - marks.ear[1], z - marks.ear[2]
        scalp = head & (above + behind * outfit.hair_slope > outfit.hair_line) & (above > -0.07)
        face = (behind < -0.03) & (z < eye_height + 0.045)
        result[scalp & ~face] = Material.HAIR
        if outfit.long_hair:
            fall = (head | (part["neck"] > 0.5)) & (behind > -0.01) & (z > marks.neck - 0.02)
            result[fall] = Material.HAIR
        if outfit.beard:
            chin = head & (behind < 0) & (z < eye_height - 0.06) & (z > eye_height - 0.14)
            result[chin] = Material.BEARD
    front = head & (y < marks.ear[1] - 0.04)
    for eye in (marks.left_eye, marks.right_eye):
        dx, dz = np.abs(x - eye[0]), z - eye[2]
        result[front & (dx < 0.022) & (np.abs(dz - 0.022) < 0.005)] = Material.BROW
        result[front & ((dx / 0.014) ** 2 + (dz / 0.006) ** 2 < 1)] = Material.EYE
    if outfit.hat:
        result[head & (z - marks.ear[2] > 0.075) & ((y > marks.ear[1] - 0.07) | (z > eye_height + 0.06))] = Material.HAT
    if outfit.gloves:
        result[part["hand"] > 0.5] = Material.GLOVE
    mouth = (x / 0.024) ** 2 + ((z - marks.nose[2] + 0.045) / 0.008) ** 2 < 1
    result[front & mouth] = Material.LIPS
    return result


def colours(points: np.ndarray, material: np.ndarray, outfit: Outfit) -> np.ndarray:
    """Return RGB (N, 3) float32, 0 to 255, of surface points with materials (N,)."""
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
            outfit.top_second,
            outfit.shoe,
        ]
    ).astype(np.float32)
    rgb = palette[material]
    for piece, second, pattern in (
        (Material.TOP, outfit.top_second, outfit.pattern),
        (Material.BOTTOM, outfit.bottom_second, outfit.bottom_pattern),
    ):
        if pattern == "photo" and outfit.photo is not None:
            worn = material == piece
            rgb[worn] = _print(position[worn], outfit.photo, outfit.frequency)
        elif pattern != "plain":
            marked = (material == piece) & _pattern(pattern, position, outfit)
            rgb[marked] = second
    strands = np.sin(position @ (outfit.texture[0] * 300)) * 0.1 + 0.97
    hairy = (material == Material.HAIR) | (material == Material.BEARD)
    rgb[hairy] *= strands[hairy, None]
    blotches = np.sin(position @ (outfit.texture[1] * 30)) * 5
    if outfit.weave:
        blotches += (
            np.sin(position @ (outfit.texture[2] * 900)) * np.sin(position @ (outfit.texture[0] * 1300)) * outfit.weave
        )
    return rgb + blotches[:, None]


def creases(points: np.ndarray, material: np.ndarray, outfit: Outfit) -> np.ndarray:
    """Return the brightness factor (N,) of creases in cloth, 1 elsewhere."""
    cloth = (material == Material.TOP) | (material == Material.BOTTOM)
    position = points[:, :3]
    bent = position @ (outfit.texture[2] * 28)
    crease = np.sin(bent + 1.8 * np.sin(position @ (outfit.texture[3] * 17))) * np.sin(
        position @ (outfit.texture[1] * 45)
    )
    return np.where(cloth, 1 + 0.11 * crease, 1).astype(np.float32)


def _print(position: np.ndarray, photo: np.ndarray, frequency: float) -> np.ndarray:
    """Return the colours (N, 3) of a photo wrapped around the body; frequency: 60 shows it large, 200 small."""
    height, width, _ = photo.shape
    across = ((position[:, 0] + 0.7 * position[:, 1]) * frequency * 4).astype(np.int32) % width
    down = (position[:, 2] * frequency * -4).astype(np.int32) % height
    return photo[down, across].astype(np.float32)


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
    if pattern == "upright":
        return np.sin(x * f) > 0
    if pattern == "patches":
        bent = 0.25 * f * position + np.sin(0.4 * f * position[:, [1, 2, 0]])
        return np.sin(bent).sum(1) > 0.4
    # print: a square on the chest
    return (np.abs(x) < 0.1) & (y < 0) & (np.abs(z - outfit.marks.chest + 0.05) < 0.1)
