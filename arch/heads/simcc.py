"""SimCC (Li et al. 2022) extended by depth: each axis is a separate classification."""

from __future__ import annotations

from arch.heads.axis import AnyArray, Marginals, Softmax
from arch.spec import SIMCC_SPLIT, AxisClassifier, HeadSpec, Op

MAPS, DEPTH_BINS, DEPTH_VALUES = False, True, False


def channels(spec: HeadSpec) -> int:
    return spec.num_joints


def readout(spec: HeadSpec) -> tuple[Op, ...]:
    return (AxisClassifier(spec.num_joints, spec.heatmap_size * spec.heatmap_size, raw_shape(spec)[1]),)


def raw_shape(spec: HeadSpec) -> tuple[int, ...]:
    return spec.num_joints, 2 * SIMCC_SPLIT * spec.heatmap_size + spec.depth_bins


def marginals(raw: AnyArray, spec: HeadSpec, softmax: Softmax) -> Marginals:
    fine = SIMCC_SPLIT * spec.heatmap_size
    return Marginals(softmax(raw[..., :fine]), softmax(raw[..., fine : 2 * fine]), softmax(raw[..., 2 * fine :]))
