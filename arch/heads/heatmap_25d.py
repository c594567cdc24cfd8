"""2.5D heatmaps (Iqbal et al. 2018): a map of scores for each joint, and a map of depths, averaged by the scores."""

from __future__ import annotations

from arch.heads.axis import AnyArray, Marginals, Softmax
from arch.spec import HeadSpec, Op

MAPS, DEPTH_BINS, DEPTH_VALUES = True, False, True


def channels(spec: HeadSpec) -> int:
    return 2 * spec.num_joints


def readout(spec: HeadSpec) -> tuple[Op, ...]:
    return ()


def raw_shape(spec: HeadSpec) -> tuple[int, ...]:
    return channels(spec), spec.heatmap_size, spec.heatmap_size


def marginals(raw: AnyArray, spec: HeadSpec, softmax: Softmax) -> Marginals:
    batch, joints, side = raw.shape[0], spec.num_joints, spec.heatmap_size
    plane = softmax(raw[:, :joints].reshape(batch, joints, -1))
    depth = ((plane * raw[:, joints:].reshape(batch, joints, -1)).sum(2) + 0.5) * spec.depth_bins
    maps = plane.reshape(batch, joints, side, side)
    return Marginals(maps.sum(2), maps.sum(3), depth=depth, peak=plane)
