"""Small .tflite files, written operator by operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from quantize.tflite_metadata import METADATA, read_model, write_model

IMAGE = (1, 8, 8, 4)


class TfliteFile:
    """A file that grows; every method returns the index of a tensor."""

    def __init__(self) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        graph = schema.SubGraphT(tensors=[], operators=[], inputs=[], outputs=[])
        self.model = schema.ModelT(version=3, operatorCodes=[], subgraphs=[graph], buffers=[schema.BufferT()])
        self.graph = graph

    def input(self, shape: tuple[int, ...] = IMAGE, dtype: str = "float32", **quantization: Any) -> int:
        self.graph.inputs.append(self.tensor(shape, dtype, **quantization))
        return int(self.graph.inputs[-1])

    def tensor(
        self,
        shape: tuple[int, ...],
        dtype: str = "float32",
        *,
        scales: int = 0,
        zero_point: int = 0,
        dynamic: bool = False,
        blockwise: bool = False,
        data: np.ndarray | None = None,
    ) -> int:
        schema = self.schema
        made = schema.TensorT(name=b"t%d" % len(self.graph.tensors), shape=list(shape), buffer=0)
        made.type = getattr(schema.TensorType, dtype.upper())
        if scales or blockwise:
            count = max(scales, 1)
            made.quantization = schema.QuantizationParametersT(scale=[0.1] * count, zeroPoint=[zero_point] * count)
        if blockwise:
            made.quantization.detailsType = schema.QuantizationDetails.BlockwiseQuantization
            made.quantization.details = schema.BlockwiseQuantizationT(blockSize=32)
        if dynamic:
            made.shapeSignature = [-1, *shape[1:]]
        if data is not None:
            self.model.buffers.append(schema.BufferT(data=np.frombuffer(data.tobytes(), np.uint8)))
            made.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def constant(self, shape: tuple[int, ...], dtype: str = "float32", **quantization: Any) -> int:
        size = {"float32": 4, "int32": 4, "int64": 8, "float16": 2, "int16": 2}.get(dtype, 1)
        data = np.ones(max(1, int(np.prod(shape))) * size, np.uint8)
        return self.tensor(shape, dtype, data=data, **quantization)

    def add(
        self,
        kind: str,
        inputs: list[int],
        shape: tuple[int, ...] = IMAGE,
        dtype: str = "float32",
        *,
        version: int = 1,
        options: dict[str, Any] | None = None,
        custom: bytes | None = None,
        **quantization: Any,
    ) -> int:
        """Append an operator. options: the name of the schema's options under "" and their fields."""
        schema = self.schema
        code = getattr(schema.BuiltinOperator, kind)
        self.model.operatorCodes.append(
            schema.OperatorCodeT(
                builtinCode=code, deprecatedBuiltinCode=min(code, 127), version=version, customCode=custom
            )
        )
        output = self.tensor(shape, dtype, **quantization)
        operator = schema.OperatorT(
            opcodeIndex=len(self.model.operatorCodes) - 1, inputs=list(inputs), outputs=[output]
        )
        if options:
            fields = dict(options)
            name = fields.pop("")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
            operator.builtinOptions = getattr(schema, f"{name}T")(**fields)
        self.graph.operators.append(operator)
        return output

    def write(self, path: Path, *outputs: int) -> Path:
        self.graph.outputs = list(outputs) or [self.graph.operators[-1].outputs[0]]
        path.write_bytes(write_model(self.model))
        return path


def read_metadata(model: bytes) -> bytes:
    """Return the metadata in a .tflite file."""
    content = read_model(model)
    (entry,) = [entry for entry in content.metadata or [] if entry.name == METADATA]
    return bytes(content.buffers[entry.buffer].data)
