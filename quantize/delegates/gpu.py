"""Rules of the GPU delegate for the options and shapes of single operators, and those of WebGL.

Each function returns why an operator falls back, or an empty string. Reasons that begin with `REJECTED` were found when
the delegate builds its graph, after it has chosen its operators: then it takes none of them.
"""

from __future__ import annotations

from quantize.delegates.rules import (
    COMPARISONS,
    GPU,
    ONE_ARGUMENT,
    ONE_RUNTIME_INPUT,
    REDUCTIONS,
    TWO_ARGUMENTS,
)
from quantize.delegates.tflite_graph import CUSTOM, Graph, Node, TensorInfo

CUSTOM_OPERATORS = ("Convolution2DTransposeBias", "MaxPoolingWithArgmax2D", "MaxUnpooling2D", "Resampler")
REJECTED = "the delegate rejects the file: "
SIGN_BIT = 5  # ActivationFunctionType
REFLECT = 0  # MirrorPadMode


def fallback_reason(node: Node) -> str:
    """Return the reason against one operator."""
    if node.kind.startswith(CUSTOM):
        known = node.kind.removeprefix(f"{CUSTOM} ") in CUSTOM_OPERATORS
        return "" if known else "custom operator"
    return _types(node) or _inputs(node) or _constants(node) or _options(node) or _shapes(node)


def webgl_reason(node: Node, graph: Graph) -> str:
    """Return the further reasons that were found in a browser."""
    if node.kind == "CONCATENATION" and len({each.index for each in node.present}) < len(node.present):
        return f"{REJECTED}takes one tensor twice; copy it by another operator first"
    ends = {each.index for each in graph.outputs}
    if any(each.rank == 4 and each.shape[1:3] == (1, 1) and each.index in ends for each in node.outputs):
        return f"{REJECTED}is an output map of 1 x 1; reshape it"
    return ""


def _types(node: Node) -> str:
    for tensors, further in ((node.present, GPU.input_types), (node.outputs, GPU.output_types)):
        allowed = GPU.types | further.get(node.kind, frozenset())
        for tensor in tensors:
            if not tensor.constant and tensor.dtype not in allowed:
                return f"type {tensor.dtype} of a tensor computed at run time"
            if not tensor.constant and tensor.scales > 1:
                return f"{REJECTED}tensor computed at run time is quantized by channel"
    if node.kind == "DEQUANTIZE" and node.present and node.present[0].dtype == "int16":
        return "dequantizes int16"
    if node.kind == "CAST":
        return _cast(node.present[0].dtype, node.outputs[0].dtype)
    return ""


def _cast(source: str, target: str) -> str:
    floats, numbers = ("float16", "float32"), ("float32", "int32")
    possible = (source == "bool" and target in floats) or (source in floats and target == "bool")
    return "" if possible or (source in numbers and target in numbers) else f"casts {source} to {target}"


def _inputs(node: Node) -> str:
    count, constants = len(node.at_run_time), len(node.constants)
    if node.kind in ONE_ARGUMENT and (count, constants) != (1, 0):
        return f"{count} inputs at run time and {constants} constants; 1 and 0 are supported"
    if node.kind in TWO_ARGUMENTS:
        if (count, constants) not in ((2, 0), (1, 1)):
            return f"{count} inputs at run time and {constants} constants; 2 and 0, or 1 and 1, are supported"
        if count == 2 and node.at_run_time[0].index == node.at_run_time[1].index and node.kind not in COMPARISONS:
            return f"{REJECTED}takes one tensor twice"
    if node.kind in ("ADD", "MUL", "ADD_N") and len(node.present) != 2:
        return f"{len(node.present)} inputs; 2 are supported"
    if node.kind in ONE_RUNTIME_INPUT and count != 1:
        return f"{count} inputs at run time; 1 is supported"
    if node.kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED") and count > 2:
        return f"{count} inputs at run time; at most 2 are supported"
    if node.kind == "GATHER" and (count, constants) not in ((2, 0), (1, 1)):
        return "more than a tensor and indices"
    return ""


def _constants(node: Node) -> str:
    """Operators whose second input must be a constant of a certain type and shape."""
    second = node.input(1)
    if second is None:
        return ""
    if node.kind in REDUCTIONS and not (second.constant and second.dtype == "int32"):
        return "axes are not constant int32"
    if node.kind == "GATHER" and second.dtype != "int32":
        return f"indices are {second.dtype}; int32 is supported"
    if node.kind == "GATHER" and second.rank != 1:
        return f"indices have {second.rank} dimensions; 1 is supported"
    if node.kind in ("PAD", "PADV2", "MIRROR_PAD") and second.shape not in ((3, 2), (4, 2)):
        return f"paddings have the shape {_text(second.shape)}; (3, 2) and (4, 2) are supported"
    if node.kind == "TRANSPOSE" and not (second.constant and second.size in (2, 3, 4)):
        return f"{REJECTED}permutation is not a constant of 2 to 4 axes"
    if node.kind == "BATCH_MATMUL" and second.constant and second.rank != 2:
        return f"{REJECTED}constant second matrix has {second.rank} dimensions; 2 are supported"
    if node.kind == "PRELU":
        reason = _prelu(node.present[0], second)
        return reason and REJECTED + reason
    return ""


def _prelu(values: TensorInfo, alpha: TensorInfo) -> str:
    """alpha: one number for each channel, or one for each value of an image."""
    if not alpha.constant:
        return "alpha is not constant"
    if alpha.size == alpha.shape[-1]:
        return "" if alpha.size == values.shape[-1] else f"{alpha.size} alphas for {values.shape[-1]} channels"
    image = (1,) * (3 - len(values.shape[1:])) + values.shape[1:]
    own = alpha.shape[1:] if alpha.rank == 4 and alpha.shape[0] == 1 else alpha.shape
    return "" if own == image else f"alpha has the shape {_text(alpha.shape)}; give one number for each channel"


def _options(node: Node) -> str:
    has = node.options.get
    if has("fusedActivationFunction") == SIGN_BIT:
        return "fused activation SIGN_BIT"
    if node.kind == "RESIZE_BILINEAR" and has("alignCorners") and has("halfPixelCenters"):
        return "align_corners and half_pixel_centers together"
    if node.kind == "SOFTMAX" and has("beta") != 1:
        return f"beta {has('beta'):g}; 1 is supported"
    if node.kind in ("DEPTH_TO_SPACE", "SPACE_TO_DEPTH") and has("blockSize", 0) < 2:
        return f"block size {has('blockSize', 0)}; 2 or more is supported"
    if node.kind == "MIRROR_PAD" and has("mode") != REFLECT:
        return "symmetric padding; reflecting padding is supported"
    if node.kind == "STRIDED_SLICE":
        masks = ("ellipsisMask", "newAxisMask", "shrinkAxisMask")
        return next((f"{mask} is set" for mask in masks if has(mask)), "")
    if node.kind == "FULLY_CONNECTED":
        if has("weightsFormat"):
            return "shuffled weights"
        if has("keepNumDims") and node.present[0].rank != node.outputs[0].rank:
            return "keep_num_dims with another number of dimensions"
    return ""


def _shapes(node: Node) -> str:
    if node.kind in ("SLICE", "STRIDED_SLICE") and node.present[0].rank not in (3, 4):
        return f"input with {node.present[0].rank} dimensions; 3 and 4 are supported"
    if node.kind in ("ADD", "MUL"):
        return _broadcast(*(each.shape for each in node.present))
    if node.kind == "DEPTHWISE_CONV_2D":
        return _depthwise(node)
    return ""


def _broadcast(first: tuple[int, ...], second: tuple[int, ...]) -> str:
    """The standard rules: OpenCL's enhanced broadcasting is not on every device."""
    if len(first) <= 1 or len(second) <= 1 or len(first) == len(second):
        return ""
    longer, shorter = (first, second) if len(first) > len(second) else (second, first)
    possible = len(longer) == 4 and (
        (len(shorter) == 3 and longer[0] == 1)
        or (longer[0] == 1 and shorter == (1, 1))
        or (len(shorter) == 2 and shorter == (longer[0], longer[3]))
    )
    return "" if possible else f"broadcasts {_text(first)} and {_text(second)}"


def _depthwise(node: Node) -> str:
    image, weights = node.present[:2]
    if (image.rank, weights.rank, node.outputs[0].rank) != (4, 4, 4):
        return "not every tensor has 4 dimensions"
    channels = node.outputs[0].shape[3]
    if weights.shape[3] != channels or channels != image.shape[3] * node.options.get("depthMultiplier", 1):
        return "channels of weights and output differ from input channels times depth_multiplier"
    if len(node.present) > 2 and node.present[2].size != channels:
        return "number of biases differs from that of output channels"
    return ""


def _text(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"
