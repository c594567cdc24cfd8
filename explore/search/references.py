"""Networks to compare with: trained, exported and shipped exactly as the finalists are, in the space or outside of it."""

from __future__ import annotations

from arch.errors import InputError
from arch.search_space import Space
from arch.space import Arch, preset
from explore.config import SearchConfig
from explore.search.choice import obstacles

JOINTS = int(Arch.model_fields["joints"].default)


def references(config: SearchConfig, space: Space) -> dict[str, Arch]:
    """The presets that `config.references` names, with the joints that the space has, by their names in this study.

    One that cannot ship as it is (the paper's PReLU has no INT8 kernel in LiteRT) is taken with ReLU.

    Raises:
        InputError: no such preset, or one that does not ship with ReLU either.
    """
    found = {}
    for name in config.references:
        if "@" in name:
            raise InputError(f"references: '{name}': leave the scale out; it is the study's")
        arch = preset(f"{name}@{config.scale}").replace(joints=space.base.get("joints", JOINTS))
        if obstacles(config, arch):
            arch = arch.replace(activation="relu")
        for line in obstacles(config, arch):
            raise InputError(f"references: {name}: {line}")
        found[arch.name] = arch
    return found
