"""Agreement of the raw outputs of a model file on two processors: equal bits, or the distance in steps and in mm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from arch.decode import decode, to_crop_mm, to_normalised
from arch.space import Arch
from quantize import runtimes
from quantize.certificate import deviation
from quantize.runtimes import Array

ToMillimetres = Callable[[Array], NDArray[np.floating]]


class Agreement(BaseModel):
    """Agreement of one file on an emulated processor with the same file on the machine that emulates it.

    kernels: instruction set of the fastest INT8 kernels of the processor
    emulator: name and version of the emulator; the processor itself is never used
    equal: fraction of the raw output values with equal bits
    max_difference: largest difference of a raw value; max_steps: the same in steps of the output's INT8 scale, None for
        files whose output is computed in float
    mean_mm, max_mm: distances of joints
    digest: hash of all raw outputs, equal for processors with identical outputs
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu: str
    kernels: str
    emulator: str
    images: int
    equal: float
    max_difference: float
    max_steps: float | None
    mean_mm: float
    max_mm: float
    digest: str

    @property
    def is_identical(self) -> bool:
        return self.equal == 1.0

    @property
    def text(self) -> str:
        """The agreement in words, without the processor."""
        if self.is_identical:
            return "identical"
        steps = f"{self.max_steps:.2g} steps" if self.max_steps is not None else f"{self.max_difference:.2g}"
        return f"{1 - self.equal:.2%} of the values differ, by at most {steps}; joints by {self.mean_mm:.3f} mm, at most {self.max_mm:.3f} mm"


def compare(
    raw: Array,
    reference: Array,
    *,
    arch: Arch,
    runtime: str,
    path: Path,
    cpu: str,
    kernels: str,
    emulator: str,
    to_mm: ToMillimetres = to_crop_mm,
) -> Agreement:
    """Compare raw outputs (N, ...) with those of a reference.

    path: of the model file
    to_mm: converts joints (N, J, 3) as fractions of the crop and of the depth range to mm; by default those of a crop
        of 2 m and a depth range of 2 m
    """
    raw, reference = np.ascontiguousarray(raw), np.ascontiguousarray(reference)  # sums depend on the order in memory
    scale = runtimes.depth_scale(runtime, arch)
    moved = deviation(*(to_mm(to_normalised(decode(one, arch, scale), arch)) for one in (raw, reference)))
    differences = np.abs(raw.astype(np.float64) - reference)
    step = output_step(path, runtime)
    largest = float(differences.max())
    return Agreement(
        cpu=cpu,
        kernels=kernels,
        emulator=emulator,
        images=len(raw),
        equal=float((raw == reference).mean()),
        max_difference=largest,
        max_steps=round(largest / step, 3) if step else None,
        mean_mm=round(moved.mean, 4),
        max_mm=round(moved.max, 4),
        digest=sha256(raw.tobytes()).hexdigest()[:16],
    )


def summary_of(agreements: Sequence[Agreement]) -> str:
    """Return the agreement on several processors in words."""
    names = [f"{one.cpu} ({one.kernels})" for one in agreements]
    if all(one.is_identical for one in agreements):
        return f"{', '.join(names)}: raw outputs of {agreements[0].images} images identical to this machine's"
    among = "identical to one another" if len({one.digest for one in agreements}) == 1 else "different from one another"
    return f"{among}; " + "; ".join(f"{name}: {one.text}" for name, one in zip(names, agreements, strict=True))


def output_step(path: Path, runtime: str) -> float | None:
    """Return the quantization step of the raw output; None where the last operator is computed in float."""
    finder = {"litert": _litert_step, "onnxruntime": _onnx_step}.get(runtime)
    return finder(path) if finder else None


def _litert_step(path: Path) -> float | None:
    from quantize.runtimes.litert import interpreter

    plain = interpreter(path, 1, delegate=False)
    tensors = {tensor["index"]: tensor for tensor in plain.get_tensor_details()}
    makers = {int(output): operator for operator in plain._get_ops_details() for output in operator["outputs"]}
    operator = makers.get(plain.get_output_details()[0]["index"])
    while operator is not None:
        entry = int(operator["inputs"][0])
        if operator["op_name"] == "DEQUANTIZE":
            scales = tensors[entry]["quantization_parameters"]["scales"]
            return float(scales[0]) if len(scales) else None  # none: the weights are float16
        if operator["op_name"] not in LAYOUT:
            return None
        operator = makers.get(entry)
    return None


LAYOUT = ("RESHAPE", "TRANSPOSE")  # operators between the last INT8 value and the output


def _onnx_step(path: Path) -> float | None:
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    constants = {constant.name: constant for constant in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    node = makers.get(graph.output[0].name)
    while node is not None:
        if node.op_type == "DequantizeLinear":
            return float(numpy_helper.to_array(constants[node.input[1]]).ravel()[0])
        if node.op_type.upper() not in LAYOUT:
            return None
        node = makers.get(node.input[0])
    return None
