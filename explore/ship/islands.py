"""Accuracy-aware quantization: the fewest steps left in float that keep a file within a budget of millimetres."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from explore.ship.files import MadeFile
from quantize.convert import ConversionError


def fit(
    ranked: Sequence[str], make: Callable[[tuple[str, ...]], MadeFile], most_mm: float, budget_mm: float
) -> tuple[MadeFile, int]:
    """The file whose MPJPE is at most `most_mm`, with as few of `ranked` (costliest steps first) in float as found.

    The number of float steps is doubled until the file itself fits, then halved towards the last that did not, so
    that few files are made; also returns how many. `make` exports and judges with the given steps in float.

    Raises:
        ConversionError: not even with all steps but one in float.
    """
    made, files = make(()), 1
    if made.accuracy.mpjpe <= most_mm:
        return made, files
    failed, count, limit = 0, 1, max(1, len(ranked) - 1)
    while True:
        count = min(count, limit)
        made, files = make(tuple(ranked[:count])), files + 1
        if made.accuracy.mpjpe <= most_mm:
            break
        if count == limit:
            raise ConversionError(
                f"{made.runtime}: max-drop {budget_mm:g} mm: with {count} of {len(ranked)} steps in float the file "
                f"is still {made.accuracy.mpjpe - most_mm:.2f} mm beyond it; take --recipe int8-qat or a larger budget"
            )
        failed, count = count, 2 * count
    while count - failed > 1:
        middle = (failed + count) // 2
        tried, files = make(tuple(ranked[:middle])), files + 1
        if tried.accuracy.mpjpe <= most_mm:
            made, count = tried, middle
        else:
            failed = middle
    return made, files
