"""Where the steps of a run are computed: one process, or several under torchrun by Lightning Fabric.

Fabric and not accelerate: it hands over the loop as it is, needs no configuration file and nothing at import, and it is
asked for only where torchrun started more than one process (`pip install 'edgepose[distributed]'`). Every process takes
its part of each batch, BatchNorm and the loss count over the whole of it: n processes train as one, up to rounding.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from arch.errors import InputError
from arch.network import PoseNet

Precision = Literal["f32", "bf16"]


@dataclass(frozen=True)
class Engine:
    """One of `world` processes on its device. fabric: None where there is one process."""

    device: torch.device = torch.device("cpu")  # noqa: RUF009 - immutable
    precision: Precision = "f32"
    rank: int = 0
    world: int = 1
    fabric: Any = None

    @property
    def share(self) -> tuple[int, int]:
        """Which part of a batch is this process's: (k, n)."""
        return self.rank, self.world

    def setup(self, net: PoseNet) -> Any:
        """What to compute raw outputs with: its `forward_heatmaps`. Gradients then are the processes' mean."""
        if self.fabric is None:
            return net
        share_batch_norm(net, self.device)
        wrapped = self.fabric.setup_module(net)
        wrapped.mark_forward_method("forward_heatmaps")
        return wrapped

    def backward(self, loss: Tensor) -> None:
        if self.fabric is None:
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            self.fabric.backward(loss)

    def autocast(self) -> AbstractContextManager[Any]:
        """Forward passes inside compute in the precision asked for; weights stay float32."""
        if self.precision == "f32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def mean(self, value: Tensor) -> Tensor:
        """The processes' mean, without gradient."""
        value = value.detach().clone()
        if self.world > 1:
            dist.all_reduce(value)
            value /= self.world
        return value

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world > 1:
            dist.barrier()


def processes() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def start_engine(device: Literal["auto", "cpu", "cuda"] = "auto", precision: Precision = "f32") -> Engine:
    """The engine of this process.

    Raises:
        InputError: no such device here, or several processes without Lightning Fabric.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch finds no GPU here; give cpu, or leave it out")
    kind = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    if processes() == 1:
        return Engine(torch.device(kind), precision)
    try:
        from lightning_fabric import Fabric
    except ImportError:
        raise InputError("several processes need Lightning Fabric; pip install 'edgepose[distributed]'") from None
    here = int(os.environ.get("LOCAL_WORLD_SIZE", processes()))
    fabric = Fabric(accelerator=kind, devices=here, num_nodes=processes() // here, strategy="ddp")
    fabric.launch()
    return Engine(fabric.device, precision, fabric.global_rank, fabric.world_size, fabric)


# ---- BatchNorm over the whole batch ----


def share_batch_norm(net: nn.Module, device: torch.device) -> None:
    """Let every BatchNorm of `net` take its statistics over all processes, in place; names of weights stay."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            # torch's own works on GPUs alone, and is the faster there
            shared: Any = nn.SyncBatchNorm if device.type == "cuda" else SharedBatchNorm
            module.__class__ = shared
            module.__dict__["process_group"] = None  # of SyncBatchNorm: all


class SharedBatchNorm(nn.BatchNorm2d):
    """BatchNorm whose mean and variance are those of all processes' samples together."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        count = torch.tensor([x.numel() / x.shape[1]], dtype=torch.float64)
        dist.all_reduce(count)
        total = float(count)
        mean = _total(x.float().sum((0, 2, 3))) / total
        centred = x.float() - mean[:, None, None]
        variance = _total(centred.square().sum((0, 2, 3))) / total
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        with torch.no_grad():
            momentum = 0.1 if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * total / (total - 1), momentum)
            self.num_batches_tracked += 1
        scale = (variance + self.eps).rsqrt() * self.weight
        return torch.addcmul(self.bias[:, None, None], centred, scale[:, None, None]).to(x.dtype)


def _total(part: Tensor) -> Tensor:
    """The sum over all processes, through which gradients flow back to each."""
    total: Tensor = _Total.apply(part)  # type: ignore[no-untyped-call]
    return total


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        total = part.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


__all__ = ["Engine", "Precision", "processes", "share_batch_norm", "start_engine"]
