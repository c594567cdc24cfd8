"""Retargeting of captured motion: rotate the body's bones to the captured directions and keep their lengths."""

from __future__ import annotations

import numpy as np

from arch.errors import InputError
from explore.data.synthetic.body import Body
from explore.data.synthetic.pose import rotation_about, rotation_z, shortest_rotation

LIMBS = ("hipjoint", "femur", "tibia", "foot", "clavicle", "humerus", "radius")
LEG = ("upperleg01", "lowerleg01", "foot")  # bones of the body model
REQUIRED_BONES = ("root", "lowerback", "upperback", "thorax", "head", *(side + bone for side in "lr" for bone in LIMBS))
STRAIGHT = 0.15  # fraction of the forearm across the upper arm below which the elbow's bending plane is undefined
MAX_TWIST = 1.6  # of an upper arm about its axis, radians

Joints = dict[str, np.ndarray]


def face_front(joints: Joints) -> Joints:
    """Rotate the person about the vertical axis until the hips face the front (-y)."""
    across = joints["lhipjoint"] - joints["rhipjoint"]
    rotation = rotation_z(-np.arctan2(across[1], across[0]))
    return {name: rotation @ joint for name, joint in joints.items()}


def rotations_from_joints(body: Body, heads: np.ndarray, joints: Joints) -> dict[str, np.ndarray]:
    """Return the global rotation (3, 3) of each bone.

    Trunk bones follow the coordinate frames of hips and chest, arm bones the directions of the captured bones, leg
    bones the positions of knees and ankles. An upper arm is also twisted to match the bending plane of the elbow.

    heads: (B, 3) rest bone heads; joints: ends of captured bones by name, as from motion.forward_kinematics

    Raises:
        InputError: a required bone is missing in the captured skeleton.
    """
    for name in REQUIRED_BONES:
        if name not in joints:
            raise InputError(f"captured skeleton: bone {name} is missing; name the bones as in the CMU database")

    def head(bone: str) -> np.ndarray:
        return heads[body.bone_index[bone]].astype(np.float64)

    rest_hips = _axes(head("upperleg01.L") - head("upperleg01.R"), head("spine03") - head("root"))
    rest_chest = _axes(head("upperarm01.L") - head("upperarm01.R"), head("neck01") - head("spine03"))
    hips = _axes(joints["lhipjoint"] - joints["rhipjoint"], joints["upperback"] - joints["root"]) @ rest_hips.T
    chest = _axes(joints["lclavicle"] - joints["rclavicle"], joints["thorax"] - joints["lowerback"]) @ rest_chest.T
    u, _, vt = np.linalg.svd(hips + chest)
    between = u @ vt
    rotations = {"root": hips, "spine05": hips, "spine04": between, "spine03": between}
    rotations |= {"spine02": chest, "spine01": chest}
    nod = shortest_rotation(chest @ (head("head") - head("neck01")), joints["head"] - joints["thorax"]) @ chest
    head_centre = (head("upperleg01.L") + head("upperleg01.R")) / 2
    captured_centre = (joints["lhipjoint"] + joints["rhipjoint"]) / 2
    rotations |= dict.fromkeys(("neck01", "neck02", "neck03", "head"), nod)
    for side in "LR":
        at = {bone: joints[side.lower() + bone] for bone in LIMBS}  # ends of the bones
        elbow, wrist = at["humerus"], at["radius"]
        forearm = head(f"wrist.{side}") - head(f"lowerarm01.{side}")
        upper = _point_at(chest, head(f"lowerarm01.{side}") - head(f"upperarm01.{side}"), elbow - at["clavicle"])
        upper = _twisted(upper, forearm, elbow - at["clavicle"], wrist - elbow)
        lower = _point_at(upper, forearm, wrist - elbow)
        thigh, shin = _leg(hips, [head(f"{bone}.{side}") for bone in LEG], head_centre, at, captured_centre)
        foot = _point_at(shin, head(f"toe1-1.{side}") - head(f"foot.{side}"), at["foot"] - at["tibia"])
        rotations |= {
            f"upperarm01.{side}": upper, f"lowerarm01.{side}": lower, f"wrist.{side}": lower,
            f"pelvis.{side}": hips, f"upperleg01.{side}": thigh, f"lowerleg01.{side}": shin, f"foot.{side}": foot,
        }  # fmt: skip
    return rotations


def _leg(
    hips: np.ndarray, heads: list[np.ndarray], centre: np.ndarray, at: Joints, captured_centre: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return rotations of thigh and shin that place knee and ankle as captured, relative to the hips and to scale.

    With directions alone, the feet of a body with narrower hips would cross.
    """
    hip, knee, ankle = heads
    captured = np.linalg.norm(at["femur"] - at["hipjoint"]) + np.linalg.norm(at["tibia"] - at["femur"])
    scale = (np.linalg.norm(knee - hip) + np.linalg.norm(ankle - knee)) / captured
    start = hips @ (hip - centre)
    thigh = _point_at(hips, knee - hip, scale * (at["femur"] - captured_centre) - start)
    start = start + thigh @ (knee - hip)
    return thigh, _point_at(thigh, ankle - knee, scale * (at["tibia"] - captured_centre) - start)


def _axes(across: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Return right-handed axes as columns, with z along `up` and x as close to `across` as possible."""
    z = up / np.linalg.norm(up)
    x = across - z * (across @ z)
    x = x / np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z], 1)


def _point_at(parent: np.ndarray, rest: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the parent's rotation followed by the shortest one that points the bone at `target`."""
    return shortest_rotation(parent @ rest, target) @ parent


def _twisted(rotation: np.ndarray, rest_child: np.ndarray, along: np.ndarray, child: np.ndarray) -> np.ndarray:
    """Twist the rotation about the bone so that its child bone lies in the captured plane."""
    axis = along / np.linalg.norm(along)
    current, target = rotation @ rest_child, child - axis * (child @ axis)
    current = current - axis * (current @ axis)
    if np.linalg.norm(target) < STRAIGHT * np.linalg.norm(child):
        return rotation
    angle = float(np.clip(np.arctan2(np.cross(current, target) @ axis, current @ target), -MAX_TWIST, MAX_TWIST))
    return rotation_about(along, angle) @ rotation
