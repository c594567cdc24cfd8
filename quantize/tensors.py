"""Input and output of a model file: names, layouts and ranges, as stored in manifests and .tflite files."""

from __future__ import annotations

import math

from arch.decode import IMAGENET_MEAN, IMAGENET_STD
from arch.fields import ArchFields
from arch.heads import HEADS
from quantize.manifest import Channels, Tensor

IMAGE, RAW = "image", "raw"  # names of the tensors in the files of every runtime
SCORES = "scores of the cells; the soft-argmax of a joint's scores is its position"


def describe_input(arch: ArchFields, runtime: str, dtype: str) -> Tensor:
    """Return the input of a file: a crop, as RGB values (uint8) or normalised (float32)."""
    size = arch.input_size
    channels_last = runtime == "litert" or dtype == "uint8"
    low, high = 0.0, 255.0
    text = "RGB crop, values from 0 to 255; the file normalises it"
    if dtype == "float32":
        low = min(-mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True))
        high = max((1 - mean) / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True))
        text = "RGB crop, (value / 255 - mean) / std with mean and std of preprocessing"
    return Tensor(
        name=IMAGE,
        description=text,
        dtype=dtype,
        layout="NHWC" if channels_last else "NCHW",
        shape=(1, size, size, 3) if channels_last else (1, 3, size, size),
        range=(math.floor(low * 1000) / 1000, math.ceil(high * 1000) / 1000),
    )


def describe_output(arch: ArchFields, runtime: str, depth_scale: float) -> Tensor:
    """Return the output of a file, the raw output of its head, which a decoder turns into joints.

    depth_scale: see `quantize.runtimes.depth_scale`
    """
    head, spec = HEADS[arch.head], arch.head_spec
    shape, joints, bins = head.raw_shape(spec), arch.num_joints, arch.depth_bins
    layout, parts = "NJB", tuple[Channels, ...]()
    if head.MAPS:
        layout = "NHWC" if runtime == "litert" else "NCHW"
    if head.DEPTH_VALUES:
        text = f"{SCORES}; the mean of its depths, weighted by the softmax of its scores, is its depth"
        parts = (
            Channels(name="scores", first=0, count=joints, unit="logit"),
            Channels(name="depths", first=joints, count=joints, unit="fraction of depth_range_mm", scale=depth_scale),
        )
    elif head.MAPS:
        text = f"{SCORES}; channel joint * {bins} + bin"
        parts = (Channels(name="scores", first=0, count=shape[0], unit="logit"),)
    else:
        cells = (shape[1] - bins) // 2
        text = "scores of each joint's bins along x, y and z; the soft-argmax along an axis is the position"
        parts = tuple(
            Channels(name=name, first=first, count=count, unit="logit")
            for name, first, count in (("x", 0, cells), ("y", cells, cells), ("z", 2 * cells, bins))
        )
    if layout == "NHWC":
        shape = (*shape[1:], shape[0])
    return Tensor(name=RAW, description=text, dtype="float32", layout=layout, shape=(1, *shape), parts=parts)
