"""Rule tables of LiteRT's delegates: operators with their newest version, types and ranks, each table with its source.

The tables are taken from the delegates' sources by reading. None of the delegates was run.
"""

from __future__ import annotations

from dataclasses import dataclass, field

LITERT = "google-ai-edge/LiteRT f67457790c9c, 2026-08-21 (2.3.0 in development)"


@dataclass(frozen=True)
class DelegateRules:
    """Rules of one delegate.

    operators: newest supported version by kind; None: any version
    types: of tensors that are computed at run time
    input_types, output_types: further ones by kind
    max_rank: of all tensors; None: the source names no limit
    """

    title: str
    source: str
    operators: dict[str, int | None]
    types: frozenset[str]
    input_types: dict[str, frozenset[str]] = field(default_factory=dict)
    output_types: dict[str, frozenset[str]] = field(default_factory=dict)
    max_rank: int | None = None


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _any_version(names: str) -> dict[str, int | None]:
    return dict.fromkeys(names.split())


def _up_to(version: int, names: str) -> dict[str, int | None]:
    return dict.fromkeys(names.split(), version)


ONE_ARGUMENT = _names(
    "ABS COS ELU EXP FLOOR GELU LOG LOGISTIC NEG RSQRT SIGN SIN SQRT SQUARE TANH"
)  # `gpu_compatibility.cc`: one input at run time, no constant
COMPARISONS = _names("EQUAL NOT_EQUAL GREATER GREATER_EQUAL LESS LESS_EQUAL")
TWO_ARGUMENTS = COMPARISONS | _names("DIV FLOOR_DIV FLOOR_MOD LOGICAL_AND MAXIMUM MINIMUM POW SQUARED_DIFFERENCE SUB")
ONE_RUNTIME_INPUT = _names(
    "AVERAGE_POOL_2D MAX_POOL_2D CAST DEPTH_TO_SPACE SPACE_TO_DEPTH HARD_SWISH MEAN SUM REDUCE_MAX REDUCE_MIN REDUCE_PROD "
    "QUANTIZE RESHAPE TILE TRANSPOSE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR PAD PADV2 MIRROR_PAD"
)
REDUCTIONS = _names("MEAN SUM REDUCE_MAX REDUCE_MIN REDUCE_PROD")

GPU = DelegateRules(
    title="LiteRT GPU delegate (OpenCL, OpenGL ES, Metal)",
    source=f"{LITERT}: tflite/delegates/gpu/common/model_builder.cc, model_builder_helper.cc; "
    "tflite/tools/versioning/gpu_compatibility.cc",
    operators=_any_version(
        "ADD_N BATCH_MATMUL CAST DEPTH_TO_SPACE HARD_SWISH MEAN PACK REDUCE_MAX REDUCE_MIN REDUCE_PROD SPLIT SPLIT_V SUM "
        "TILE UNPACK"
    )
    | _up_to(1, "CUMSUM DENSIFY GATHER ONE_HOT PRELU RESHAPE SELECT SELECT_V2")
    | _up_to(2, "ADD AVERAGE_POOL_2D CONCATENATION LEAKY_RELU MAX_POOL_2D MIRROR_PAD PAD PADV2 QUANTIZE RELU RELU6")
    | _up_to(2, "RELU_0_TO_1 RELU_N1_TO_1 SLICE SOFTMAX SPACE_TO_DEPTH")
    | _up_to(2, " ".join(sorted(ONE_ARGUMENT | TWO_ARGUMENTS)))
    | _up_to(3, "DEQUANTIZE MUL RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR TRANSPOSE_CONV")
    | _up_to(4, "LSTM STRIDED_SLICE TRANSPOSE")
    | _up_to(6, "CONV_2D DEPTHWISE_CONV_2D")
    | _up_to(9, "FULLY_CONNECTED"),
    types=frozenset({"float32", "float16", "int8", "uint8"}),
    input_types={
        "CAST": frozenset({"bool", "int32"}),
        "GATHER": frozenset({"int32"}),
        "LOGICAL_AND": frozenset({"bool"}),
        "ONE_HOT": frozenset({"int32"}),
        "SELECT": frozenset({"bool"}),
        "SELECT_V2": frozenset({"bool"}),
    },
    output_types={"CAST": frozenset({"bool", "int32"}), "LOGICAL_AND": frozenset({"bool"})}
    | dict.fromkeys(COMPARISONS, frozenset({"bool"})),
    max_rank=4,
)

WEBGL_SOURCE = (
    "MediaPipe tasks-vision 1.1.0 in Chromium: files rejected there while the .task export was developed; besides these, "
    "the rules of the GPU delegate"
)

QUALCOMM = DelegateRules(
    title="LiteRT NPU, Qualcomm (QNN, QAIRT 2.47)",
    source=f"{LITERT}: litert/vendors/qualcomm/compiler/qnn_compose_graph.cc, ../core/builders; "
    "../dispatch/litert_dispatch_invocation_context.cc",
    operators=_any_version(
        "ABS ADD ARG_MAX ARG_MIN AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND BROADCAST_TO CAST CEIL CONCATENATION CONV_2D "
        "CONV_3D COS CUMSUM DEPTH_TO_SPACE DEPTHWISE_CONV_2D DEQUANTIZE DIV DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP EQUAL "
        "EXP FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GATHER_ND GELU GREATER GREATER_EQUAL HARD_SWISH "
        "L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS LESS_EQUAL LOG LOG_SOFTMAX LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC "
        "MAX_POOL_2D MAXIMUM MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL ONE_HOT PACK PAD PADV2 POW PRELU QUANTIZE REDUCE_ALL "
        "REDUCE_ANY REDUCE_MAX REDUCE_MIN RELU RELU_0_TO_1 RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR "
        "RESIZE_NEAREST_NEIGHBOR REVERSE_V2 ROUND RSQRT SCATTER_ND SELECT SELECT_V2 SIGN SIN SLICE SOFTMAX SPACE_TO_BATCH_ND "
        "SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE STRIDED_SLICE SUB SUM TANH TILE TOPK_V2 TRANSPOSE "
        "TRANSPOSE_CONV UNPACK"
    ),
    types=_names("bool int2 int4 int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64"),
)

MEDIATEK = DelegateRules(
    title="LiteRT NPU, MediaTek (NeuroPilot 8 and 9)",
    source=f"{LITERT}: litert/vendors/mediatek/compiler/compiler_plugin.cc, legalizations/neuron_utils.cc",
    operators=_any_version(
        "ABS ADD AVERAGE_POOL_2D BATCH_MATMUL CAST CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEQUANTIZE DIV FULLY_CONNECTED GELU "
        "GREATER HARD_SWISH L2_NORMALIZATION LEAKY_RELU LESS LOGISTIC MAX_POOL_2D MAXIMUM MEAN MINIMUM MUL PAD PADV2 PRELU "
        "QUANTIZE REDUCE_MAX RELU RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SLICE SOFTMAX SPLIT SQRT "
        "SQUARED_DIFFERENCE STRIDED_SLICE SUB SUM TANH TRANSPOSE TRANSPOSE_CONV"
    ),
    types=_names("bool int2 int4 int8 int16 int32 uint8 uint16 float16 float32"),
)
