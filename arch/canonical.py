"""One way to write each network: what an Arch derives and what it fixes before its fields are checked. No torch."""

from __future__ import annotations

from typing import Any

from arch.encoders import ENCODERS, Encoder
from arch.heads import HEADS
from arch.plan import natural_stride

TABLE_OVERRIDES = {"depths": "n", "expansions": "t", "kernels": "k"}
INTEGERS = ("early_stride", "heatmap", "input", "decoder_stages", "depth_bins")
PARTS_DECODER = {"decoder_width": 256, "decoder_conv": "dense", "concat": "none"}
PARTS_STAGES = 3


def canonical(given: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """The same network with derived fields filled in and meaningless ones fixed.

    Values of a wrong type are left for the check of the fields, which says what is wrong.

    Raises:
        ValueError: an impossible network, with the field and the fix.
    """
    values = defaults | given
    if any(not isinstance(values[key], str) for key in ("encoder", "head")) or any(
        type(values[key]) is not int for key in INTEGERS
    ):
        return given
    encoder = ENCODERS.get(values["encoder"])
    if encoder is None:
        raise ValueError(f"encoder: '{values['encoder']}' is not one of {', '.join(sorted(ENCODERS))}")
    if values["head"] not in HEADS:
        raise ValueError(f"head: '{values['head']}' is not one of {', '.join(HEADS)}")
    if values["early_stride"] == -1:
        values["early_stride"] = encoder.early_stride
    if values["early_stride"] not in (1, 2):
        return given
    values |= _table(values, encoder)
    if values["decoder"] == "parts":
        values |= _parts(given, values)
    if values["decoder_stages"] == -1:
        values["decoder_stages"] = _stages(values)
    if values["decoder_stages"] == 0:
        values |= {key: defaults[key] for key in ("decoder_width", "decoder_conv", "upsample")}
        if values["concat"] == "skip":
            values["concat"] = "none"
    if not HEADS[values["head"]].DEPTH_BINS or values["depth_bins"] == -1:
        values["depth_bins"] = values["heatmap"]
    return values


def _table(values: dict[str, Any], encoder: Encoder) -> dict[str, Any]:
    """The changes of the encoder's table, none where they change nothing; 0 stands for a row's own."""
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
        own = tuple(value if isinstance(value, int | float) else 0 for value in table)
        full = tuple(mine or theirs for mine, theirs in zip(given, own, strict=True))
        changes[key] = None if full == own else full
    if values["squeeze_excite"] is not None:
        gates = {getattr(row, "se", None) for row in encoder.rows}
        if None in gates:
            raise ValueError(f"squeeze_excite: {values['encoder']} has no place for it; leave it out")
        if gates == {values["squeeze_excite"]}:
            changes["squeeze_excite"] = None
    return changes


def _parts(given: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """What the decoder of Tables 2 and 3 fixes."""
    for key, fixed in PARTS_DECODER.items():
        if given.get(key, fixed) != fixed:
            raise ValueError(f"{key}: the parts decoder has only {fixed}; leave it out")
    if values["decoder_stages"] not in (-1, PARTS_STAGES):
        raise ValueError(f"decoder_stages: the parts decoder has 3, not {values['decoder_stages']}; leave it out")
    if not HEADS[values["head"]].MAPS:
        raise ValueError("head: the parts decoder ends in maps; take volumetric or depthmap, or decoder deconv")
    return PARTS_DECODER | {"decoder_stages": PARTS_STAGES}


def _stages(values: dict[str, Any]) -> int:
    """As many decoder blocks as lead from the encoder's last map to the heatmap."""
    heatmap, size = values["heatmap"], values["input"]
    total = natural_stride(values["encoder"], values["early_stride"])
    stages = log2(heatmap * total, size)
    if stages is None:
        if size % 32:
            raise ValueError(f"input: {size} px is not a multiple of 32")
        raise ValueError(
            f"heatmap: {heatmap} cells are not a power of two times the encoder's last map ({size} px / {total}); "
            "take a heatmap of input / 4, / 8 or / 16"
        )
    return stages


def log2(numerator: int, denominator: int) -> int | None:
    """log2(numerator / denominator) when that is a whole number not below zero."""
    if denominator <= 0 or numerator % denominator:
        return None
    quotient = numerator // denominator
    return quotient.bit_length() - 1 if quotient > 0 and quotient & (quotient - 1) == 0 else None
