"""Field names and values of version 0.1, which stay readable until version 0.3."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from arch.errors import note_renamed

FIELDS = {
    "inter": "intermediate_channels",
    "early_stride": "stem_stride",
    "input": "input_size",
    "heatmap": "heatmap_size",
    "joints": "num_joints",
}
VALUES = {("head", "depthmap"): "heatmap-2.5d", ("decoder", "deconv"): "upsample"}
ID_NAMES = {"heatmap-2.5d": "depthmap"}  # the ids of networks are computed from the old names


def current_names(values: dict[str, Any]) -> dict[str, Any]:
    """Replace old names in the fields of a network."""
    return {new: VALUES.get((new, value), value) if isinstance(value, str) else value
            for new, value in ((FIELDS.get(key, key), value) for key, value in values.items())}  # fmt: skip


def current_choices(params: dict[str, Any]) -> dict[str, Any]:
    """Replace old names in the choices of a search, given by the keys of their dimensions."""
    return {current_key(key): _current_values(key, [value])[0] for key, value in params.items()}


def current_key(key: Any) -> Any:
    """Replace an old field name in the key of a dimension, such as `heatmap#small`."""
    if not isinstance(key, str):
        return key
    field, mark, label = key.partition("#")
    return FIELDS.get(field, field) + mark + label


def current_dimension(key: Any, dimension: Any) -> Any:
    """Replace old names in a dimension of a search space, given by its key and its values or mapping."""
    if isinstance(dimension, list | tuple):
        dimension = {"values": dimension}
    if not isinstance(dimension, dict) or not isinstance(key, str):
        return dimension
    changed = dimension | {"values": _current_values(key, dimension["values"])} if "values" in dimension else dimension
    if isinstance(changed.get("when"), dict):
        when = {current_key(other): _current_values(other, values) for other, values in changed["when"].items()}
        changed = changed | {"when": when}
    return changed


def _current_values(key: Any, values: Any) -> Any:
    if not isinstance(key, str) or not isinstance(values, list | tuple):
        return values
    field = current_key(key).partition("#")[0]
    return [current_names({field: value})[field] for value in values]


def note_old_names(content: Any, where: str) -> None:
    """Print a notice, once per process, for each old name in the content of the file `where`."""
    for old, new in _old_names(content):
        _note_once(where, old, new)


_note_once = cache(note_renamed)


def _old_names(content: Any) -> Iterator[tuple[str, str]]:
    """Pairs of old and current name, at any depth: values of a mapping may be listed, or belong to `values`."""
    if not isinstance(content, dict):
        return
    for key, value in content.items():
        field = str(key).partition("#")[0]
        if field in FIELDS:
            yield field, FIELDS[field]
        listed = value.get("values", ()) if isinstance(value, dict) else value
        for one in listed if isinstance(listed, list) else [listed]:
            if isinstance(one, str) and (field, one) in VALUES:
                yield one, VALUES[field, one]
        yield from _old_names(value)
