"""Captured motion: ASF skeletons and AMC clips, the format of the CMU motion capture database.

A bone's rest direction is given in the skeleton's axes; its angles turn it about axes of its own (`axis`), in the order
that the file names: XYZ turns about x first. Lengths are in inches over the `length` unit of the file.
Joints are metres in the body's axes: x to the person's left, y to the back, z up.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from arch.errors import InputError
from explore.data.synthetic.pose import rotation_x, rotation_y, rotation_z

INCH = 0.0254  # m
TURN = {"x": rotation_x, "y": rotation_y, "z": rotation_z}
_FROM_CAPTURE = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # their x left, y up, z to the front
TESTED = 0.2  # of the clips, or of the frames where there is one clip, are for the test part


@dataclass(frozen=True)
class Bone:
    """direction: unit vector at rest; length: m; axes: (3, 3) that its angles turn about; dof: names of the angles."""

    parent: str
    direction: np.ndarray
    length: float
    axes: np.ndarray
    order: str
    dof: tuple[str, ...]


@dataclass(frozen=True)
class CapturedSkeleton:
    """bones: by name, parents first; root_dof: the root's channels in their order; metre: what a unit of length is."""

    bones: dict[str, Bone]
    root_dof: tuple[str, ...]
    root_order: str
    root_axes: np.ndarray
    degrees: bool
    metre: float


Angles = dict[str, tuple[float, ...]]


def euler(order: str, angles: dict[str, float]) -> np.ndarray:
    """(3, 3) of angles in degrees about x, y, z; `order` XYZ turns about x first. Absent angles are 0."""
    turn = np.eye(3)
    for axis in order.lower():
        turn = TURN[axis](np.deg2rad(angles.get(axis, 0.0))) @ turn
    return turn


# ---- ASF ----


def read_skeleton(path: Path) -> CapturedSkeleton:
    """Parse an ASF file.

    Raises:
        InputError: missing, or not a whole skeleton; the line names what is wrong.
    """
    sections = _sections(path)
    units = {words[0]: words[1] for words in sections.get("units", []) if len(words) > 1}
    root = {words[0].lower(): words[1:] for words in sections.get("root", [])}
    parents = {
        child: words[0]
        for words in sections.get("hierarchy", [])
        if words[0] not in ("begin", "end")
        for child in words[1:]
    }
    try:
        metre = INCH / float(units.get("length", "1"))
        degrees = units.get("angle", "deg").startswith("deg")
        given = {}
        for block in _blocks(sections.get("bonedata", [])):
            name = block["name"][0]
            direction = np.array([float(value) for value in block["direction"][:3]])
            *axis, order = block.get("axis", ["0", "0", "0", "XYZ"])[:4]
            angles = dict(zip("xyz", (float(value) * (1 if degrees else 180 / np.pi) for value in axis), strict=True))
            given[name] = Bone(
                parents[name],
                direction / np.linalg.norm(direction),
                float(block["length"][0]) * metre,
                euler(order, angles),
                order,
                tuple(word.lower() for word in block.get("dof", [])),
            )
        orientation = dict(zip("xyz", (float(value) for value in root.get("orientation", ["0"] * 3)), strict=True))
        root_order = root.get("axis", ["XYZ"])[0]
        dof = tuple(word.lower() for word in root["order"])
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(
            f"{path}: not a whole ASF skeleton ({error} is missing or no number); fetch it again"
        ) from None
    bones = _parents_first(given, path)
    return CapturedSkeleton(bones, dof, root_order, euler(root_order, orientation), degrees, metre)


def _sections(path: Path) -> dict[str, list[list[str]]]:
    found: dict[str, list[list[str]]] = {}
    current: list[list[str]] = []
    for line in _lines(path):
        if line.startswith(":"):
            current = found.setdefault(line[1:].split()[0].lower(), [])
        else:
            current.append(line.split())
    if "bonedata" not in found or "hierarchy" not in found:
        raise InputError(f"{path}: no ASF skeleton (:bonedata or :hierarchy is missing); fetch it again")
    return found


def _blocks(lines: list[list[str]]) -> list[dict[str, list[str]]]:
    blocks: list[dict[str, list[str]]] = []
    for words in lines:
        if words[0] == "begin":
            blocks.append({})
        elif blocks:
            blocks[-1].setdefault(words[0].lower(), words[1:])
    return blocks


def _parents_first(given: dict[str, Bone], path: Path) -> dict[str, Bone]:
    bones: dict[str, Bone] = {}
    while len(bones) < len(given):
        ready = [name for name, bone in given.items() if name not in bones and bone.parent in ("root", *bones)]
        if not ready:
            lost = next(name for name in given if name not in bones)
            raise InputError(f"{path}: bone {lost} does not hang on the root; mend :hierarchy")
        bones |= {name: given[name] for name in ready}
    return bones


# ---- AMC ----


def read_motion(path: Path, skeleton: CapturedSkeleton) -> list[Angles]:
    """The frames of an AMC file: values by bone, as they stand there.

    Raises:
        InputError: missing, or a bone has not the values that the skeleton asks for.
    """
    wanted = {"root": len(skeleton.root_dof)} | {name: len(bone.dof) for name, bone in skeleton.bones.items()}
    frames: list[Angles] = []
    for line in _lines(path):
        if line.startswith(":"):
            continue
        name, *values = line.split()
        if not values and name.isdigit():
            frames.append({})
            continue
        if not frames or wanted.get(name) != len(values):
            raise InputError(
                f"{path}: frame {len(frames)}: {name} has {len(values)} values; take the clip's own skeleton"
            )
        try:
            frames[-1][name] = tuple(float(value) for value in values)
        except ValueError:
            raise InputError(f"{path}: frame {len(frames)}: {name}: not a number; fetch the file again") from None
    if not frames or "root" not in frames[-1]:
        raise InputError(f"{path}: no whole frames; fetch the file again, it may be cut off")
    return frames


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def place(skeleton: CapturedSkeleton, frame: Angles) -> dict[str, np.ndarray]:
    """Where every bone ends, and the root, m, by name."""
    unit = 1.0 if skeleton.degrees else 180 / np.pi
    channels = dict(zip(skeleton.root_dof, frame["root"], strict=True))
    shift = np.array([channels.get(f"t{axis}", 0.0) for axis in "xyz"]) * skeleton.metre
    turned = {axis: channels.get(f"r{axis}", 0.0) * unit for axis in "xyz"}
    ends = {"root": shift}
    turns = {"root": skeleton.root_axes @ euler(skeleton.root_order, turned) @ skeleton.root_axes.T}
    for name, bone in skeleton.bones.items():
        values = frame.get(name, (0.0,) * len(bone.dof))
        angles = {dof[1]: value * unit for dof, value in zip(bone.dof, values, strict=True) if dof[0] == "r"}
        turns[name] = turns[bone.parent] @ bone.axes @ euler(bone.order, angles) @ bone.axes.T
        ends[name] = ends[bone.parent] + turns[name] @ (bone.direction * bone.length)
    return {name: _FROM_CAPTURE @ end for name, end in ends.items()}


# ---- a folder of clips ----


@dataclass(frozen=True, eq=False)
class Motion:
    """Clips of a folder. A clip belongs to the skeleton whose name its own begins with: 02_01.amc to 02.asf."""

    clips: tuple[tuple[CapturedSkeleton, tuple[Angles, ...]], ...]
    hash: str

    def draw(self, rng: np.random.Generator, split: str) -> dict[str, np.ndarray]:
        """The joints of one frame of a clip for this split; no frame is in both."""
        if len(self.clips) == 1:
            skeleton, frames = self.clips[0]
            border = min(len(frames) - 1, round(len(frames) * (1 - TESTED)))
            chosen = [(skeleton, frames[:border] if split == "train" else frames[border:])]
        else:
            border = len(self.clips) - max(1, round(len(self.clips) * TESTED))
            chosen = list(self.clips[:border] if split == "train" else self.clips[border:])
        skeleton, frames = chosen[int(rng.integers(len(chosen)))]
        return place(skeleton, frames[int(rng.integers(len(frames)))])


def open_motion(folder: Path) -> Motion:
    """All clips of a folder that holds NAME.asf and NAME_*.amc files.

    Raises:
        InputError: no clips, a clip without its skeleton, or a file that cannot be read.
    """
    paths = sorted(folder.glob("*.amc"))
    if not paths:
        raise InputError(f"{folder}: holds no .amc clips; name the folder of SUBJECT.asf and SUBJECT_*.amc")
    skeletons, clips, digest = {}, [], sha256()
    for path in paths:
        asf = path.with_name(f"{path.stem.split('_')[0]}.asf")
        if asf not in skeletons:
            skeletons[asf] = read_skeleton(asf)
            digest.update(asf.read_bytes())
        digest.update(path.read_bytes())
        clips.append((skeletons[asf], tuple(read_motion(path, skeletons[asf]))))
    if len(clips) == 1 and len(clips[0][1]) < 2:
        raise InputError(f"{paths[0]}: has one frame; training and test need one each, give more")
    return Motion(tuple(clips), digest.hexdigest()[:12])
