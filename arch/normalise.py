"""Normal form of a network description: derived fields filled in, fields without effect fixed. No torch."""

from __future__ import annotations

from typing import Any

from arch.encoders import ENCODERS, Encoder
from arch.errors import not_one_of
from arch.fields import DEFAULTS
from arch.heads import HEADS
from arch.plan import natural_stride

TABLE_OVERRIDES = {"depths": "n", "expansions": "t", "kernels": "k"}  # field: column of an encoder's table
INTEGERS = ("stem_stride", "heatmap_size", "input_size", "decoder_stages", "depth_bins")
PARTS_DECODER = {"decoder_width": 256, "decoder_conv": "dense", "concat": "none"}
PARTS_STAGES = 3


def normalise(given: dict[str, Any]) -> dict[str, Any]:
    """Return all fields of a network in normal form, so that equal networks have equal fields.

    Values of a wrong type are returned unchanged; the validation of the fields reports them.

    Raises:
        ValueError: an impossible network; names the field and the fix.
    """
    values = DEFAULTS | given
    if any(not isinstance(values[key], str) for key in ("encoder", "head")) or any(
        type(values[key]) is not int for key in INTEGERS
    ):
        return given
    encoder = ENCODERS.get(values["encoder"])
    if encoder is None:
        raise ValueError(f"encoder: {not_one_of(values['encoder'], sorted(ENCODERS))}")
    if values["head"] not in HEADS:
        raise ValueError(f"head: {not_one_of(values['head'], HEADS)}")
    if values["stem_stride"] == -1:
        values["stem_stride"] = encoder.stem_stride
    if values["stem_stride"] not in (1, 2):
        return given
    values |= _table_overrides(values, encoder)
    if values["decoder"] == "parts":
        values |= _parts_decoder(given, values)
    if values["decoder_stages"] == -1:
        values["decoder_stages"] = _decoder_stages(values)
    if values["decoder_stages"] == 0:
        values |= {key: DEFAULTS[key] for key in ("decoder_width", "decoder_conv", "upsample")}
        if values["concat"] == "skip":
            values["concat"] = "none"
    if not HEADS[values["head"]].DEPTH_BINS or values["depth_bins"] == -1:
        values["depth_bins"] = values["heatmap_size"]
    return values


def own_values(encoder: Encoder, column: str) -> tuple[float, ...]:
    """The values of a column of an encoder's table; 0 for a row whose blocks differ, or without that column."""
    own = (getattr(row, column, 0) for row in encoder.rows)
    return tuple(value if isinstance(value, int | float) else 0 for value in own)


def _table_overrides(values: dict[str, Any], encoder: Encoder) -> dict[str, Any]:
    """Overrides of the encoder's table: zeros replaced by the table's values, None if nothing differs from it."""
    changes: dict[str, Any] = {}
    for key, column in TABLE_OVERRIDES.items():
        given = values[key]
        if given is None:
            continue
        table = [getattr(row, column, None) for row in encoder.rows]
        if None in table:
            raise ValueError(f"{key}: the stages of {values['encoder']} have none; leave it out")
        if not isinstance(given, list | tuple) or len(given) != len(table):
            raise ValueError(f"{key}: {values['encoder']} has {len(table)} stages; give {len(table)} numbers")
        own = own_values(encoder, column)
        full = tuple(new or default for new, default in zip(given, own, strict=True))
        changes[key] = None if full == own else full
    if isinstance(values["squeeze_excite"], bool):
        gates = {getattr(row, "se", None) for row in encoder.rows}
        if None in gates:
            raise ValueError(f"squeeze_excite: {values['encoder']} does not support it; leave it out")
        if gates == {values["squeeze_excite"]}:
            changes["squeeze_excite"] = None
    return changes


def _parts_decoder(given: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Fields that the parts decoder (paper, Tables 2 and 3) fixes."""
    for key, fixed in PARTS_DECODER.items():
        if given.get(key, fixed) != fixed:
            raise ValueError(f"{key}: the parts decoder has only {fixed}; leave it out")
    if values["decoder_stages"] not in (-1, PARTS_STAGES):
        raise ValueError(f"decoder_stages: the parts decoder has 3, not {values['decoder_stages']}; leave it out")
    if not HEADS[values["head"]].MAPS:
        raise ValueError("head: the parts decoder ends in maps; use volumetric or heatmap-2.5d, or decoder upsample")
    return PARTS_DECODER | {"decoder_stages": PARTS_STAGES}


def _decoder_stages(values: dict[str, Any]) -> int:
    """The number of decoder blocks that lead from the encoder's last feature map to the heatmap."""
    heatmap, size = values["heatmap_size"], values["input_size"]
    total = natural_stride(values["encoder"], values["stem_stride"])
    stages = log2(heatmap * total, size)
    if stages is None:
        if size % 32:
            raise ValueError(f"input_size: {size} px is not a multiple of 32")
        raise ValueError(
            f"heatmap_size: {heatmap} cells are not a power of two times the encoder's last map ({size} px / {total}); "
            "use a heatmap of input_size / 4, / 8 or / 16"
        )
    return stages


def log2(numerator: int, denominator: int) -> int | None:
    """Return log2(numerator / denominator) if it is a whole number of at least zero, else None."""
    if denominator <= 0 or numerator % denominator:
        return None
    quotient = numerator // denominator
    return quotient.bit_length() - 1 if quotient > 0 and quotient & (quotient - 1) == 0 else None
