"""What a search chooses beside the network: the recipe. And where it keeps what it finds of each pair.

`objective: float` is a search over the recipe float alone, whose finalists are shipped by the study's recipe.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import Trial

from arch.errors import InputError
from arch.files import write_atomic
from arch.search_space import Space
from arch.space import Arch, make_arch
from explore.config import SearchConfig
from quantize import audit
from quantize.recipes import Recipe, recipe


@dataclass(frozen=True)
class Finalist:
    """A network that goes on, and the recipes that it ships by."""

    arch: Arch
    recipes: tuple[str, ...]


def searched(config: SearchConfig) -> tuple[str, ...]:
    """Recipes that candidates are judged by."""
    return ("float",) if config.objective == "float" else config.recipes or (config.recipe,)


def shipped(config: SearchConfig) -> tuple[str, ...]:
    """Recipes that finalists may ship by."""
    return (config.recipe,) if config.objective == "float" else searched(config)


def obstacles(config: SearchConfig, arch: Arch, *besides: str) -> list[str]:
    """Why a network cannot ship, by any runtime of the study and its shipping recipes or one `besides` them."""
    recipes = [recipe(name) for name in dict.fromkeys((*besides, *shipped(config)))]
    return [line for name in config.every_runtime for tried in recipes for line in audit.reasons(arch, name, tried)]


def check_recipes(config: SearchConfig) -> list[Recipe]:
    """All recipes of the study.

    Raises:
        InputError: one that does not exist, has another's name, or trains on; or a choice that would never be made.
    """
    if config.objective == "float" and config.recipes:
        raise InputError("recipes: have no use with the objective float, which judges the float file; leave one out")
    found = [recipe(name) for name in dict.fromkeys((*searched(config), *shipped(config)))]
    for index, chosen in enumerate(found):
        if chosen.qat_samples:
            raise InputError(
                f"recipe: {chosen.name} trains on; search with int8-static, then export with {chosen.name}"
            )
        if chosen.name in [other.name for other in found[:index]]:
            raise InputError(f"recipes: two are called {chosen.name}; give one of them another name")
    return found


def suggest(trial: Trial, config: SearchConfig, space: Space) -> tuple[Arch, str]:
    """A network and the recipe that it is judged by, which is a dimension of the search where there are several.

    Raises:
        InputError: an impossible network.
    """
    names = searched(config)
    chosen = str(trial.suggest_categorical("recipe", names)) if len(names) > 1 else names[0]
    return space.suggest(lambda key, values: trial.suggest_categorical(key, values)), chosen


def label(config: SearchConfig, arch: Arch, recipe_name: str) -> str:
    """What a candidate is called: its network, and its recipe where there are several."""
    return arch.name if len(searched(config)) == 1 else f"{arch.name} {recipe(recipe_name).name}"


def result_file(config: SearchConfig, arch_id: str, recipe_name: str) -> Path:
    """What a candidate gave, by that recipe; in a study of one recipe it is called result.json."""
    name = "result.json" if len(searched(config)) == 1 else f"result-{recipe(recipe_name).name}.json"
    return config.folder / "candidates" / arch_id / name


def bundle_name(config: SearchConfig, arch: Arch, runtime: str, recipe_name: str) -> str:
    """Folder of a bundle within the study."""
    return f"bundles/{arch.name}/{runtime}" + (f"-{recipe_name}" if len(shipped(config)) > 1 else "")


def write_finalists(config: SearchConfig, chosen: Iterable[tuple[Arch, str]]) -> None:
    """Pairs of network and recipe, in the order in which they are worked on; a network's recipes go together."""
    recipes: dict[Arch, list[str]] = {}
    for arch, name in chosen:
        recipes.setdefault(arch, []).extend([config.recipe] if config.objective == "float" else [name])
    values = [{"arch": a.model_dump(mode="json"), "recipes": list(dict.fromkeys(r))} for a, r in recipes.items()]
    write_atomic(config.folder / "finalists.json", json.dumps(values, indent=1))


def read_finalists(config: SearchConfig) -> list[Finalist]:
    """The networks that the search chose, the dearest first."""
    path = config.folder / "finalists.json"
    return [Finalist(make_arch(v["arch"], str(path)), tuple(v["recipes"])) for v in json.loads(path.read_text())]
