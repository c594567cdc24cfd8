"""The quantization recipes with which a study evaluates candidates and exports finalists.

With several recipes, the recipe is a dimension of the search. With `objective: float`, candidates are evaluated as
float files, and finalists are exported with the study's recipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.trial import BaseTrial

from arch.errors import InputError
from arch.old_names import current_choices
from arch.search_space import Space
from arch.space import Arch
from explore.search.config import SearchConfig
from quantize import operator_check
from quantize.recipes import Recipe, recipe

RECIPE = "recipe"  # the dimension of recipes


def searched_recipes(config: SearchConfig) -> tuple[str, ...]:
    """Return the recipes that candidates are evaluated with."""
    return ("float",) if config.objective == "float" else config.quantizations or (config.quantization,)


def exported_recipes(config: SearchConfig) -> tuple[str, ...]:
    """Return the recipes that finalists may be exported with."""
    return (config.quantization,) if config.objective == "float" else searched_recipes(config)


def unsupported(config: SearchConfig, arch: Arch, *besides: str) -> list[str]:
    """Return the operators that keep a network from being exported with the study's recipes or with those `besides`."""
    recipes = [recipe(name) for name in dict.fromkeys((*besides, *exported_recipes(config)))]
    return [
        line for name in config.every_runtime for tried in recipes for line in operator_check.reasons(arch, name, tried)
    ]


def check_recipes(config: SearchConfig) -> list[Recipe]:
    """Return all recipes of the study.

    Raises:
        InputError: an unknown recipe, two of the same name, one with training, or recipes without use.
    """
    if config.objective == "float" and config.quantizations:
        raise InputError("quantizations: objective float evaluates the float file; leave one of the two out")
    found = [recipe(name) for name in dict.fromkeys((*searched_recipes(config), *exported_recipes(config)))]
    for index, chosen in enumerate(found):
        if chosen.qat_samples:
            raise InputError(
                f"quantization: {chosen.name} needs training; search with int8-static, then export with {chosen.name}"
            )
        if chosen.name in [other.name for other in found[:index]]:
            raise InputError(f"quantizations: two recipes have the name {chosen.name}; rename one of them")
    return found


def suggest(trial: BaseTrial, config: SearchConfig, space: Space, ordinal: bool = False) -> tuple[Arch, str]:
    """Sample a network and its recipe; what the trial has chosen already is kept, also under names of version 0.1.

    ordinal: sample the places of the values of ordered dimensions, instead of the values as categories

    Raises:
        InputError: an impossible network, or a value that the space does not have.
    """

    chosen_before = {} if ordinal else current_choices(trial.params)

    def choose(key: str, values: Sequence[Any]) -> Any:
        if key in chosen_before:
            return chosen_before[key]
        ordered = ordered_values(values) if ordinal else None
        if ordered is not None:
            return ordered[trial.suggest_int(key, 0, len(ordered) - 1)]
        try:
            return trial.suggest_categorical(key, values)
        except ValueError as error:  # enqueued with another value
            raise InputError(f"{key}: {error}") from None

    names = searched_recipes(config)
    chosen = str(choose(RECIPE, names)) if len(names) > 1 else names[0]
    return space.suggest(choose), chosen


def ordered_values(values: Sequence[Any]) -> list[Any] | None:
    """Return the values of a dimension in ascending order; None for categories.

    Values below 1 that stand for a derived one, such as 0 for the encoder's own depth, make a dimension one of
    categories.
    """
    if any(isinstance(value, bool | str) for value in values) or min(values) <= 0:
        return None
    return sorted(values)


def label(config: SearchConfig, arch: Arch, recipe_name: str) -> str:
    """Return the name of a candidate: its network, and its recipe in a study of several."""
    return arch.name if len(searched_recipes(config)) == 1 else f"{arch.name} {recipe(recipe_name).name}"


def result_file(config: SearchConfig, arch_id: str, recipe_name: str) -> Path:
    """Return the file of a candidate's result."""
    name = "result.json" if len(searched_recipes(config)) == 1 else f"result-{recipe(recipe_name).name}.json"
    return config.folder / "candidates" / arch_id / name


def bundle_name(config: SearchConfig, arch: Arch, runtime: str, recipe_name: str) -> str:
    """Return the folder of a bundle, relative to the study's."""
    return f"bundles/{arch.name}/{runtime}" + (f"-{recipe_name}" if len(exported_recipes(config)) > 1 else "")
