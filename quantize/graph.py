"""The module that converters see: the raw head output alone, BatchNorm folded into the convolutions."""

from __future__ import annotations

import copy

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from arch.blocks import ConvNormAct
from arch.network import PoseNet


class RawOutput(nn.Module):
    """`forward` is the network's `forward_heatmaps`."""

    def __init__(self, net: PoseNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net.forward_heatmaps(x)


def inference_module(net: PoseNet) -> RawOutput:
    """A copy of `net` on the CPU, in evaluation mode, for converters: a third less to trace with BatchNorm folded."""
    module = RawOutput(copy.deepcopy(net).cpu().float()).eval()
    for part in module.modules():
        if isinstance(part, ConvNormAct) and hasattr(part, "norm"):
            part.conv = fuse_conv_bn_eval(part.conv, part.norm)
            del part.norm
        if hasattr(part, "inplace"):
            part.inplace = False
    return module.requires_grad_(False)
