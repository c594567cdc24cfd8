"""A network in a few words, for people."""

from __future__ import annotations

from arch.space import Arch


def short(arch: Arch) -> str:
    """What an id stands for."""
    concat = {"none": "no concat", "skip": "skip", "residual": "residual"}[arch.concat]
    depth = f"x{arch.depth_bins}" if arch.head == "volumetric" else ""
    return (
        f"{arch.encoder} {arch.width:g}, stride {arch.early_stride}, inter {arch.inter}, {concat}, "
        f"{arch.decoder_conv} {arch.decoder_width}, {arch.head} {arch.heatmap}{depth}, {arch.activation}"
    )
