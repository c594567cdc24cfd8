"""LiteRT, for phones: conversion by litert-torch, quantization by ai-edge-quantizer, execution by XNNPACK."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arch.decode import IMAGENET_MEAN, IMAGENET_STD
from arch.errors import InputError, shortened
from arch.heads import HEADS
from arch.space import Arch
from arch.spec import Block, Conv
from quantize.litert_quantizer import module
from quantize.recipes import Recipe
from quantize.runtimes.operators import DYNAMIC, ModelSummary, Operator, counted, macs_of, summarise
from quantize.runtimes.protocol import Array, to_pixels
from quantize.tensors import IMAGE, RAW, describe_input, describe_output
from quantize.tflite_metadata import ImageInput, OutputText, add_metadata, image_metadata, read_model, write_model

if TYPE_CHECKING:
    from arch.network import PoseNet

FILES = ("model.tflite",)
DEPTH_SCALE = 16.0
WEIGHT_BITS = 8  # XNNPACK widens both factors to 16 bits and adds in 32 bits
WEIGHT_LEVELS = 127  # largest weight divided by the scale
MIN_RANGE = 0.01
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
NO_INT8_KERNEL = ("prelu", "prelu_shared", "leaky_relu", "hardswish")


def unsupported(arch: Arch, recipe: Recipe) -> list[str]:
    """Reject activations without an integer kernel: the delegate runs them in float, which is ten times slower."""
    if not recipe.calibrated:
        return []
    return [
        f"activation: {act} has no INT8 kernel in LiteRT (the file would be slower than the float file); use relu or "
        f"relu6, the recipe float, or the runtime openvino"
        for act in sorted(_activations(arch.plan) & set(NO_INT8_KERNEL))
    ]


def quantizer_options(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """Return the options of the quantizer; INT16 activations are symmetric in every kernel."""
    found: dict[str, tuple[str, ...]] = {}
    if recipe.calibrated:
        # 16 bits need no clipping of extremes
        found["activation_range"] = ("average", "minmax") if recipe.int8 else ("minmax", "average")
        found["activation_symmetry"] = ("asymmetric", "symmetric") if recipe.int8 else ("symmetric",)
    return found | {"weight_range": ("minmax", "octav"), "weight_granularity": ("channel", "tensor")}


def failed_checks(arch: Arch, recipe: Recipe) -> list[str]:
    """The delegate has no INT16 kernels, and no INT8 average pooling, with which residual concatenation halves maps."""
    if recipe.activations == "int16":
        return [
            f"recipe {recipe.name}: XNNPACK has no INT16 kernels, so that reference kernels run the file, many times "
            f"slower than float; for the NPUs that the format is for, use --force"
        ]
    pools = sum(how == "pool" for node in arch.plan.nodes for _, how in node.inputs)
    if not (recipe.int8 and pools):
        return []
    return [
        f"concat: {pools} INT8 average poolings of {arch.concat} concatenation are not delegated, which splits the file"
    ]


def _activations(part: Any) -> set[str]:
    """Return the names of all activations in a plan or a part of it."""
    found = {part.act} if isinstance(part, Conv | Block) and part.act else set()
    if isinstance(part, tuple):
        found = found.union(*map(_activations, part))
    return found


def export(net: PoseNet, folder: Path, recipe: Recipe, calibration: Array | None) -> Path:
    """Write a .tflite with float, channels-last input and output, so that it needs no transposes."""
    from quantize.bias_correction import correct_depths
    from quantize.graph import MIN_WEIGHT, MIN_WEIGHT_INT16, inference_module, lift_dead_channels, scale_depths
    from quantize.litert_template import convert

    arch = net.arch
    inference = inference_module(net)
    scale_depths(inference.net, DEPTH_SCALE)
    if recipe.calibrated:
        lift_dead_channels(inference, MIN_WEIGHT if recipe.int8 else MIN_WEIGHT_INT16)
        correct_depths(
            inference, recipe, recipe.options(quantizer_options(recipe)), calibration, WEIGHT_LEVELS, WEIGHT_LEVELS
        )
    path = folder / FILES[0]
    path.write_bytes(convert(inference, arch))
    if recipe.quantized:
        path.write_bytes(_quantize(path, recipe, recipe.float_steps(arch), calibration))
    if recipe.weights == "float16":
        path.write_bytes(_to_fp16(path))
    path.write_bytes(_described(path.read_bytes(), arch, recipe))
    return path


def _described(data: bytes, arch: Arch, recipe: Recipe) -> bytes:
    """Return a file with the names of `quantize.tensors`, with metadata, and with the input that the recipe requires."""
    model = read_model(data)
    (graph,) = model.subgraphs
    entry, end = graph.inputs[0], graph.outputs[0]
    graph.tensors[end].name = RAW.encode()
    graph.tensors[entry].name = IMAGE.encode()
    mean, std = (tuple(255 * value for value in values) for values in (IMAGENET_MEAN, IMAGENET_STD))
    if recipe.input_dtype == "uint8":
        graph.tensors[entry].name = b"normalised"
        entry = _prepend_normalisation(model, mean, std)
        mean, std = (0.0,) * 3, (1.0,) * 3
    for signature in model.signatureDefs or ():
        signature.inputs[0].name, signature.inputs[0].tensorIndex = IMAGE.encode(), entry
        signature.outputs[0].name = RAW.encode()
    image = describe_input(arch, "litert", recipe.input_dtype)
    raw = describe_output(arch, "litert", DEPTH_SCALE if HEADS[arch.head].DEPTH_VALUES else 1.0)
    assert image.range is not None
    low, high = ((value,) * 3 for value in image.range)
    about = ImageInput(image.name, image.description, arch.input_size, mean, std, low, high)
    text = f"3D human pose, head {arch.head}; crop and decoding: docs/decoder.md of edgepose"
    metadata = image_metadata(arch.name, text, about, [OutputText(raw.name, raw.description)])
    return add_metadata(write_model(model), metadata)


def _prepend_normalisation(model: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> int:
    """Let a file with float input receive RGB values as uint8, and return the index of the new input."""
    from ai_edge_litert import schema_py_generated as schema

    from quantize import task_graph

    (graph,) = task_graph.normalise_input(model, mean, std).subgraphs
    (values,) = graph.inputs
    graph.tensors[values].name = b"values"
    pixels = task_graph.add_tensor(model, IMAGE, graph.tensors[values].shape, schema.TensorType.UINT8)
    graph.tensors[pixels].quantization = schema.QuantizationParametersT(scale=[1.0], zeroPoint=[0])
    options = schema.DequantizeOptionsT()
    first = task_graph.operator(model, "DEQUANTIZE", [pixels], values, options, "DequantizeOptions")
    graph.operators.insert(0, first)
    graph.inputs = [pixels]
    return pixels


def _to_fp16(path: Path) -> bytes:
    """Store the weights as fp16; the runtime converts them to float32 when it loads the file."""
    qtyping, quantizer = module("qtyping"), module("quantizer")
    half = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    casting = quantizer.Quantizer(str(path))
    casting.update_quantization_recipe(
        ".*",
        qtyping.TFLOperationName.ALL_SUPPORTED,
        qtyping.OpQuantizationConfig(
            weight_tensor_config=half, compute_precision=qtyping.ComputePrecision.FLOAT, explicit_dequantize=True
        ),
        quantizer.AlgorithmName.FLOAT_CASTING,
    )
    return bytes(casting.quantize().quantized_model)


def _quantize(path: Path, recipe: Recipe, float_steps: tuple[str, ...], calibration: Array | None) -> bytes:
    """Quantize as the recipe says; input, output and `float_steps` stay float."""
    qtyping, quantizer = module("qtyping"), module("quantizer")
    options = recipe.options(quantizer_options(recipe))
    manager = module("recipe_manager").RecipeManager()
    operations, algorithms = qtyping.TFLOperationName, quantizer.AlgorithmName
    clipped, keep = options["weight_range"] == "octav", algorithms.NO_QUANTIZE

    def quantize(operation: Any, dynamic: bool) -> None:
        config = _operator_config(qtyping, recipe, options, dynamic)
        algorithm = algorithms.OCTAV if clipped else algorithms.MIN_MAX_UNIFORM_QUANT
        manager.add_quantization_config(".*", operation, config, algorithm)

    quantize(operations.ALL_SUPPORTED, False)
    if recipe.dynamic:  # the delegate has no kernel for depthwise convolutions, whose weights are dequantized
        for operation in (operations.CONV_2D, operations.FULLY_CONNECTED):
            quantize(operation, True)
    for edge in (operations.INPUT, operations.OUTPUT):
        manager.add_quantization_config(".*", edge, algorithm_key=keep)
    if float_steps:
        inside = f"Sequential_({'|'.join(map(re.escape, float_steps))})[/;]"
        manager.add_quantization_config(inside, operations.ALL_SUPPORTED, algorithm_key=keep)
    ranges = None
    if calibration is not None:
        ranges = _ranges(path, manager, options["activation_range"], calibration)
    made = quantizer.Quantizer(str(path), manager.get_quantization_recipe()).quantize(ranges)
    return bytes(made.quantized_model)


def _operator_config(qtyping: Any, recipe: Recipe, options: dict[str, str], dynamic: bool) -> Any:
    """Return the quantizer's configuration of one kind of operator."""
    granularity = qtyping.QuantGranularity
    weights = qtyping.TensorQuantizationConfig(
        num_bits=8,
        symmetric=True,
        granularity=granularity.CHANNELWISE if options["weight_granularity"] == "channel" else granularity.TENSORWISE,
    )
    activations = None
    if recipe.calibrated:
        activations = qtyping.TensorQuantizationConfig(
            num_bits=8 if recipe.int8 else 16, symmetric=options["activation_symmetry"] == "symmetric"
        )
    integer = recipe.calibrated or dynamic
    return qtyping.OpQuantizationConfig(
        activation_tensor_config=activations,
        weight_tensor_config=weights,
        compute_precision=qtyping.ComputePrecision.INTEGER if integer else qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=not integer,
    )


def _ranges(path: Path, manager: Any, how: str, calibration: Array) -> dict[str, Any]:
    """Return the ranges of activations on normalised images: exponential mean of their extremes, or the extremes."""
    options = {"qsv_update_func": module("utils.qsv_utils").min_max_update} if how == "minmax" else {}
    calibrator = module("calibrator").Calibrator(str(path), num_threads=1, **options)
    signature, entry = _signature(path)
    images = [{entry: np.ascontiguousarray(image[None].transpose(0, 2, 3, 1))} for image in calibration]
    calibrator.calibrate({signature: images}, manager)
    ranges: dict[str, Any] = calibrator.get_model_qsvs()
    for values in ranges.values():  # a map that is zero on all images has an empty range, and no scale
        if "max" in values and np.max(np.maximum(values["max"], 0) - np.minimum(values["min"], 0)) < MIN_RANGE:
            values["max"] = np.full_like(values["max"], MIN_RANGE)
    return ranges


def interpreter(path: Path, threads: int, delegate: bool = True) -> Any:
    """Return an interpreter with allocated tensors.

    Raises:
        InputError: LiteRT cannot load the file.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = OpResolverType.AUTO if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        loaded = Interpreter(model_path=str(path), num_threads=threads, experimental_op_resolver_type=kind)
        loaded.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{path}: LiteRT cannot load it: {shortened(error, 200)}") from None
    return loaded


def _signature(path: Path) -> tuple[str, str]:
    """Return the key of the only signature and the name of its only input."""
    signatures = interpreter(path, 1).get_signature_list()
    key = next(iter(signatures))
    return key, signatures[key]["inputs"][0]


class LiteRTSession:
    """An interpreter with XNNPACK; inputs and outputs of this class are channels first, as in torch."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        self.interpreter = interpreter(path, threads)
        (entry,) = self.interpreter.get_input_details()
        self.entry, self.pixels = entry["index"], entry["dtype"] == np.uint8
        self.exit = self.interpreter.get_output_details()[0]["index"]

    def _set(self, image: Array) -> None:
        if self.pixels:
            self.interpreter.set_tensor(self.entry, to_pixels(image[None]))
        else:
            self.interpreter.set_tensor(self.entry, np.ascontiguousarray(image[None].transpose(0, 2, 3, 1), np.float32))

    def run(self, x: Array) -> Array:
        results = []
        for image in x:
            self._set(image)
            self.interpreter.invoke()
            results.append(self.interpreter.get_tensor(self.exit))
        raw: Array = np.concatenate(results)
        return raw.transpose(0, 3, 1, 2) if raw.ndim == 4 else raw

    def prepare(self, x: Array) -> Callable[[], None]:
        self._set(x[0])
        invoke: Callable[[], None] = self.interpreter.invoke
        return invoke

    def close(self) -> None:
        del self.interpreter


load = LiteRTSession


def inspect(path: Path) -> ModelSummary:
    """Summarise the operators of the file, and which of them XNNPACK does not run."""
    plain = interpreter(path, 1, delegate=False)
    tensors = {tensor["index"]: tensor for tensor in plain.get_tensor_details()}
    operators = [_operator(operator, tensors) for operator in plain._get_ops_details()]
    summary = summarise(operators, path.stat().st_size)
    summary.partitions, left = _delegation(interpreter(path, 1), len(operators))
    summary.delegated = 1 - len(left) / len(operators)
    summary.fallbacks = counted(operators[index] for index in left)
    return summary


def _operator(operator: Any, tensors: dict[int, Any]) -> Operator:
    kind = operator["op_name"]
    inputs, outputs = tuple(map(int, operator["inputs"])), tuple(map(int, operator["outputs"]))
    output = tensors[outputs[0]]
    macs = 0
    if kind in CONVOLUTIONS:
        weights = tensors[inputs[1]]["shape"].tolist()
        channels = weights[-1] if kind == "DEPTHWISE_CONV_2D" else weights[0]
        macs = macs_of(output["shape"].tolist(), weights, channels)
    dtype = np.dtype(output["dtype"]).name
    if macs and dtype == "float32" and tensors[inputs[1]]["dtype"] == np.int8:
        dtype = DYNAMIC
    return Operator(kind, dtype, inputs, outputs, macs)


def _delegation(interpreter: Any, count: int) -> tuple[int, list[int]]:
    """Return the number of delegate nodes, listed after the `count` operators, and the operators without a delegate."""
    details = interpreter._get_ops_details()
    makers = {
        tensor: operator for operator in details for tensor in operator["outputs"]
    }  # delegates come last and replace operators
    pending = [output["index"] for output in interpreter.get_output_details()]
    running: set[int] = set()
    while pending:
        maker = makers.get(pending.pop())
        if maker is not None and maker["index"] not in running:
            running.add(maker["index"])
            pending.extend(maker["inputs"])
    return len(details) - count, sorted(index for index in running if index < count)
