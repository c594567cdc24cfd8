"""The only process that loads coremltools: writes Core ML packages, and evaluates saved ones operator by operator.

Core ML itself runs on Apple's systems only. Here, torch computes each operator of the saved program in float32 and
rounds its result to float16 where the program says so. The kernels of a phone may add in another order or precision.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from quantize.tensors import IMAGE, RAW


def main(images: str, outputs: str, checkpoint: str, weights: str, folder: str) -> None:
    """Convert a checkpoint, and write the raw outputs (N, ...) of the saved package for an array file (N, 3, S, S).

    The last line of the output is the number of operators by type, as JSON.
    """
    package = Path(folder)
    convert(Path(checkpoint), weights, package)
    program = open_program(package)
    x = np.load(images, allow_pickle=False)
    np.save(outputs, np.concatenate([evaluate(program, image[None]) for image in x]), allow_pickle=False)
    counts = Counter(operator.op_type for operator in program.operations if operator.op_type != "const")
    print(json.dumps(dict(sorted(counts.items()))))


def convert(checkpoint: Path, weights: str, package: Path) -> None:
    """Write an .mlpackage with float16 arithmetic, and weights in float16, or in INT8 per output channel."""
    import coremltools as ct
    from coremltools.optimize import coreml as optimize

    from quantize.checkpoint import load_network
    from quantize.graph import inference_module

    net, _ = load_network(checkpoint)
    example = torch.zeros(1, 3, net.arch.input_size, net.arch.input_size)
    model = ct.convert(
        torch.jit.trace(inference_module(net), example),  # type: ignore[no-untyped-call]
        inputs=[ct.TensorType(IMAGE, example.shape, dtype=np.float32)],
        outputs=[ct.TensorType(RAW, dtype=np.float32)],
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS17,
        compute_precision=ct.precision.FLOAT16,
        skip_model_load=True,
    )
    if weights == "int8":
        per_channel = optimize.OpLinearQuantizerConfig(
            mode="linear_symmetric", dtype="int8", granularity="per_channel", weight_threshold=0
        )
        model = optimize.linear_quantize_weights(model, optimize.OptimizationConfig(global_config=per_channel))
    model.save(str(package))


def open_program(package: Path) -> Any:
    """Return the main function of a saved package."""
    import coremltools as ct
    from coremltools.converters.mil.frontend.milproto.load import load

    model = ct.models.MLModel(str(package), skip_model_load=True)
    spec = model.get_spec()
    program = load(spec, spec.specificationVersion, file_weights_dir=model.weights_dir)
    (function,) = program.functions.values()
    return function


def evaluate(program: Any, image: np.ndarray) -> np.ndarray:
    """Return the raw output of a program for an image (1, 3, S, S).

    Raises:
        NotImplementedError: an operator is not in `OPERATORS`.
    """
    (name,) = program.inputs
    values: dict[str, Tensor] = {name: torch.from_numpy(image).float()}

    def value(variable: Any) -> Any:
        if isinstance(variable, list | tuple):
            return [value(one) for one in variable]
        return values.get(variable.name, variable.val)

    for operator in program.operations:
        if operator.op_type == "const":
            continue
        if operator.op_type not in OPERATORS:
            raise NotImplementedError(f"operator {operator.op_type} is not evaluated here")
        inputs = {key: value(given) for key, given in operator.inputs.items() if given is not None}
        (output,) = operator.outputs
        result = OPERATORS[operator.op_type](inputs)
        is_half = "fp16" in getattr(output.dtype, "__name__", str(output.dtype))
        values[output.name] = result.half().float() if is_half else result
    raw: np.ndarray = values[program.outputs[0].name].numpy()
    return raw


def _tensor(value: Any) -> Tensor:
    return value.float() if isinstance(value, Tensor) else torch.from_numpy(np.array(value)).float()


def _ints(value: Any) -> list[int]:
    return [int(one) for one in np.asarray(value).ravel()]


def _padding(given: dict[str, Any]) -> list[int]:
    """Return the padding of a convolution or pooling in the order of torch: left, right, top, bottom."""
    kind = given.get("pad_type", "valid")
    if kind == "valid":
        return [0, 0, 0, 0]
    if kind != "custom":
        raise NotImplementedError(f"padding {kind} is not evaluated here")
    top, bottom, left, right = _ints(given["pad"])
    return [left, right, top, bottom]


def _conv(given: dict[str, Any]) -> Tensor:
    bias = _tensor(given["bias"]) if "bias" in given else None
    strides, dilations = _ints(given["strides"]), _ints(given["dilations"])
    x = F.pad(_tensor(given["x"]), _padding(given))
    return F.conv2d(x, _tensor(given["weight"]), bias, strides, 0, dilations, int(given["groups"]))


def _pool(given: dict[str, Any], average: bool) -> Tensor:
    padding, sides, strides = _padding(given), _ints(given["kernel_sizes"]), _ints(given["strides"])
    x = _tensor(given["x"])
    if not average:
        return F.max_pool2d(F.pad(x, padding, value=-torch.inf), sides, strides)
    total = F.avg_pool2d(F.pad(x, padding), sides, strides)
    if not given.get("exclude_padding_from_average", False):
        return total
    return total / F.avg_pool2d(F.pad(torch.ones_like(x), padding), sides, strides)


def _bilinear(given: dict[str, Any]) -> Tensor:
    scales = (float(given["scale_factor_height"]), float(given["scale_factor_width"]))
    corners = bool(given["align_corners"])
    return F.interpolate(_tensor(given["x"]), scale_factor=scales, mode="bilinear", align_corners=corners)


def _nearest(given: dict[str, Any]) -> Tensor:
    scales = (float(given["scale_factor_height"]), float(given["scale_factor_width"]))
    return F.interpolate(_tensor(given["x"]), scale_factor=scales, mode="nearest")


def _dequantize(given: dict[str, Any]) -> Tensor:
    """Return the weights of INT8 values, whose scale and zero point are per channel along `axis`."""
    values, axis = _tensor(given["quantized_data"]), int(given["axis"])
    shape = [-1 if index == axis else 1 for index in range(values.ndim)]
    zero, scale = (_tensor(given[key]) for key in ("zero_point", "scale"))
    return (values - (zero.reshape(shape) if zero.ndim else zero)) * (scale.reshape(shape) if scale.ndim else scale)


def _hard_sigmoid(given: dict[str, Any]) -> Tensor:
    return torch.clamp(float(given["alpha"]) * _tensor(given["x"]) + float(given["beta"]), 0, 1)


def _mean(given: dict[str, Any]) -> Tensor:
    return _tensor(given["x"]).mean(_ints(given["axes"]), keepdim=bool(given["keep_dims"]))


OPERATORS: dict[str, Callable[[dict[str, Any]], Tensor]] = {
    "add": lambda given: _tensor(given["x"]) + _tensor(given["y"]),
    "avg_pool": lambda given: _pool(given, average=True),
    "cast": lambda given: _tensor(given["x"]),
    "clip": lambda given: torch.clamp(_tensor(given["x"]), float(given["alpha"]), float(given["beta"])),
    "concat": lambda given: torch.cat([_tensor(part) for part in given["values"]], int(given["axis"])),
    "constexpr_affine_dequantize": _dequantize,
    "conv": _conv,
    "leaky_relu": lambda given: F.leaky_relu(_tensor(given["x"]), float(given["alpha"])),
    "linear": lambda given: F.linear(
        _tensor(given["x"]), _tensor(given["weight"]), _tensor(given["bias"]) if "bias" in given else None
    ),
    "max_pool": lambda given: _pool(given, average=False),
    "mul": lambda given: _tensor(given["x"]) * _tensor(given["y"]),
    "prelu": lambda given: F.prelu(_tensor(given["x"]), _tensor(given["alpha"])),
    "reduce_mean": _mean,
    "relu": lambda given: F.relu(_tensor(given["x"])),
    "relu6": lambda given: F.relu6(_tensor(given["x"])),
    "reshape": lambda given: _tensor(given["x"]).reshape(_ints(given["shape"])),
    "sigmoid": lambda given: torch.sigmoid(_tensor(given["x"])),
    "sigmoid_hard": _hard_sigmoid,
    "transpose": lambda given: _tensor(given["x"]).permute(_ints(given["perm"])),
    "upsample_bilinear": _bilinear,
    "upsample_nearest_neighbor": _nearest,
}


if __name__ == "__main__":
    with torch.no_grad():
        main(*sys.argv[1:])
