"""A network whose activations a runtime cannot quantize, with others in their place, and trained to live with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

from arch.errors import InputError
from arch.network import PoseNet, build
from arch.space import Activation, Arch
from explore.config import TrainConfig
from explore.data.sample import Dataset
from explore.train.checkpoint import save_network
from explore.train.loop import train
from quantize.weights import fill

RATE = 2e-3


def legal_arch(arch: Arch, activation: str) -> Arch:
    """The network with `activation` everywhere that its arch may choose one.

    Raises:
        InputError: no such activation, or the one that it has.
    """
    if activation not in get_args(Activation):
        raise InputError(f"legalise: '{activation}' is not one of {', '.join(get_args(Activation))}")
    if activation == arch.activation:
        raise InputError(f"legalise: the network has {activation} already; leave --legalise out")
    return arch.replace(activation=activation)


def replaced(net: PoseNet, arch: Arch) -> PoseNet:
    """The weights of `net` in the network of `arch`, which differs in activations alone; PReLU's slopes are dropped."""
    made = build(arch, 0)
    wanted = made.state_dict()
    fill(made, {k: v for k, v in net.state_dict().items() if k in wanted}, "legalise")
    return made.eval()


def tuned(
    net: PoseNet, data: Dataset, samples: int, seed: int, folder: Path, progress: Callable[[int, int], None]
) -> PoseNet:
    """Trained on for `samples` samples; scratch goes to `folder`."""
    start = folder / "replaced.safetensors"
    save_network(start, net, {})
    config = TrainConfig(samples=samples, rate=RATE)
    return train(net.arch, data, config, seed, folder / "legalise.state", start, progress=progress).net
