"""The fields of a network description. No torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from arch.spec import HeadSpec

MAX_JOINTS = 133  # as in whole-body sets
Activation = Literal["relu", "relu6", "leaky_relu", "prelu", "prelu_shared", "hardswish"]


class ArchFields(BaseModel):
    """Hyperparameters of a network; `arch.space.Arch` adds their validation and everything derived from them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    encoder: str = Field("mobilehumanpose", description="encoder family (arch.encoders)")
    width: float = Field(1.0, gt=0, le=4, description="width multiplier of the encoder")
    stem_stride: Literal[-1, 1, 2] = Field(-1, description="stride of the first convolution; -1: default of the family")
    depths: tuple[int, ...] | None = Field(None, description="blocks per encoder stage; 0: default of the family")
    expansions: tuple[float, ...] | None = Field(None, description="expansion ratio per encoder stage; 0: default")
    kernels: tuple[int, ...] | None = Field(None, description="depthwise kernel per encoder stage; 0: default")
    squeeze_excite: bool | None = Field(None, description="squeeze-and-excitation in all or no stages; None: default")
    intermediate_channels: int = Field(
        2048, ge=0, le=4096, description="channels of the 1x1 convolution after the encoder; 0: no such layer"
    )
    concat: Literal["none", "skip", "residual"] = Field("skip", description="concatenation scheme (paper, Figure 3)")
    activation: Activation = Field("prelu", description="activation of encoder and decoder")
    decoder: Literal["upsample", "parts"] = Field("upsample", description="of the paper's Figure 3, or Tables 2 and 3")
    decoder_width: int = Field(256, ge=8, le=1024, description="output channels of each decoder block")
    decoder_conv: Literal["dense", "separable"] = Field("dense", description="3x3 convolution of the decoder blocks")
    decoder_stages: int = Field(-1, ge=-1, le=6, description="decoder blocks; -1: enough to reach the heatmap size")
    upsample: Literal["half_pixel", "align_corners", "nearest"] = Field(
        "half_pixel", description="bilinear upsampling with either alignment, or nearest neighbour"
    )
    head: str = Field("volumetric", description="output representation (arch.heads)")
    heatmap_size: int = Field(64, ge=4, le=256, description="side of the heatmap", json_schema_extra={"unit": "cells"})
    depth_bins: int = Field(
        -1, ge=-1, le=256, description="cells in depth; -1: as heatmap_size", json_schema_extra={"unit": "cells"}
    )
    input_size: int = Field(256, ge=32, le=1024, description="side of the input", json_schema_extra={"unit": "px"})
    num_joints: int = Field(18, ge=1, le=MAX_JOINTS, description="joints of the skeleton")

    @property
    def head_spec(self) -> HeadSpec:
        """The part of the description that determines the head."""
        return HeadSpec(self.head, self.num_joints, self.heatmap_size, self.depth_bins)


DEFAULTS = {name: field.default for name, field in ArchFields.model_fields.items()}
