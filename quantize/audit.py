"""Can this network ship by this recipe? Asked before a second is spent on training or converting it."""

from __future__ import annotations

from pathlib import Path

from arch.errors import InputError
from arch.space import Arch
from quantize import runtimes
from quantize.recipes import Recipe
from quantize.runtimes import FileAudit


def reasons(arch: Arch, runtime: str, recipe: Recipe) -> list[str]:
    """Why not, one line a reason with the fix; empty when it can.

    Raises:
        InputError: no such runtime.
    """
    found = runtimes.get(runtime).unsupported(arch, recipe)
    try:
        recipe.float_steps(arch)
    except InputError as error:
        found = [*found, str(error)]
    return found


def check(arch: Arch, runtime: str, recipe: Recipe) -> None:
    """Refuse a network that cannot ship.

    Raises:
        InputError: the reasons, in one line.
    """
    found = reasons(arch, runtime, recipe)
    if found:
        raise InputError("; ".join(found))


def inspect(path: str | Path, runtime: str) -> FileAudit:
    """What the model file is made of: operators by dtype, INT8 and delegated shares, transposes, bytes."""
    return runtimes.get(runtime).inspect(Path(path))
