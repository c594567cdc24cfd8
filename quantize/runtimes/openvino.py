"""OpenVINO, the runtime of x86 edge boxes: converts from torch, NNCF quantizes."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arch.errors import InputError
from arch.space import Arch
from quantize.recipes import Recipe
from quantize.runtimes.operators import FileAudit, Operator, macs_of, summarise
from quantize.runtimes.protocol import Array

if TYPE_CHECKING:
    from arch.network import PoseNet

FILES = ("model.xml", "model.bin")
DEPTH_GAIN = 1.0  # NNCF leaves the output float
CONVOLUTIONS = ("Convolution", "FullyConnected", "MatMul")
BOOKKEEPING = ("Input", "Output", "Const")


def unsupported(arch: Arch, recipe: Recipe) -> list[str]:
    """Nothing: what NNCF cannot quantize it leaves in float, at little cost (measured for prelu)."""
    return []


def export(net: PoseNet, folder: Path, recipe: Recipe, calibration: Array | None) -> Path:
    """Convert, quantize where the recipe says so, and save; fp16 weights only where asked for."""
    import openvino as ov

    from quantize.graph import save_onnx

    with tempfile.TemporaryDirectory() as scratch:  # by way of ONNX: the same graph in a third of the time
        exported = Path(scratch, "model.onnx")
        save_onnx(net, exported)
        model = ov.convert_model(exported)
    if recipe.int8:
        assert calibration is not None
        model = _quantize(model, recipe.float_steps(net.arch), calibration)
    path = folder / FILES[0]
    ov.save_model(model, path, compress_to_fp16=recipe.weights == "float16")
    return path


def _quantize(model: Any, float_steps: tuple[str, ...], calibration: Array) -> Any:
    """Static INT8, per channel, symmetric activations, fast bias correction; `float_steps` stay float."""
    import nncf

    pattern = rf"/({'|'.join(map(re.escape, float_steps))})/.*"
    return nncf.quantize(
        model,
        nncf.Dataset([picture[None] for picture in calibration]),
        preset=nncf.QuantizationPreset.PERFORMANCE,
        subset_size=len(calibration),
        fast_bias_correction=True,
        ignored_scope=nncf.IgnoredScope(patterns=[pattern], validate=False) if float_steps else None,
    )


def _compile(path: Path, threads: int) -> Any:
    """Float stays float32: on CPUs with AMX or fp16 units the default would change a float file silently."""
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
        raise InputError(f"{path}: OpenVINO cannot load it: {' '.join(str(error).split())[:200]}") from None


class OpenVINOSession:
    """One infer request."""

    def __init__(self, path: Path, threads: int) -> None:
        self.model = _compile(path, threads)
        self.request = self.model.create_infer_request()

    def run(self, x: Array) -> Array:
        results = [self.request.infer([np.ascontiguousarray(picture[None], np.float32)])[0].copy() for picture in x]
        raw: Array = np.concatenate(results)
        return raw

    def prepare(self, x: Array) -> Callable[[], None]:
        import openvino as ov

        request = self.model.create_infer_request()
        request.set_input_tensor(ov.Tensor(np.array(x[:1], np.float32)))
        # Python's infer copies the outputs otherwise, which no program on a phone does.
        invoke: Callable[[], None] = partial(request.infer, share_outputs=True)
        return invoke

    def close(self) -> None:
        del self.request, self.model


def load(path: Path, threads: int = 1) -> OpenVINOSession:
    return OpenVINOSession(path, threads)


def inspect(path: Path) -> FileAudit:
    """The graph that the CPU runs after OpenVINO's own rewriting, where each layer says its precision."""
    nodes = _compile(path, 1).get_runtime_model().get_ordered_ops()
    made = [_operator(node) for node in nodes]
    size = sum(file.stat().st_size for file in (path, path.with_suffix(".bin")))
    return summarise((operator for operator in made if operator.kind not in BOOKKEEPING), size)


def _operator(node: Any) -> Operator:
    info = node.get_rt_info()
    kind = info["layerType"].value
    sources = tuple(entry.get_source_output().get_node().get_friendly_name() for entry in node.inputs())
    macs = 0
    if kind in CONVOLUTIONS:
        weights = node.input(1).get_shape()
        macs = macs_of(node.output(0).get_shape(), weights, weights[0] * (weights[1] if len(weights) == 5 else 1))
    return Operator(kind, info["runtimePrecision"].value, sources, (node.get_friendly_name(),), macs)
