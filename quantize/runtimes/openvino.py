"""OpenVINO, the runtime of x86 edge boxes: converts from torch, NNCF quantizes."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arch.errors import InputError
from arch.space import Arch
from quantize.recipes import Recipe
from quantize.runtimes.protocol import Array, FileAudit

if TYPE_CHECKING:
    from arch.network import PoseNet

FILES = ("model.xml", "model.bin")
CONVOLUTIONS = ("Convolution", "GroupConvolution", "MatMul", "FullyConnected")


def unsupported(arch: Arch, recipe: Recipe) -> list[str]:
    """Nothing: what NNCF cannot quantize it leaves in float, at little cost (measured for prelu)."""
    return []


def export(net: PoseNet, folder: Path, recipe: Recipe, calibration: Array | None) -> Path:
    """Convert, quantize where the recipe says so, and save with weights as they are (no silent fp16)."""
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
    ov.save_model(model, path, compress_to_fp16=False)
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
        results = [
            self.request.infer([np.ascontiguousarray(picture[None], np.float32)])[0].copy() for picture in x
        ]
        raw: Array = np.concatenate(results)
        return raw

    def prepare(self, x: Array) -> Callable[[], None]:
        import openvino as ov

        request = self.model.create_infer_request()
        request.set_input_tensor(ov.Tensor(np.array(x[:1], np.float32)))
        invoke: Callable[[], None] = request.infer
        return invoke

    def close(self) -> None:
        del self.request, self.model


def load(path: Path, threads: int = 1) -> OpenVINOSession:
    return OpenVINOSession(path, threads)


def inspect(path: Path) -> FileAudit:
    """The graph that the CPU runs after OpenVINO's own rewriting, where each layer says its precision."""
    model = _compile(path, 1)
    operators: Counter[str] = Counter()
    audit = FileAudit(bytes=sum(file.stat().st_size for file in (path, path.with_suffix(".bin"))))
    for node in model.get_runtime_model().get_ops():
        info = node.get_rt_info()
        kind, precision = info["layerType"].value, info["runtimePrecision"].value
        if kind in ("Input", "Output", "Const"):
            continue
        operators[f"{kind} {precision}"] += 1
        audit.transposes += kind == "Transpose"
        if kind in CONVOLUTIONS:
            audit.convolutions += 1
            audit.int8_convolutions += precision in ("i8", "u8")
    audit.operators = dict(sorted(operators.items()))
    return audit
