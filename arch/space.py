"""Arch, one point of the search space; the paper's presets. No torch."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from arch.canonical import canonical, log2
from arch.encoders import ENCODERS
from arch.errors import InputError
from arch.files import content_hash
from arch.plan import make_plan, natural_stride
from arch.spec import Plan, signature

Activation = Literal["relu", "relu6", "leaky_relu", "prelu", "prelu_shared", "hardswish"]


class Arch(BaseModel):
    """One network, validated and canonical: two ways to write the same network are equal and have one `id`.

    Fields that the others make meaningless take a fixed value (the depth bins of a depthmap head, say), and an
    impossible combination is refused with the reason.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    encoder: str = Field("mobilehumanpose", description="family of the encoder")
    width: float = Field(1.0, gt=0, le=4, description="multiplier of the encoder's channels")
    early_stride: Literal[-1, 1, 2] = Field(-1, description="stride of the first convolution; -1: the family's")
    depths: tuple[int, ...] | None = Field(None, description="blocks of each row of the encoder's table; 0: its own")
    expansions: tuple[float, ...] | None = Field(None, description="expansion of each row; 0: its own")
    kernels: tuple[int, ...] | None = Field(None, description="depthwise kernel of each row; 0: its own")
    squeeze_excite: bool | None = Field(None, description="squeeze-excite everywhere or nowhere; none: the family's")
    inter: int = Field(2048, ge=0, le=4096, description="channels of the 1x1 layer after the encoder; 0: no layer")
    concat: Literal["none", "skip", "residual"] = Field("skip", description="paper, Figure 3")
    activation: Activation = Field("prelu", description="after each convolution of encoder and decoder")
    decoder: Literal["deconv", "parts"] = Field("deconv", description="paper's Figure 3; or that of Tables 2 and 3")
    decoder_width: int = Field(256, ge=8, le=1024, description="channels of the decoder's blocks")
    decoder_conv: Literal["dense", "separable"] = Field("dense", description="3x3 of the decoder's blocks")
    decoder_stages: int = Field(-1, ge=-1, le=6, description="blocks of the decoder; -1: what the strides ask for")
    upsample: Literal["half_pixel", "align_corners", "nearest"] = Field("half_pixel", description="factor two")
    head: str = Field("volumetric", description="what the last map means (arch.heads)")
    heatmap: int = Field(64, ge=4, le=256, description="side of the heatmap", json_schema_extra={"unit": "cells"})
    depth_bins: int = Field(
        -1, ge=-1, le=256, description="depth; -1: as the side", json_schema_extra={"unit": "cells"}
    )
    input: int = Field(256, ge=32, le=1024, description="side of the input", json_schema_extra={"unit": "px"})
    joints: int = Field(18, ge=1, le=133, description="joints of the skeleton")

    @model_validator(mode="before")
    @classmethod
    def _canonical(cls, values: Any) -> Any:
        """Fill what is derived and fix what is meaningless, so that equal networks have equal fields."""
        return canonical(values, _DEFAULTS) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _possible(self) -> Arch:
        if self.input & (self.input - 1) and self.input % 32:
            raise ValueError(f"input: {self.input} px is not a multiple of 32")
        if self.heatmap * 2 > self.input:
            raise ValueError(f"heatmap: {self.heatmap} cells need an input of at least {self.heatmap * 2} px")
        for key in ("depths", "expansions", "kernels"):
            if getattr(self, key) is not None and any(0 != value < 1 for value in getattr(self, key)):
                raise ValueError(f"{key}: {getattr(self, key)} has a value below 1")
        if self.kernels and any(k and k % 2 == 0 for k in self.kernels):
            raise ValueError(f"kernels: {self.kernels} has an even kernel; take 3, 5 or 7")
        total = max(self.input * 2**self.decoder_stages // self.heatmap, 1)
        natural = natural_stride(self.encoder, self.early_stride)
        if natural % total or self.heatmap * total != self.input * 2**self.decoder_stages:
            raise ValueError(
                f"decoder_stages: {self.decoder_stages} blocks from {self.input} px to {self.heatmap} cells ask for an "
                f"encoder of stride {total}; {self.encoder} with early_stride {self.early_stride} has {natural}"
            )
        if self.input % total:
            raise ValueError(f"input: {self.input} px is not a multiple of the encoder's stride {total}")
        _ = self.plan
        return self

    @cached_property
    def plan(self) -> Plan:
        """The steps of the network."""
        return make_plan(self)

    @cached_property
    def id(self) -> str:
        """Ten hex digits of the network itself: however it was written, equal networks have equal ids."""
        head = [self.head, self.heatmap, self.depth_bins, self.input, self.joints]
        return content_hash([head, signature(self.plan)], 10)

    @property
    def name(self) -> str:
        """The preset's name with its scale, where this is one; else the id."""
        scale = "" if self.input == 256 else f"@{self.input}"
        for known in PRESETS:
            for suffix in ("", *(f"-{act}" for act in ("relu", "relu6", "leaky_relu", "hardswish"))):
                try:
                    if preset(known + suffix + scale).replace(joints=self.joints) == self:
                        return known + suffix + scale
                except InputError:
                    continue
        return self.id

    def replace(self, **changes: Any) -> Arch:
        """A validated copy with some fields changed; derived fields follow unless given.

        Raises:
            InputError: the result is not a possible network.
        """
        values = self.model_dump()
        rewired = changes.keys() & {"encoder", "early_stride", "heatmap", "input"}
        if rewired and self.decoder_stages == _stages_of(self):
            values["decoder_stages"] = -1
        if "encoder" in changes and self.early_stride == ENCODERS[self.encoder].early_stride:
            values["early_stride"] = -1
        if changes.keys() & {"heatmap", "head"} and self.depth_bins == self.heatmap:
            values["depth_bins"] = -1
        return make_arch(values | changes)


_DEFAULTS = {key: field.default for key, field in Arch.model_fields.items()}


def _stages_of(arch: Arch) -> int | None:
    return log2(arch.heatmap * natural_stride(arch.encoder, arch.early_stride), arch.input)


def make_arch(values: dict[str, Any], where: str = "") -> Arch:
    """An Arch from plain values.

    Raises:
        InputError: one line with `where`, the key and what is wrong with it.
    """
    try:
        return Arch(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = f"unknown key; the keys are {', '.join(Arch.model_fields)}"
        prefix = f"{where}: " if where else ""
        raise InputError(f"{prefix}{key}: {message}" if key else f"{prefix}{message}") from None


# At 256 px: the paper's three models (Table 6: S and L; Section 4.4 and Table 10: XS), then what its Table 10 sets beside
# them. Moon et al. upsample by transposed convolutions, 34.34M params; here as everywhere bilinearly, 26.2M. Of MoVNect
# the paper prints 1.03M params: of MobileNetV2 without its last layer, a separable decoder and 2.5D maps, this is the
# width whose params are nearest (1.032M); it is of MoVNect's size, not MoVNect.
PRESETS: dict[str, dict[str, Any]] = {
    "paper-L": {"width": 1.0, "inter": 2048},
    "paper-S": {"width": 0.75, "inter": 512},
    "paper-XS": {"width": 0.5, "inter": 512, "early_stride": 2, "heatmap": 32},
    "moon-resnet50": {"encoder": "resnet50", "inter": 0, "concat": "none", "activation": "relu"},
    "movnect-sized": {
        "encoder": "mobilenet_v2",
        "width": 0.72,
        "inter": 0,
        "concat": "none",
        "activation": "relu",
        "decoder_width": 128,
        "decoder_conv": "separable",
        "head": "depthmap",
    },
}
FAMILIES = tuple(dict.fromkeys(known.partition("-")[0] + "-" for known in PRESETS))  # how presets' names begin


def preset(name: str) -> Arch:
    """A model of the paper or of its comparison, such as `paper-XS`; `-relu` changes the activation, `@64` the scale.

    At another scale the input, the heatmap and the depth bins shrink alike: `paper-L@64` reads 64 px and writes
    16x16x16 cells.

    Raises:
        InputError: no such preset.
    """
    match = re.fullmatch(rf"({'|'.join(PRESETS)})(?:-([a-z0-9_]+))?(?:@(\d+))?", name)
    if match is None:
        known = ", ".join(PRESETS)
        raise InputError(f"arch: '{name}' is not a preset; there are {known} (also paper-L-relu, paper-L@64)")
    values = dict(PRESETS[match[1]])
    if match[2]:
        values["activation"] = match[2]
    arch = make_arch(values, name)
    return rescale(arch, int(match[3])) if match[3] else arch


def rescale(arch: Arch, input: int) -> Arch:
    """The same network for another input size: heatmap and depth bins scale with it."""
    if (arch.heatmap * input) % arch.input:
        raise InputError(f"scale: {input} px does not divide a heatmap of {arch.heatmap} cells at {arch.input} px")
    bins = arch.depth_bins * input // arch.input
    return arch.replace(input=input, heatmap=arch.heatmap * input // arch.input, depth_bins=bins)


def named_arch(name: str) -> Arch:
    """An Arch by a preset's name, or from a YAML file with the fields of `Arch`.

    Raises:
        InputError: neither, or a fault in the file.
    """
    if not name.endswith((".yaml", ".yml")):
        return preset(name)
    try:
        values = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}; give the path of an arch's YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise InputError(f"{name}: not a mapping; write the fields of an Arch, such as encoder and width")
    return make_arch(values, name)
