"""Operation counts of other tools (fvcore, ptflops, torch), and how each differs from the MACs of `arch.cost`.

"FLOPs" is not a well-defined count, because each tool counts different operations. Here the total of a tool is split
into our MACs of convolutions and linear layers and a list of differences that explains the rest completely.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from arch.cost import cost
from arch.errors import InputError, not_one_of
from arch.network import RawOutput, build
from arch.space import Arch


@dataclass(frozen=True)
class Difference:
    """Operations that a tool counts in addition to our MACs; a negative `amount` means that it counts fewer."""

    operation: str
    amount: int
    reason: str


@dataclass(frozen=True)
class Count:
    """The count of one network by one tool: `operations` is `macs` (ours) plus the amounts of all differences."""

    engine: str
    params: int
    operations: int
    macs: int
    differences: tuple[Difference, ...]
    not_counted: tuple[str, ...]


def count_operations(arch: Arch, engine: str) -> Count:
    """Count the operations of `arch` with `engine`: fvcore, ptflops or torch.

    The network is built on torch's meta device, which computes nothing; fvcore traces it and needs the CPU.

    Raises:
        InputError: unknown engine, or its package is not installed.
    """
    if engine not in ENGINES:
        raise InputError(f"engine: {not_one_of(engine, ENGINES)}")
    with torch.device("cpu" if engine == "fvcore" else "meta"), torch.no_grad():
        net = RawOutput(build(arch)).eval()
        image = torch.zeros(1, 3, arch.input_size, arch.input_size)
        operations, differences, not_counted = ENGINES[engine](net, image)
    macs = cost(arch).macs
    rest = operations - macs - sum(difference.amount for difference in differences)
    if rest:
        differences.append(Difference("unexplained", rest, "please report this"))
    params = sum(parameter.numel() for parameter in net.parameters())
    shown = tuple(difference for difference in differences if difference.amount)
    return Count(engine, params, operations, macs, shown, tuple(not_counted))


Result = tuple[int, list[Difference], list[str]]  # total, differences, operations that are not counted
BATCH_NORM = "two operations per element; folded into the convolution on export, so not in our MACs"


def _fvcore(net: RawOutput, image: Tensor) -> Result:
    analysis = _library("fvcore.nn").FlopCountAnalysis(net, image)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    counted = Counter({name: int(value) for name, value in analysis.by_operator().items()})
    for same in ("conv", "linear"):  # equal to our MACs
        counted.pop(same, None)
    reasons = {
        "batch_norm": BATCH_NORM,
        "upsample_bilinear2d": "four operations per output element; our MACs count multiplications by weights only",
        "upsample_nearest2d": "one operation per output element; a copy has no multiplication",
    }
    differences = [
        Difference(name, amount, reasons.get(name, "no multiplication by a weight"))
        for name, amount in sorted(counted.items())
    ]
    missed = [f"{name.removeprefix('aten::')} x {times}" for name, times in sorted(analysis.unsupported_ops().items())]
    return int(analysis.total()), differences, missed


def _ptflops(net: RawOutput, image: Tensor) -> Result:
    counted: Counter[str] = Counter()
    handles = [module.register_forward_hook(_count_extras(counted)) for module in net.modules()]
    net(image)
    for handle in handles:
        handle.remove()
    total, _ = _library("ptflops").get_model_complexity_info(
        net, tuple(image.shape[1:]), print_per_layer_stat=False, as_strings=False
    )
    reasons = {
        "bias": "one operation per output element of a convolution with bias, and per score of a linear layer",
        "BatchNorm": BATCH_NORM,
        "activation": "one operation per element of ReLU, ReLU6, leaky ReLU and PReLU",
        "pooling": "one operation per input element of pooling modules",
    }
    return (
        int(total),
        [Difference(name, amount, reasons[name]) for name, amount in sorted(counted.items())],
        [
            "hardswish, sigmoid and addition",
            "upsampling, concatenation and pooling by function calls (residual concat, squeeze-excite); "
            "paper_gflops counts them if the paper's networks use a pooling module",
        ],
    )


def _count_extras(counted: Counter[str]) -> Callable[[nn.Module, Any, Tensor], None]:
    """Return a hook that sums the operations that ptflops counts in addition to MACs."""

    def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
        match module:
            case nn.Conv2d() if module.bias is not None:
                counted["bias"] += output.numel()
            case nn.Linear():
                counted["bias"] += output.shape[-1]
            case nn.BatchNorm2d():
                counted["BatchNorm"] += 2 * output.numel()
            case nn.ReLU() | nn.ReLU6() | nn.LeakyReLU() | nn.PReLU():
                counted["activation"] += output.numel()
            case nn.MaxPool2d():
                counted["pooling"] += inputs[0].numel()

    return hook


def _torch(net: RawOutput, image: Tensor) -> Result:
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter:
        net(image)
    total = int(counter.get_total_flops())
    addition = Difference("additions", total // 2, "a multiplication and an addition count as two operations")
    return total, [addition], ["everything except convolutions and matrix products"]


ENGINES: dict[str, Callable[[RawOutput, Tensor], Result]] = {"fvcore": _fvcore, "ptflops": _ptflops, "torch": _torch}


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise InputError(f"engine: {package} is not installed; run pip install {package}") from None
