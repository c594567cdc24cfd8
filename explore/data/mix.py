"""Mixing of data sets: joints are matched to the first set's skeleton by side and part, and missing ones are masked.

Each data set of a weighted mix has its share of every training batch. Without weights, half of a batch comes from
samples with depth, half from samples without (`Dataset.groups`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from hashlib import sha256
from typing import Any

import numpy as np

from arch.errors import InputError
from explore.data import landmarks
from explore.data.landmarks import LinearMap
from explore.data.sample import Dataset
from explore.data.skeleton import Skeleton, mapping


def to_skeleton(dataset: Dataset, skeleton: Skeleton) -> Dataset:
    """Return the data set with the joints of `skeleton`, matched by side and part; joints that it lacks get vis 0.

    Landmarks of BlazePose and joints of Human3.6M are derived from each other (explore.data.landmarks), because equal
    names mean other places. Depths become relative to the root of `skeleton`. Without that joint, the samples have no
    depth.

    Raises:
        InputError: no joint in common.
    """
    if dataset.skeleton == skeleton:
        return dataset
    linear = landmarks.between(dataset.skeleton, skeleton)
    mapped = _derived(dataset, skeleton, linear) if linear else _matched(dataset, skeleton)
    lost = mapped.negative & ~dataset.negative
    if lost.any():  # without a visible joint, they would be images without people
        counts = Counter(mapped.left_out) + Counter({f"without a visible joint of {skeleton.name}": int(lost.sum())})
        mapped = replace(mapped.take(np.flatnonzero(~lost)), left_out=dict(counts))
    return mapped.scorable()


def _matched(dataset: Dataset, skeleton: Skeleton) -> Dataset:
    """Return the data set with the joints of another skeleton that have the same side and part."""
    source = mapping(dataset.skeleton, skeleton)
    known = source >= 0
    if not known.any() and not dataset.negative.all():
        raise InputError(
            f"{dataset.root}: none of its joints ({', '.join(dataset.skeleton.names)}) is one of "
            f"{skeleton.name} ({', '.join(skeleton.names)}); rename them"
        )
    vis = np.where(known, dataset.vis[:, source], 0).astype(np.float32)
    cam = np.where(known[:, None], dataset.joints_cam[:, source], np.nan)
    reference = skeleton.reference_depth(cam)
    depth = cam[..., 2] - reference[:, None]
    weight = np.where(np.isfinite(reference), dataset.depth_weight, 0.0)
    img = np.where(known[:, None], dataset.joints_img[:, source], 0.0)
    img[..., 2] = np.nan_to_num(depth)
    # in a sample with depth, a joint without 3D has no target
    vis[(weight > 0)[:, None] & ~np.isfinite(depth)] = 0
    cam[vis == 0] = np.nan
    same_root = source[list(skeleton.depth_joints)].tolist() == list(dataset.skeleton.depth_joints)
    return replace(
        dataset,
        skeleton=skeleton,
        joints_img=img,
        joints_cam=cam,
        vis=vis,
        depth_weight=weight,
        root_depth=dataset.root_depth if same_root else reference,
    )


def _derived(dataset: Dataset, skeleton: Skeleton, linear: LinearMap) -> Dataset:
    """Return the data set with joints that are weighted sums of its own: visible if all of these are."""
    support = linear.matrix != 0
    vis = np.where(support, dataset.vis[:, None], 1).min(2) * linear.derived
    hidden = vis == 0
    cam = linear.matrix @ np.nan_to_num(dataset.joints_cam)
    cam[hidden | ~dataset.has_depth[:, None]] = np.nan
    reference = skeleton.reference_depth(cam)
    img = linear.matrix @ dataset.joints_img
    img[..., 2] = np.nan_to_num(cam[..., 2] - reference[:, None])
    img[hidden] = 0
    return replace(
        dataset,
        skeleton=skeleton,
        joints_img=img,
        joints_cam=cam,
        vis=vis.astype(np.float32),
        depth_weight=np.where(np.isfinite(reference), dataset.depth_weight, 0.0),
        root_depth=reference,
    )


def mix(parts: Sequence[Dataset], weights: Sequence[float] = ()) -> Dataset:
    """Return the union of several data sets, with the first one's skeleton. Name and hash combine theirs.

    weights: of the data sets in training batches; empty: as `Dataset.groups` without weights

    Raises:
        InputError: the first set has images without people only, or two sets have no joint in common.
    """
    if parts[0].negative.all():
        raise InputError(f"{parts[0].root}: shows no people; name a data set with people before it")
    if len(parts) == 1:
        return parts[0]
    mapped = [to_skeleton(part, parts[0].skeleton) for part in parts]
    skipped: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    for part in mapped:
        skipped.update(part.skipped)
        left_out.update(part.left_out)
    names = [column.name for column in fields(Dataset) if isinstance(getattr(mapped[0], column.name), np.ndarray)]
    columns: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in mapped]) for name in names}
    return Dataset(
        name="+".join(part.name for part in parts),
        split=parts[0].split,
        root=parts[0].root,
        skeleton=parts[0].skeleton,
        hash=sha256(
            "+".join([part.hash for part in parts] + [f"*{weight:g}" for weight in weights]).encode()
        ).hexdigest()[:12],
        files=tuple(part.path(index).absolute().as_posix() for part in mapped for index in range(len(part))),
        action=tuple(action for part in mapped for action in part.action),
        skipped=dict(skipped),
        left_out=dict(left_out),
        origin=tuple(origin for part in mapped for origin in part.origins),
        masks=_masks(mapped) if any(part.masks for part in mapped) else (),
        part=tuple(index for index, part in enumerate(mapped) for _ in range(len(part))) if weights else (),
        weights=tuple(weights),
        **columns,
    )


def _masks(parts: Sequence[Dataset]) -> tuple[str, ...]:
    """Return the absolute path of each sample's mask, empty for those without."""
    return tuple(
        (part.root / mask).absolute().as_posix() if mask else ""
        for part in parts
        for mask in part.masks or ("",) * len(part)
    )
