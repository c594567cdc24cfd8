"""What can be wrong with a space's file, each said in one line: file, key and fix. No torch."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import TypeAdapter, ValidationError

from arch.canonical import TABLE_OVERRIDES
from arch.encoders import ENCODERS
from arch.errors import InputError
from arch.heads import HEADS
from arch.meaning import GATES, field_of, means
from arch.space import Arch

if TYPE_CHECKING:
    from arch.search_space import Space

Choose = Callable[[str, list[Any]], Any]


def check_keys(space: Space, where: str) -> None:
    """Every key is a field of Arch, in an order that lets conditions be decided."""
    fields = ", ".join(Arch.model_fields)
    for key in space.base:
        if key not in Arch.model_fields:
            raise InputError(f"{where}: base.{key}: unknown key; the keys are {fields}")
        if key in map(field_of, space.dimensions):
            raise InputError(f"{where}: base.{key}: is a dimension too; leave it in one place")
    keys = list(space.dimensions)
    for index, (key, dimension) in enumerate(space.dimensions.items()):
        field = field_of(key)
        name, dot, row = field.partition(".")
        if name in TABLE_OVERRIDES and not row.isdigit():
            raise InputError(f"{where}: dimensions.{key}: write {name}.0, {name}.1, ... for the rows of the encoder")
        if name not in Arch.model_fields or (dot and name not in TABLE_OVERRIDES):
            raise InputError(f"{where}: dimensions.{key}: unknown key; the keys are {fields}")
        for other in dimension.when:
            if other not in Arch.model_fields:
                raise InputError(f"{where}: dimensions.{key}.when.{other}: unknown key; the keys are {fields}")
        later = {field_of(below) for below in keys[index:]}
        for other in (*dimension.when, *means(field)[0]):
            if other in later:
                raise InputError(f"{where}: dimensions.{key}: depends on {other}; write {other} above it")


def check_values(space: Space, where: str) -> None:
    """Every value is one that a network of the space takes."""
    for field, value in space.base.items():
        _check_value(field, value, f"{where}: base.{field}")
    for key, dimension in space.dimensions.items():
        for value in dimension.values:
            _check_value(field_of(key), value, f"{where}: dimensions.{key}")
        for other, values in dimension.when.items():
            for value in values:
                _check_value(other, value, f"{where}: dimensions.{key}.when.{other}")
    unused = {(key, value) for key, made in space.dimensions.items() for value in made.values}
    rng = random.Random(0)
    for key, value in sorted(unused, key=str):
        if (key, value) not in unused:
            continue
        reason = _find_use(space, key, value, rng, unused)
        if (key, value) in unused:
            raise InputError(f"{where}: dimensions.{key}: no network here takes {value} ({reason}); remove it")


def _find_use(space: Space, key: str, value: Any, rng: random.Random, unused: set[tuple[str, Any]]) -> str:
    """Take out of `unused` what a possible network with `key` at `value` uses; else say what stood in the way."""
    reason = f"{key} is never asked for"

    def attempt(choose: Choose) -> bool:
        nonlocal reason
        chosen: list[tuple[str, Any]] = []

        def record(name: str, values: list[Any]) -> Any:
            taken = value if name == key else choose(name, values)
            chosen.append((name, taken))
            return taken

        try:
            space.suggest(record)
        except InputError as error:
            reason = str(error)
            return False
        unused.difference_update(chosen)
        return (key, value) not in unused

    if any(attempt(lambda name, values: rng.choice(values)) for _ in range(20)):
        return ""
    gates = [name for name in space.dimensions if field_of(name) in GATES and name != key]
    for point in product(*(space.dimensions[name].values for name in gates)):
        gate = dict(zip(gates, point, strict=True))
        if attempt(lambda name, values, gate=gate: gate.get(name, rng.choice(values))):  # type: ignore[misc]
            return ""
    return reason


@cache
def _adapter(field: str) -> TypeAdapter[Any]:
    """Checks one field of Arch by itself."""
    info = Arch.model_fields[field]
    return TypeAdapter(Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation)


def _check_value(field: str, value: Any, where: str) -> None:
    name, dot, _ = field.partition(".")
    if name == "encoder" and value not in ENCODERS:
        raise InputError(f"{where}: '{value}' is not one of {', '.join(sorted(ENCODERS))}")
    if name == "head" and value not in HEADS:
        raise InputError(f"{where}: '{value}' is not one of {', '.join(HEADS)}")
    try:
        _adapter(name).validate_python((value,) if dot else value, strict=False)
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise InputError(f"{where}: {value!r} is not possible: {message[0].lower()}{message[1:]}") from None
