"""PoseNet: the module that a plan describes."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arch.blocks import make_block
from arch.head import decode
from arch.space import Arch
from arch.spec import Node


def resample(x: Tensor, how: str, upsample: str) -> Tensor:
    """Bring an earlier map to the size of the next step (paper, Figure 3b)."""
    if how == "pool":
        return average_pool(x)
    if how == "up":
        if upsample == "nearest":
            return F.interpolate(x, scale_factor=2.0, mode="nearest")
        return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=upsample == "align_corners")
    return x


def average_pool(x: Tensor) -> Tensor:
    """Average over 3x3, stride 2, of what lies inside the map: avg_pool2d(x, 3, 2, 1, count_include_pad=False).

    Zeros on the two sides where a window of an even map sticks out, then averaged and scaled there: converters have
    an INT8 pooling for whole windows alone, and for joined zeros, unlike for padding, no transposes in LiteRT.
    """
    size = x.shape[2] // 2
    inside = torch.ones(size, dtype=x.dtype, device=x.device)
    inside[0] = 1.5  # three cells for two
    x = torch.cat([x.new_zeros(x.shape[0], x.shape[1], x.shape[2], 1), x], 3)
    x = torch.cat([x.new_zeros(x.shape[0], x.shape[1], 1, x.shape[3]), x], 2)
    pooled = F.avg_pool2d(x, 3, 2)
    return pooled * (inside[:, None] * inside[None, :])


class PoseNet(nn.Module):
    """A single person's 3D pose from a crop. `steps` follow the plan of `arch`, one module a node."""

    def __init__(self, arch: Arch) -> None:
        super().__init__()
        self.arch = arch
        self.steps = nn.ModuleDict({node.name: _step(node) for node in arch.plan.nodes})

    def forward_heatmaps(self, x: Tensor) -> Tensor:
        """(B, 3, input, input) to the raw output of the head; what the runtimes execute. See `arch.head`."""
        maps: list[Tensor] = []
        for node, step in zip(self.arch.plan.nodes, self.steps.values(), strict=True):
            parts = [x if i < 0 else resample(maps[i], how, self.arch.upsample) for i, how in node.inputs]
            maps.append(step(parts[0] if len(parts) == 1 else torch.cat(parts, 1)))
        outputs = [maps[i] for i in self.arch.plan.outputs]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, input, input) to coordinates (B, J, 3) in heatmap cells."""
        return decode(self.forward_heatmaps(x), self.arch)


def _step(node: Node) -> nn.Sequential:
    return nn.Sequential(*(make_block(block, node.channels) for block in node.blocks))


def build(arch: Arch, seed: int | None = None, init: Literal["torch", "paper"] = "torch") -> PoseNet:
    """The network of `arch` with fresh weights; from `seed` where given, leaving torch's own state alone.

    `init`: "torch", the defaults of its layers, is for ordinary training; "paper" is `init_as_paper`. BatchNorm has
    torch's epsilon 1e-5 and momentum 0.1 in both, as the paper has (Section 4.1, Framework).
    """
    if seed is None:
        return init_as_paper(PoseNet(arch)) if init == "paper" else PoseNet(arch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(arch, init=init)


def init_as_paper(net: PoseNet) -> PoseNet:
    """Weights as the paper's reference code leaves them; returns `net`.

    Convolutions of encoder, 1x1 layer and head: normal with standard deviation 0.001, biases 0. BatchNorm: weight 1,
    bias 0. The decoder's blocks keep torch's defaults: the reference sets transposed convolutions there, and has none.
    """
    for name, step in net.steps.items():
        for module in step.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv2d) and not name.startswith("decoder"):
                nn.init.normal_(module.weight, std=0.001)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    return net
