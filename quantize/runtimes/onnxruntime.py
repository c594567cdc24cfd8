"""ONNX Runtime: the torch exporter converts, its static QDQ quantizer quantizes."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arch.errors import InputError
from arch.space import Arch
from quantize.recipes import Recipe
from quantize.runtimes.protocol import Array, FileAudit

if TYPE_CHECKING:
    from arch.network import PoseNet

FILES = ("model.onnx",)
CONVOLUTIONS = ("Conv", "FusedConv", "MatMul", "Gemm", "QLinearConv", "QLinearMatMul", "QGemm", "MatMulInteger")


def unsupported(arch: Arch, recipe: Recipe) -> list[str]:
    """Nothing: what has no INT8 kernel runs in float between Dequantize and Quantize."""
    return []


def export(net: PoseNet, folder: Path, recipe: Recipe, calibration: Array | None) -> Path:
    """One file, weights inside; QDQ, per channel, for an INT8 recipe."""
    from quantize.graph import save_onnx

    path = folder / FILES[0]
    save_onnx(net, path)
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
            str(prepared), str(path), Pictures(), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, nodes_to_exclude=keep,
        )


class OnnxRuntimeSession:
    """An inference session on the CPU that does not spin between calls."""

    def __init__(self, path: Path, threads: int) -> None:
        import onnxruntime

        options = _options(threads)
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library's exceptions have no common class but this one
            raise InputError(f"{path}: ONNX Runtime cannot load it: {' '.join(str(error).split())[:200]}") from None

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


def load(path: Path, threads: int = 1) -> OnnxRuntimeSession:
    return OnnxRuntimeSession(path, threads)


def inspect(path: Path) -> FileAudit:
    """The graph that the session runs after its own fusions; a QLinearConv computes in INT8."""
    import onnx
    import onnxruntime

    operators: Counter[str] = Counter()
    audit = FileAudit(bytes=path.stat().st_size)
    with tempfile.TemporaryDirectory() as scratch:
        options = _options(1)
        options.optimized_model_filepath = str(Path(scratch, path.name))
        try:
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # as above
            raise InputError(f"{path}: ONNX Runtime cannot load it: {' '.join(str(error).split())[:200]}") from None
        nodes = onnx.load(options.optimized_model_filepath, load_external_data=False).graph.node
    for node in nodes:
        integer = node.op_type.startswith(("QLinear", "QGemm", "MatMulInteger", "ConvInteger"))
        operators[f"{node.op_type} {'int8' if integer else 'float32'}"] += 1
        audit.transposes += node.op_type == "Transpose"
        if node.op_type in CONVOLUTIONS:
            audit.convolutions += 1
            audit.int8_convolutions += integer
    audit.operators = dict(sorted(operators.items()))
    return audit
