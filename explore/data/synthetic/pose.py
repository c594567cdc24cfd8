"""Procedural poses: kinds of everyday and of athletic posture with noise, within the limits of human joints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields

import numpy as np

from explore.data.synthetic.body import Body

Rng = np.random.Generator


@dataclass
class Limbs:
    """Joint angles of one side in degrees; all 0 is standing with arms and legs straight down."""

    shoulder_flexion: float = 0.0
    shoulder_abduction: float = 0.0
    shoulder_rotation: float = 0.0
    elbow: float = 0.0
    pronation: float = 0.0
    curl: float = 0.0
    hip_flexion: float = 0.0
    hip_abduction: float = 0.0
    hip_rotation: float = 0.0
    knee: float = 0.0
    ankle: float = 0.0


@dataclass
class Pose:
    """Joint angles of a person in degrees.

    tumble, roll: rotation of the whole body about its left-right axis, such as lying, then about its front-back axis,
    such as a cartwheel
    """

    kind: str = "stand"
    lean: float = 0.0
    bend: float = 0.0
    side: float = 0.0
    twist: float = 0.0
    neck: float = 0.0
    neck_turn: float = 0.0
    neck_tilt: float = 0.0
    tumble: float = 0.0
    roll: float = 0.0
    left: Limbs = field(default_factory=Limbs)
    right: Limbs = field(default_factory=Limbs)

    @property
    def sides(self) -> tuple[Limbs, Limbs]:
        return self.left, self.right


LIMITS = {
    "shoulder_flexion": (-60.0, 180.0),
    "shoulder_abduction": (-5.0, 130.0),
    "shoulder_rotation": (-70.0, 80.0),
    "elbow": (0.0, 145.0),
    "pronation": (-80.0, 80.0),
    "curl": (0.0, 80.0),
    "hip_flexion": (-35.0, 128.0),
    "hip_abduction": (-10.0, 50.0),
    "hip_rotation": (-30.0, 40.0),
    "knee": (0.0, 140.0),
    "ankle": (-30.0, 45.0),
    "lean": (-35.0, 80.0),
    "bend": (-25.0, 60.0),
    "side": (-35.0, 35.0),
    "twist": (-45.0, 45.0),
    "neck": (-45.0, 45.0),
    "neck_turn": (-65.0, 65.0),
    "neck_tilt": (-30.0, 30.0),
}


def sample_pose(rng: Rng, kind: str | None = None, archetypes: Archetypes | None = None) -> Pose:
    """Sample a pose of the given kind, or of a kind sampled by the weights of `archetypes`, by default ARCHETYPES."""
    archetypes = archetypes or ARCHETYPES
    u = rng.uniform
    pose = Pose(neck=rng.normal(0, 8), neck_turn=rng.normal(0, 18), neck_tilt=rng.normal(0, 6))
    for limbs in pose.sides:
        limbs.shoulder_flexion, limbs.shoulder_abduction = u(-15, 15), u(4, 18)
        limbs.shoulder_rotation, limbs.elbow = u(-25, 25), u(5, 30)
        limbs.hip_flexion, limbs.hip_abduction, limbs.hip_rotation = rng.normal(0, 4), u(0, 10), u(-5, 15)
        limbs.knee, limbs.pronation, limbs.curl = u(0, 8), u(-40, 40), u(5, 45)
    kinds = list(archetypes)
    weights = np.array([weight for weight, _ in archetypes.values()], float)
    drawn = kinds[rng.choice(len(kinds), p=weights / weights.sum())]
    pose.kind = kind or drawn
    archetypes[pose.kind][1](pose, rng)
    pose.side += rng.normal(0, 3)
    pose.twist += rng.normal(0, 6)
    pose.bend += rng.normal(0, 4)
    for limbs in pose.sides:
        limbs.shoulder_flexion += rng.normal(0, 6)
        limbs.shoulder_abduction += rng.normal(0, 5)
        limbs.elbow += rng.normal(0, 5)
        limbs.knee += rng.normal(0, 3)
    for part in (pose, *pose.sides):
        for angle in fields(part):
            if angle.name in LIMITS:
                setattr(part, angle.name, float(np.clip(getattr(part, angle.name), *LIMITS[angle.name])))
    return pose


def sample_varied_pose(rng: Rng) -> Pose:
    """Sample a pose of the level `full`: of more kinds, often with arms of another pose, sometimes tilted."""
    pose, other = (sample_pose(rng, archetypes=ARCHETYPES | FURTHER) for _ in range(2))
    for limbs, others in zip(pose.sides, other.sides, strict=True):
        if rng.random() < OTHER_ARM_P:
            for angle in ARM_ANGLES:
                setattr(limbs, angle, getattr(others, angle))
    if rng.random() < TILT_P:
        pose.tumble += rng.normal(0, TILT)
        pose.roll += rng.normal(0, TILT)
    return pose


def _random_order(pose: Pose, rng: Rng) -> tuple[Limbs, Limbs]:
    """Return the two sides in random order."""
    return pose.sides if rng.random() < 0.5 else (pose.right, pose.left)


def _stand(pose: Pose, rng: Rng) -> None:
    pass


def _walk(pose: Pose, rng: Rng) -> None:
    _stride(pose, rng, amplitude=rng.uniform(18, 32), rest=4, swing=55, arms=0.9, elbow=(10, 35), lean=(0, 6))


def _run(pose: Pose, rng: Rng) -> None:
    _stride(pose, rng, amplitude=rng.uniform(30, 50), rest=8, swing=100, arms=1.0, elbow=(70, 110), lean=(5, 18))


def _stride(
    pose: Pose,
    rng: Rng,
    amplitude: float,
    rest: float,
    swing: float,
    arms: float,
    elbow: tuple[float, float],
    lean: tuple[float, float],
) -> None:
    phase = rng.uniform(0, 2 * np.pi)
    for limbs, sign in ((pose.left, 1), (pose.right, -1)):
        limbs.hip_flexion = amplitude * sign * np.sin(phase) + rest
        limbs.knee = rng.uniform(4, 10) + swing * max(0.0, sign * np.cos(phase))
        limbs.shoulder_flexion = -amplitude * arms * sign * np.sin(phase)
        limbs.elbow, limbs.hip_abduction = rng.uniform(*elbow), rng.uniform(0, 5)
    pose.lean, pose.twist = rng.uniform(*lean), -8 * np.sin(phase)


def _sit(pose: Pose, rng: Rng) -> None:
    u = rng.uniform
    for limbs in pose.sides:
        limbs.hip_flexion, limbs.hip_abduction, limbs.knee = u(75, 100), u(2, 25), u(60, 110)
        limbs.shoulder_flexion, limbs.elbow, limbs.shoulder_rotation = u(0, 60), u(20, 100), u(-20, 60)
    pose.lean, pose.bend = u(-15, 10), u(-5, 30)


def _floor(pose: Pose, rng: Rng) -> None:
    u = rng.uniform
    for limbs in pose.sides:
        limbs.hip_flexion, limbs.hip_abduction, limbs.knee = u(75, 120), u(0, 45), u(5, 130)
        limbs.shoulder_flexion, limbs.elbow = u(-50, 60), u(5, 90)
    pose.lean, pose.bend = u(-30, 10), u(0, 30)


def _squat(pose: Pose, rng: Rng) -> None:
    u = rng.uniform
    depth = u(40, 120)
    for limbs in pose.sides:
        limbs.hip_flexion, limbs.hip_abduction = depth + u(-8, 8), u(8, 35)
        limbs.knee, limbs.ankle = min(140, depth * 1.15) + u(-8, 8), -min(30, depth * 0.3)
        limbs.shoulder_flexion, limbs.elbow = u(0, 90), u(5, 90)
    pose.lean, pose.bend = u(10, 35), u(0, 25)


def _reach(pose: Pose, rng: Rng) -> None:
    u = rng.uniform
    for limbs in ((pose.left,), (pose.right,), pose.sides)[rng.integers(3)]:
        limbs.shoulder_flexion, limbs.shoulder_abduction, limbs.elbow = u(60, 175), u(0, 45), u(0, 40)
    pose.side, pose.bend = u(-12, 12), u(-10, 10)


def _gesture(pose: Pose, rng: Rng) -> None:
    u = rng.uniform
    for limbs in pose.sides:
        if rng.random() < 0.75:
            limbs.shoulder_flexion, limbs.shoulder_abduction = u(-10, 80), u(0, 80)
            limbs.elbow, limbs.shoulder_rotation = u(30, 130), u(-40, 70)


def _bend(pose: Pose, rng: Rng) -> None:
    u = rng.uniform
    pose.lean, pose.bend, pose.neck = u(25, 75), u(10, 50), u(-40, 10)
    for limbs in pose.sides:
        limbs.hip_flexion, limbs.knee = u(0, 20), u(0, 40)
        limbs.shoulder_flexion, limbs.elbow = u(30, 100), u(0, 60)


def _lunge(pose: Pose, rng: Rng) -> None:
    u = rng.uniform
    front, back = _random_order(pose, rng)
    front.hip_flexion, front.knee = u(45, 90), u(45, 100)
    back.hip_flexion, back.knee = u(-30, -5), u(5, 70)
    pose.lean = u(0, 20)
    for limbs in pose.sides:
        limbs.shoulder_flexion, limbs.shoulder_abduction, limbs.elbow = u(-40, 100), u(0, 80), u(0, 100)


def _kick(pose: Pose, rng: Rng) -> None:
    u = rng.uniform
    leg, _ = _random_order(pose, rng)
    leg.hip_flexion, leg.knee, leg.hip_abduction = u(30, 95), u(0, 70), u(0, 35)
    pose.lean = u(-20, 5)
    for limbs in pose.sides:
        limbs.shoulder_flexion, limbs.shoulder_abduction, limbs.elbow = u(-40, 60), u(10, 90), u(10, 110)


def _kneel(pose: Pose, rng: Rng) -> None:
    u = rng.uniform
    front, _ = _random_order(pose, rng)
    for limbs in pose.sides:
        limbs.knee, limbs.hip_flexion = u(85, 135), u(-5, 20)
        limbs.shoulder_flexion, limbs.elbow = u(0, 80), u(0, 100)
    if rng.random() < 0.6:
        front.hip_flexion, front.knee = u(80, 100), u(80, 105)


def _phone(pose: Pose, rng: Rng) -> None:
    u = rng.uniform
    hand, _ = _random_order(pose, rng)
    hand.shoulder_flexion, hand.elbow = u(10, 50), u(110, 145)
    hand.shoulder_rotation, hand.shoulder_abduction = u(0, 60), u(5, 40)


def _jump(pose: Pose, rng: Rng) -> None:
    u = rng.uniform
    for limbs in pose.sides:
        limbs.hip_flexion, limbs.knee, limbs.hip_abduction, limbs.ankle = u(-10, 70), u(10, 110), u(0, 35), 30
        limbs.shoulder_flexion, limbs.shoulder_abduction, limbs.elbow = u(-40, 175), u(0, 110), u(0, 90)


def _random(pose: Pose, rng: Rng) -> None:
    u = rng.uniform
    for limbs in pose.sides:
        limbs.shoulder_flexion, limbs.shoulder_abduction, limbs.shoulder_rotation = u(-45, 150), u(-5, 120), u(-60, 60)
        limbs.elbow, limbs.hip_flexion, limbs.hip_abduction = u(0, 140), u(-25, 80), u(0, 40)
        limbs.hip_rotation, limbs.knee = u(-20, 30), u(0, 100)
    pose.lean, pose.bend, pose.side, pose.twist = u(-10, 35), u(-15, 30), u(-20, 20), u(-30, 30)


def _akimbo(pose: Pose, rng: Rng) -> None:
    """Put one or both hands on the hips or into pockets."""
    u = rng.uniform
    for limbs in pose.sides[: rng.integers(1, 3)] if rng.random() < 0.5 else pose.sides:
        hips = rng.random() < 0.5
        limbs.shoulder_flexion, limbs.shoulder_abduction = u(-35, -5), u(25, 50) if hips else u(10, 25)
        limbs.shoulder_rotation, limbs.elbow = u(50, 80) if hips else u(20, 60), u(80, 115) if hips else u(25, 60)


def _folded(pose: Pose, rng: Rng) -> None:
    """Fold the arms or hold the hands together."""
    u = rng.uniform
    for limbs in pose.sides:
        limbs.shoulder_flexion, limbs.shoulder_abduction = u(10, 45), u(0, 20)
        limbs.shoulder_rotation, limbs.elbow = u(45, 80), u(70, 125)


def _cross(pose: Pose, rng: Rng) -> None:
    """Sit with one leg across the other."""
    u = rng.uniform
    _sit(pose, rng)
    upper, lower = _random_order(pose, rng)
    upper.hip_flexion, upper.hip_abduction, upper.hip_rotation, upper.knee = u(90, 110), -10, u(-10, 20), u(60, 100)
    lower.hip_flexion, lower.knee = u(75, 95), u(70, 100)


def _lie(pose: Pose, rng: Rng) -> None:
    """Lie on the back, the front or a side."""
    u = rng.uniform
    _random(pose, rng)
    for limbs in pose.sides:
        limbs.hip_flexion, limbs.knee = u(-10, 90), u(0, 110)
    setattr(pose, "tumble" if rng.random() < 0.7 else "roll", u(60, 110) * rng.choice((-1, 1)))
    pose.lean, pose.bend = u(-5, 5), u(-10, 20)


def _spread_arms(pose: Pose, rng: Rng, raised: tuple[float, float]) -> None:
    u = rng.uniform
    for limbs in pose.sides:
        limbs.shoulder_flexion, limbs.shoulder_abduction, limbs.elbow = u(*raised), u(0, 110), u(0, 40)


def _star(pose: Pose, rng: Rng) -> None:
    """Stretch the arms out to the sides or up, the legs together or apart."""
    u = rng.uniform
    _spread_arms(pose, rng, (-30, 30) if rng.random() < 0.6 else (60, 180))
    for limbs in pose.sides:
        limbs.shoulder_abduction, limbs.hip_abduction, limbs.elbow = u(55, 130), u(0, 40), u(0, 50)


def _balance(pose: Pose, rng: Rng) -> None:
    """Stand on one leg with the other in line with the leaning trunk, up to a horizontal one, or raised to the side."""
    u = rng.uniform
    standing, free = _random_order(pose, rng)
    pose.tumble = u(0, 95)
    standing.hip_flexion, standing.knee = pose.tumble + u(-10, 10), u(0, 20)
    free.hip_flexion, free.hip_abduction, free.knee = u(-35, 20), u(0, 50), u(0, 40)
    pose.bend, pose.roll = u(-25, 20), u(-25, 25)
    _spread_arms(pose, rng, (-60, 180))


def _handstand(pose: Pose, rng: Rng) -> None:
    """Stand on the hands, or turn a cartwheel, with the legs together, spread or bent."""
    u = rng.uniform
    for limbs in pose.sides:
        limbs.shoulder_flexion, limbs.shoulder_abduction, limbs.elbow = u(140, 180), u(-5, 40), u(0, 30)
        limbs.hip_flexion, limbs.hip_abduction, limbs.knee = u(-35, 80), u(0, 50), u(0, 70)
        limbs.ankle = u(0, 45)
    pose.lean, pose.bend = u(-10, 10), u(-20, 20)
    if rng.random() < 0.5:
        pose.tumble = u(120, 240)
    else:
        pose.roll = u(-180, 180)


def _split(pose: Pose, rng: Rng) -> None:
    """Spread the legs far to the front and back, or to the sides."""
    u = rng.uniform
    front, back = _random_order(pose, rng)
    front.hip_flexion, front.knee = u(60, 110), u(0, 30)
    if rng.random() < 0.5:
        back.hip_flexion, back.knee = u(-35, -10), u(0, 60)
    else:
        back.hip_flexion, back.knee = u(60, 110), u(0, 30)
        front.hip_abduction, back.hip_abduction = u(25, 50), u(25, 50)
    pose.lean = u(-15, 50)
    _spread_arms(pose, rng, (-40, 180))


def _crawl(pose: Pose, rng: Rng) -> None:
    """Support the body with hands and feet or knees, as in a push-up, on all fours or in a bridge."""
    u = rng.uniform
    hips = u(-20, 110)
    for limbs in pose.sides:
        limbs.shoulder_flexion, limbs.shoulder_abduction, limbs.elbow = u(50, 180), u(0, 40), u(0, 90)
        limbs.hip_flexion, limbs.hip_abduction, limbs.knee = hips + u(-15, 15), u(0, 25), u(0, 110)
    pose.tumble = u(60, 130) * (1 if rng.random() < 0.8 else -1)
    pose.lean, pose.bend, pose.neck = u(-5, 5), u(-15, 25), u(-45, 10)


def _hang(pose: Pose, rng: Rng) -> None:
    """Hang from or climb with the hands above the head."""
    u = rng.uniform
    for limbs in pose.sides:
        limbs.shoulder_flexion, limbs.shoulder_abduction, limbs.elbow = u(130, 180), u(0, 40), u(0, 100)
        limbs.hip_flexion, limbs.hip_abduction, limbs.knee = u(-20, 110), u(0, 40), u(0, 120)
    pose.tumble, pose.roll = rng.normal(0, 15), rng.normal(0, 15)


Archetypes = dict[str, tuple[float, Callable[[Pose, Rng], None]]]

# Sampling weight and function of each kind. The order determines the action numbers of the data set.
ARCHETYPES: Archetypes = {
    "stand": (8, _stand),
    "walk": (14, _walk),
    "run": (6, _run),
    "sit": (12, _sit),
    "floor": (4, _floor),
    "squat": (7, _squat),
    "reach": (10, _reach),
    "gesture": (12, _gesture),
    "bend": (8, _bend),
    "lunge": (6, _lunge),
    "kick": (4, _kick),
    "kneel": (4, _kneel),
    "phone": (6, _phone),
    "random": (12, _random),
    "jump": (3, _jump),
}
# Further kinds of the level full
FURTHER: Archetypes = {
    "akimbo": (9, _akimbo),
    "folded": (6, _folded),
    "cross": (4, _cross),
    "lie": (7, _lie),
    "star": (7, _star),
    "balance": (8, _balance),
    "handstand": (8, _handstand),
    "split": (5, _split),
    "crawl": (7, _crawl),
    "hang": (4, _hang),
}
TILT_P, TILT = 0.15, 25.0  # probability and standard deviation in degrees of a tilt of the whole body
OTHER_ARM_P = 0.35  # probability that an arm is that of another pose
ARM_ANGLES = ("shoulder_flexion", "shoulder_abduction", "shoulder_rotation", "elbow", "pronation", "curl")


# ---- angles to bones ----


def rotation_x(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def rotation_y(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def rotation_z(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def rotation_about(axis: np.ndarray, angle: float) -> np.ndarray:
    """Return the rotation (3, 3) by an angle in radians about an axis (3,) of any length."""
    x, y, z = axis / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation: np.ndarray = np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k
    return rotation


def shortest_rotation(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the shortest rotation (3, 3) from one direction to another."""
    a, b = source / np.linalg.norm(source), target / np.linalg.norm(target)
    k = np.outer(b, a) - np.outer(a, b)
    return np.eye(3) + k + k @ k / (1 + a @ b + 1e-9)


def bone_rotations(body: Body, heads: np.ndarray, pose: Pose) -> dict[str, np.ndarray]:
    """Return the global rotation (3, 3) of each posed bone. heads: (B, 3) rest bone heads."""
    rad = np.deg2rad
    down = np.array([0.0, 0.0, -1.0])

    def head(bone: str) -> np.ndarray:
        return heads[body.bone_index[bone]]

    root = rotation_x(rad(pose.lean))
    rotations = {"root": root}
    chest = root
    for bone, share in zip(("spine05", "spine04", "spine03", "spine02", "spine01"), (0.1, 0.2, 0.25, 0.25, 0.2),
                           strict=True):  # fmt: skip
        chest = (
            chest
            @ rotation_x(rad(pose.bend * share))
            @ rotation_y(rad(pose.side * share))
            @ rotation_z(rad(pose.twist * share))
        )
        rotations[bone] = chest
    # people keep their eyes near the horizon, unless they look at something on the floor
    nod = pose.neck - (0 if pose.kind == "bend" else 0.35 * (pose.lean + pose.bend))
    neck = chest
    for bone in ("neck01", "neck02", "neck03", "head"):
        neck = (
            neck @ rotation_x(rad(nod / 4)) @ rotation_y(rad(pose.neck_tilt / 4)) @ rotation_z(rad(pose.neck_turn / 4))
        )
        rotations[bone] = neck

    for side, sign, limbs in (("L", 1.0, pose.left), ("R", -1.0, pose.right)):
        upper = shortest_rotation(head(f"lowerarm01.{side}") - head(f"upperarm01.{side}"), down)
        lower = shortest_rotation(head(f"wrist.{side}") - head(f"lowerarm01.{side}"), down)
        shoulder = (
            rotation_x(-rad(limbs.shoulder_flexion))
            @ rotation_y(-sign * rad(limbs.shoulder_abduction))
            @ rotation_z(-sign * rad(limbs.shoulder_rotation))
        )
        # the collar bone moves when the arm is raised
        elevation = np.arccos(np.clip(-(shoulder @ down)[2], -1, 1))
        rotations[f"clavicle.{side}"] = chest @ rotation_y(-sign * 0.28 * max(0.0, elevation - rad(40)))
        rotations[f"upperarm01.{side}"] = chest @ shoulder @ upper
        elbow = chest @ shoulder @ rotation_x(-rad(limbs.elbow))
        rotations[f"lowerarm01.{side}"] = elbow @ lower
        rotations[f"lowerarm02.{side}"] = elbow @ rotation_z(sign * rad(limbs.pronation) / 2) @ lower
        wrist = elbow @ rotation_z(sign * rad(limbs.pronation)) @ lower
        rotations[f"wrist.{side}"] = wrist
        axis = head(f"finger5-1.{side}") - head(f"finger2-1.{side}")
        for phalanx in (1, 2, 3):
            curl = wrist @ rotation_about(axis, sign * rad(limbs.curl) * phalanx * 0.8)
            for finger in (2, 3, 4, 5):
                rotations[f"finger{finger}-{phalanx}.{side}"] = curl

        # leaning bends the hips: legs are relative to the upright frame
        thigh = shortest_rotation(head(f"lowerleg01.{side}") - head(f"upperleg01.{side}"), down)
        shin = shortest_rotation(head(f"foot.{side}") - head(f"lowerleg01.{side}"), down)
        hip = (
            rotation_x(-rad(limbs.hip_flexion))
            @ rotation_y(-sign * rad(limbs.hip_abduction))
            @ rotation_z(sign * rad(limbs.hip_rotation))
        )
        knee = hip @ rotation_x(rad(limbs.knee))
        rotations[f"pelvis.{side}"] = root
        rotations[f"upperleg01.{side}"] = hip @ thigh
        rotations[f"lowerleg01.{side}"] = knee @ shin
        rotations[f"foot.{side}"] = knee @ rotation_x(rad(limbs.ankle))
    if pose.tumble or pose.roll:
        whole = rotation_y(rad(pose.roll)) @ rotation_x(rad(pose.tumble))
        rotations = {bone: whole @ rotation for bone, rotation in rotations.items()}
    return rotations
