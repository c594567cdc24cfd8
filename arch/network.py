"""PoseNet, the torch module of an Arch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arch.blocks import make_block, upsample
from arch.decode import decode_tensor
from arch.space import Arch
from arch.spec import Node


def average_pool(x: Tensor) -> Tensor:
    """Average pooling, 3x3, stride 2: equal to avg_pool2d(x, 3, 2, padding=1, count_include_pad=False) for even sides.

    Written as zero concatenation, plain pooling and a scale, because converters have an INT8 pooling only without
    padding, and because concatenated zeros, unlike padding, cause no transposes in LiteRT. The scale is one constant,
    because ExecuTorch does not fold operators that make constants.
    """
    size = x.shape[2] // 2
    factors = [1.5] + [1.0] * (size - 1)  # in the first row and column, two of three cells lie inside
    scale = torch.tensor([[row * column for column in factors] for row in factors], dtype=x.dtype, device=x.device)
    x = torch.cat([x.new_zeros(x.shape[0], x.shape[1], x.shape[2], 1), x], 3)
    x = torch.cat([x.new_zeros(x.shape[0], x.shape[1], 1, x.shape[3]), x], 2)
    return F.avg_pool2d(x, 3, 2) * scale


class PoseNet(nn.Module):
    """Predicts the 3D pose of a single person from a crop. `steps` holds one module per node of `arch.plan`."""

    def __init__(self, arch: Arch) -> None:
        super().__init__()
        self.arch = arch
        self.steps = nn.ModuleDict({node.name: _step(node) for node in arch.plan.nodes})

    def forward_heatmaps(self, x: Tensor) -> Tensor:
        """Return the raw output of the head, (B, *raw_shape), for images (B, 3, input_size, input_size).

        This is the part that runtimes execute; `arch.decode` decodes its output.
        """
        maps: list[Tensor] = []
        for node, step in zip(self.arch.plan.nodes, self.steps.values(), strict=True):
            parts = [x if i < 0 else self._resample(maps[i], how) for i, how in node.inputs]
            maps.append(step(parts[0] if len(parts) == 1 else torch.cat(parts, 1)))
        outputs = [maps[i] for i in self.arch.plan.outputs]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return coordinates (B, J, 3) in heatmap cells for images (B, 3, input_size, input_size)."""
        return decode_tensor(self.forward_heatmaps(x), self.arch)

    def _resample(self, x: Tensor, how: str) -> Tensor:
        """Bring an earlier feature map to the size of the next step (paper, Figure 3b)."""
        match how:
            case "pool":
                return average_pool(x)
            case "up":
                return upsample(x, self.arch.upsample)
        return x


class RawOutput(nn.Module):
    """A PoseNet whose `forward` is `forward_heatmaps`."""

    def __init__(self, net: PoseNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net.forward_heatmaps(x)


def _step(node: Node) -> nn.Sequential:
    return nn.Sequential(*(make_block(block, node.channels) for block in node.blocks))


def build(arch: Arch, seed: int | None = None) -> PoseNet:
    """Build the network of `arch` with new weights.

    Args:
        seed: seed of the weights; torch's global generator stays unchanged. None: use the global generator.
    """
    if seed is None:
        return PoseNet(arch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PoseNet(arch)
