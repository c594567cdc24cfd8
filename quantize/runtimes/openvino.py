"""OpenVINO, for x86: conversion by way of ONNX, quantization by NNCF."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arch.decode import IMAGENET_MEAN, IMAGENET_STD
from arch.errors import InputError, shortened
from arch.heads import HEADS
from arch.space import Arch
from quantize.recipes import Recipe
from quantize.runtimes.operators import ModelSummary, Operator, float_fallbacks, macs_of, summarise
from quantize.runtimes.protocol import Array, to_pixels

if TYPE_CHECKING:
    from arch.network import PoseNet

FILES = ("model.xml", "model.bin")
DEPTH_SCALE = 1.0  # outputs stay float
WEIGHT_BITS = 7  # see `quantize.runtimes.protocol.Runtime`
WEIGHT_LEVELS, DEPTHWISE_LEVELS = 63.5, 127  # largest weight divided by the scale; see `seven_bit_weights`
CONVOLUTIONS = ("Convolution", "FullyConnected", "MatMul")
BOOKKEEPING = ("Input", "Output", "Const")
CONVERSIONS = ("Reorder", "Reshape", "Convert")


def unsupported(arch: Arch, recipe: Recipe) -> list[str]:
    """Reject recipes without kernels; operators that NNCF cannot quantize stay in float, at a small cost (prelu)."""
    if recipe.activations == "int16":
        return [f"recipe {recipe.name}: OpenVINO has no INT16 activations; use int8-static, or the runtime litert"]
    if recipe.dynamic:
        return [
            f"recipe {recipe.name}: OpenVINO has no dynamic quantization of convolutions; use int8-static or int8-weights"
        ]
    return []


def quantizer_options(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """Return the options of NNCF. Weights alone are always quantized per channel; training starts from the defaults."""
    if not recipe.calibrated:
        return {"weight_range": ("minmax",), "weight_granularity": ("channel",)}
    options = {
        "activation_range": ("average", "minmax", "percentile", "histogram"),
        "activation_symmetry": ("symmetric", "asymmetric"),
        "weight_range": ("minmax",),
        "weight_granularity": ("channel", "tensor"),
    }
    if recipe.qat_samples:
        return {option: values[:1] for option, values in options.items()}
    return options


def failed_checks(arch: Arch, recipe: Recipe) -> list[str]:
    """Files of every network pass."""
    return []


def export(net: PoseNet, folder: Path, recipe: Recipe, calibration: Array | None) -> Path:
    """Write an .xml with its .bin; weights are stored as fp16 only if the recipe says so."""
    import openvino as ov

    from quantize.bias_correction import correct_depths
    from quantize.graph import inference_module, save_onnx

    module = inference_module(net)
    if recipe.quantized:
        options = recipe.options(quantizer_options(recipe))
        correct_depths(module, recipe, options, calibration, WEIGHT_LEVELS, DEPTHWISE_LEVELS)
    with (
        tempfile.TemporaryDirectory() as scratch
    ):  # conversion by way of ONNX gives the same graph in a third of the time
        exported = Path(scratch, "model.onnx")
        save_onnx(module, exported)
        model = ov.convert_model(exported)
    if recipe.quantized:
        model = _quantize(model, net.arch, recipe, calibration)
    if recipe.input_dtype == "uint8":
        model = with_normalisation(model)
    path = folder / FILES[0]
    ov.save_model(model, path, compress_to_fp16=recipe.weights == "float16")
    return path


def with_normalisation(model: Any) -> Any:
    """Return a model that receives RGB values as uint8, channels last, in place of its normalised input."""
    import openvino as ov
    from openvino.preprocess import PrePostProcessor

    processor = PrePostProcessor(model)
    entry = processor.input()
    entry.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    entry.model().set_layout(ov.Layout("NCHW"))
    mean, std = ([255 * value for value in values] for values in (IMAGENET_MEAN, IMAGENET_STD))
    entry.preprocess().convert_element_type(ov.Type.f32).mean(mean).scale(std)
    return processor.build()


def _quantize(model: Any, arch: Arch, recipe: Recipe, calibration: Array | None) -> Any:
    """Quantize as the recipe says: statically, or the weights alone; its float steps stay float."""
    import nncf
    from nncf.quantization.advanced_parameters import QuantizationParameters
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet as Ranges

    float_steps = recipe.float_steps(arch)
    pattern = rf"/({'|'.join(map(re.escape, float_steps))})/.*"
    scope = nncf.IgnoredScope(patterns=[pattern], validate=False) if float_steps else None
    if calibration is None:
        return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM, ignored_scope=scope)
    options = recipe.options(quantizer_options(recipe))
    parameters = seven_bit_weights()
    parameters.disable_bias_correction = HEADS[arch.head].DEPTH_VALUES  # see `quantize.bias_correction`
    ranges = {"minmax": Ranges.MINMAX, "percentile": Ranges.MEAN_QUANTILE, "histogram": Ranges.HISTOGRAM}
    if how := ranges.get(options["activation_range"]):
        parameters.activations_range_estimator_params = how
    if options["weight_granularity"] == "tensor":
        parameters.weights_quantization_params = QuantizationParameters(per_channel=False)
    presets = {"symmetric": nncf.QuantizationPreset.PERFORMANCE, "asymmetric": nncf.QuantizationPreset.MIXED}
    return nncf.quantize(
        model,
        nncf.Dataset([image[None] for image in calibration]),
        preset=presets[options["activation_symmetry"]],
        subset_size=len(calibration),
        fast_bias_correction=True,
        advanced_parameters=parameters,
        ignored_scope=scope,
    )


def seven_bit_weights() -> Any:
    """Return the parameters with which NNCF limits the weights of all layers to `WEIGHT_BITS`, not only the first.

    Depthwise convolutions keep 8 bits: OpenVINO adds their products in 32 bits.
    """
    import nncf

    return nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE)


def _compile(path: Path, threads: int) -> Any:
    """Load a file with float32 arithmetic; on CPUs with AMX or fp16 units the default precision is lower."""
    import openvino as ov

    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }
    core = ov.Core()
    try:
        return core.compile_model(core.read_model(path), "CPU", options)
    except RuntimeError as error:
        raise InputError(f"{path}: OpenVINO cannot load it: {shortened(error, 200)}") from None


class OpenVINOSession:
    """One infer request."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        self.model = _compile(path, threads)
        self.request = self.model.create_infer_request()
        self.pixels = self.model.inputs[0].element_type.to_string() == "u8"

    def _entry(self, x: Array) -> np.ndarray:
        return to_pixels(x) if self.pixels else np.array(x, np.float32, order="C")

    def run(self, x: Array) -> Array:
        results = [self.request.infer([self._entry(image[None])])[0].copy() for image in x]
        raw: Array = np.concatenate(results)
        return raw

    def prepare(self, x: Array) -> Callable[[], None]:
        import openvino as ov

        request = self.model.create_infer_request()
        request.set_input_tensor(ov.Tensor(self._entry(x[:1])))
        # By default, infer copies the outputs, which native programs do not do.
        invoke: Callable[[], None] = partial(request.infer, share_outputs=True)
        return invoke

    def close(self) -> None:
        del self.request, self.model


load = OpenVINOSession


def inspect(path: Path) -> ModelSummary:
    """Summarise the graph that the CPU plugin executes, in which each layer has its final precision."""
    nodes = _compile(path, 1).get_runtime_model().get_ordered_ops()
    size = sum(file.stat().st_size for file in (path, path.with_suffix(".bin")))
    operators = [operator for operator in map(_operator, nodes) if operator.kind not in BOOKKEEPING]
    summary = summarise(operators, size)
    summary.fallbacks = float_fallbacks(operators, CONVERSIONS)
    return summary


def _operator(node: Any) -> Operator:
    info = node.get_rt_info()
    kind = info["layerType"].value
    sources = tuple(entry.get_source_output().get_node().get_friendly_name() for entry in node.inputs())
    macs = 0
    if kind in CONVOLUTIONS:
        weights = node.input(1).get_shape()
        macs = macs_of(node.output(0).get_shape(), weights, weights[0] * (weights[1] if len(weights) == 5 else 1))
    return Operator(kind, info["runtimePrecision"].value, sources, (node.get_friendly_name(),), macs)
