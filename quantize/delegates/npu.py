"""Rules of the NPU compilers for the tensors and constants of single operators.

The compilers then check each operator with the vendor's library (`ValidateOp` of QNN, `GetSupportedOperations` of
Neuron), which can reject more. Each function returns why an operator falls back, or an empty string.
"""

from __future__ import annotations

from quantize.delegates.tflite_graph import Node

# Inputs of Qualcomm's operators that must be constants.
CONSTANT_INPUTS = {
    **dict.fromkeys(
        ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ALL", "REDUCE_ANY", "CUMSUM", "REVERSE_V2"), (1,)
    ),
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD", "TRANSPOSE"), (1,)),
    **dict.fromkeys(("SLICE", "BATCH_TO_SPACE_ND", "SPACE_TO_BATCH_ND", "SPLIT_V"), (1, 2)),
    "SPLIT": (0,),
    "STRIDED_SLICE": (1, 2, 3),
}


def qualcomm_reason(node: Node) -> str:
    if any(each.blockwise for each in node.tensors):
        return "quantized in blocks"
    for place in CONSTANT_INPUTS.get(node.kind, ()):
        needed = node.input(place)
        if needed is not None and not needed.constant:
            return f"input {place} is not constant"
    if node.kind == "GATHER" and node.options.get("batchDims"):
        return f"batch_dims {node.options['batchDims']}; 0 is supported"
    return ""


def mediatek_reason(node: Node) -> str:
    for tensor in node.tensors:
        if tensor.blockwise:
            return "quantized in blocks"
        if tensor.dtype in ("int16", "uint16") and tensor.scales != 1:
            return f"{tensor.dtype} without one scale for the tensor"
        if tensor.dtype in ("int8", "int4", "int2") and not tensor.scales:
            return f"{tensor.dtype} that is not quantized"
        if tensor.dtype == "int32" and tensor.scales > 1 and not tensor.symmetric:
            return "int32 by channel with a zero point"
    return ""
