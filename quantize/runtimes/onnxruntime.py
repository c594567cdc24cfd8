"""ONNX Runtime: conversion by the exporter of torch, quantization by the static QDQ quantizer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arch.decode import IMAGENET_MEAN, IMAGENET_STD
from arch.errors import InputError, shortened
from arch.space import Arch
from quantize.recipes import Recipe
from quantize.runtimes.operators import ModelSummary, Operator, float_fallbacks, macs_of, summarise
from quantize.runtimes.protocol import Array, to_pixels
from quantize.tensors import IMAGE, RAW

if TYPE_CHECKING:
    from arch.network import PoseNet

FILES = ("model.onnx",)
CONVERSIONS = ("QuantizeLinear", "DequantizeLinear", "Reshape", "Transpose")
DEPTH_SCALE = 16.0
IR_VERSION = 8  # of opset 17; ONNX Runtime 1.16 loads up to 9
WEIGHT_BITS = 7  # see `quantize.runtimes.protocol.Runtime`
WEIGHT_LEVELS = 64  # largest weight divided by the scale


def unsupported(arch: Arch, recipe: Recipe) -> list[str]:
    """Reject recipes without fast CPU kernels; operators without an INT8 kernel run in float.

    Each run dequantizes INT8 weights, and dynamic quantization of convolutions has no fast kernel: both are slower than
    float.
    """
    if recipe.weights == "float16":
        return [f"recipe {recipe.name}: ONNX Runtime has no fp16 kernels for CPUs; use the recipe float"]
    if recipe.quantized and not recipe.int8:
        return [
            f"recipe {recipe.name}: ONNX Runtime runs such files several times slower than float; use int8-static or "
            f"float, or the runtime litert"
        ]
    return []


def quantizer_options(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """Return the options of the static quantizer."""
    return {
        "activation_range": ("minmax", "average", "percentile"),
        "activation_symmetry": ("asymmetric", "symmetric"),
        "weight_range": ("minmax",),
        "weight_granularity": ("channel", "tensor"),
    }


def failed_checks(arch: Arch, recipe: Recipe) -> list[str]:
    """Files of every network pass."""
    return []


def export(net: PoseNet, folder: Path, recipe: Recipe, calibration: Array | None) -> Path:
    """Write one .onnx with its weights; an INT8 recipe gives QDQ format with per-channel weights."""
    from quantize.bias_correction import correct_depths
    from quantize.graph import inference_module, save_onnx, scale_depths

    path = folder / FILES[0]
    module = inference_module(net)
    scale_depths(module.net, DEPTH_SCALE)
    if recipe.int8:
        correct_depths(
            module, recipe, recipe.options(quantizer_options(recipe)), calibration, WEIGHT_LEVELS, WEIGHT_LEVELS
        )
    save_onnx(module, path)
    if recipe.int8:
        assert calibration is not None
        _quantize(path, recipe, recipe.float_steps(net.arch), calibration)
    _finish(path, recipe)
    return path


def _finish(path: Path, recipe: Recipe) -> None:
    """Drop opsets that no node uses, which old runtimes reject, and give the file the input that the recipe requires."""
    import onnx

    model = onnx.load(str(path))
    if recipe.input_dtype == "uint8":
        _prepend_normalisation(model.graph)
    used = {node.domain for node in model.graph.node}
    for opset in [opset for opset in model.opset_import if opset.domain not in used]:
        model.opset_import.remove(opset)
    model.ir_version = min(model.ir_version, IR_VERSION)
    onnx.save(model, str(path))


def _prepend_normalisation(graph: Any) -> None:
    """Let a graph receive RGB values as uint8, channels last, in place of its normalised input."""
    from onnx import TensorProto, helper, numpy_helper

    normalised = "normalised"
    for node in graph.node:
        node.input[:] = [normalised if name == IMAGE else name for name in node.input]
    size = graph.input[0].type.tensor_type.shape.dim[2].dim_value
    graph.input[0].CopyFrom(helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, [1, size, size, 3]))
    scale = 1 / (255 * np.array(IMAGENET_STD, np.float32))
    shift = -np.array(IMAGENET_MEAN, np.float32) / np.array(IMAGENET_STD, np.float32)
    for name, values in (("scale", scale), ("shift", shift)):
        graph.initializer.append(numpy_helper.from_array(values.reshape(1, 3, 1, 1), name))
    nodes = [
        helper.make_node("Transpose", [IMAGE], ["planes"], "to_planes", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["values"], "to_float", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["values", "scale"], ["scaled"], "divide_by_std"),
        helper.make_node("Add", ["scaled", "shift"], [normalised], "subtract_mean"),
    ]
    for node in reversed(nodes):
        graph.node.insert(0, node)


def _quantize(path: Path, recipe: Recipe, float_steps: tuple[str, ...], calibration: Array) -> None:
    """Quantize statically, in place; `float_steps` stay float."""
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from quantize.graph import step_of

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left: Iterator[Array] = iter(calibration)

        def get_next(self) -> dict[str, Array] | None:
            image = next(self.left, None)
            return None if image is None else {IMAGE: image[None]}

    options = recipe.options(quantizer_options(recipe))
    percentile = options["activation_range"] == "percentile"
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        prepared = Path(scratch, path.name)
        quant_pre_process(str(path), str(prepared))
        names = [node.name for node in onnx.load(str(prepared), load_external_data=False).graph.node]
        keep = [name for name in names if step_of(name) in float_steps]
        quantize_static(
            str(prepared),
            str(path),
            Images(),
            quant_format=QuantFormat.QDQ,
            per_channel=options["weight_granularity"] == "channel",
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=WEIGHT_BITS == 7,
            nodes_to_exclude=keep,
            calibrate_method=CalibrationMethod.Percentile if percentile else CalibrationMethod.MinMax,
            extra_options={
                "CalibMovingAverage": options["activation_range"] == "average",
                "ActivationSymmetric": options["activation_symmetry"] == "symmetric",
            },
        )


class OnnxRuntimeSession:
    """An inference session on the CPU whose threads do not spin between calls."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        self.session = _session(path, _options(threads))
        self.pixels = self.session.get_inputs()[0].type == "tensor(uint8)"

    def _entry(self, x: Array) -> np.ndarray:
        return to_pixels(x) if self.pixels else np.array(x, np.float32, order="C")

    def run(self, x: Array) -> Array:
        results = [self.session.run(None, {IMAGE: self._entry(image[None])})[0] for image in x]
        raw: Array = np.concatenate(results)
        return raw

    def prepare(self, x: Array) -> Callable[[], None]:
        import onnxruntime

        binding = self.session.io_binding()
        binding.bind_ortvalue_input(IMAGE, onnxruntime.OrtValue.ortvalue_from_numpy(self._entry(x[:1])))
        binding.bind_output(RAW)
        return lambda: self.session.run_with_iobinding(binding)

    def close(self) -> None:
        del self.session


def _options(threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _session(path: Path, options: Any) -> Any:
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the exceptions of the library have no other common class
        raise InputError(f"{path}: ONNX Runtime cannot load it: {shortened(error, 200)}") from None


load = OnnxRuntimeSession


def inspect(path: Path) -> ModelSummary:
    """Summarise the graph after the fusions of the session, before its changes of memory layout.

    A QLinearConv computes in INT8; a Conv between Dequantize and Quantize that was not fused computes in float.
    """
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as scratch:
        options = _options(1)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(Path(scratch, path.name))
        _session(path, options)
        nodes = onnx.load(options.optimized_model_filepath).graph.node
    macs = _macs(path)
    operators = []
    for node in nodes:
        dtype = "int8" if node.op_type.startswith(("QLinear", "QGemm")) else "float32"
        operators.append(Operator(node.op_type, dtype, tuple(node.input), tuple(node.output), macs.get(node.name, 0)))
    summary = summarise(operators, path.stat().st_size)
    summary.fallbacks = float_fallbacks(operators, CONVERSIONS)
    return summary


def _macs(path: Path) -> dict[str, int]:
    """Return the MACs of convolutions and matrix products by node name; fusions keep the names."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(onnx.load(str(path))).graph
    makers = {name: node for node in graph.node for name in node.output}
    shapes = {constant.name: list(constant.dims) for constant in graph.initializer}
    for value in (*graph.value_info, *graph.output):
        shapes[value.name] = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
    found = {}
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            source = makers.get(node.input[1])  # weights are a constant or a dequantized one
            weights = shapes[source.input[0] if source else node.input[1]]
            output = shapes[node.output[0]]
            found[node.name] = macs_of(output, weights, weights[0] if node.op_type == "Conv" else output[-1])
    return found
