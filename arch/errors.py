"""Errors that a command reports in one line, and the wording that they share."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

UNION_BRANCHES = ("int", "float", "str", "bool")  # parts of a location that name a branch, not a key


class InputError(ValueError):
    """Wrong input, described in one line that names the file, the key and the fix. The command line exits with 2."""


class WorkError(RuntimeError):
    """Base class of failures of valid work, such as a device that went away. The command line exits with 1."""


def shortened(value: object, length: int = 80) -> str:
    """Return the text of a value as one line of at most `length` characters, without control characters."""
    text = " ".join(str(value)[: 4 * length].split())
    text = "".join(character for character in text if character.isprintable())
    return text if len(text) <= length and len(str(value)) <= 4 * length else text[:length] + "..."


def printable(text: str) -> str:
    """Return a text in which the bytes of a file name that are not UTF-8 are escapes."""
    return text.encode(errors="backslashreplace").decode()


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first error of a validation against `model` as `key: message`.

    An unknown key is answered with the valid ones and the most similar of them.
    """
    first = error.errors()[0]
    location = [part for part in first["loc"][:-1] if part not in UNION_BRANCHES]
    location += [part for part in first["loc"][-1:] if part not in UNION_BRANCHES or first["type"] == "extra_forbidden"]
    key = ".".join(map(shortened, location))
    if first["type"] == "extra_forbidden":
        message = unknown_key(str(location[-1]), _owner(model, location[:-1]).model_fields)
    elif first["type"] == "too_short":
        message = "is empty; list at least one value"
    elif first["type"] == "tuple_type":
        message = "is not a list; write [A, B, ...]"
    elif first["type"] in ("model_type", "dict_type"):
        message = "is not a mapping; write lines of the form `key: value`"
    else:
        message = shortened(first["msg"].removeprefix("Value error, "), 400)
        given = repr(first["input"])
        if first["type"] != "value_error" and len(given) < 80 and not isinstance(first["input"], dict | list):
            message += f" (given: {given})"
        if location and isinstance(location[-1], int) and first["type"].endswith("_parsing"):
            message += "; separate the values of a list by commas"
    return f"{key}: {message}" if key else message


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'X'?` for the most similar known name, or an empty string."""
    close = difflib.get_close_matches(name[:80], list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def unknown_key(name: str, known: Iterable[str]) -> str:
    """Return `unknown key; the keys are A, B, C`, with a suggestion if one of them is similar."""
    known = list(known)
    return f"unknown key{did_you_mean(name, known)}; the keys are {', '.join(known)}"


def not_one_of(name: str, known: Iterable[str]) -> str:
    """Return `'NAME' is not one of A, B, C`, with a suggestion if one of them is similar."""
    known = list(known)
    return f"'{shortened(name)}' is not one of {', '.join(known)}{did_you_mean(name, known)}"


def note_renamed(where: str, old: str, new: str) -> None:
    """Print a notice that a name of version 0.1 is deprecated."""
    print(f"note: {where}: '{old}' is now called '{new}'; the old name works until version 0.3", file=sys.stderr)


def _owner(model: type[BaseModel], path: list[Any]) -> type[BaseModel]:
    """Return the nested model that `path` leads to, as far as models can be followed."""
    for part in path:
        field = model.model_fields.get(str(part))
        kinds = (field.annotation, *get_args(field.annotation)) if field else ()
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return model
