"""Operators of a .tflite file with their options, tensors, types and shapes, as delegates see them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from arch.errors import InputError
from quantize.tflite_metadata import read_model

CUSTOM = "CUSTOM"


@dataclass(frozen=True)
class TensorInfo:
    """One tensor.

    shape: sizes; those of `dynamic` are known at run time only
    constant: stored in the file, or float16 weights that a DEQUANTIZE widens; delegates read both when they start
    scales: number of quantization scales; 0: not quantized, more than 1: one for each channel
    blockwise: quantized in blocks
    symmetric: all zero points are 0
    """

    index: int
    dtype: str
    shape: tuple[int, ...]
    dynamic: tuple[int, ...]
    constant: bool
    scales: int
    blockwise: bool
    symmetric: bool

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class Node:
    """One operator.

    kind: name of the builtin operator, or CUSTOM and the name
    inputs: None where an optional input is absent
    options: fields of the builtin options by their names in the schema
    """

    index: int
    kind: str
    version: int
    inputs: tuple[TensorInfo | None, ...]
    outputs: tuple[TensorInfo, ...]
    options: dict[str, Any]

    @property
    def tensors(self) -> tuple[TensorInfo, ...]:
        return (*self.present, *self.outputs)

    @property
    def present(self) -> tuple[TensorInfo, ...]:
        return tuple(each for each in self.inputs if each is not None)

    @property
    def at_run_time(self) -> tuple[TensorInfo, ...]:
        """Inputs that are not constants."""
        return tuple(each for each in self.present if not each.constant)

    @property
    def constants(self) -> tuple[TensorInfo, ...]:
        return tuple(each for each in self.present if each.constant)

    def input(self, place: int) -> TensorInfo | None:
        return self.inputs[place] if place < len(self.inputs) else None

    @property
    def label(self) -> str:
        """Kind and type of the first output."""
        return f"{self.kind} {self.outputs[0].dtype}" if self.outputs else self.kind


@dataclass(frozen=True)
class Graph:
    """The only subgraph of a file."""

    nodes: tuple[Node, ...]
    outputs: tuple[TensorInfo, ...]


def read_graph(path: Path) -> Graph:
    """Read a .tflite file.

    Raises:
        InputError: the file cannot be read, or has several subgraphs, which means control flow.
    """
    from ai_edge_litert import schema_py_generated as schema

    try:
        model = read_model(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; give a .tflite file") from None
    except Exception as error:  # flatbuffers raises whatever a broken offset leads to
        raise InputError(f"{path}: not a .tflite file ({type(error).__name__}); export it again") from None
    if not model.subgraphs or len(model.subgraphs) != 1:
        raise InputError(f"{path}: {len(model.subgraphs or ())} subgraphs; delegates accept files with one")
    kinds, types = _names(schema.BuiltinOperator), _names(schema.TensorType)
    (graph,) = model.subgraphs
    tensors = [_tensor(index, tensor, model, types) for index, tensor in enumerate(graph.tensors)]
    nodes = []
    for index, operator in enumerate(graph.operators or ()):
        code = model.operatorCodes[operator.opcodeIndex]
        kind = kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]
        if kind == CUSTOM:
            kind = f"{CUSTOM} {(code.customCode or b'').decode()}"
        inputs = tuple(tensors[place] if place >= 0 else None for place in _integers(operator.inputs))
        outputs = tuple(tensors[place] for place in _integers(operator.outputs))
        options = vars(operator.builtinOptions) if operator.builtinOptions is not None else {}
        nodes.append(Node(index, kind, code.version, inputs, outputs, options))
        if kind == "DEQUANTIZE" and inputs[0] is not None and inputs[0].constant and inputs[0].dtype == "float16":
            place = outputs[0].index
            tensors[place] = replace(tensors[place], constant=True)
    return Graph(tuple(nodes), tuple(tensors[place] for place in _integers(graph.outputs)))


def _names(enum: Any) -> dict[int, str]:
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}


def _integers(values: Iterable[int] | None) -> list[int]:
    return [] if values is None else [int(value) for value in values]


def _tensor(index: int, tensor: Any, model: Any, types: dict[int, str]) -> TensorInfo:
    data = model.buffers[tensor.buffer].data if tensor.buffer else None
    quantization = tensor.quantization
    scales = 0 if quantization is None or quantization.scale is None else len(quantization.scale)
    points = _integers(quantization.zeroPoint) if quantization is not None else []
    details = getattr(quantization, "details", None)
    signature = _integers(tensor.shapeSignature)
    return TensorInfo(
        index=index,
        dtype=types[tensor.type].lower(),
        shape=tuple(_integers(tensor.shape)),
        dynamic=tuple(place for place, size in enumerate(signature) if size < 0),
        constant=data is not None and len(data) > 0,
        scales=scales,
        blockwise=type(details).__name__.startswith("Blockwise"),
        symmetric=not any(points),
    )
