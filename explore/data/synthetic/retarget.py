"""Captured joints on the baked body: its bones are turned the way the captured ones point, lengths stay the body's."""

from __future__ import annotations

import numpy as np

from arch.errors import InputError
from explore.data.synthetic.body import Body
from explore.data.synthetic.pose import rotation_z, swing

LIMBS = ("hipjoint", "femur", "tibia", "foot", "clavicle", "humerus", "radius")
LEG = ("upperleg01", "lowerleg01", "foot")  # of the body
NEEDED = ("root", "lowerback", "upperback", "thorax", "head", *(side + bone for side in "lr" for bone in LIMBS))
STRAIGHT = 0.15  # share of the forearm across the upper arm below which an elbow tells no plane
TWIST = 1.6  # radians that an upper arm may turn about itself

Joints = dict[str, np.ndarray]


def turned_to_front(joints: Joints) -> Joints:
    """The person turned about the vertical until the hips face the front (-y)."""
    across = joints["lhipjoint"] - joints["rhipjoint"]
    turn = rotation_z(-np.arctan2(across[1], across[0]))
    return {name: turn @ joint for name, joint in joints.items()}


def rotations_from_joints(body: Body, heads: np.ndarray, joints: Joints) -> dict[str, np.ndarray]:
    """Global rotation (3, 3) of the body's bones.

    heads: (B, 3) rest bone heads of this person; joints: ends of captured bones by name, in the body's axes
    (explore.data.synthetic.motion.place). Trunk bones follow the frames of hips and chest, arms the swing from parent
    to child, legs where knees and ankles are; an upper arm also twists so that the elbow bends the captured way.

    Raises:
        InputError: a bone that the mapping needs is not among the captured ones.
    """
    for name in NEEDED:
        if name not in joints:
            raise InputError(f"captured skeleton: no bone {name}; joints are mapped by the names of the CMU database")

    def head(bone: str) -> np.ndarray:
        return heads[body.bone_index[bone]].astype(np.float64)

    rest_hips = _frame(head("upperleg01.L") - head("upperleg01.R"), head("spine03") - head("root"))
    rest_chest = _frame(head("upperarm01.L") - head("upperarm01.R"), head("neck01") - head("spine03"))
    hips = _frame(joints["lhipjoint"] - joints["rhipjoint"], joints["upperback"] - joints["root"]) @ rest_hips.T
    chest = _frame(joints["lclavicle"] - joints["rclavicle"], joints["thorax"] - joints["lowerback"]) @ rest_chest.T
    u, _, vt = np.linalg.svd(hips + chest)
    between = u @ vt
    turns = {"root": hips, "spine05": hips, "spine04": between, "spine03": between, "spine02": chest, "spine01": chest}
    nod = swing(chest @ (head("head") - head("neck01")), joints["head"] - joints["thorax"]) @ chest
    head_centre = (head("upperleg01.L") + head("upperleg01.R")) / 2
    captured_centre = (joints["lhipjoint"] + joints["rhipjoint"]) / 2
    turns |= dict.fromkeys(("neck01", "neck02", "neck03", "head"), nod)
    for side in "LR":
        at = {bone: joints[side.lower() + bone] for bone in LIMBS}  # where each bone ends
        elbow, wrist = at["humerus"], at["radius"]
        forearm = head(f"wrist.{side}") - head(f"lowerarm01.{side}")
        upper = _follow(chest, head(f"lowerarm01.{side}") - head(f"upperarm01.{side}"), elbow - at["clavicle"])
        upper = _twisted(upper, forearm, elbow - at["clavicle"], wrist - elbow)
        lower = _follow(upper, forearm, wrist - elbow)
        thigh, shin = _leg(hips, [head(f"{bone}.{side}") for bone in LEG], head_centre, at, captured_centre)
        foot = _follow(shin, head(f"toe1-1.{side}") - head(f"foot.{side}"), at["foot"] - at["tibia"])
        turns |= {
            f"upperarm01.{side}": upper, f"lowerarm01.{side}": lower, f"wrist.{side}": lower,
            f"pelvis.{side}": hips, f"upperleg01.{side}": thigh, f"lowerleg01.{side}": shin, f"foot.{side}": foot,
        }  # fmt: skip
    return turns


def _leg(
    hips: np.ndarray, heads: list[np.ndarray], centre: np.ndarray, at: Joints, captured_centre: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rotations of thigh and shin that put knee and ankle where they were seen from between the hips, to scale.

    Directions alone would cross the feet of a body with narrower hips.
    """
    hip, knee, ankle = heads
    captured = np.linalg.norm(at["femur"] - at["hipjoint"]) + np.linalg.norm(at["tibia"] - at["femur"])
    scale = (np.linalg.norm(knee - hip) + np.linalg.norm(ankle - knee)) / captured
    start = hips @ (hip - centre)
    thigh = _follow(hips, knee - hip, scale * (at["femur"] - captured_centre) - start)
    start = start + thigh @ (knee - hip)
    return thigh, _follow(thigh, ankle - knee, scale * (at["tibia"] - captured_centre) - start)


def _frame(across: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Right-handed axes with z along `up` and x as near `across` as that allows, as columns."""
    z = up / np.linalg.norm(up)
    x = across - z * (across @ z)
    x = x / np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z], 1)


def _follow(parent: np.ndarray, rest: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The parent's rotation, swung on until the bone points at `target`."""
    return swing(parent @ rest, target) @ parent


def _twisted(turn: np.ndarray, rest_child: np.ndarray, along: np.ndarray, child: np.ndarray) -> np.ndarray:
    """`turn`, twisted about the bone so that its child lies on the side it should."""
    axis = along / np.linalg.norm(along)
    has, wants = turn @ rest_child, child - axis * (child @ axis)
    has = has - axis * (has @ axis)
    if np.linalg.norm(wants) < STRAIGHT * np.linalg.norm(child):
        return turn
    angle = float(np.clip(np.arctan2(np.cross(has, wants) @ axis, has @ wants), -TWIST, TWIST))
    k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turned: np.ndarray = (np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k) @ turn
    return turned
