"""The runtimes on a device, and the steps before a network.

Twins of `quantize.runtimes`, which cannot run there; tests compare both on the same inputs. A runtime is a class with
`put` (set the input), `run` and `take` (get the output).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np

from quantize.sdk.edgepose_decoder import normalise, sample_square


class LiteRT:
    """LiteRT on the CPU, with the XNNPACK delegate."""

    def __init__(self, path: str, threads: int) -> None:
        Interpreter, self.version = litert_interpreter()
        self.interpreter = Interpreter(model_path=path, num_threads=threads)
        self.interpreter.allocate_tensors()
        entry = self.interpreter.get_input_details()[0]
        self.input, self.pixels = entry["index"], entry["dtype"] == np.uint8
        self.output = self.interpreter.get_output_details()[0]["index"]
        self.run: Callable[[], Any] = self.interpreter.invoke

    def put(self, x: np.ndarray) -> None:
        values = to_pixels(x) if self.pixels else np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        self.interpreter.set_tensor(self.input, values)

    def take(self) -> np.ndarray:
        raw: np.ndarray = self.interpreter.get_tensor(self.output)
        return raw.transpose(0, 3, 1, 2) if raw.ndim == 4 else raw

    def facts(self) -> dict[str, Any]:
        """Return the fraction of operators that the delegate runs; delegates are nodes after the file's own."""
        details = self.interpreter._get_ops_details()
        delegates = {detail["index"] for detail in details if detail["op_name"].upper() == "DELEGATE"}
        if not delegates:
            return {"delegate": "none", "delegated": 0.0}
        producers = {tensor: detail for detail in details for tensor in detail["outputs"]}
        pending, running = [self.output], set()
        while pending:
            producer = producers.get(pending.pop())
            if producer is not None and producer["index"] not in running:
                running.add(producer["index"])
                pending.extend(producer["inputs"])
        outside = len(running - delegates)
        return {"delegate": "XNNPACK", "delegated": 1 - outside / max(1, len(details) - len(delegates))}


def litert_interpreter() -> tuple[Any, str]:
    """Return the interpreter class of the installed package, and the version of that package."""
    try:
        from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-not-found, unused-ignore]

        return Interpreter, "ai-edge-litert " + version_of("ai-edge-litert")
    except ImportError:
        from tflite_runtime.interpreter import Interpreter  # type: ignore[import-not-found, unused-ignore]

        return Interpreter, "tflite-runtime " + version_of("tflite-runtime")


class OpenVINO:
    """OpenVINO's CPU plug-in; float32 is not replaced by bfloat16 or float16."""

    def __init__(self, path: str, threads: int) -> None:
        import openvino  # type: ignore[import-not-found, unused-ignore]

        self.version = "openvino " + version_of("openvino")
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
        core = openvino.Core()
        self.model = core.compile_model(core.read_model(path), "CPU", {**options, "INFERENCE_NUM_THREADS": threads})
        self.request = self.model.create_infer_request()
        # Without share_outputs, infer copies the outputs in every call.
        self.run: Callable[[], Any] = functools.partial(self.request.infer, share_outputs=True)

    def put(self, x: np.ndarray) -> None:
        values = self.request.get_input_tensor().data
        values[:] = to_pixels(x) if values.dtype == np.uint8 else x

    def take(self) -> np.ndarray:
        return np.array(self.request.get_output_tensor(0).data)

    def facts(self) -> dict[str, Any]:
        """Return the kernels of the convolutions; their names contain the instruction set."""
        kernels: dict[str, int] = {}
        for node in self.model.get_runtime_model().get_ordered_ops():
            info = node.get_rt_info()
            if info["layerType"].value == "Convolution":
                name = str(info["primitiveType"].value)
                kernels[name] = kernels.get(name, 0) + 1
        used = sorted(set(re.findall(r"avx512(?:_amx)?|avx2|avx|sse4\w*|sve|neon|asimd|acl", " ".join(kernels))))
        return {"delegate": "CPU plug-in", "delegated": 1.0, "kernels": kernels, "instruction_sets_used": used}


class OnnxRuntime:
    """ONNX Runtime's CPU provider; its threads do not spin between calls."""

    def __init__(self, path: str, threads: int) -> None:
        import onnxruntime  # type: ignore[import-not-found, unused-ignore]

        self.version = "onnxruntime " + version_of("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        first = session.get_inputs()[0]
        self.pixels = first.type == "tensor(uint8)"
        empty = np.zeros(first.shape, np.uint8 if self.pixels else np.float32)
        self.value = onnxruntime.OrtValue.ortvalue_from_numpy(empty)
        self.binding = session.io_binding()
        self.binding.bind_ortvalue_input(first.name, self.value)
        self.binding.bind_output(session.get_outputs()[0].name)
        self.run: Callable[[], Any] = lambda: session.run_with_iobinding(self.binding)

    def put(self, x: np.ndarray) -> None:
        self.value.update_inplace(to_pixels(x) if self.pixels else np.ascontiguousarray(x, np.float32))

    def take(self) -> np.ndarray:
        return np.asarray(self.binding.copy_outputs_to_cpu()[0])

    def facts(self) -> dict[str, Any]:
        return {"delegate": "CPUExecutionProvider", "delegated": 1.0}


class ExecuTorch:
    """ExecuTorch with the XNNPACK delegate. It needs torch, and its number of threads is that of the process."""

    def __init__(self, path: str, threads: int) -> None:
        import torch
        from executorch.extension.pybindings import (  # type: ignore[import-not-found, unused-ignore]
            portable_lib,
        )
        from executorch.runtime import Runtime  # type: ignore[import-not-found, unused-ignore]

        self.version = "executorch " + version_of("executorch")
        portable_lib._unsafe_reset_threadpool(threads)
        self.torch, self.program = torch, Runtime.get().load_program(path)
        self.method = self.program.load_method("forward")
        self.inputs = [torch.zeros(tuple(self.method.metadata.input_tensor_meta(0).sizes()))]
        self.outputs: list[Any] = []

    def run(self) -> None:
        self.outputs = self.method.execute(self.inputs)

    def put(self, x: np.ndarray) -> None:
        self.inputs[0].copy_(self.torch.from_numpy(np.ascontiguousarray(x, np.float32)))

    def take(self) -> np.ndarray:
        return np.array(self.outputs[0].numpy())

    def facts(self) -> dict[str, Any]:
        """Return the delegates; the file does not tell how many operators they hold."""
        return {"delegate": "XNNPACK", "delegated": 1.0}


MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # RGB in [0, 1], of `arch.decode`


def to_pixels(x: np.ndarray) -> np.ndarray:
    """Return the RGB values (1, S, S, 3) of a normalised image (1, 3, S, S), for files whose input is uint8."""
    mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (MEAN, STD))
    values = np.clip(np.rint((x * std + mean) * 255), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(values.transpose(0, 2, 3, 1))


RUNTIMES: dict[str, Any] = {
    "litert": LiteRT,
    "openvino": OpenVINO,
    "onnxruntime": OnnxRuntime,
    "executorch": ExecuTorch,
}
INSTALL = {"litert": "ai-edge-litert", "openvino": "openvino", "onnxruntime": "onnxruntime", "executorch": "executorch"}


def version_of(package: str) -> str:
    """Return the installed version of a package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(unknown version)"


def to_input(photo: np.ndarray, box: tuple[float, float, float], size: int, mean: Any, std: Any) -> np.ndarray:
    """Crop, resize by area averaging and normalise a photo.

    Args:
        photo: (H, W, 3) RGB, uint8.
        box: left, top and side of the square crop, px.

    Returns:
        (1, 3, size, size) float32.
    """
    return normalise(sample_square(photo, *box, size), {"mean": mean, "std": std})
