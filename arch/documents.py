"""Hand-written YAML and JSON files: one loader with limits, for plain values only."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import yaml

from arch.errors import InputError, shortened
from arch.files import read_regular

MAX_BYTES = 50_000  # PyYAML needs up to seconds for them; the largest files by hand have 10 kB
MAX_DEPTH = 20
MAX_INT = 2**63
MAX_DIGITS = 100  # of a number; Python takes long to convert more
TAG = "tag:yaml.org,2002:"
PLAIN = tuple(TAG + kind for kind in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp"))
NUMBERS = (TAG + "int", TAG + "float")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases, merge keys, other types, keys that are not text, and duplicate keys."""

    def fetch_flow_collection_start(self, token: Any) -> None:
        self._check_depth()
        super().fetch_flow_collection_start(token)  # type: ignore[no-untyped-call]

    def add_indent(self, column: int) -> bool:
        self._check_depth()
        return bool(super().add_indent(column))  # type: ignore[no-untyped-call]

    def _check_depth(self) -> None:
        """Raise a RecursionError before the scanner, which takes long for deep nesting."""
        if self.flow_level + len(self.indents) > 2 * MAX_DEPTH:
            raise RecursionError

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):  # a few nested ones expand to gigabytes
            event: Any = self.get_event()  # type: ignore[no-untyped-call]
            raise ValueError(f"{_line(event)}: *{event.anchor} is an alias; write the value again")
        node: Any = super().compose_node(parent, index)
        if node.tag not in PLAIN:
            tag = node.tag.removeprefix(TAG)
            raise ValueError(
                f"{_line(node)}: a value of the type '{tag:.40}'; write text, a number, a list or a mapping"
            )
        if node.tag in NUMBERS and len(node.value) > MAX_DIGITS:
            raise ValueError(f"{_line(node)}: a number of {len(node.value)} characters; correct it")
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node: Any = super().compose_mapping_node(anchor)
        names = set()
        for key, _ in node.value:
            if key.tag != TAG + "str":
                shown = f" '{key.value:.40}'" if isinstance(key, yaml.ScalarNode) else ""
                raise ValueError(f"{_line(key)}: the key{shown} is not text; write it in quotes")
            if key.value in names:
                raise ValueError(f"{_line(key)}: {key.value:.40}: given twice; remove one")
            names.add(key.value)
        return node


_Loader.add_constructor(TAG + "timestamp", lambda _, node: str(node.value))  # a date is text


def load_document(path: str | Path, fix: str, max_bytes: int = MAX_BYTES) -> Any:
    """Return the content of a YAML file, or of a JSON file if the suffix is `.json`.

    fix: the advice if the file cannot be read; max_bytes: a larger limit for files that programs write

    Raises:
        InputError: the file is missing, too large or not valid; a key is given twice or is not text; a value is not
            plain, nested too deeply, or not a finite number of 64 bits.
    """
    path = Path(path)
    kind = "JSON" if path.suffix.lower() == ".json" else "YAML"
    try:
        data = read_regular(path, max_bytes + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}; {fix}") from None
    if len(data) > max_bytes:
        raise InputError(f"{path}: larger than {max_bytes // 1000} kB; {fix}")
    try:
        text = data.decode("utf-8-sig")
        value = json.loads(text, object_pairs_hook=_object) if kind == "JSON" else yaml.load(text, _Loader)
    except RecursionError:
        raise InputError(f"{path}: nested more than {MAX_DEPTH} levels deep; {fix}") from None
    except (yaml.YAMLError, LookupError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not {kind}: {shortened(error, 200)}; correct it") from None
    except ValueError as error:  # of `_Loader` and `_object`, or of Python about a number
        raise InputError(f"{path}: {shortened(error, 200)}") from None
    _check(value, str(path), 1)
    return value


def load_mapping(path: str | Path, content: str, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Read a YAML or JSON file that must contain a mapping; `content` describes its keys.

    Raises:
        InputError: one line with the file and the fault; see `load_document`.
    """
    values = load_document(path, f"give the path of a file with {content}", max_bytes)
    if not isinstance(values, dict) or not values:
        raise InputError(f"{path}: {'empty' if values in (None, {}) else 'not a mapping'}; write {content}")
    return values


def load_written(path: Path) -> Any:
    """Return the content of a JSON file that this project wrote.

    Raises:
        InputError: the file is damaged.
        OSError: it cannot be read.
    """
    try:
        return json.loads(read_regular(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged ({shortened(error, 100)}); restore it, or delete it and run again") from None


def _line(part: Any) -> str:
    return f"line {part.start_mark.line + 1}"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key:.40}: given twice; remove one")
        found[key] = value
    return found


def _check(value: Any, where: str, depth: int) -> None:
    """Raise an InputError about nesting or a number, with its keys."""
    if depth > MAX_DEPTH:
        raise InputError(f"{where}: nested more than {MAX_DEPTH} levels deep; write fewer levels")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where}: {value} is not a finite number; correct it")
    if isinstance(value, int) and not -MAX_INT <= value < MAX_INT:
        raise InputError(f"{where}: an integer of more than 64 bits; correct it")
    if isinstance(value, dict):
        for key, part in value.items():
            _check(part, f"{where}: {key:.40}" if depth == 1 else f"{where}.{key:.40}", depth + 1)
    elif isinstance(value, list):
        for index, part in enumerate(value):
            _check(part, f"{where}[{index}]", depth + 1)
