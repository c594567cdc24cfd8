"""Files of one network by every recipe in every runtime: error, size and interleaved latency."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import Claim
from benchmarks.intervals import mpjpe_difference_interval
from explore.evaluation.evaluator import open_evaluator
from explore.export.exporter import ExportedModel, Exporter
from explore.export.pipeline import recipe_exporter
from explore.progress import Display
from explore.search.config import SearchConfig
from quantize import operator_check
from quantize.checkpoint import load_network
from quantize.convert import Converter
from quantize.recipes import Recipe, recipe

MAX_LOSS_MM = 0.5  # of a runtime's best INT8 recipe


def evaluate_recipes(
    checkpoint: Path, folder: Path, config: SearchConfig, display: Display, recipes: Sequence[Recipe]
) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Export and evaluate a network by `recipes` for each runtime of `config`.

    The claims, one for each runtime: the best INT8 file without further training is within 0.5 mm of the float file.

    A row has network, samples (of training), further_samples (of QAT), runtime, recipe, mpjpe_mm, pa_mpjpe_mm, drop_mm
    (increase over the float file, with its 95% interval over test samples, drop_low_mm to drop_high_mm), kib,
    int8_share, export_s, latency_ms and speedup over the float file (both None if every measurement was disturbed); or
    `refused`, the reason why the network cannot be exported. Files in `folder` are reused.

    Raises:
        InputError: no checkpoint.
        ConversionError, Diverged: an export failed.
    """
    net, facts = load_network(checkpoint)
    arch = net.arch
    config = config.model_copy(update={"input_size": arch.input_size})
    recipes = [recipe("float"), *(chosen for chosen in recipes if chosen.name != "float")]
    display.stage("data")
    evaluator = open_evaluator(
        config.data_config, config.processes, lambda done, total: display.update(done / max(1, total))
    )
    files: dict[tuple[str, str], ExportedModel | str] = {}
    folder.mkdir(parents=True, exist_ok=True)
    with Converter(folder / "converter.log") as converter:
        exporter = Exporter(folder, evaluator, converter, config.export_config)
        display.stage(f"int8 {arch.name}")
        for chosen in recipes:
            export = recipe_exporter(exporter, net, checkpoint, chosen, display)
            for runtime in config.runtimes:
                display.update(len(files) / (len(recipes) * len(config.runtimes)), f"{runtime} {chosen.name}")
                reasons = operator_check.reasons(arch, runtime, chosen)
                files[runtime, chosen.name] = "; ".join(reasons) or export(runtime)
        display.stage("latency")
        made = {f"{r} {name}": file for (r, name), file in files.items() if isinstance(file, ExportedModel)}
        latencies = exporter.measure_latency(made, f"{config.runtimes[0]} float")
    further = {chosen.name: chosen.qat_samples for chosen in recipes}
    ms = {name: None if isinstance(latencies, str) else latencies[name].median_ms for name in made}
    rows = []
    for (runtime, name), file in files.items():
        row = {"part": "recipes", "network": arch.name, "samples": facts.get("samples")}
        row |= {"further_samples": further[name], "runtime": runtime, "recipe": name}
        if isinstance(file, str):
            rows.append(row | {"refused": file})
        else:
            key, plain = f"{runtime} {name}", made[f"{runtime} float"]
            low, high = mpjpe_difference_interval(evaluator, file.mm, plain.mm)
            row |= {"drop_low_mm": low, "drop_high_mm": high}
            rows.append(row | _figures(file, plain, ms[key], ms[f"{runtime} float"]))
    return rows, [_claim(arch.name, runtime, rows) for runtime in config.runtimes]


def _figures(file: ExportedModel, plain: ExportedModel, ms: float | None, float_ms: float | None) -> dict[str, Any]:
    return {
        "mpjpe_mm": file.accuracy.mpjpe,
        "pa_mpjpe_mm": file.accuracy.pa_mpjpe,
        "drop_mm": file.accuracy.mpjpe - plain.accuracy.mpjpe,
        "kib": file.summary.bytes / 1024,
        "int8_share": file.summary.int8_share,
        "export_s": file.seconds,
        "latency_ms": ms,
        "speedup": float_ms / ms if ms and float_ms else None,
    }


def _claim(network: str, runtime: str, rows: list[dict[str, Any]]) -> Claim:
    """Check the INT8 file with the smallest increase in error, among those without further training."""
    files = [row for row in rows if row["runtime"] == runtime and _is_int8(row) and not row["further_samples"]]
    best = min(files, key=lambda row: float(row["drop_mm"]), default=None)
    return Claim(
        name=f"{network} {runtime}: increase in MPJPE of the best INT8 recipe without further training",
        target=f"<= {MAX_LOSS_MM} mm",
        measured=f"{best['drop_mm']:+.2f} mm" if best else "no INT8 file",
        passed=best is not None and best["drop_mm"] <= MAX_LOSS_MM,
        low=best["drop_low_mm"] if best else None,
        high=best["drop_high_mm"] if best else None,
    )


def _is_int8(row: dict[str, Any]) -> bool:
    chosen: Recipe = recipe(row["recipe"])
    return chosen.int8 and "drop_mm" in row
