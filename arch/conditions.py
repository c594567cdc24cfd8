"""Conditions under which a field of a network has an effect, so that a search suggests no other. No torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from arch.encoders import ENCODERS
from arch.fields import DEFAULTS
from arch.heads import HEADS
from arch.normalise import TABLE_OVERRIDES
from arch.plan import natural_stride

Point = dict[str, Any]  # fields chosen so far; the others have their default values

# Fields that decide whether others apply and whether the network is possible.
STRUCTURE = ("encoder", "stem_stride", "input_size", "heatmap_size", "decoder", "decoder_stages", "head", "concat")
WIRING = ("encoder", "stem_stride", "input_size", "heatmap_size", "decoder", "decoder_stages")


class Condition(NamedTuple):
    """The fields that a condition reads, and whether it holds at a point."""

    reads: tuple[str, ...]
    applies: Callable[[Point], bool]


def value_of(point: Point, field: str) -> Any:
    """The value of a field at a point: chosen or default."""
    return point[field] if field in point else DEFAULTS[field]


def _has_upsample_decoder(point: Point) -> bool:
    return bool(value_of(point, "decoder") == "upsample")


def _has_decoder_blocks(point: Point) -> bool:
    if not _has_upsample_decoder(point):
        return False
    stages = value_of(point, "decoder_stages")
    if stages != -1:
        return bool(stages)
    encoder, stride = value_of(point, "encoder"), value_of(point, "stem_stride")
    natural = natural_stride(encoder, ENCODERS[encoder].stem_stride if stride == -1 else stride)
    return bool(value_of(point, "heatmap_size") * natural != value_of(point, "input_size"))


def _upsamples(point: Point) -> bool:
    return not _has_upsample_decoder(point) or _has_decoder_blocks(point)


def _has_depth_bins(point: Point) -> bool:
    return HEADS[value_of(point, "head")].DEPTH_BINS


def _has_column(column: str, row: int) -> Callable[[Point], bool]:
    def applies(point: Point) -> bool:
        rows = ENCODERS[value_of(point, "encoder")].rows
        return row < len(rows) and hasattr(rows[row], column)

    return applies


CONDITIONS = {
    "concat": Condition(("decoder",), _has_upsample_decoder),
    "decoder_stages": Condition(("decoder",), _has_upsample_decoder),
    "decoder_width": Condition(WIRING, _has_decoder_blocks),
    "decoder_conv": Condition(WIRING, _has_decoder_blocks),
    "upsample": Condition(WIRING, _upsamples),
    "depth_bins": Condition(("head",), _has_depth_bins),
    "squeeze_excite": Condition(("encoder",), _has_column("se", 0)),
}
ALWAYS = Condition((), lambda point: True)


def field_of(key: str) -> str:
    """The field of a dimension's key: `heatmap_size` for `heatmap_size#small`."""
    return key.partition("#")[0]


def condition_of(field: str) -> Condition:
    """The condition of a field, or of one row of an encoder's table such as `depths.3`."""
    name, _, row = field.partition(".")
    if row:
        return Condition(("encoder",), _has_column(TABLE_OVERRIDES[name], int(row)))
    return CONDITIONS.get(field, ALWAYS)
