"""Reproduction of the reference study: errors of its committed files, and its iso-accuracy speed-ups.

Latencies are measured in one run on files with random weights, which are as fast as trained ones. Errors of networks
whose files are not committed are taken from the study.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from arch.errors import InputError
from benchmarks import Claim
from benchmarks.int8_fronts import study_folder
from benchmarks.int8_full_size import noise_images
from explore.evaluation.evaluator import Evaluator, open_evaluator
from explore.host import default_cache
from explore.measure.config import MeasureConfig
from explore.measure.latency import Latency, measure, retry_disturbed
from explore.measure.untrained import Conversion, convert_models
from explore.report.iso_accuracy import IsoAccuracy, Point, at_iso_accuracy, spread
from explore.report.rows import ExportedRow
from explore.report.study_folder import config_of, read_summary
from explore.report.summary import Summary
from explore.search.config import SearchConfig
from quantize import runtimes
from quantize.bundle import load
from quantize.recipes import recipe

RULES = MeasureConfig(rounds=12, calls=30, max_seconds=60.0)
WITHIN_MM, WITHIN = 0.1, 0.1
CONFIG = {"rules": RULES.model_dump(), "within_mm": WITHIN_MM, "within": WITHIN}


def run(progress: Callable[[float], None]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Return a row for each exported network; claims: errors within 0.1 mm of the study's, speed-ups within 10%.

    Raises:
        InputError: the study has no exported files.
        ConversionError, Disturbed: an export or a measurement failed.
    """
    folder = study_folder()
    summary, config = read_summary(folder), config_of(folder)
    rows = [row for row in summary.exported if row.runtime == config.runtime]
    if not rows:
        raise InputError(f"{folder}: no exported files for {config.runtime}; set EDGEPOSE_STUDY to another study")
    files = _files(summary, rows, config, lambda share: progress(0.5 * share))
    latencies = _timed(files, config)
    progress(0.7)
    evaluator = open_evaluator(
        config.data_config, config.processes, lambda done, total: progress(0.7 + 0.2 * done / max(1, total))
    )
    errors = {row.name: error for row in rows if (error := _error(folder / row.bundle, evaluator))}
    return [_row(row, latencies, errors) for row in rows], _errors(rows, errors) + _faster(
        rows, latencies, summary.snapshot.mean_pose_mm
    )


def _files(
    summary: Summary, rows: list[ExportedRow], config: SearchConfig, progress: Callable[[float], None]
) -> dict[str, Path]:
    """Return a model file with random weights for each network name; existing files are reused."""
    place = default_cache() / "bench-headline"
    jobs = [
        Conversion(
            summary.snapshot.networks[row.arch_id], config.runtime, recipe(row.recipe),
            place / f"{row.arch_id}-{config.runtime}-{row.recipe}",
        )
        for row in rows
    ]  # fmt: skip
    files = {}
    for row, model in zip(rows, convert_models(jobs, 0, place), strict=True):
        files[row.name] = model.files[0]
        progress(len(files) / len(jobs))
    return files


def _timed(files: dict[str, Path], config: SearchConfig) -> dict[str, Latency]:
    x, runtime = noise_images(config.input_size, 1), runtimes.get(config.runtime)
    calls = {name: runtime.load(path, config.measure.threads).prepare(x) for name, path in files.items()}
    settings = RULES.model_copy(update={"threads": config.measure.threads})
    return retry_disturbed(lambda: measure(calls, settings, next(iter(calls))))


def _error(bundle: Path, evaluator: Evaluator) -> float | None:
    """Return the MPJPE of a bundle in mm, or None if it is absent."""
    if not bundle.is_dir():
        return None
    opened = load(bundle)
    session = opened.session()
    coordinates, _ = opened.run_crops(evaluator.evaluation.images, session)
    session.close()
    return evaluator.evaluate(coordinates).mpjpe


def _row(row: ExportedRow, latencies: dict[str, Latency], errors: dict[str, float]) -> dict[str, Any]:
    again = latencies[row.name]
    return {
        "network": row.name,
        "compared_with": row.baseline,
        "mpjpe_mm": row.mpjpe_mm,
        "mpjpe_again_mm": errors.get(row.name),
        "latency_ms": row.latency_ms,
        "latency_again_ms": again.median_ms,
        "latency_again_low_ms": again.low_ms,
        "latency_again_high_ms": again.high_ms,
    }


def _errors(rows: list[ExportedRow], errors: dict[str, float]) -> list[Claim]:
    return [
        Claim(
            name=f"{row.name}: MPJPE of the committed file",
            target=f"{row.mpjpe_mm:.1f} mm, within {WITHIN_MM}",
            measured=f"{errors[row.name]:.1f} mm",
            passed=abs(errors[row.name] - row.mpjpe_mm) <= WITHIN_MM,
        )
        for row in rows
        if row.name in errors
    ]


def _faster(rows: list[ExportedRow], latencies: dict[str, Latency], mean_pose_mm: float | None) -> list[Claim]:
    """Compare the iso-accuracy speed-ups of the new latencies with the study's, by point estimates of errors."""
    before = {row.name: Point(row.name, row.mpjpe_mm, row.latency_ms) for row in rows}
    after = {
        name: Point(name, before[name].mm, latency.median_ms, spread(latency.low_ms, latency.high_ms))
        for name, latency in latencies.items()
    }
    own = [row.name for row in rows if not row.baseline]
    others = [row.name for row in rows if row.baseline]
    compared = [
        {
            one.other.name: one
            for one in at_iso_accuracy([points[n] for n in own], [points[n] for n in others], mean_pose_mm)
        }
        for points in (before, after)
    ]
    return [_claim(compared[0][name], now, now.file) for name, now in compared[1].items() if now.file is not None]


def _claim(then: IsoAccuracy, now: IsoAccuracy, file: Point) -> Claim:
    name = now.other.name
    if file.mm > now.other.mm:
        return Claim(
            name=f"a file as accurate as {name}",
            target="one",
            measured=f"the nearest is {file.mm - now.other.mm:.1f} mm behind",
            passed=False,
        )
    return Claim(
        name=f"times faster than {name}: {file.name}, with no more error",
        target=f"{then.times:.2f}, within {WITHIN:.0%}",
        measured=f"{now.times:.2f}",
        passed=abs(now.times / then.times - 1) <= WITHIN,
        low=now.low,
        high=now.high,
    )
