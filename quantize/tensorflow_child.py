"""The only process that loads TensorFlow: runs .tflite files, and converts ONNX files to SavedModels.

It is separate because TensorFlow and the converters bring native libraries of the same names.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

LAST = (0, 2, 3, 1)  # channels first to channels last
FIRST = (0, 3, 1, 2)
AXIS = {0: 0, 1: 3, 2: 1, 3: 2}


def main(images: str, outputs: str, task: str, source: str, folder: str = "") -> None:
    """Run the model `source` on an array file of images (N, S, S, 3) and write its raw outputs.

    With the task `saved-model` the source is an ONNX file, which is converted to a SavedModel in `folder` first; with
    `tflite` it is a .tflite file.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    x = np.load(images, allow_pickle=False)
    if task == "tflite":
        raw = run_tflite(Path(source), x)
    else:
        write_saved_model(Path(source), Path(folder))
        raw = run_saved_model(Path(folder), x)
    np.save(outputs, raw, allow_pickle=False)


def run_tflite(path: Path, x: np.ndarray) -> np.ndarray:
    import tensorflow as tf

    model = tf.lite.Interpreter(model_path=str(path), num_threads=1)
    model.allocate_tensors()
    entry, exit = model.get_input_details()[0]["index"], model.get_output_details()[0]["index"]
    results = []
    for image in x:
        model.set_tensor(entry, image[None])
        model.invoke()
        results.append(model.get_tensor(exit))
    return np.concatenate(results)


def run_saved_model(folder: Path, x: np.ndarray) -> np.ndarray:
    import tensorflow as tf

    run = tf.saved_model.load(str(folder)).signatures["serving_default"]
    return np.concatenate([run(image=tf.constant(image[None]))["raw"].numpy() for image in x])


def write_saved_model(onnx_path: Path, folder: Path) -> None:
    """Convert an ONNX file to a SavedModel whose tensors are channels last.

    Its signature `serving_default` has the input `image` (1, S, S, 3), normalised RGB, and the output `raw`.
    """
    import onnx
    import tensorflow as tf
    from onnx import numpy_helper

    model = onnx.load(str(onnx_path))
    nodes = [(n.op_type, list(n.input), n.output[0], _attributes(n)) for n in model.graph.node]
    constants = {c.name: numpy_helper.to_array(c) for c in model.graph.initializer}
    side = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    exit_name = model.graph.output[0].name

    class Network(tf.Module):  # type: ignore[misc, name-defined]
        @tf.function(input_signature=[tf.TensorSpec((1, side, side, 3), tf.float32, name="image")])  # type: ignore[untyped-decorator]
        def __call__(self, image: Any) -> dict[str, Any]:
            values: dict[str, Any] = {"image": image}
            for kind, inputs, output, given in nodes:
                arguments = [values[name] if name in values else constants.get(name) for name in inputs]
                values[output] = OPERATORS[kind](tf, arguments, given)
            return {"raw": values[exit_name]}

    network = Network()
    tf.saved_model.save(network, str(folder), signatures=network.__call__)


def _attributes(node: Any) -> dict[str, Any]:
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _constant(value: Any) -> Any:
    """Return a constant in the layout of the maps that it is combined with."""
    if not isinstance(value, np.ndarray) or value.ndim == 0:
        return value
    return value.reshape((1,) * (4 - value.ndim) + value.shape).transpose(LAST)


def _padded(tf: Any, x: Any, given: dict[str, Any]) -> Any:
    top, left, bottom, right = given.get("pads", (0, 0, 0, 0))
    return tf.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0))) if top + left + bottom + right else x


def _conv(tf: Any, values: list[Any], given: dict[str, Any]) -> Any:
    x, weights = _padded(tf, values[0], given), values[1].transpose(2, 3, 1, 0)
    groups, strides = given.get("group", 1), list(given["strides"])
    if groups == 1:
        y = tf.nn.conv2d(x, weights, strides, "VALID")
    elif weights.shape[2] == 1:
        per_channel = weights.shape[3] // groups
        weights = weights.reshape(*weights.shape[:2], groups, per_channel)
        y = tf.nn.depthwise_conv2d(x, weights, [1, *strides, 1], "VALID")
    else:
        parts = zip(tf.split(x, groups, 3), np.split(weights, groups, 3), strict=True)
        y = tf.concat([tf.nn.conv2d(part, w, strides, "VALID") for part, w in parts], 3)
    return y if len(values) < 3 else tf.nn.bias_add(y, values[2])


def _resize(tf: Any, values: list[Any], given: dict[str, Any]) -> Any:
    x, side = values[0], [int(v) for v in values[-1][2:]]
    if len(values) == 3:  # by scales
        side = [int(v * s) for v, s in zip(x.shape[1:3], values[2][2:], strict=True)]
    corners = given["coordinate_transformation_mode"] == b"align_corners"
    centres = given["coordinate_transformation_mode"] == b"half_pixel"
    resize = (
        tf.compat.v1.image.resize_bilinear if given["mode"] == b"linear" else tf.compat.v1.image.resize_nearest_neighbor
    )
    return resize(x, side, align_corners=corners, half_pixel_centers=centres)


def _reshape(tf: Any, values: list[Any], given: dict[str, Any]) -> Any:
    x = tf.transpose(values[0], FIRST) if len(values[0].shape) == 4 else values[0]
    reshaped = tf.reshape(x, [int(v) for v in values[1]])
    return tf.transpose(reshaped, LAST) if len(reshaped.shape) == 4 else reshaped


def _pool(tf: Any, values: list[Any], given: dict[str, Any], kind: str) -> Any:
    top, left, bottom, right = given.get("pads", (0, 0, 0, 0))
    pool = tf.nn.max_pool2d if kind == "max" else tf.nn.avg_pool2d
    x = values[0] if kind == "max" else _padded(tf, values[0], given)  # averages include the padding
    edges = [[0, 0], [top, bottom], [left, right], [0, 0]] if kind == "max" else "VALID"
    return pool(x, list(given["kernel_shape"]), list(given["strides"]), edges)


def _gemm(tf: Any, values: list[Any], given: dict[str, Any]) -> Any:
    weights = values[1].T if given.get("transB") else values[1]
    return tf.matmul(values[0], weights) + (values[2] if len(values) > 2 else 0)


def _prelu(tf: Any, values: list[Any], given: dict[str, Any]) -> Any:
    return tf.nn.relu(values[0]) - _constant(values[1]) * tf.nn.relu(-values[0])


def _hard_sigmoid(tf: Any, values: list[Any], given: dict[str, Any]) -> Any:
    return tf.clip_by_value(given.get("alpha", 0.2) * values[0] + given.get("beta", 0.5), 0.0, 1.0)


def _clip(tf: Any, values: list[Any], given: dict[str, Any]) -> Any:
    low, high = float(values[1]), float(values[2])
    return tf.nn.relu6(values[0]) if (low, high) == (0, 6) else tf.clip_by_value(values[0], low, high)


Operator = Callable[[Any, list[Any], dict[str, Any]], Any]
OPERATORS: dict[str, Operator] = {
    "Conv": _conv,
    "Resize": _resize,
    "Reshape": _reshape,
    "Gemm": _gemm,
    "PRelu": _prelu,
    "HardSigmoid": _hard_sigmoid,
    "Clip": _clip,
    "Add": lambda tf, v, _: _constant(v[0]) + _constant(v[1]),
    "Mul": lambda tf, v, _: _constant(v[0]) * _constant(v[1]),
    "Relu": lambda tf, v, _: tf.nn.relu(v[0]),
    "LeakyRelu": lambda tf, v, given: tf.nn.leaky_relu(v[0], given.get("alpha", 0.01)),
    "HardSwish": lambda tf, v, _: v[0] * tf.nn.relu6(v[0] + 3) / 6,
    "Concat": lambda tf, v, given: tf.concat([_constant(part) for part in v], AXIS[given["axis"]]),
    "ReduceMean": lambda tf, v, given: tf.reduce_mean(v[0], [AXIS[a] for a in given["axes"]], keepdims=True),
    "AveragePool": lambda tf, v, given: _pool(tf, v, given, "average"),
    "MaxPool": lambda tf, v, given: _pool(tf, v, given, "max"),
}


if __name__ == "__main__":
    main(*sys.argv[1:])
