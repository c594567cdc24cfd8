"""Quantization-aware training by NNCF's torch backend: the network as it trains, and the files it becomes.

The ranges that training settled on go into the OpenVINO file. LiteRT and ONNX Runtime take the trained weights alone
(`folded_back`) and find ranges anew by their static quantizers: NNCF's own operator is not in their formats.
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

import torch
from torch import nn

from arch.blocks import ConvNormAct
from arch.errors import InputError
from arch.network import PoseNet
from quantize.graph import RawOutput, inference_module
from quantize.runtimes import Array

COMPILERS = ("c++", "g++", "clang++")


def check() -> None:
    """Refuse where NNCF cannot build its operator, which it does once, in about a minute.

    Raises:
        InputError: no C++ compiler, or no ninja.
    """
    if not (os.environ.get("CXX") or any(map(shutil.which, COMPILERS))):
        raise InputError("recipe: quantization-aware training compiles an operator; install a C++ compiler (g++)")
    if not shutil.which("ninja"):
        raise InputError("recipe: quantization-aware training compiles an operator; install ninja")


def prepare(net: PoseNet, pictures: Array, float_steps: tuple[str, ...]) -> Any:
    """A copy of `net` that simulates INT8 as it runs, BatchNorm folded, every weight and range trainable.

    `pictures` (N, 3, S, S) give the first ranges. Called like `PoseNet.forward_heatmaps`.

    Raises:
        InputError: no compiler.
    """
    check()
    os.environ["NNCF_EXTENSION_LOAD_TIMEOUT"] = "0"  # the build may take longer than its default patience
    import nncf

    nncf.set_log_level(logging.ERROR)
    steps = "|".join(map(re.escape, float_steps))
    scope = nncf.IgnoredScope(patterns=[rf"net/steps/({steps})/.*"], validate=False) if float_steps else None
    with contextlib.redirect_stdout(io.StringIO()):  # its progress bars
        module = nncf.quantize(
            inference_module(net),
            nncf.Dataset([torch.from_numpy(picture[None]) for picture in pictures]),
            preset=nncf.QuantizationPreset.PERFORMANCE,
            subset_size=len(pictures),
            ignored_scope=scope,
        )
    for parameter in module.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(True)
    return module


def save_openvino(module: Any, size: int, folder: Path) -> Path:
    """The trained module of `prepare` as an OpenVINO file with the ranges that it has."""
    import openvino as ov

    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its tracer, which takes ties of rounding for another network
        model = ov.convert_model(module.eval(), example_input=torch.zeros(1, 3, size, size), input=[1, 3, size, size])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.xml"
    ov.save_model(model, path, compress_to_fp16=False)
    return path


def folded_back(module: RawOutput, net: PoseNet) -> PoseNet:
    """A network of `net`'s arch that computes what `module`, a folded one, does without quantizers.

    A folded convolution's bias becomes that of a BatchNorm which changes nothing else.
    """
    made = copy.deepcopy(net).eval()
    trained = module.net.state_dict()
    values = {}
    for name, part in made.named_modules():
        if isinstance(part, ConvNormAct) and hasattr(part, "norm"):
            channels = torch.ones(part.norm.num_features)
            values[f"{name}.conv.bias"] = channels * 0
            values[f"{name}.norm.weight"] = channels
            values[f"{name}.norm.bias"] = trained[f"{name}.conv.bias"]
            values[f"{name}.norm.running_mean"] = channels * 0
            values[f"{name}.norm.running_var"] = channels - part.norm.eps
    for name, tensor in made.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            tensor.copy_(values[name] if name in values else trained[name])
    return made


def parameters(module: nn.Module) -> list[nn.Parameter]:
    """What training changes."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]
