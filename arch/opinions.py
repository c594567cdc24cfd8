"""Second opinions on a network's cost, by other counters, and why each differs from our MACs.

"FLOPs" is not a well-defined count: each engine counts other operations. Here every engine's total is split into our
conv and linear MACs and what it counts beside them, so that nothing of the difference is left unsaid.
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
from arch.errors import InputError
from arch.network import PoseNet, build
from arch.space import Arch


@dataclass(frozen=True)
class Difference:
    """What an engine counts in another way: `amount` operations more than our MACs have (less where negative)."""

    what: str
    amount: int
    why: str


@dataclass(frozen=True)
class Opinion:
    """An engine's count of one network: `operations` is `macs` (ours) plus the amounts of all differences."""

    engine: str
    params: int
    operations: int
    macs: int
    differences: tuple[Difference, ...]
    not_counted: tuple[str, ...]


class RawOutput(nn.Module):
    """The network without its decoding, as the runtimes and our closed form have it."""

    def __init__(self, net: PoseNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net.forward_heatmaps(x)


def opinion(arch: Arch, engine: str) -> Opinion:
    """What `engine` (fvcore, ptflops or torch) says about `arch`.

    The network is built on torch's meta device, where nothing is computed; fvcore traces it, which needs the CPU.

    Raises:
        InputError: no such engine, or it is not installed.
    """
    if engine not in ENGINES:
        raise InputError(f"engine: '{engine}' is not one of {', '.join(ENGINES)}")
    with torch.device("cpu" if engine == "fvcore" else "meta"), torch.no_grad():
        net = RawOutput(build(arch)).eval()
        image = torch.zeros(1, 3, arch.input, arch.input)
        operations, differences, not_counted = ENGINES[engine](net, image)
    macs = cost(arch).macs
    rest = operations - macs - sum(difference.amount for difference in differences)
    if rest:
        differences.append(Difference("unexplained", rest, "please report this"))
    params = sum(parameter.numel() for parameter in net.parameters())
    shown = tuple(difference for difference in differences if difference.amount)
    return Opinion(engine, params, operations, macs, shown, tuple(not_counted))


Answer = tuple[int, list[Difference], list[str]]


def _fvcore(net: RawOutput, image: Tensor) -> Answer:
    analysis = _library("fvcore.nn").FlopCountAnalysis(net, image)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    counted = Counter({name: int(value) for name, value in analysis.by_operator().items()})
    for ours in ("conv", "linear"):  # the same as our MACs
        counted.pop(ours, None)
    why = {
        "batch_norm": "two operations an element; folded into the convolution when shipped, so not in our MACs",
        "upsample_bilinear2d": "four operations an output element; our MACs count multiplications by weights only",
        "upsample_nearest2d": "counted by output element; a copy has no multiplication",
    }
    differences = [
        Difference(name, amount, why.get(name, "no multiplication by a weight"))
        for name, amount in sorted(counted.items())
    ]
    missed = [f"{name.removeprefix('aten::')} x {times}" for name, times in sorted(analysis.unsupported_ops().items())]
    return int(analysis.total()), differences, missed


def _ptflops(net: RawOutput, image: Tensor) -> Answer:
    counted: Counter[str] = Counter()
    handles = [module.register_forward_hook(_tally(counted)) for module in net.modules()]
    net(image)
    for handle in handles:
        handle.remove()
    total, _ = _library("ptflops").get_model_complexity_info(
        net, tuple(image.shape[1:]), print_per_layer_stat=False, as_strings=False
    )
    why = {
        "bias": "one operation a biased output element of a convolution, one a score of a linear layer",
        "BatchNorm": "two operations an element; folded into the convolution when shipped, so not in our MACs",
        "activation": "one operation an element of ReLU, ReLU6, leaky ReLU and PReLU",
        "pooling": "one operation an input element of pooling modules",
    }
    return (
        int(total),
        [Difference(name, amount, why[name]) for name, amount in sorted(counted.items())],
        [
            "hardswish, sigmoid and addition",
            "upsampling, concat and pooling that are function calls (residual concat, "
            "squeeze-excite), which paper_gflops counts where the paper's networks have a pooling module",
        ],
    )


def _tally(counted: Counter[str]) -> Callable[[nn.Module, Any, Tensor], None]:
    """A hook that adds up what ptflops counts beside MACs."""

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


def _torch(net: RawOutput, image: Tensor) -> Answer:
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter:
        net(image)
    total = int(counter.get_total_flops())
    addition = Difference("additions", total // 2, "a multiplication and an addition are two operations")
    return total, [addition], ["everything but convolutions and matrix products"]


ENGINES: dict[str, Callable[[RawOutput, Tensor], Answer]] = {"fvcore": _fvcore, "ptflops": _ptflops, "torch": _torch}


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise InputError(f"engine: {package} is not installed; pip install {package}") from None
