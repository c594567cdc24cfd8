"""LiteRT, the phones' runtime: litert-torch converts, ai-edge-quantizer quantizes, XNNPACK runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arch.errors import InputError
from arch.heads import HEADS
from arch.space import Arch
from quantize.plans import activations
from quantize.recipes import Recipe
from quantize.runtimes.operators import FileAudit, Operator, macs_of, summarise
from quantize.runtimes.protocol import Array

if TYPE_CHECKING:
    from arch.network import PoseNet

FILES = ("model.tflite",)
DEPTH_GAIN = 16.0
LEAST_RANGE = 0.01
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
NO_INT8_KERNEL = ("prelu", "prelu_shared", "leaky_relu", "hardswish")


def unsupported(arch: Arch, recipe: Recipe) -> list[str]:
    """Activations without an INT8 kernel cut the network into float islands, ten times slower than ReLU."""
    if not recipe.int8:
        return []
    return [
        f"activation: {act} has no INT8 kernel in LiteRT (the file would fall apart into float islands and run "
        f"slower than float); take relu or relu6, the recipe float, or the runtime openvino"
        for act in sorted(activations(arch) & set(NO_INT8_KERNEL))
    ]


def export(net: PoseNet, folder: Path, recipe: Recipe, calibration: Array | None) -> Path:
    """Channels last at both edges, so that no transpose is left inside; float input and output for every recipe."""
    import litert_torch
    import torch

    from quantize.graph import inference_module, lift_dead_channels, widen_depths

    arch = net.arch
    plain = inference_module(net)
    widen_depths(plain.net, DEPTH_GAIN)
    if recipe.int8:
        lift_dead_channels(plain)
    outputs = [0] if HEADS[arch.head].MAPS else []
    module = litert_torch.to_channel_last_io(plain, args=[0], outputs=outputs).eval()
    path = folder / FILES[0]
    converted = litert_torch.convert(module, (torch.zeros(1, arch.input, arch.input, 3),))
    converted.export(str(path))
    if recipe.int8:
        assert calibration is not None
        path.write_bytes(_quantize(path, recipe.float_steps(arch), calibration))
    if recipe.weights == "float16":
        path.write_bytes(_halve(path))
    return path


def _halve(path: Path) -> bytes:
    """Weights as fp16, widened when the file is loaded; phones with fp16 arithmetic may be told to compute in it."""
    from ai_edge_quantizer import qtyping, quantizer

    half = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    made = quantizer.Quantizer(str(path))
    made.update_quantization_recipe(
        ".*",
        qtyping.TFLOperationName.ALL_SUPPORTED,
        qtyping.OpQuantizationConfig(
            weight_tensor_config=half, compute_precision=qtyping.ComputePrecision.FLOAT, explicit_dequantize=True
        ),
        quantizer.AlgorithmName.FLOAT_CASTING,
    )
    return bytes(made.quantize().quantized_model)


def _quantize(path: Path, float_steps: tuple[str, ...], calibration: Array) -> bytes:
    """Static INT8, per channel, with the ranges of the calibration pictures; edges and `float_steps` stay float."""
    from ai_edge_quantizer import quantizer
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.recipe import static_wi8_ai8

    made = quantizer.Quantizer(str(path), static_wi8_ai8())
    keep = quantizer.AlgorithmName.NO_QUANTIZE
    for edge in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):
        made.update_quantization_recipe(".*", edge, algorithm_key=keep)
    if float_steps:
        inside = f"Sequential_({'|'.join(map(re.escape, float_steps))})[/;]"
        made.update_quantization_recipe(inside, TFLOperationName.ALL_SUPPORTED, algorithm_key=keep)
    signature, entry = _signature(path)
    pictures = [{entry: np.ascontiguousarray(picture[None].transpose(0, 2, 3, 1))} for picture in calibration]
    ranges = made.calibrate({signature: pictures}, num_threads=1)
    for seen in ranges.values():  # a map that was zero on all pictures: a range without width has no scale
        if "max" in seen and np.max(np.maximum(seen["max"], 0) - np.minimum(seen["min"], 0)) < LEAST_RANGE:
            seen["max"] = np.full_like(seen["max"], LEAST_RANGE)
    return bytes(made.quantize(ranges).quantized_model)


def interpreter(path: Path, threads: int, delegate: bool = True) -> Any:
    """Loaded, with memory for its tensors.

    Raises:
        InputError: LiteRT refuses the file.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = OpResolverType.AUTO if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        made = Interpreter(model_path=str(path), num_threads=threads, experimental_op_resolver_type=kind)
        made.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{path}: LiteRT cannot load it: {' '.join(str(error).split())[:200]}") from None
    return made


def _signature(path: Path) -> tuple[str, str]:
    """Key of the only signature and name of its only input."""
    signatures = interpreter(path, 1).get_signature_list()
    key = next(iter(signatures))
    return key, signatures[key]["inputs"][0]


class LiteRTSession:
    """An interpreter with XNNPACK; outside it everything is channels first, as in torch."""

    def __init__(self, path: Path, threads: int) -> None:
        self.interpreter = interpreter(path, threads)
        self.entry = self.interpreter.get_input_details()[0]["index"]
        self.exit = self.interpreter.get_output_details()[0]["index"]

    def _set(self, picture: Array) -> None:
        self.interpreter.set_tensor(self.entry, np.ascontiguousarray(picture[None].transpose(0, 2, 3, 1), np.float32))

    def run(self, x: Array) -> Array:
        results = []
        for picture in x:
            self._set(picture)
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


def load(path: Path, threads: int = 1) -> LiteRTSession:
    return LiteRTSession(path, threads)


def inspect(path: Path) -> FileAudit:
    """The file's operators, and how many of them XNNPACK takes over; the rest an interpreter runs one by one."""
    plain = interpreter(path, 1, delegate=False)
    tensors = {tensor["index"]: tensor for tensor in plain.get_tensor_details()}
    made = [_operator(operator, tensors) for operator in plain._get_ops_details()]
    audit = summarise(made, path.stat().st_size)
    audit.partitions, left = _delegation(interpreter(path, 1), len(made))
    audit.delegated = 1 - left / len(made)
    return audit


def _operator(operator: Any, tensors: dict[int, Any]) -> Operator:
    kind = operator["op_name"]
    inputs, outputs = tuple(map(int, operator["inputs"])), tuple(map(int, operator["outputs"]))
    output = tensors[outputs[0]]
    macs = 0
    if kind in CONVOLUTIONS:
        weights = tensors[inputs[1]]["shape"].tolist()
        channels = weights[-1] if kind == "DEPTHWISE_CONV_2D" else weights[0]
        macs = macs_of(output["shape"].tolist(), weights, channels)
    return Operator(kind, np.dtype(output["dtype"]).name, inputs, outputs, macs)


def _delegation(interpreter: Any, count: int) -> tuple[int, int]:
    """Number of delegate nodes (listed after the `count` operators), and of operators that none of them took over."""
    details = interpreter._get_ops_details()
    makers = {tensor: operator for operator in details for tensor in operator["outputs"]}  # delegates last: they win
    pending = [output["index"] for output in interpreter.get_output_details()]
    running: set[int] = set()
    while pending:
        maker = makers.get(pending.pop())
        if maker is not None and maker["index"] not in running:
            running.add(maker["index"])
            pending.extend(maker["inputs"])
    return len(details) - count, sum(index < count for index in running)
