"""Averaged weights: an exponential mean of a network's state over the steps of a run."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Average:
    """Mean of every floating tensor of a network's state, batch statistics among them.

    decay: how much of the mean stays at a step; early steps keep less of it, or the start would linger.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: t.detach().clone() for name, t in net.state_dict().items() if t.is_floating_point()}

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        """Take in the network after step `step`, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        state = net.state_dict()
        torch._foreach_lerp_(list(self.tensors.values()), [state[name] for name in self.tensors], 1 - decay)

    @torch.no_grad()
    def copy_to(self, net: nn.Module) -> None:
        state: dict[str, Tensor] = net.state_dict()
        for name, tensor in self.tensors.items():
            state[name].copy_(tensor)
