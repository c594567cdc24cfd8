"""Device, precision and processes of a training run: one process, or several that torchrun starts.

Several processes use Lightning Fabric (`pip install 'edgepose[distributed]'`), which is imported only then. Each
process computes a part of every batch. Batch norm and the loss are normalised over the whole batch, so that n processes
give the same result as one, up to rounding.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from arch.errors import InputError
from arch.network import PoseNet

Precision = Literal["f32", "bf16"]


@dataclass(frozen=True)
class Engine:
    """One of `world_size` training processes and its device. `fabric` is None in a single process."""

    device: torch.device = torch.device("cpu")  # noqa: RUF009 - immutable
    precision: Precision = "f32"
    rank: int = 0
    world_size: int = 1
    fabric: Any = None

    @property
    def is_main_process(self) -> bool:
        return self.rank == 0

    @property
    def shard(self) -> tuple[int, int]:
        """This process's part of a batch as (index, count)."""
        return self.rank, self.world_size

    @property
    def name(self) -> str:
        """The device and the precision for records, such as `cpu f32` or `cuda bf16 (NVIDIA H200)`."""
        model = f" ({torch.cuda.get_device_name(self.device)})" if self.device.type == "cuda" else ""
        return f"{self.device.type} {self.precision}{model}"

    def state_file(self, path: Path) -> Path:
        """Return the file of a run's state that workers with other engines may continue: one for each precision."""
        return path if self.precision == "f32" else path.with_stem(f"{path.stem}-{self.precision}")

    def setup(self, net: PoseNet) -> Any:
        """Return a module whose `forward_heatmaps` computes with `net` and averages gradients over the processes."""
        if self.precision == "bf16" and self.device.type == "cpu":
            keep_strided_depthwise_in_f32(net)
        if self.fabric is None:
            return net
        synchronise_batch_norm(net, self.device)
        wrapped = self.fabric.setup_module(net)
        wrapped.mark_forward_method("forward_heatmaps")
        return wrapped

    def backward(self, loss: Tensor) -> None:
        if self.fabric is None:
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            self.fabric.backward(loss)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return a context in which forward passes compute in `precision`; weights stay float32."""
        if self.precision == "f32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean over all processes, without gradient."""
        value = value.detach().clone()
        if self.world_size > 1:
            dist.all_reduce(value)
            value /= self.world_size
        return value

    def all(self, value: bool) -> bool:
        """Return whether `value` is true in all processes."""
        return float(self.mean(torch.tensor(float(value), device=self.device))) == 1.0

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.world_size > 1:
            dist.barrier()


def world_size() -> int:
    """Return the number of processes that torchrun started; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def find_devices(name: str) -> list[torch.device]:
    """Return the devices that a value of --device means, at least one.

    auto: all GPUs, or the CPU if there is none; cuda: all CUDA or ROCm GPUs; cuda:N: one of them; mps: an Apple GPU.

    Raises:
        InputError: torch finds no such device.
    """
    kind, _, number = name.partition(":")
    found = torch.accelerator.current_accelerator(check_available=True) if kind != "cpu" else None
    if kind == "cpu" or (kind == "auto" and found is None):
        return [torch.device("cpu")]
    if found is None or kind not in ("auto", found.type):
        raise InputError(f"--device {name}: torch finds no GPU of this kind; use --device cpu, or omit the option")
    devices = [torch.device(found.type, index) for index in range(torch.accelerator.device_count())]
    if not number:
        return devices
    if int(number) >= len(devices):
        raise InputError(f"--device {name}: no such GPU; the last one here is {devices[-1]}")
    return [devices[int(number)]]


def start_engine(device: str, index: int = 0) -> Engine:
    """Return the engine of this process; with several processes of torchrun, join the process group first.

    index: number of this worker among independent ones, which take turns with the devices

    Raises:
        InputError: the device does not exist here, or there are several processes and Lightning Fabric is missing.
    """
    devices = find_devices(device)
    if world_size() == 1:
        chosen = devices[index % len(devices)]
        if chosen.index:
            torch.accelerator.set_device_index(chosen.index)  # without it, torch also allocates memory on GPU 0
        return Engine(chosen)
    if ":" in device:
        raise InputError(f"--device {device}: one GPU for {world_size()} processes; use --device cuda")
    try:
        from lightning_fabric import Fabric
    except ImportError:
        raise InputError(
            "training in several processes needs Lightning Fabric; pip install 'edgepose[distributed]'"
        ) from None
    local = int(os.environ.get("LOCAL_WORLD_SIZE", world_size()))
    fabric = Fabric(accelerator=devices[0].type, devices=local, num_nodes=world_size() // local, strategy="ddp")
    fabric.launch()
    return Engine(fabric.device, rank=fabric.global_rank, world_size=fabric.world_size, fabric=fabric)


# ---- precision ----


def keep_strided_depthwise_in_f32(net: nn.Module) -> None:
    """Let every depthwise convolution with a stride compute in float32 under autocast, in place.

    The gradient of their input in bf16 takes two thirds of a training step of paper-L on a CPU (torch 2.13, oneDNN's
    `brgconv_strided`); in float32 it takes a few percent.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1 and max(module.stride) > 1:
            module.__class__ = Float32Conv2d


class Float32Conv2d(nn.Conv2d):
    """A convolution that computes in float32 whatever autocast says."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


# ---- batch norm over all processes ----


def synchronise_batch_norm(net: nn.Module, device: torch.device) -> None:
    """Let every batch norm of `net` compute statistics over all processes, in place; weights keep their names."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            synchronised: Any = nn.SyncBatchNorm if device.type == "cuda" else CpuSyncBatchNorm
            module.__class__ = synchronised
            module.__dict__["process_group"] = None  # an attribute of SyncBatchNorm; None: all processes


class CpuSyncBatchNorm(nn.BatchNorm2d):
    """Batch norm over all processes on the CPU.

    `torch.nn.SyncBatchNorm` rejects CPU tensors (torch 2.13: "expected input tensor to be on GPU"), because its kernels
    `batch_norm_stats` and `batch_norm_elemt` exist for GPUs only. On GPUs `synchronise_batch_norm` uses it.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        samples = torch.tensor([x.numel() / x.shape[1]], dtype=torch.float64)
        dist.all_reduce(samples)
        count = float(samples)
        mean = _AllReduceSum.apply(x.float().sum((0, 2, 3))) / count  # type: ignore[no-untyped-call]
        centred = x.float() - mean[:, None, None]
        variance = _AllReduceSum.apply(centred.square().sum((0, 2, 3))) / count  # type: ignore[no-untyped-call]
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        with torch.no_grad():
            momentum = 0.1 if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * count / (count - 1), momentum)
            self.num_batches_tracked += 1
        scale = (variance + self.eps).rsqrt() * self.weight
        return torch.addcmul(self.bias[:, None, None], centred, scale[:, None, None]).to(x.dtype)


class _AllReduceSum(torch.autograd.Function):
    """Sum over all processes, also of the gradient; torch 2.13 deprecates its differentiable `all_reduce`."""

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
