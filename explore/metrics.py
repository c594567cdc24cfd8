"""3D pose errors in millimetres. Arrays are (N, J, 3) camera mm; pass scored joints only (`Skeleton.scored`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from arch.errors import InputError
from explore.data.sample import Dataset
from explore.data.skeleton import MUCO21, Skeleton

PCK_THRESHOLD = 150.0  # mm
AUC_THRESHOLDS = np.linspace(0.0, PCK_THRESHOLD, 31)  # mm, those of MPI-INF-3DHP and MuPoTS-3D
# Joints that the evaluation scripts of MPI-INF-3DHP and MuPoTS-3D count: head top to ankles, without pelvis, spine, head
SEQUENCE_JOINTS = np.array([MUCO21.index(joint) for joint in MUCO21.names[:14]])


def root_aligned(joints: np.ndarray, root: int) -> np.ndarray:
    """Joints relative to the root joint."""
    joints = np.asarray(joints, np.float64)
    return joints - joints[:, root, None]


def joint_errors(pred: np.ndarray, true: np.ndarray, root: int) -> np.ndarray:
    """Distance of every joint (N, J) mm once the roots lie on each other."""
    return np.linalg.norm(root_aligned(pred, root) - root_aligned(true, root), axis=-1)


def mpjpe(pred: np.ndarray, true: np.ndarray, root: int) -> float:
    """Mean per-joint position error, mm, after root alignment (protocol 2)."""
    return float(joint_errors(pred, true, root).mean())


def procrustes(pred: np.ndarray, true: np.ndarray, scaled: bool = True) -> np.ndarray:
    """`pred` moved by the similarity (rotation, scale, translation; no mirroring) that fits `true` best.

    scaled: False keeps its size, as the reference evaluation behind the paper's Table 7 does.
    """
    pred, true = np.asarray(pred, np.float64), np.asarray(true, np.float64)
    centre_pred, centre_true = pred.mean(1, keepdims=True), true.mean(1, keepdims=True)
    a, b = pred - centre_pred, true - centre_true
    u, s, vt = np.linalg.svd(np.swapaxes(a, 1, 2) @ b)
    sign = np.ones_like(s)
    sign[:, -1] = np.where(np.linalg.det(u @ vt) < 0, -1, 1)
    rotation = (u * sign[:, None]) @ vt
    spread = (a**2).sum((1, 2))
    scale = (s * sign).sum(1) / np.where(spread > 0, spread, 1) if scaled else np.ones(len(a))
    return scale[:, None, None] * (a @ rotation) + centre_true


def pa_mpjpe(pred: np.ndarray, true: np.ndarray) -> float:
    """MPJPE, mm, after Procrustes alignment with scale (protocol 1)."""
    return float(np.linalg.norm(procrustes(pred, true) - true, axis=-1).mean())


def pck_rel(pred: np.ndarray, true: np.ndarray, root: int, threshold: float = PCK_THRESHOLD) -> float:
    """Share (0 to 1) of joints nearer than `threshold` mm after root alignment; the root itself is not counted."""
    return float((_without(joint_errors(pred, true, root), root) < threshold).mean())


def auc(pred: np.ndarray, true: np.ndarray, root: int) -> float:
    """Mean of `pck_rel` over AUC_THRESHOLDS, 0 to 1."""
    errors = _without(joint_errors(pred, true, root), root)
    return float((errors[..., None] < AUC_THRESHOLDS).mean())


def _without(errors: np.ndarray, root: int) -> np.ndarray:
    return np.delete(errors, root, axis=1)


def with_bone_lengths(pred: np.ndarray, true: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """`pred` with every bone in its own direction and of `true`'s length, from the root outwards.

    The evaluation of MuPoTS-3D does so before it counts, so that heights, which a picture does not tell, cost nothing.
    """
    pred, true = np.asarray(pred, np.float64), np.asarray(true, np.float64)
    moved = pred.copy()
    for joint in _outwards(skeleton):
        parent = skeleton.parents[joint]
        bone = pred[:, joint] - pred[:, parent]
        length = np.linalg.norm(true[:, joint] - true[:, parent], axis=1, keepdims=True)
        own = np.linalg.norm(bone, axis=1, keepdims=True)
        moved[:, joint] = moved[:, parent] + bone * length / np.where(own > 0, own, 1)
    return moved


def _outwards(skeleton: Skeleton) -> list[int]:
    """The joints but the root, every parent before its children."""
    order = [skeleton.root]
    for joint in order:
        order += [child for child, parent in enumerate(skeleton.parents) if parent == joint]
    return order[1:]


@dataclass(frozen=True)
class Sequence:
    """A sequence of MuPoTS-3D or MPI-INF-3DHP: 3DPCK_rel at 150 mm and AUC, 0 to 1."""

    pck_rel: float
    auc: float


def sequence_scores(pred: np.ndarray, true: np.ndarray, names: np.ndarray) -> dict[str, Sequence]:
    """3DPCK_rel and AUC by sequence, as the data set's evaluation counts them (Table 9 of the paper).

    pred, true: (N, 21, 3) camera mm in MUCO21's order, hands and toes of no account; names: (N,) sequences.
    """
    lengths = with_bone_lengths(pred, true, MUCO21)
    errors = joint_errors(lengths, true, MUCO21.root)[:, SEQUENCE_JOINTS]
    found = {}
    for name in sorted(set(names.tolist()), key=lambda name: (len(name), name)):
        mine = errors[names == name]
        near = (mine[..., None] < AUC_THRESHOLDS).mean()
        found[str(name)] = Sequence(float((mine < PCK_THRESHOLD).mean()), float(near))
    return found


@dataclass(frozen=True)
class Scores:
    """The errors of one set of predictions.

    per_joint:  mm by joint name; per_action: mm by action name
    rigid_mpjpe, rigid_per_action: mm after rotation and translation alone, which the reference evaluation calls
                PA-MPJPE (the paper's Table 7)
    sequences:  3DPCK_rel and AUC by sequence, for the joints of MuCo-3DHP; empty for others
    """

    mpjpe: float
    pa_mpjpe: float
    pck_rel: float
    auc: float
    per_joint: dict[str, float]
    per_action: dict[str, float]
    rigid_mpjpe: float
    rigid_per_action: dict[str, float]
    sequences: dict[str, Sequence]


def score(pred_cam: np.ndarray, dataset: Dataset) -> Scores:
    """Score predictions (N, J, 3) camera mm, J all joints of the data set's skeleton.

    Unscored joints are left out, and those that the data set does not annotate.

    Raises:
        InputError: a data set without 3D.
    """
    skeleton, whole = dataset.skeleton, np.asarray(pred_cam)
    known = np.isfinite(dataset.joints_cam).all((0, 2))
    if not known[skeleton.root]:
        raise InputError(f"data {dataset.name}: annotates no 3D; test on a set that does")
    scored = np.array([joint for joint in skeleton.scored if known[joint]])
    root = int(np.nonzero(scored == skeleton.root)[0][0])
    pred, true = whole[:, scored], dataset.joints_cam[:, scored]
    errors = joint_errors(pred, true, root)
    # the reference fits all joints, the unscored Thorax among them, and then scores the others
    fitted = np.full(whole.shape, np.nan)
    fitted[:, known] = procrustes(whole[:, known], dataset.joints_cam[:, known], scaled=False)
    rigid = np.linalg.norm(fitted[:, scored] - true, axis=-1)
    actions = np.array(dataset.action)
    return Scores(
        mpjpe=float(errors.mean()),
        pa_mpjpe=pa_mpjpe(pred, true),
        pck_rel=pck_rel(pred, true, root),
        auc=auc(pred, true, root),
        per_joint={skeleton.names[joint]: float(value) for joint, value in zip(scored, errors.mean(0), strict=True)},
        per_action=_by(actions, errors),
        rigid_mpjpe=float(rigid.mean()),
        rigid_per_action=_by(actions, rigid),
        sequences=sequence_scores(whole, dataset.joints_cam, actions) if skeleton == MUCO21 else {},
    )


def _by(actions: np.ndarray, errors: np.ndarray) -> dict[str, float]:
    return {str(action): float(errors[actions == action].mean()) for action in np.unique(actions)}


def mean_pose_error(train: Dataset, test: Dataset) -> float:
    """MPJPE, mm, of always answering the training set's mean root-relative pose: what any network must beat."""
    skeleton = test.skeleton
    poses = root_aligned(train.joints_cam[train.has_depth], skeleton.root)
    known = np.isfinite(test.joints_cam).all((0, 2)) & np.isfinite(poses).any((0, 2))
    scored = np.array([joint for joint in skeleton.scored if known[joint]])
    mean = np.nanmean(poses[:, scored], 0)
    errors = np.linalg.norm(root_aligned(test.joints_cam, skeleton.root)[:, scored] - mean, axis=-1)
    return float(errors.mean())
