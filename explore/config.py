"""Base class of all settings, and their YAML files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo

from arch.documents import load_mapping
from arch.errors import InputError, describe, note_renamed

Model = TypeVar("Model", bound=BaseModel)

PX: dict[str, JsonValue] = {"unit": "px"}
SECONDS: dict[str, JsonValue] = {"unit": "s"}
SHARE: dict[str, JsonValue] = {"unit": "fraction"}

MAX_NUMBER = 2**32 - 1  # of settings that are whole numbers, unless a field states less; the largest seed of numpy
MAX_WORKERS, MAX_SAMPLES = 1024, 10**9


class Strict(BaseModel):
    """Immutable settings that reject unknown keys and accept the keys of version 0.1.

    `renamed` maps each old key to its present name. `replaced` maps each old key whose value is now written in another
    way to the key that takes it; a validator of the model converts it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    renamed: ClassVar[dict[str, str]] = {}
    replaced: ClassVar[dict[str, str]] = {}

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_truth_value(cls, value: Any, info: ValidationInfo) -> Any:
        """Reject true and false where others are expected; pydantic takes them for 1 and 0."""
        values = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(part, bool) for part in values) and "bool" not in str(_field(cls, info).annotation):
            raise ValueError("true and false have no meaning here; write a number or a name")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _is_possible(cls, value: Any) -> Any:
        """Reject whole numbers that no machine could work with."""
        if isinstance(value, int) and value > MAX_NUMBER:
            raise ValueError(f"should be at most {MAX_NUMBER}")
        return value

    @model_validator(mode="before")
    @classmethod
    def _accept_old_keys(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {cls.renamed.get(key, key): value for key, value in values.items()}


def _field(model: type[BaseModel], info: ValidationInfo) -> FieldInfo:
    return model.model_fields[info.field_name or ""]


def unit_of(field: FieldInfo) -> str:
    """Return the unit of a field, or an empty string."""
    return str(field.json_schema_extra.get("unit", "")) if isinstance(field.json_schema_extra, dict) else ""


def choices_of(field: FieldInfo) -> tuple[Any, ...]:
    """Return the values of a Literal field, which may also be None; empty for other fields."""
    kind = next((part for part in get_args(field.annotation) if get_origin(part) is Literal), field.annotation)
    return get_args(kind) if get_origin(kind) is Literal else ()


def part_of(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model of a nested field, or None."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Return the keys of a YAML file of settings.

    Raises:
        InputError: the file is missing, empty or not valid; see `arch.documents`.
    """
    return {key: _with_home(value) for key, value in load_mapping(path, "lines of the form `key: value`").items()}


def _with_home(value: Any) -> Any:
    """Expand ~ in a text, as the command line does, also in those of a nested section."""
    if isinstance(value, dict):
        return {key: _with_home(own) for key, own in value.items()}
    return os.path.expanduser(value) if isinstance(value, str) else value


def old_keys(model: type[BaseModel], values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return the keys of version 0.1 in `values`, each with its present name."""
    found = []
    renamed: dict[str, str] = getattr(model, "renamed", {}) | getattr(model, "replaced", {})
    for key, value in values.items():
        if key in renamed:
            found.append((prefix + key, prefix + renamed[key]))
        field = model.model_fields.get(key)
        if isinstance(value, dict) and field and (part := part_of(field)):
            found += old_keys(part, value, f"{prefix}{key}.")
    return found


def parse(model: type[Model], values: Any, where: str) -> Model:
    """Return the validated settings; keys of version 0.1 are accepted with a notice on standard error.

    Raises:
        InputError: an invalid value, as one line that starts with `where` and the key.
    """
    if not isinstance(values, dict):
        raise InputError(f"{where}: not a mapping; write lines of the form `key: value`")
    for old, new in old_keys(model, values):
        note_renamed(where, old, new)
    try:
        return model(**values)
    except ValidationError as error:
        raise InputError(f"{where}: {describe(error, model)}") from None
