"""Every key of a configuration model as an option of a command: `--candidate.samples 8000`."""

from __future__ import annotations

import argparse
import typing
from typing import Any, TypeVar

from pydantic import BaseModel

from explore.config import load_yaml, parse

Model = TypeVar("Model", bound=BaseModel)


def add_options(
    parser: argparse.ArgumentParser, model: type[BaseModel], prefix: str = "", only: tuple[str, ...] = ()
) -> None:
    """An option for each key of `model` (or those of `only`), keys of parts joined by dots; --config FILE for all."""
    if not prefix and not only:
        parser.add_argument("--config", metavar="FILE", help="YAML file with any of the keys below")
    for name, field in model.model_fields.items():
        if only and name not in only:
            continue
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            group = parser.add_argument_group(f"{name}: {field.description}")
            add_options(group, field.annotation, f"{prefix}{name}.")  # type: ignore[arg-type]
            continue
        key = prefix + name
        flags = dict.fromkeys((f"--{key}", f"--{key.replace('_', '-')}"))
        shown = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        text = ", ".join(filter(None, (str(extra.get("unit", "")), field.description)))
        text += f" (default: {shown!r})" if shown is not None else ""
        choices = typing.get_args(field.annotation) if typing.get_origin(field.annotation) is typing.Literal else None
        metavar = "|".join(map(str, choices)) if choices else name.upper()
        parser.add_argument(*flags, dest=key, default=argparse.SUPPRESS, metavar=metavar, help=text.replace("%", "%%"))


def from_options(args: argparse.Namespace, model: type[Model], base: dict[str, Any] | None = None) -> Model:
    """The configuration: `base`, over it the file of --config where given, then the options given.

    Raises:
        InputError: a wrong key or value, with the file or the option it stands in.
    """
    values: dict[str, Any] = {}
    if args.config:
        values = load_yaml(args.config) or {}
        if isinstance(values, dict):
            values.pop("hash", None)  # of a resolved configuration
        parse(model, values, args.config)
    return take(args, model, (base or {}) | values)


def take(args: argparse.Namespace, model: type[Model], values: dict[str, Any]) -> Model:
    """The configuration of `values` and the options given.

    Raises:
        InputError: an option with a wrong value.
    """
    for key, text in vars(args).items():
        *parts, name = key.split(".")
        if (parts or [name])[0] not in model.model_fields:
            continue
        owner, part = model, values
        for step in parts:
            owner = typing.cast(type[Model], owner.model_fields[step].annotation)
            part = part.setdefault(step, {})
        if name in owner.model_fields and key != "config":
            part[name] = _value(owner.model_fields[name].annotation, text)
    return parse(model, values, "command line")


def _value(annotation: Any, text: str) -> Any:
    """What an option's text stands for, as far as pydantic would not see it: lists, and choices that are numbers."""
    if "tuple" in str(annotation):
        return [part for part in text.split(",") if part]
    if typing.get_origin(annotation) is typing.Literal:
        return next((choice for choice in typing.get_args(annotation) if str(choice) == text), text)
    return text
