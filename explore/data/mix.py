"""Several sets as one: joints mapped to the first set's skeleton by name, what a set does not annotate masked.

Training then draws from samples with depth and samples without it half and half (`crop.batch_at`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

import numpy as np

from arch.errors import InputError
from explore.data.sample import Dataset
from explore.data.skeleton import Skeleton, mapping


def to_skeleton(dataset: Dataset, skeleton: Skeleton) -> Dataset:
    """The data set with the joints of `skeleton`: by name; the ones it has not are unknown (vis 0).

    Depths become relative to the skeleton's root; a set without that joint keeps no depth.

    Raises:
        InputError: not one joint in common.
    """
    if dataset.skeleton == skeleton:
        return dataset
    source = mapping(dataset.skeleton, skeleton)
    known = source >= 0
    if not known.any():
        raise InputError(
            f"{dataset.root}: none of its joints ({', '.join(dataset.skeleton.names)}) is called as one of "
            f"{skeleton.name} ({', '.join(skeleton.names)}); rename them"
        )
    vis = np.where(known, dataset.vis[:, source], 0).astype(np.float32)
    cam = np.where(known[:, None], dataset.joints_cam[:, source], np.nan)
    depth = cam[..., 2] - cam[:, skeleton.root, None, 2]
    has_depth = dataset.has_depth & np.isfinite(cam[:, skeleton.root, 2])
    img = np.where(known[:, None], dataset.joints_img[:, source], 0.0)
    img[..., 2] = np.nan_to_num(depth)
    # a joint seen in the picture alone, among others in 3D, has no place in 3D to learn
    vis[has_depth[:, None] & ~np.isfinite(depth)] = 0
    same_root = dataset.skeleton.names[dataset.skeleton.root] == skeleton.names[skeleton.root]
    return replace(
        dataset,
        skeleton=skeleton,
        joints_img=img,
        joints_cam=cam,
        vis=vis,
        has_depth=has_depth,
        root_depth=dataset.root_depth if same_root else cam[:, skeleton.root, 2],
    )


def mix(parts: Sequence[Dataset]) -> Dataset:
    """One data set of several, with the first one's skeleton; its name and hash are made of theirs."""
    if len(parts) == 1:
        return parts[0]
    mapped = [to_skeleton(part, parts[0].skeleton) for part in parts]
    skipped: dict[str, int] = {}
    for part in mapped:
        for kind, count in part.skipped.items():
            skipped[kind] = skipped.get(kind, 0) + count
    columns = {
        column: np.concatenate([getattr(part, column) for part in mapped])
        for column in (
            "size", "bbox", "joints_img", "joints_cam", "vis", "has_depth", "root_depth", "f", "c", "subject",
            "camera", "frame",
        )
    }  # fmt: skip
    return Dataset(
        name="+".join(part.name for part in parts),
        split=parts[0].split,
        root=parts[0].root,
        skeleton=parts[0].skeleton,
        hash=sha256("+".join(part.hash for part in parts).encode()).hexdigest()[:12],
        files=tuple(part.path(index).absolute().as_posix() for part in mapped for index in range(len(part))),
        action=tuple(action for part in mapped for action in part.action),
        skipped=skipped,
        **columns,
    )
