"""Networks to compare with: trained, exported and measured as the finalists are, inside the space or outside of it."""

from __future__ import annotations

from arch.errors import InputError
from arch.search_space import Space
from arch.space import Arch, preset
from explore.search.config import SearchConfig
from explore.search.recipes_of_trial import unsupported


def references(config: SearchConfig, space: Space) -> dict[str, Arch]:
    """Return the presets in `config.references` by their names in this study, with the space's number of joints.

    A preset that cannot be exported (LiteRT has no INT8 kernel for the paper's PReLU) is taken with ReLU.

    Raises:
        InputError: an unknown preset, or one that cannot be exported with ReLU either.
    """
    found = {}
    for name in config.references:
        if "@" in name:
            raise InputError(f"references: '{name}': leave out the input size; it is the study's")
        arch = preset(f"{name}@{config.input_size}").replace(num_joints=space.num_joints)
        if unsupported(config, arch):
            arch = arch.replace(activation="relu")
        for line in unsupported(config, arch):
            raise InputError(f"references: {name}: {line}")
        found[arch.name] = arch
    return found
