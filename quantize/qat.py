"""Quantization-aware training (QAT) with the torch backend of NNCF.

The OpenVINO file contains the trained ranges. NNCF's operator does not exist in LiteRT and ONNX Runtime: they get the
trained weights (`strip_quantizers`), and their static quantizers calibrate new ranges.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import os
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from arch.blocks import ConvNormAct
from arch.errors import InputError
from arch.network import PoseNet, RawOutput
from quantize.graph import inference_module
from quantize.recipes import Recipe
from quantize.runtimes import Array
from quantize.runtimes.openvino import FILES, WEIGHT_BITS, seven_bit_weights, with_normalisation
from quantize.tensors import IMAGE, RAW

COMPILERS = ("c++", "g++", "clang++")


def check() -> None:
    """Check that NNCF can build its operator, which it does once, in about a minute.

    Raises:
        InputError: no C++ compiler, or no ninja.
    """
    if not (os.environ.get("CXX") or any(map(shutil.which, COMPILERS))):
        raise InputError("recipe: quantization-aware training needs a C++ compiler; install g++")
    if not shutil.which("ninja"):
        raise InputError("recipe: quantization-aware training needs ninja; install it")


def prepare(net: PoseNet, images: Array, float_steps: tuple[str, ...]) -> Any:
    """Return a copy of `net` that simulates INT8, with BatchNorm folded and trainable weights and ranges.

    The initial ranges are calibrated on normalised `images` (N, 3, S, S). Call it like `PoseNet.forward_heatmaps`.

    Raises:
        InputError: no compiler.
    """
    check()
    os.environ["NNCF_EXTENSION_LOAD_TIMEOUT"] = "0"  # the build may take longer than the default limit
    import nncf

    nncf.set_log_level(logging.ERROR)
    steps = "|".join(map(re.escape, float_steps))
    scope = nncf.IgnoredScope(patterns=[rf"net/steps/({steps})/.*"], validate=False) if float_steps else None
    with contextlib.redirect_stdout(io.StringIO()):  # progress bars
        module = nncf.quantize(
            inference_module(net),
            nncf.Dataset([torch.from_numpy(image[None]) for image in images]),
            preset=nncf.QuantizationPreset.PERFORMANCE,
            subset_size=len(images),
            ignored_scope=scope,
            advanced_parameters=seven_bit_weights(),
        )
    for parameter in module.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(True)
    return module


def save_openvino(module: Any, size: int, folder: Path, recipe: Recipe) -> Path:
    """Write the trained module of `prepare` as an OpenVINO file, with its ranges and the input of the recipe."""
    import openvino as ov

    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer reports rounding ties as differences
        model = ov.convert_model(module.eval(), example_input=torch.zeros(1, 3, size, size), input=[1, 3, size, size])
    limit_weights(model)
    model.inputs[0].get_tensor().set_names({IMAGE})
    model.outputs[0].get_tensor().set_names({RAW})
    if recipe.input_dtype == "uint8":
        model = with_normalisation(model)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILES[0]
    ov.save_model(model, path, compress_to_fp16=False)
    return path


def limit_weights(model: Any) -> None:
    """Clip INT8 weights (O, I, H, W) that training moved beyond `WEIGHT_BITS`, in place; not depthwise ones (I = 1)."""
    import openvino as ov

    limit = 2 ** (WEIGHT_BITS - 1)
    for node in model.get_ops():
        if node.get_type_name() != "Constant" or node.get_element_type() != ov.Type.i8:
            continue
        weights = node.data
        if weights.ndim == 4 and weights.shape[1] > 1 and np.abs(weights.astype(int)).max() > limit:
            clipped = ov.opset13.constant(np.clip(weights, -limit, limit))
            for target in node.output(0).get_target_inputs():
                target.replace_source_output(clipped.output(0))


def strip_quantizers(module: RawOutput, net: PoseNet) -> PoseNet:
    """Return a network of the same arch as `net` with the weights of `module`, a folded one, without its quantizers.

    The bias of a folded convolution becomes the bias of a BatchNorm that is otherwise the identity.
    """
    stripped = copy.deepcopy(net).eval()
    trained = module.net.state_dict()
    values = {}
    for name, part in stripped.named_modules():
        if isinstance(part, ConvNormAct) and hasattr(part, "norm"):
            channels = torch.ones(part.norm.num_features)
            values[f"{name}.conv.bias"] = channels * 0
            values[f"{name}.norm.weight"] = channels
            values[f"{name}.norm.bias"] = trained[f"{name}.conv.bias"]
            values[f"{name}.norm.running_mean"] = channels * 0
            values[f"{name}.norm.running_var"] = channels - part.norm.eps
    for name, tensor in stripped.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            tensor.copy_(values[name] if name in values else trained[name])
    return stripped
