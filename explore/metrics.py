"""3D pose errors in millimetres. Arrays are (N, J, 3) camera mm; pass scored joints only (`Skeleton.scored`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from explore.data.sample import Dataset

PCK_THRESHOLD = 150.0  # mm
AUC_THRESHOLDS = np.linspace(0.0, PCK_THRESHOLD, 31)  # mm, those of MPI-INF-3DHP and MuPoTS-3D


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


def procrustes(pred: np.ndarray, true: np.ndarray) -> np.ndarray:
    """`pred` moved by the similarity (rotation, scale, translation; no mirroring) that fits `true` best."""
    pred, true = np.asarray(pred, np.float64), np.asarray(true, np.float64)
    centre_pred, centre_true = pred.mean(1, keepdims=True), true.mean(1, keepdims=True)
    a, b = pred - centre_pred, true - centre_true
    u, s, vt = np.linalg.svd(np.swapaxes(a, 1, 2) @ b)
    sign = np.ones_like(s)
    sign[:, -1] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * sign[:, None]) @ vt
    spread = (a**2).sum((1, 2))
    scale = (s * sign).sum(1) / np.where(spread > 0, spread, 1)
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


@dataclass(frozen=True)
class Scores:
    """The errors of one set of predictions. per_joint: mm by joint name; per_action: mm by action name."""

    mpjpe: float
    pa_mpjpe: float
    pck_rel: float
    auc: float
    per_joint: dict[str, float]
    per_action: dict[str, float]


def score(pred_cam: np.ndarray, dataset: Dataset) -> Scores:
    """Score predictions (N, J, 3) camera mm, J all joints of the data set's skeleton; unscored ones are left out."""
    skeleton = dataset.skeleton
    scored = skeleton.scored
    root = int(np.nonzero(scored == skeleton.root)[0][0])
    pred, true = np.asarray(pred_cam)[:, scored], dataset.joints_cam[:, scored]
    errors = joint_errors(pred, true, root)
    actions = np.array(dataset.action)
    return Scores(
        mpjpe=float(errors.mean()),
        pa_mpjpe=pa_mpjpe(pred, true),
        pck_rel=pck_rel(pred, true, root),
        auc=auc(pred, true, root),
        per_joint={skeleton.names[joint]: float(value) for joint, value in zip(scored, errors.mean(0), strict=True)},
        per_action={str(action): float(errors[actions == action].mean()) for action in np.unique(actions)},
    )


def mean_pose_error(train: Dataset, test: Dataset) -> float:
    """MPJPE, mm, of always answering the training set's mean root-relative pose: what any network must beat."""
    skeleton = test.skeleton
    mean = root_aligned(train.joints_cam, skeleton.root).mean(0)
    scored = skeleton.scored
    errors = np.linalg.norm(root_aligned(test.joints_cam, skeleton.root) - mean, axis=-1)
    return float(errors[:, scored].mean())
