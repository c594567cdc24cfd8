"""`config`: print every key of a study's configuration with its default."""

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
from explore.config import choices_of, part_of, unit_of
from explore.search.config import SearchConfig
from quantize.recipes import Recipe

EXAMPLE = "python explore.py config > my-study.yaml"
TABLES: dict[str, tuple[type[BaseModel], str]] = {  # title: model, and where it is given
    "Study": (SearchConfig, "Keys of `search --config FILE`; each is also an option."),
    "Network": (Arch, "Keys of `train --arch FILE`, and dimensions of a space."),
    "Quantization recipe": (Recipe, "Keys of `export --quantization FILE`."),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--markdown", action="store_true", help="print Markdown tables, also of networks and quantization recipes"
    )


def run(args: argparse.Namespace) -> int:
    if args.json:
        print(json.dumps({model.__name__: model.model_json_schema() for model, _ in TABLES.values()}))
    elif args.markdown:
        print("\n".join(_pages()))
    else:
        print("\n".join(_lines(SearchConfig, "")))
    return 0


def _lines(model: type[BaseModel], indent: str) -> Iterator[str]:
    """Yield a YAML file of the defaults, with a comment above each key."""
    for name, field in model.model_fields.items():
        unit = f"{unit_of(field)}, " if unit_of(field) else ""
        choices = f"; one of {', '.join(map(str, choices_of(field)))}" if choices_of(field) else ""
        yield f"{indent}# {unit}{field.description}{choices}"
        if part := part_of(field):
            yield f"{indent}{name}:"
            yield from _lines(part, indent + "  ")
        else:
            yield f"{indent}{name}: {_plain(field)}"


def _pages() -> Iterator[str]:
    yield "# Configuration"
    yield "\nWritten by `python explore.py config --markdown`. `python explore.py config` prints a YAML file with all defaults."
    for title, (model, place) in TABLES.items():
        yield f"\n## {title}\n\n{place}\n"
        yield "| key | type | unit | default | description |"
        yield "|---|---|---|---|---|"
        yield from _rows(model, "")


def _rows(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if part := part_of(field):
            yield from _rows(part, f"{prefix}{name}.")
            continue
        default = "" if field.is_required() else f"`{_plain(field)}`"
        cells = (f"`{prefix}{name}`", _type(field), unit_of(field), default, str(field.description or ""))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _plain(field: FieldInfo) -> str:
    """Return the default as one line of YAML."""
    value: Any = field.get_default()
    value = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()


def _type(field: FieldInfo) -> str:
    """Return the choices, or the type with its bounds: `float > 0, < 1`."""
    if choices := choices_of(field):
        return ", ".join(f"`{choice}`" for choice in choices)
    named = str(field.annotation) if typing.get_origin(field.annotation) else getattr(field.annotation, "__name__", "")
    named = named.replace("typing.", "").replace("tuple[", "list of ").replace(", ...]", "").replace("NoneType", "none")
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [f"{sign} {getattr(b, key):g}" for b in field.metadata for key, sign in signs.items() if hasattr(b, key)]
    return f"{named} {', '.join(bounds)}" if bounds else named
