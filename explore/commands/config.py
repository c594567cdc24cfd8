"""`config`: every key of a study's configuration, to start a file of your own from."""

from __future__ import annotations

import argparse
import json
import typing
from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from arch.space import Arch
from explore.config import SearchConfig
from quantize.recipes import Recipe

EXAMPLE = "python explore.py config > my-study.yaml"
TABLES: dict[str, type[BaseModel]] = {
    "A study (`search --config FILE`; each key is also an option)": SearchConfig,
    "A network (`train --arch FILE`, the dimensions of a space)": Arch,
    "A quantization recipe (`export --recipe FILE`)": Recipe,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--markdown", action="store_true", help="the manual's tables: also networks and recipes")


def run(args: argparse.Namespace) -> int:
    if args.json:
        print(json.dumps({model.__name__: model.model_json_schema() for model in TABLES.values()}))
    elif args.markdown:
        print("\n".join(_pages()))
    else:
        print("\n".join(_lines(SearchConfig, "")))
    return 0


def _lines(model: type[BaseModel], indent: str) -> Iterator[str]:
    """A YAML file of the defaults, each key after what it means."""
    for name, field in model.model_fields.items():
        unit = f"{_unit(field)}, " if _unit(field) else ""
        yield f"{indent}# {unit}{field.description}{_among(field)}"
        if part := _part(field):
            yield f"{indent}{name}:"
            yield from _lines(part, indent + "  ")
        else:
            yield f"{indent}{name}: {_plain(field)}"


def _pages() -> Iterator[str]:
    yield "# Configuration"
    yield "\nMade by `python explore.py config --markdown`; a test compares it. `python explore.py config` prints a file"
    yield "with every default to start from."
    for title, model in TABLES.items():
        yield f"\n## {title}\n"
        yield "| key | type | unit | default | what it does |"
        yield "|---|---|---|---|---|"
        yield from _rows(model, "")


def _rows(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if part := _part(field):
            yield from _rows(part, f"{prefix}{name}.")
            continue
        default = "" if field.is_required() else f"`{_plain(field)}`"
        cells = (f"`{prefix}{name}`", _type(field), _unit(field), default, str(field.description or ""))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _unit(field: FieldInfo) -> str:
    return str(field.json_schema_extra.get("unit", "")) if isinstance(field.json_schema_extra, dict) else ""


def _part(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _plain(field: FieldInfo) -> str:
    """The default as one line of YAML."""
    value: Any = field.get_default(call_default_factory=True)  # type: ignore[call-arg]
    value = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()


def _choices(field: FieldInfo) -> tuple[Any, ...]:
    return typing.get_args(field.annotation) if typing.get_origin(field.annotation) is typing.Literal else ()


def _among(field: FieldInfo) -> str:
    choices = _choices(field)
    return f"; one of {', '.join(map(str, choices))}" if choices else ""


def _type(field: FieldInfo) -> str:
    """The choices, or the type with its bounds: `float > 0, < 1`."""
    if choices := _choices(field):
        return ", ".join(f"`{choice}`" for choice in choices)
    named = str(field.annotation) if typing.get_origin(field.annotation) else getattr(field.annotation, "__name__", "")
    named = named.replace("typing.", "").replace("tuple[", "list of ").replace(", ...]", "").replace("NoneType", "none")
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [f"{sign} {getattr(b, key):g}" for b in field.metadata for key, sign in signs.items() if hasattr(b, key)]
    return f"{named} {', '.join(bounds)}" if bounds else named
