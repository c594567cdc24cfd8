"""Command line options from configuration models, and options of earlier versions."""

from __future__ import annotations

import argparse
import sys
import typing
from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from arch.errors import InputError
from explore.config import choices_of, load_yaml, parse, part_of, unit_of

Model = TypeVar("Model", bound=BaseModel)


class Deprecated(argparse.Action):
    """A hidden option of version 0.1 that sets the value of its successor and prints a notice."""

    def __init__(self, *args: Any, new: str, append: bool = False, **options: Any) -> None:
        options |= {"help": argparse.SUPPRESS, "default": argparse.SUPPRESS}
        super().__init__(*args, **options)
        self.new, self.append = new, append

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        print(f"note: {option} is now called {self.new}; the old name works until version 0.3", file=sys.stderr)
        value = self.const if self.nargs == 0 else values
        setattr(namespace, self.dest, [*(getattr(namespace, self.dest, None) or []), value] if self.append else value)


def deprecated_option(parser: argparse._ActionsContainer, old: str, new: str, dest: str = "", **options: Any) -> None:
    """Accept the option `old` of version 0.1 as `new`, with a notice.

    dest: attribute of the parsed arguments, by default the one of `new`; for a flag, pass `nargs=0, const=True`;
        for an option that may be repeated, pass `append=True`.
    """
    parser.add_argument(old, action=Deprecated, new=new, dest=dest or new.lstrip("-").replace("-", "_"), **options)


def add_options(
    parser: argparse._ActionsContainer, model: type[BaseModel], prefix: str = "", only: tuple[str, ...] = ()
) -> None:
    """Add an option for each key of `model` (or those in `only`), and without `only` `--config FILE` for all of them.

    Keys of nested models are joined by dots: `--candidate.samples 8000`. An option's metavar is its choices, the
    `metavar` or `unit` of its field, or the kind of value. The `alias` of a field is a second spelling of its option,
    and `short` one without the keys of nested models; an option of a `repeated` field may be given several times.
    Spellings of version 0.1 are accepted, but not shown.

    Raises:
        ValueError: `only` names no key of `model`.
    """
    if unknown := set(only) - model.model_fields.keys():
        raise ValueError(f"{model.__name__} has no keys {', '.join(sorted(unknown))}")
    if not prefix and not only:
        parser.add_argument("--config", metavar="FILE", help="YAML file with any of the keys below")
    renamed: dict[str, str] = getattr(model, "renamed", {})
    for name in only or model.model_fields:
        field = model.model_fields[name]
        if part := part_of(field):
            group = parser.add_argument_group(f"{name} ({field.description})")  # type: ignore[attr-defined]
            add_options(group, part, f"{prefix}{name}.")
            continue
        key = prefix + name
        flag = f"--{key.replace('_', '-')}"
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        aliases = [f"--{extra['alias']}"] if "alias" in extra and not prefix else []
        if prefix and "short" in extra:
            aliases.append(f"--{name.replace('_', '-')}")
        action = "append" if "repeated" in extra else "store"
        parser.add_argument(
            flag,
            *aliases,
            dest=key,
            action=action,
            default=argparse.SUPPRESS,
            metavar=_metavar(field),
            help=_help(field),
        )
        old = [prefix + old for old, new in renamed.items() if new == name]
        for spelling in dict.fromkeys(f"--{text}" for k in (key, *old) for text in (k, k.replace("_", "-"))):
            if spelling != flag:
                deprecated_option(parser, spelling, flag, dest=key)
    replaced: dict[str, str] = getattr(model, "replaced", {})
    for key in replaced if not only else ():  # `parse` prints the notice
        for spelling in dict.fromkeys((f"--{prefix}{key}", f"--{prefix}{key}".replace("_", "-"))):
            parser.add_argument(spelling, dest=prefix + key, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def _metavar(field: FieldInfo) -> str:
    """Return the choices, the unit, or the kind of value; `,...` marks a list."""
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    if "metavar" in extra:
        return str(extra["metavar"])
    if choices := choices_of(field):
        return "|".join(map(str, choices))
    kind = str(field.annotation)
    if field.annotation is bool:
        return "true|false"
    plain = unit_of(field).upper() or ("N" if "int" in kind else "X" if "float" in kind else "NAME")
    return f"{plain},..." if "tuple" in kind else plain


def _help(field: FieldInfo) -> str:
    default = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    shown = "" if default in (None, "") else f" (default: {'false' if default is False else default})"
    return f"{field.description}{shown}".replace("%", "%%")


def from_options(args: argparse.Namespace, model: type[Model]) -> Model:
    """Return the configuration: the file of --config, updated by the options given.

    Raises:
        InputError: a wrong key or value; the message names the file or the command line.
    """
    values: dict[str, Any] = {}
    if args.config:
        values = load_yaml(args.config)
        values.pop("hash", None)  # present in the config.yaml of a study
        values = parse(model, values, args.config).model_dump(exclude_unset=True)  # with the current names of keys
    return take(args, model, values)


def take(args: argparse.Namespace, model: type[Model], values: dict[str, Any]) -> Model:
    """Return the configuration: `values`, updated by the options given.

    Raises:
        InputError: an option with a wrong value.
    """
    for key, text in vars(args).items():
        *parts, name = key.split(".")
        if key in getattr(model, "replaced", {}):
            values[key] = text
        if (parts or [name])[0] not in model.model_fields:
            continue
        owner, part = model, values
        for step in parts:
            owner = typing.cast(type[Model], owner.model_fields[step].annotation)
            part = part.setdefault(step, {})
        if name in owner.model_fields and key != "config":
            part[name] = _value(owner.model_fields[name], text)
    return parse(model, values, "command line")


def reject_useless(args: argparse.Namespace, names: Iterable[str], why: str) -> None:
    """Raise an InputError for the first option among `names` that was given, because it has no effect."""
    for name in names:
        if getattr(args, name, argparse.SUPPRESS) != args.parser.get_default(name):
            raise InputError(f"--{name.replace('_', '-')}: has no effect {why}; omit it")


def flattened(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested mappings by the keys of their options, such as `dataset.protocol`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flattened(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def _value(field: FieldInfo, text: Any) -> Any:
    """Convert the values that pydantic does not parse from text: lists, and choices that are numbers."""
    if "tuple" in str(field.annotation) and isinstance(text, str | list):
        return [part for part in (text if isinstance(text, str) else ",".join(text)).split(",") if part]
    return next((choice for choice in choices_of(field) if str(choice) == text), text)
