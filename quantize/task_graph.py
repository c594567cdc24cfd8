"""Graphs of .tflite files as objects of LiteRT's schema: joining two, normalising the input, naming the signature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from quantize.runtimes import Array

SIGNATURE = b"serving_default"
VERSION = 3  # of the schema


def joined(first: Any, second: Any) -> Any:
    """Return a model that runs `first`, then `second` on its only output. Both are changed.

    Raises:
        ValueError: the shapes or types of the joint differ, or a model has several subgraphs.
    """
    (graph,), (added,) = first.subgraphs, second.subgraphs
    (end,), (start,) = graph.outputs, added.inputs
    joint, entry = graph.tensors[end], added.tensors[start]
    if list(joint.shape) != list(entry.shape) or joint.type != entry.type:
        raise ValueError(f"a graph ends with {list(joint.shape)}, but the next one takes {list(entry.shape)}")
    places = {index: len(graph.tensors) + index for index in range(len(added.tensors))} | {start: end, -1: -1}
    codes, buffers = len(first.operatorCodes), len(first.buffers)
    for tensor in added.tensors:
        tensor.buffer += buffers
    for operator in added.operators:
        operator.opcodeIndex += codes
        operator.inputs = [places[int(index)] for index in operator.inputs]
        operator.outputs = [places[int(index)] for index in operator.outputs]
    first.operatorCodes += second.operatorCodes
    first.buffers += second.buffers
    graph.tensors += added.tensors
    graph.operators += added.operators
    graph.outputs = [places[int(index)] for index in added.outputs]
    return first


def normalise_input(model: Any, mean: Sequence[float], std: Sequence[float]) -> Any:
    """Put (x - mean) / std in front of a model with the input (1, H, W, 3).

    The new input is `image`, RGB in the units of `mean`.

    Raises:
        ValueError: the input is not float32.
    """
    (graph,) = model.subgraphs
    (old,) = graph.inputs
    if graph.tensors[old].type != schema.TensorType.FLOAT32:
        raise ValueError("the input is not float32")
    shape, factor = graph.tensors[old].shape, 1 / np.asarray(std, np.float32)
    image, scaled = add_tensor(model, "image", shape), add_tensor(model, "scaled_image", shape)
    scale = add_constant(model, "input_scale", factor)
    offset = add_constant(model, "input_offset", -np.asarray(mean, np.float32) * factor)
    steps = [operator(model, "MUL", [image, scale], scaled), operator(model, "ADD", [scaled, offset], old)]
    graph.operators = steps + graph.operators
    graph.inputs = [image]
    return model


def name_signature(model: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Replace the signatures of a model by one with these names, in the order of its inputs and outputs."""
    (graph,) = model.subgraphs
    signature = schema.SignatureDefT(signatureKey=SIGNATURE)
    signature.inputs, signature.outputs = (
        [schema.TensorMapT(name.encode(), int(index)) for name, index in zip(names, indices, strict=True)]
        for names, indices in ((inputs, graph.inputs), (outputs, graph.outputs))
    )
    model.signatureDefs = [signature]


def constant_model(image: Sequence[int], outputs: Sequence[Array]) -> Any:
    """Return a model with an input of the shape `image` whose outputs are always these arrays."""
    model = schema.ModelT(version=VERSION, operatorCodes=[], subgraphs=[schema.SubGraphT()], buffers=[schema.BufferT()])
    (graph,) = model.subgraphs
    graph.tensors, graph.operators = [], []
    entry = add_tensor(model, "image", image)
    axes = add_constant(model, "axes", np.arange(1, len(image), dtype=np.int32))
    average, nothing = add_tensor(model, "average", [1]), add_tensor(model, "nothing", [1])
    zero = add_constant(model, "zero", np.zeros(1, np.float32))
    graph.operators += [operator(model, "MEAN", [entry, axes], average, schema.ReducerOptionsT(), "ReducerOptions")]
    graph.operators += [operator(model, "MUL", [average, zero], nothing)]
    graph.inputs, graph.outputs = [entry], []
    for index, values in enumerate(outputs):
        result = add_tensor(model, f"output_{index}", values.shape)
        graph.operators += [operator(model, "ADD", [nothing, add_constant(model, f"values_{index}", values)], result)]
        graph.outputs.append(result)
    return model


def add_tensor(
    model: Any, name: str, shape: Sequence[int], kind: int = schema.TensorType.FLOAT32, buffer: int = 0
) -> int:
    """Add a tensor to the only subgraph and return its index. buffer: of its values; 0 for a result"""
    tensors = model.subgraphs[0].tensors
    tensors.append(schema.TensorT(shape=list(shape), type=kind, buffer=buffer, name=name.encode()))
    return len(tensors) - 1


def add_constant(model: Any, name: str, values: np.ndarray) -> int:
    """Add a tensor with float32 or int32 values and return its index."""
    model.buffers.append(schema.BufferT(data=np.frombuffer(values.tobytes(), np.uint8)))
    kind = {"float32": schema.TensorType.FLOAT32, "int32": schema.TensorType.INT32}[values.dtype.name]
    return add_tensor(model, name, values.shape, kind, len(model.buffers) - 1)


def operator(model: Any, name: str, inputs: Sequence[int], output: int, options: Any = None, kind: str = "") -> Any:
    """Return a builtin operator. options: MUL and ADD need none; kind: of the options"""
    code = getattr(schema.BuiltinOperator, name)
    model.operatorCodes.append(schema.OperatorCodeT(builtinCode=code, deprecatedBuiltinCode=code))
    defaults = {"MUL": schema.MulOptionsT, "ADD": schema.AddOptionsT}
    if options is None:
        options, kind = defaults[name](), f"{name.capitalize()}Options"
    return schema.OperatorT(
        opcodeIndex=len(model.operatorCodes) - 1,
        inputs=list(inputs),
        outputs=[output],
        builtinOptionsType=getattr(schema.BuiltinOptions, kind),
        builtinOptions=options,
    )
