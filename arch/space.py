"""Arch, the description of one network, and the presets of the paper. No torch."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

from pydantic import ValidationError, model_validator

from arch.documents import load_mapping
from arch.encoders import ENCODERS
from arch.errors import InputError, describe, did_you_mean, shortened
from arch.fields import ArchFields
from arch.files import content_hash
from arch.normalise import log2, normalise
from arch.old_names import ID_NAMES, current_names, note_old_names
from arch.plan import encoder_stride, make_plan, natural_stride
from arch.spec import Plan, signature

MAX_DEPTH, MAX_EXPANSION, MAX_KERNEL = 100, 100, 31  # of an encoder stage; far above any network for phones


class Arch(ArchFields):
    """One network: immutable, validated and in normal form. Equal networks are equal objects with the same `id`.

    Derived fields are filled in, and fields without effect take a fixed value (such as the depth bins of a 2.5D head).
    Impossible combinations are rejected with the reason.
    """

    @model_validator(mode="before")
    @classmethod
    def _normalise(cls, values: Any) -> Any:
        return normalise(current_names(values)) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _validate(self) -> Arch:
        if self.input_size % 32:
            raise ValueError(f"input_size: {self.input_size} px is not a multiple of 32")
        if self.heatmap_size * 2 > self.input_size:
            raise ValueError(
                f"heatmap_size: {self.heatmap_size} cells require an input_size of at least {self.heatmap_size * 2} px"
            )
        for key, most in (("depths", MAX_DEPTH), ("expansions", MAX_EXPANSION), ("kernels", MAX_KERNEL)):
            values = getattr(self, key) or ()
            if any(0 != value < 1 or value > most for value in values):
                raise ValueError(f"{key}: {shortened(values)} has a value below 1 or above {most}")
        if self.kernels and any(k and k % 2 == 0 for k in self.kernels):
            raise ValueError(f"kernels: {self.kernels} has an even kernel; use 3, 5 or 7")
        total = max(encoder_stride(self), 1)
        natural = natural_stride(self.encoder, self.stem_stride)
        if natural % total or self.heatmap_size * total != self.input_size * 2**self.decoder_stages:
            raise ValueError(
                f"decoder_stages: {self.decoder_stages} blocks from {self.input_size} px to {self.heatmap_size} cells "
                f"require an encoder of stride {total}; {self.encoder} with stem_stride {self.stem_stride} has {natural}"
            )
        if self.input_size % total:
            raise ValueError(f"input_size: {self.input_size} px is not a multiple of the encoder's stride {total}")
        _ = self.plan  # raises if the network cannot be wired
        return self

    @cached_property
    def plan(self) -> Plan:
        """The steps of the network."""
        return make_plan(self)

    @cached_property
    def id(self) -> str:
        """Ten hex digits that identify the network, independent of how it was written."""
        name, joints, heatmap, bins = self.head_spec
        head = [ID_NAMES.get(name, name), heatmap, bins, self.input_size, joints]
        return content_hash([head, signature(self.plan)], 10)

    @property
    def name(self) -> str:
        """The preset's name with its input size (`paper-XS-relu@64`), or the id of any other network."""
        scale = "" if self.input_size == 256 else f"@{self.input_size}"
        for known in PRESETS:
            for suffix in ("", *(f"-{act}" for act in ("relu", "relu6", "leaky_relu", "hardswish"))):
                try:
                    if preset(known + suffix + scale).replace(num_joints=self.num_joints) == self:
                        return known + suffix + scale
                except InputError:
                    continue
        return self.id

    def replace(self, **changes: Any) -> Arch:
        """Return a validated copy with some fields changed; derived fields follow unless given.

        Raises:
            InputError: the result is not a possible network.
        """
        values, changes = self.model_dump(), current_names(changes)
        rewired = changes.keys() & {"encoder", "stem_stride", "heatmap_size", "input_size"}
        natural = natural_stride(self.encoder, self.stem_stride)
        if rewired and self.decoder_stages == log2(self.heatmap_size * natural, self.input_size):
            values["decoder_stages"] = -1
        if "encoder" in changes and self.stem_stride == ENCODERS[self.encoder].stem_stride:
            values["stem_stride"] = -1
        if changes.keys() & {"heatmap_size", "head"} and self.depth_bins == self.heatmap_size:
            values["depth_bins"] = -1
        return make_arch(values | changes)


def make_arch(values: dict[str, Any], where: str = "") -> Arch:
    """Validate the fields of a network; field names of version 0.1 are accepted.

    Raises:
        InputError: one line with `where`, the key and the fault.
    """
    try:
        return Arch(**values)
    except ValidationError as error:
        raise InputError(f"{where}: {describe(error, Arch)}" if where else describe(error, Arch)) from None


# All at 256 px. paper-*: Table 6 (S and L), Section 4.4 and Table 10 (XS). The other two stand for networks of Table
# 10: Moon et al. upsample with transposed convolutions (34.34M params), moon-resnet50 bilinearly (26.2M). movnect-sized
# is a MobileNetV2 without its last layer, with separable decoder and 2.5D head, at the width whose params (1.032M) are
# closest to the 1.03M that the paper prints for MoVNect; it is not MoVNect itself.
PRESETS: dict[str, dict[str, Any]] = {
    "paper-L": {"width": 1.0, "intermediate_channels": 2048},
    "paper-S": {"width": 0.75, "intermediate_channels": 512},
    "paper-XS": {"width": 0.5, "intermediate_channels": 512, "stem_stride": 2, "heatmap_size": 32},
    "moon-resnet50": {"encoder": "resnet50", "intermediate_channels": 0, "concat": "none", "activation": "relu"},
    "movnect-sized": {
        "encoder": "mobilenet_v2", "width": 0.72, "intermediate_channels": 0, "concat": "none", "activation": "relu",
        "decoder_width": 128, "decoder_conv": "separable", "head": "heatmap-2.5d",
    },
}  # fmt: skip
PRESET_PREFIXES = tuple(dict.fromkeys(known.partition("-")[0] + "-" for known in PRESETS))


def preset(name: str) -> Arch:
    """Return a network of the paper or of its comparison, such as `paper-XS`, `paper-L-relu` or `paper-L@64`.

    `-relu` changes the activation. `@64` sets the input size; heatmap and depth bins shrink by the same factor.

    Raises:
        InputError: unknown preset.
    """
    match = re.fullmatch(rf"({'|'.join(PRESETS)})(?:-([a-z0-9_]+))?(?:@(\d+))?", name)
    if match is None:
        hint = did_you_mean(name.partition("@")[0], PRESETS)
        raise InputError(
            f"arch: '{name}' is not a preset; known are {', '.join(PRESETS)} (also paper-L-relu, paper-L@64){hint}"
        )
    values = dict(PRESETS[match[1]])
    if match[2]:
        values["activation"] = match[2]
    arch = make_arch(values, name)
    return rescale(arch, int(match[3])) if match[3] else arch


def rescale(arch: Arch, input_size: int) -> Arch:
    """Return the same network for another input size in px; heatmap and depth bins scale with it."""
    if (arch.heatmap_size * input_size) % arch.input_size:
        raise InputError(
            f"input_size: {input_size} px does not scale a heatmap of {arch.heatmap_size} cells at {arch.input_size} px "
            "to a whole number; use a power of two"
        )
    return arch.replace(
        input_size=input_size,
        heatmap_size=arch.heatmap_size * input_size // arch.input_size,
        depth_bins=arch.depth_bins * input_size // arch.input_size,
    )


def named_arch(name: str) -> Arch:
    """Return a network by the name of its preset, or from a YAML file with the fields of `Arch`.

    Field names of version 0.1 in the file are accepted with a notice.

    Raises:
        InputError: unknown preset, or a fault in the file.
    """
    if not name.endswith((".yaml", ".yml")):
        return preset(name)
    values = load_mapping(name, "the fields of an Arch, such as encoder and width")
    note_old_names(values, name)
    return make_arch(values, name)
