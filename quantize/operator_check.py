"""Operator check: whether a runtime can execute a network by a recipe, known before any training or conversion."""

from __future__ import annotations

from arch.errors import InputError
from arch.space import Arch
from quantize import runtimes
from quantize.recipes import OPTIONS, Recipe


def reasons(arch: Arch, runtime: str, recipe: Recipe) -> list[str]:
    """Return the reasons against the combination, each with the fix; empty if it is possible.

    Raises:
        InputError: no such runtime.
    """
    found = runtimes.get(runtime).unsupported(arch, recipe)
    chosen = {option: getattr(recipe, option) for option in OPTIONS if getattr(recipe, option)}
    supported = runtimes.get(runtime).quantizer_options(recipe) if chosen and not found else {}
    for option, value in chosen.items():
        if supported and value not in supported[option]:
            values = ", ".join(supported[option])
            found.append(f"recipe {recipe.name}: {option}: {value} is not possible in {runtime}; it has {values}")
    try:
        recipe.float_steps(arch)
    except InputError as error:
        found = [*found, str(error)]
    return found


def check(arch: Arch, runtime: str, recipe: Recipe) -> None:
    """Reject a network that cannot be exported.

    Raises:
        InputError: the reasons in one line.
    """
    found = reasons(arch, runtime, recipe)
    if found:
        raise InputError("; ".join(found))
