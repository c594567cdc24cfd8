"""Volumetric heatmaps (Sun et al. 2018), the head of MobileHumanPose (paper, Equation 3)."""

from __future__ import annotations

from arch.heads.axis import AnyArray, Marginals, Softmax
from arch.spec import HeadSpec, Op

MAPS, DEPTH_BINS, DEPTH_VALUES = True, True, False


def channels(spec: HeadSpec) -> int:
    return spec.num_joints * spec.depth_bins


def readout(spec: HeadSpec) -> tuple[Op, ...]:
    return ()


def raw_shape(spec: HeadSpec) -> tuple[int, ...]:
    return channels(spec), spec.heatmap_size, spec.heatmap_size


def marginals(raw: AnyArray, spec: HeadSpec, softmax: Softmax) -> Marginals:
    batch, joints, side = raw.shape[0], spec.num_joints, spec.heatmap_size
    scores = raw.reshape(batch, joints, -1)
    volume = softmax(scores).reshape(batch, joints, spec.depth_bins, side * side)
    plane = volume.sum(2)
    maps = plane.reshape(batch, joints, side, side)
    return Marginals(maps.sum(2), maps.sum(3), volume.sum(3), peak=plane)
