"""Captured motion: ASF skeletons and AMC clips, the format of the CMU motion capture database.

A bone's rest direction is given in the skeleton's axes. Its angles rotate it about its own axes (`axis`) in the order
that the file gives; XYZ rotates about x first. Lengths are in inches divided by the `length` unit of the file. Joints
are in metres in the axes of the body model: x to the person's left, y to the back, z up.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from arch.errors import InputError
from explore.data.synthetic.pose import rotation_x, rotation_y, rotation_z

INCH = 0.0254  # m
ROTATIONS = {"x": rotation_x, "y": rotation_y, "z": rotation_z}
_FROM_CAPTURE = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # captured axes: x left, y up, z to the front
HELD_OUT = 0.2  # of the clips, or of the frames of a single clip: for the test split, then for the validation part


@dataclass(frozen=True)
class Bone:
    """One bone.

    direction: unit vector at rest; length: m; axes: (3, 3), about which its angles rotate; dof: names of the angles
    """

    parent: str
    direction: np.ndarray
    length: float
    axes: np.ndarray
    order: str
    dof: tuple[str, ...]


@dataclass(frozen=True)
class CapturedSkeleton:
    """A skeleton of an ASF file.

    bones: by name, parents first; root_dof: channels of the root in file order; metre: metres per unit of length
    """

    bones: dict[str, Bone]
    root_dof: tuple[str, ...]
    root_order: str
    root_axes: np.ndarray
    degrees: bool
    metre: float


Angles = dict[str, tuple[float, ...]]
Clip = tuple[CapturedSkeleton, tuple[Angles, ...]]


def euler(order: str, angles: dict[str, float]) -> np.ndarray:
    """Return the rotation (3, 3) by angles in degrees about x, y, z (default 0). `order` XYZ rotates about x first."""
    rotation = np.eye(3)
    for axis in order.lower():
        rotation = ROTATIONS[axis](np.deg2rad(angles.get(axis, 0.0))) @ rotation
    return rotation


# ---- ASF ----


def read_skeleton(path: Path) -> CapturedSkeleton:
    """Read an ASF file.

    Raises:
        InputError: the file is missing or not a complete skeleton.
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
            f"{path}: not a complete ASF skeleton ({error} is missing or not a number); fetch the file again"
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
        raise InputError(f"{path}: not an ASF skeleton (:bonedata or :hierarchy is missing); fetch the file again")
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
            unconnected = next(name for name in given if name not in bones)
            raise InputError(f"{path}: bone {unconnected} is not connected to the root; correct :hierarchy")
        bones |= {name: given[name] for name in ready}
    return bones


# ---- AMC ----


def read_motion(path: Path, skeleton: CapturedSkeleton) -> list[Angles]:
    """Read an AMC file. Return the values of each bone by frame, unconverted.

    Raises:
        InputError: the file is missing, or a bone has another number of values than in the skeleton.
    """
    expected = {"root": len(skeleton.root_dof)} | {name: len(bone.dof) for name, bone in skeleton.bones.items()}
    frames: list[Angles] = []
    for line in _lines(path):
        if line.startswith(":"):
            continue
        name, *values = line.split()
        if not values and name.isdigit():
            frames.append({})
            continue
        if not frames or expected.get(name) != len(values):
            raise InputError(
                f"{path}: frame {len(frames)}: {name} has {len(values)} values; use the clip's own skeleton"
            )
        try:
            frames[-1][name] = tuple(float(value) for value in values)
        except ValueError:
            raise InputError(f"{path}: frame {len(frames)}: {name}: not a number; fetch the file again") from None
    if not frames or any("root" not in frame for frame in frames):
        raise InputError(f"{path}: no frames, or one without root; fetch the file again, it may be truncated")
    return frames


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def forward_kinematics(skeleton: CapturedSkeleton, frame: Angles) -> dict[str, np.ndarray]:
    """Return the positions of the root and of the end of each bone by name, m."""
    unit = 1.0 if skeleton.degrees else 180 / np.pi
    channels = dict(zip(skeleton.root_dof, frame["root"], strict=True))
    shift = np.array([channels.get(f"t{axis}", 0.0) for axis in "xyz"]) * skeleton.metre
    angles_of_root = {axis: channels.get(f"r{axis}", 0.0) * unit for axis in "xyz"}
    ends = {"root": shift}
    rotations = {"root": skeleton.root_axes @ euler(skeleton.root_order, angles_of_root) @ skeleton.root_axes.T}
    for name, bone in skeleton.bones.items():
        values = frame.get(name, (0.0,) * len(bone.dof))
        angles = {dof[1]: value * unit for dof, value in zip(bone.dof, values, strict=True) if dof[0] == "r"}
        rotations[name] = rotations[bone.parent] @ bone.axes @ euler(bone.order, angles) @ bone.axes.T
        ends[name] = ends[bone.parent] + rotations[name] @ (bone.direction * bone.length)
    return {name: _FROM_CAPTURE @ end for name, end in ends.items()}


# ---- a folder of clips ----


@dataclass(frozen=True, eq=False)
class Motion:
    """Clips of a folder, each with the skeleton that its name begins with: 02_01.amc belongs to 02.asf."""

    clips: tuple[Clip, ...]
    hash: str

    def sample(self, rng: np.random.Generator, split: str) -> dict[str, np.ndarray]:
        """Return the joints of a random frame of this split. No frame is in two splits, nor a clip if there are three.

        Raises:
            InputError: too few frames for a validation part.
        """
        rest, test = _cut(self.clips)
        train, validation = _cut(rest)
        chosen = {"train": train, "validation": validation, "test": test}[split]
        if not chosen:
            raise InputError("poses: two captured frames are too few for a validation part; give at least three")
        skeleton, frames = chosen[int(rng.integers(len(chosen)))]
        return forward_kinematics(skeleton, frames[int(rng.integers(len(frames)))])


def _cut(clips: tuple[Clip, ...]) -> tuple[tuple[Clip, ...], tuple[Clip, ...]]:
    """Return all but the last clips, and these; a single clip is cut by its frames."""
    if len(clips) > 1:
        border = len(clips) - max(1, round(len(clips) * HELD_OUT))
        return clips[:border], clips[border:]
    skeleton, frames = clips[0]
    if len(frames) < 2:
        return clips, ()
    border = min(len(frames) - 1, round(len(frames) * (1 - HELD_OUT)))
    return ((skeleton, frames[:border]),), ((skeleton, frames[border:]),)


def load_motion(folder: Path) -> Motion:
    """Read all clips of a folder of NAME.asf and NAME_*.amc files.

    Raises:
        InputError: no clips, a clip without its skeleton, or a file that cannot be read.
    """
    paths = sorted(folder.glob("*.amc"))
    if not paths:
        raise InputError(f"{folder}: no .amc clips; give the folder of SUBJECT.asf and SUBJECT_*.amc")
    skeletons, clips, digest = {}, [], sha256()
    for path in paths:
        asf = path.with_name(f"{path.stem.split('_')[0]}.asf")
        if asf not in skeletons:
            skeletons[asf] = read_skeleton(asf)
            digest.update(asf.read_bytes())
        digest.update(path.read_bytes())
        clips.append((skeletons[asf], tuple(read_motion(path, skeletons[asf]))))
    if len(clips) == 1 and len(clips[0][1]) < 2:
        raise InputError(f"{paths[0]}: has one frame; give at least three, for training, validation and test")
    return Motion(tuple(clips), digest.hexdigest()[:12])
