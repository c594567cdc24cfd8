"""Where a field of Arch means anything: which choices a search should ask for at all. No torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from arch.canonical import TABLE_OVERRIDES
from arch.encoders import ENCODERS
from arch.heads import HEADS
from arch.plan import natural_stride
from arch.space import Arch

Point = dict[str, Any]  # the fields chosen so far; the others are at their defaults

# Fields on which the others' validity and meaning rest.
GATES = ("encoder", "early_stride", "input", "heatmap", "decoder", "decoder_stages", "head", "concat")


def _deconv(point: Point) -> bool:
    """Whether the decoder has blocks of its own to choose for."""
    if point.get("decoder", "deconv") != "deconv":
        return False
    if point.get("decoder_stages", -1) != -1:
        return bool(point["decoder_stages"])
    encoder = point.get("encoder", Arch.model_fields["encoder"].default)
    stride = point.get("early_stride", -1)
    natural = natural_stride(encoder, ENCODERS[encoder].early_stride if stride == -1 else stride)
    return bool(point.get("heatmap", 64) * natural != point.get("input", 256))


def _upsamples(point: Point) -> bool:
    return point.get("decoder", "deconv") == "parts" or _deconv(point)


def _has_column(column: str, row: int) -> Callable[[Point], bool]:
    def holds(point: Point) -> bool:
        rows = ENCODERS[point.get("encoder", Arch.model_fields["encoder"].default)].rows
        return row < len(rows) and hasattr(rows[row], column)

    return holds


WIRING = ("encoder", "early_stride", "input", "heatmap", "decoder", "decoder_stages")
# field -> (the gates it rests on, whether the field means anything at a point)
MEANS: dict[str, tuple[tuple[str, ...], Callable[[Point], bool]]] = {
    "concat": (("decoder",), lambda point: point.get("decoder", "deconv") == "deconv"),
    "decoder_stages": (("decoder",), lambda point: point.get("decoder", "deconv") == "deconv"),
    "decoder_width": (WIRING, _deconv),
    "decoder_conv": (WIRING, _deconv),
    "upsample": (WIRING, _upsamples),
    "depth_bins": (("head",), lambda point: HEADS[point.get("head", "volumetric")].DEPTH_BINS),
    "squeeze_excite": (("encoder",), _has_column("se", 0)),
}


def field_of(key: str) -> str:
    """The field of a dimension's key: `heatmap#small` is the field heatmap."""
    return key.partition("#")[0]


def means(field: str) -> tuple[tuple[str, ...], Callable[[Point], bool]]:
    name, _, row = field.partition(".")
    if row:
        return ("encoder",), _has_column(TABLE_OVERRIDES[name], int(row))
    return MEANS.get(field, ((), lambda point: True))
