"""ONNX Runtime: the torch exporter converts, its static QDQ quantizer quantizes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
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

FILES = ("model.onnx",)
DEPTH_GAIN = 16.0


def unsupported(arch: Arch, recipe: Recipe) -> list[str]:
    """Only fp16, which its CPU kernels lack: what has no INT8 kernel runs in float between Dequantize and Quantize."""
    if recipe.weights == "float16":
        return [f"recipe {recipe.name}: ONNX Runtime has no fp16 kernels for CPUs; take the recipe float"]
    return []


def export(net: PoseNet, folder: Path, recipe: Recipe, calibration: Array | None) -> Path:
    """One file, weights inside; QDQ, per channel, for an INT8 recipe."""
    from quantize.graph import save_onnx

    path = folder / FILES[0]
    save_onnx(net, path, DEPTH_GAIN)
    if recipe.int8:
        assert calibration is not None
        _quantize(path, recipe.float_steps(net.arch), calibration)
    return path


def _quantize(path: Path, float_steps: tuple[str, ...], calibration: Array) -> None:
    """Static INT8 in place; `float_steps` stay float."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from quantize.graph import step_of

    class Pictures(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left: Iterator[Array] = iter(calibration)

        def get_next(self) -> dict[str, Array] | None:
            picture = next(self.left, None)
            return None if picture is None else {"image": picture[None]}

    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        prepared = Path(scratch, path.name)
        quant_pre_process(str(path), str(prepared))
        names = [node.name for node in onnx.load(str(prepared), load_external_data=False).graph.node]
        keep = [name for name in names if step_of(name) in float_steps]
        quantize_static(
            str(prepared),
            str(path),
            Pictures(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=keep,
        )


class OnnxRuntimeSession:
    """An inference session on the CPU that does not spin between calls."""

    def __init__(self, path: Path, threads: int) -> None:
        self.session = _session(path, _options(threads))

    def run(self, x: Array) -> Array:
        results = [
            self.session.run(None, {"image": np.ascontiguousarray(picture[None], np.float32)})[0] for picture in x
        ]
        raw: Array = np.concatenate(results)
        return raw

    def prepare(self, x: Array) -> Callable[[], None]:
        import onnxruntime

        binding = self.session.io_binding()
        binding.bind_ortvalue_input("image", onnxruntime.OrtValue.ortvalue_from_numpy(np.array(x[:1], np.float32)))
        binding.bind_output("raw")
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
    except Exception as error:  # the library's exceptions have no common class but this one
        raise InputError(f"{path}: ONNX Runtime cannot load it: {' '.join(str(error).split())[:200]}") from None


def load(path: Path, threads: int = 1) -> OnnxRuntimeSession:
    return OnnxRuntimeSession(path, threads)


def inspect(path: Path) -> FileAudit:
    """The graph that the session runs after its fusions, before its changes of memory layout.

    A QLinearConv computes in INT8; a Conv between Dequantize and Quantize that was not fused does not.
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
    made = []
    for node in nodes:
        dtype = "int8" if node.op_type.startswith(("QLinear", "QGemm")) else "float32"
        made.append(Operator(node.op_type, dtype, tuple(node.input), tuple(node.output), macs.get(node.name, 0)))
    return summarise(made, path.stat().st_size)


def _macs(path: Path) -> dict[str, int]:
    """MACs of the file's convolutions and matrix products by the names of their nodes, which fusions keep."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(onnx.load(str(path))).graph
    makers = {name: node for node in graph.node for name in node.output}
    shapes = {constant.name: list(constant.dims) for constant in graph.initializer}
    for value in (*graph.value_info, *graph.output):
        shapes[value.name] = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
    found = {}
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            source = makers.get(node.input[1])  # weights are a constant, or one that is dequantized
            weights = shapes[source.input[0] if source else node.input[1]]
            output = shapes[node.output[0]]
            found[node.name] = macs_of(output, weights, weights[0] if node.op_type == "Conv" else output[-1])
    return found
