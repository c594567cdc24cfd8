"""Mixed precision: the fewest float fallback layers with which a file stays within a budget of error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from arch.network import PoseNet
from explore.evaluation.evaluator import Evaluator
from explore.export.exporter import ExportedModel, Exporter
from quantize.convert import ConversionError
from quantize.recipes import Recipe


def export_within_budget(
    exporter: Exporter,
    validation: Evaluator,
    net: PoseNet,
    weights: Path,
    runtime: str,
    chosen: Recipe,
    costs: dict[str, float],
) -> ExportedModel:
    """Export a network by a recipe with `float_budget_mm`, and evaluate the file as `exporter` does.

    validation: evaluates the files among which one is chosen
    costs: error that quantization adds in each step, mm; the costliest steps stay in float first

    Raises:
        InputError, ConversionError: see `Converter.export` and `fewest_float_layers`.
    """
    arch, budget = net.arch, chosen.float_budget_mm
    assert budget is not None
    choosing = replace(exporter, evaluator=validation)
    with exporter.lock():
        limit = choosing.evaluate_torch(net).accuracy.mpjpe + budget
    fixed = chosen.float_steps(arch)

    def export(steps: tuple[str, ...]) -> ExportedModel:
        key = f"{runtime}-{chosen.name}-{len(steps)}"
        return choosing.export(arch, weights, runtime, chosen.with_float_layers(steps), key)

    file = fewest_float_layers([step for step in costs if step not in fixed], export, limit, budget)
    if validation is exporter.evaluator:
        return file
    source = exporter.source_hash(weights, runtime, file.recipe)
    return exporter.evaluate(arch, runtime, file.recipe, file.model, file.seconds, source)


def fewest_float_layers(
    ranked: Sequence[str], export: Callable[[tuple[str, ...]], ExportedModel], limit_mm: float, budget_mm: float
) -> ExportedModel:
    """Search for the fewest float fallback layers whose file has an MPJPE of at most `limit_mm`.

    The number of float layers is doubled until a file keeps the limit, then found by bisection.

    ranked: names of the layers (steps of the network), the costliest first
    export: exports and evaluates a file with the given layers in float
    budget_mm: the increase that `limit_mm` allows, for the message

    Raises:
        ConversionError: the limit is exceeded with all layers but one in float.
    """
    exported: dict[int, ExportedModel] = {}

    def fits(count: int) -> bool:
        exported[count] = export(tuple(ranked[:count]))
        return exported[count].accuracy.mpjpe <= limit_mm

    failed, count, largest = -1, 0, max(1, len(ranked) - 1)
    while not fits(count):
        if count == largest:
            file = exported[count]
            raise ConversionError(
                f"{file.runtime}: float budget {budget_mm:g} mm: exceeded by {file.accuracy.mpjpe - limit_mm:.2f} mm with "
                f"{count} of {len(ranked)} layers in float; use --quantization int8-qat or a larger budget"
            )
        failed, count = count, min(max(1, 2 * count), largest)
    while count - failed > 1:
        middle = (failed + count) // 2
        if fits(middle):
            count = middle
        else:
            failed = middle
    return exported[count]
