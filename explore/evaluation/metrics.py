"""3D pose errors in millimetres. Arrays are (N, J, 3) camera mm; pass scored joints only (`Skeleton.scored`).

True joints that are NaN are not annotated and never scored, and a sample whose root is not annotated is left out.
MPJPE and PA-MPJPE are the mean over samples of the mean over their annotated joints; PCK, AUC and the error of a joint
are means over all annotated joints.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from arch.errors import InputError
from explore.data.sample import Dataset
from explore.data.skeleton import MUCO21, Skeleton

PCK_THRESHOLD = 150.0  # mm
AUC_THRESHOLDS = np.linspace(0.0, PCK_THRESHOLD, 31)  # mm, as for MPI-INF-3DHP and MuPoTS-3D
MIN_ALIGNED = 3  # annotated joints that a Procrustes alignment needs; it fits fewer without an error
# Joints scored by the evaluation scripts of MPI-INF-3DHP and MuPoTS-3D: head top to ankles, no pelvis, spine or head
SEQUENCE_JOINTS = np.array([MUCO21.index(joint) for joint in MUCO21.names[:14]])


def annotated(true: np.ndarray, root: int | None = None) -> np.ndarray:
    """Return the mask (N, J) of joints to score: annotated ones, of samples whose root is, if `root` is given."""
    mask: np.ndarray = np.isfinite(true).all(-1)
    return mask if root is None else mask & mask[:, root, None]


def root_aligned(joints: np.ndarray, root: int) -> np.ndarray:
    """Return the joints relative to the root joint."""
    joints = np.asarray(joints, np.float64)
    return joints - joints[:, root, None]


def joint_errors(pred: np.ndarray, true: np.ndarray, root: int) -> np.ndarray:
    """Return the distance of each joint (N, J), mm, after root alignment; NaN where the joint is not annotated."""
    return np.linalg.norm(root_aligned(pred, root) - root_aligned(true, root), axis=-1)


def mpjpe(pred: np.ndarray, true: np.ndarray, root: int) -> float:
    """Return the mean per-joint position error, mm, after root alignment (protocol 2)."""
    return _mean_of_samples(joint_errors(pred, true, root), annotated(true, root))


def procrustes(pred: np.ndarray, true: np.ndarray, scaled: bool = True) -> np.ndarray:
    """Return `pred` aligned to `true` by the best similarity: rotation without reflection, scale and translation.

    Joints that are not annotated are aligned with the others, which alone determine the similarity.

    scaled: False omits the scale, as in the reference evaluation behind the paper's Table 7
    """
    pred, true = np.asarray(pred, np.float64), np.asarray(true, np.float64)
    mask = annotated(true)[..., None]
    count = np.maximum(mask.sum(1, keepdims=True), 1)
    centre_pred = np.where(mask, pred, 0).sum(1, keepdims=True) / count
    centre_true = np.where(mask, true, 0).sum(1, keepdims=True) / count
    a, b = np.where(mask, pred - centre_pred, 0), np.where(mask, true - centre_true, 0)
    u, s, vt = np.linalg.svd(np.swapaxes(a, 1, 2) @ b)
    sign = np.ones_like(s)
    sign[:, -1] = np.where(np.linalg.det(u @ vt) < 0, -1, 1)
    rotation = (u * sign[:, None]) @ vt
    spread = (a**2).sum((1, 2))
    scale = (s * sign).sum(1) / np.where(spread > 0, spread, 1) if scaled else np.ones(len(a))
    return scale[:, None, None] * ((pred - centre_pred) @ rotation) + centre_true


def aligned_errors(pred: np.ndarray, true: np.ndarray, scaled: bool = True) -> np.ndarray:
    """Return the distance of each joint (N, J), mm, after Procrustes alignment; NaN where it is not annotated.

    Samples with fewer than MIN_ALIGNED annotated joints are NaN.
    """
    mask = annotated(true)
    enough = mask.sum(1) >= min(MIN_ALIGNED, mask.shape[1])
    errors = np.linalg.norm(procrustes(pred, true, scaled) - true, axis=-1)
    return np.where(mask & enough[:, None], errors, np.nan)


def pa_mpjpe(pred: np.ndarray, true: np.ndarray) -> float:
    """Return the MPJPE, mm, after Procrustes alignment with scale (protocol 1)."""
    errors = aligned_errors(pred, true)
    return _mean_of_samples(errors, np.isfinite(errors))


def pck_rel(pred: np.ndarray, true: np.ndarray, root: int) -> float:
    """Return the fraction of joints, without the root, with an error below PCK_THRESHOLD after root alignment."""
    return _mean(joint_errors(pred, true, root) < PCK_THRESHOLD, _without_root(true, root))


def auc(pred: np.ndarray, true: np.ndarray, root: int) -> float:
    """Return the mean of `pck_rel` over AUC_THRESHOLDS, 0 to 1."""
    return _mean(_area(joint_errors(pred, true, root)), _without_root(true, root))


def with_bone_lengths(pred: np.ndarray, true: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Return `pred` with each bone rescaled to its length in `true`, from the root outwards.

    The evaluation of MuPoTS-3D does this because an image does not determine a person's size. Bones with an end that is
    not annotated keep their length.
    """
    pred, true = np.asarray(pred, np.float64), np.asarray(true, np.float64)
    moved = pred.copy()
    order = [skeleton.root]  # parents before children
    for joint in order:
        order += [child for child, parent in enumerate(skeleton.parents) if parent == joint]
    for joint in order[1:]:
        parent = skeleton.parents[joint]
        bone = pred[:, joint] - pred[:, parent]
        own = np.linalg.norm(bone, axis=1, keepdims=True)
        length = np.linalg.norm(true[:, joint] - true[:, parent], axis=1, keepdims=True)
        length = np.where(np.isfinite(length), length, own)
        moved[:, joint] = moved[:, parent] + bone * length / np.where(own > 0, own, 1)
    return moved


def _without_root(true: np.ndarray, root: int) -> np.ndarray:
    mask = annotated(true, root)
    mask[:, root] = False
    return mask


def _area(errors: np.ndarray) -> np.ndarray:
    """Return the fraction of AUC_THRESHOLDS above each error."""
    area: np.ndarray = (errors[..., None] < AUC_THRESHOLDS).mean(-1)
    return area


def sample_means(errors: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the mean of the masked errors (N, J) of each sample, (N,); NaN for samples without any."""
    count = mask.sum(1)
    total: np.ndarray = np.where(mask, errors, 0.0).sum(1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def frame_errors(pred: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Return the MPJPE of each sample (N,), mm; NaN for samples without 3D. Its mean is `Scores.mpjpe`."""
    skeleton = dataset.skeleton
    return sample_means(joint_errors(pred, dataset.joints_cam, skeleton.root), scored_joints(dataset))


def scored_joints(dataset: Dataset) -> np.ndarray:
    """Return the mask (N, J) of the joints that the metrics include: scored by the skeleton and annotated."""
    skeleton = dataset.skeleton
    return annotated(dataset.joints_cam, skeleton.root) & np.isin(np.arange(len(skeleton)), skeleton.scored)


def _mean_of_samples(errors: np.ndarray, mask: np.ndarray) -> float:
    kept = mask.any(1)
    return float(sample_means(errors[kept], mask[kept]).mean()) if kept.any() else float("nan")


def _mean(values: np.ndarray, mask: np.ndarray) -> float:
    """Return the mean of the masked values. A prediction that is not finite makes it NaN."""
    return float(values[mask].mean()) if mask.any() else float("nan")


@dataclass(frozen=True)
class SequenceScores:
    """3DPCK_rel at 150 mm and AUC, 0 to 1, of a sequence of MuPoTS-3D or MPI-INF-3DHP."""

    pck_rel: float
    auc: float


def sequence_scores(pred: np.ndarray, true: np.ndarray, names: np.ndarray) -> dict[str, SequenceScores]:
    """Return 3DPCK_rel and AUC by sequence, as in the evaluation script of the data set (Table 9 of the paper).

    pred, true: (N, 21, 3) camera mm in the order of MUCO21, hands and toes are ignored; names: (N,) sequences
    """
    lengths = with_bone_lengths(pred, true, MUCO21)
    errors = joint_errors(lengths, true, MUCO21.root)[:, SEQUENCE_JOINTS]
    mask = annotated(true, MUCO21.root)[:, SEQUENCE_JOINTS]
    found = {}
    for name in sorted(set(names.tolist()), key=lambda name: (len(name), name)):
        part, scored = errors[names == name], mask[names == name]
        if scored.any():
            found[str(name)] = SequenceScores(_mean(part < PCK_THRESHOLD, scored), _mean(_area(part), scored))
    return found


@dataclass(frozen=True)
class Scores:
    """Metrics of a set of predictions.

    mpjpe, pa_mpjpe: mm; pck_rel, auc: 0 to 1; per_joint, per_action: MPJPE mm by name
    rigid_mpjpe, rigid_per_action: mm after alignment by rotation and translation only, which the reference evaluation
        calls PA-MPJPE (the paper's Table 7)
    sequences: by name, for the joints of MuCo-3DHP; empty for others
    """

    mpjpe: float
    pa_mpjpe: float
    pck_rel: float
    auc: float
    per_joint: dict[str, float]
    per_action: dict[str, float]
    rigid_mpjpe: float
    rigid_per_action: dict[str, float]
    sequences: dict[str, SequenceScores]


def check_3d(dataset: Dataset) -> None:
    """Raise an InputError if the metrics have nothing to score: no sample has its root in 3D."""
    root = dataset.skeleton.root
    if not annotated(dataset.joints_cam)[:, root].any():
        name = dataset.skeleton.names[root]
        raise InputError(
            f"data {dataset.name}: the {dataset.split} part annotates no 3D position of {name}; test on a set that does"
        )


def score(pred_cam: np.ndarray, dataset: Dataset) -> Scores:
    """Return the metrics of predictions (N, J, 3) camera mm, with all joints of the data set's skeleton.

    Joints that are not scored or not annotated by the data set are left out.

    Raises:
        InputError: a data set without 3D.
    """
    check_3d(dataset)
    skeleton, pred, true = dataset.skeleton, np.asarray(pred_cam, np.float64), dataset.joints_cam
    mask = scored_joints(dataset)
    scored = np.flatnonzero(mask.any(0))
    root = int(np.flatnonzero(scored == skeleton.root)[0])
    errors = joint_errors(pred, true, skeleton.root)
    # the reference aligns all joints, including Thorax, and then scores the others
    rigid = aligned_errors(pred, np.where(annotated(true, skeleton.root)[..., None], true, np.nan), scaled=False)
    actions = np.array(dataset.action)
    kept = mask.any(1)
    some_pred, some_true = pred[kept][:, scored], true[kept][:, scored]
    return Scores(
        mpjpe=_mean_of_samples(errors, mask),
        pa_mpjpe=pa_mpjpe(some_pred, some_true),
        pck_rel=pck_rel(some_pred, some_true, root),
        auc=auc(some_pred, some_true, root),
        per_joint={skeleton.names[joint]: _mean(errors[:, joint], mask[:, joint]) for joint in scored},
        per_action=_mean_by_action(actions, errors, mask),
        rigid_mpjpe=_mean_of_samples(rigid, mask & np.isfinite(rigid)),
        rigid_per_action=_mean_by_action(actions, rigid, mask & np.isfinite(rigid)),
        sequences=sequence_scores(pred, true, actions) if skeleton == MUCO21 else {},
    )


def _mean_by_action(actions: np.ndarray, errors: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    found = {str(action): actions == action for action in np.unique(actions)}
    return {action: _mean_of_samples(errors[part], mask[part]) for action, part in found.items() if mask[part].any()}


def mean_pose(train: Dataset) -> np.ndarray:
    """Return the mean of the root-relative training poses (J, 3), mm; NaN for joints that no sample annotates."""
    poses = root_aligned(train.joints_cam[train.has_depth], train.skeleton.root)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # joints without data
        mean: np.ndarray = np.nanmean(poses, 0)
    return mean


def mean_pose_error(train: Dataset, test: Dataset) -> float:
    """Return the MPJPE, mm, of the mean-pose baseline: predict the mean root-relative training pose for each sample."""
    skeleton, mean = test.skeleton, mean_pose(train)
    errors = np.linalg.norm(root_aligned(test.joints_cam, skeleton.root) - mean, axis=-1)
    return _mean_of_samples(errors, scored_joints(test) & np.isfinite(mean).all(-1))
