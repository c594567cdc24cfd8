"""The headline again: what the committed files of the reference study err, and by how much its front is faster.

Latencies are those of files with random weights, which take as long as trained ones, all in one run. Errors of networks
whose files are not committed are the study's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from arch.errors import InputError
from explore.bench import Claim
from explore.bench.at_scale import pictures
from explore.bench.fronts import study_folder
from explore.config import MeasureConfig, SearchConfig
from explore.data.synthetic.dataset import default_cache
from explore.judge import Judge
from explore.measure.protocol import Disturbed, Latency, measure
from explore.measure.untrained import Job, make_all
from explore.report.equal_error import Behind, Faster, Point, at_equal_error, spread
from explore.report.gather import Gathered, Row, gather
from explore.report.refresh import config_of
from explore.search.dataset import open_judge
from quantize import runtimes
from quantize.bundle import load
from quantize.convert import ConversionError
from quantize.recipes import recipe

RULES = MeasureConfig(rounds=12, calls=30, budget=60.0)
WITHIN_MM, WITHIN = 0.1, 0.1
ATTEMPTS = 3
CONFIG = {"rules": RULES.model_dump(), "within_mm": WITHIN_MM, "within": WITHIN}


def run(progress: Callable[[float], None]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """A row a shipped network of the study; claims: errors within 0.1 mm of the study's, times faster within 10%.

    Raises:
        InputError: no study with shipped files.
        ConversionError, Disturbed: a file could not be made, or not timed.
    """
    folder = study_folder()
    found, config = gather(folder), config_of(folder)
    rows = [row for row in found.rows if row.kind == "shipped" and row.texts["runtime"] == config.runtime]
    if not rows:
        raise InputError(f"{folder}: ships nothing for {config.runtime}; take another study")
    files = _files(found, rows, config, lambda share: progress(0.5 * share))
    latencies = _timed(files, config)
    progress(0.7)
    judge = open_judge(config, lambda done, total: progress(0.7 + 0.2 * done / max(1, total)))
    errors = {row.texts["name"]: error for row in rows if (error := _error(folder / row.texts["bundle"], judge))}
    return [_row(row, latencies, errors) for row in rows], _errors(rows, errors) + _faster(rows, latencies)


def _files(
    found: Gathered, rows: list[Row], config: SearchConfig, progress: Callable[[float], None]
) -> dict[str, Path]:
    """Model files of the networks by their names, weights random; made unless the cache has them."""
    place = default_cache() / "bench-headline"
    folders = {row.texts["name"]: place / f"{row.texts['id']}-{config.runtime}-{row.texts['recipe']}" for row in rows}
    jobs = [
        Job(found.networks[row.texts["id"]], config.runtime, recipe(row.texts["recipe"]), folders[row.texts["name"]])
        for row in rows
    ]
    for index, made in enumerate(make_all(jobs, 0, place)):
        if isinstance(made, ConversionError):
            raise made
        progress((index + 1) / len(jobs))
    return {name: folder / runtimes.get(config.runtime).FILES[0] for name, folder in folders.items()}


def _timed(files: dict[str, Path], config: SearchConfig) -> dict[str, Latency]:
    x, runtime = pictures(config.scale, 1), runtimes.get(config.runtime)
    calls = {name: runtime.load(path, config.measure.threads).prepare(x) for name, path in files.items()}
    for attempt in range(ATTEMPTS):
        try:
            return measure(calls, RULES.model_copy(update={"threads": config.measure.threads}), next(iter(calls)))
        except Disturbed:
            if attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _error(bundle: Path, judge: Judge) -> float | None:
    """MPJPE of a bundle in mm; None where it is not there."""
    if not bundle.is_dir():
        return None
    opened = load(bundle)
    session = opened.session()
    coordinates, _ = opened.run_crops(judge.evaluation.images, session)
    session.close()
    return judge.score(coordinates).mpjpe


def _row(row: Row, latencies: dict[str, Latency], errors: dict[str, float]) -> dict[str, Any]:
    name = row.texts["name"]
    again = latencies[name]
    return {
        "network": name,
        "compared_with": row.paper,
        "mpjpe_mm": row.numbers["mpjpe_mm"],
        "mpjpe_again_mm": errors.get(name),
        "latency_ms": row.numbers["latency_ms"],
        "latency_again_ms": again.median_ms,
        "latency_again_low_ms": again.low_ms,
        "latency_again_high_ms": again.high_ms,
    }


def _errors(rows: list[Row], errors: dict[str, float]) -> list[Claim]:
    claims = []
    for row in rows:
        name, before = row.texts["name"], row.numbers["mpjpe_mm"]
        if name in errors and before is not None:
            claims.append(
                Claim(
                    name=f"{name}: MPJPE of the committed file",
                    asked=f"{before:.1f} mm, within {WITHIN_MM}",
                    measured=f"{errors[name]:.1f} mm",
                    holds=abs(errors[name] - before) <= WITHIN_MM,
                )
            )
    return claims


def _faster(rows: list[Row], latencies: dict[str, Latency]) -> list[Claim]:
    """How the front stands to what the study compares with, by the new latencies beside the study's."""
    again = {
        name: Point(name, 0.0, latency.median_ms, spread(latency.low_ms, latency.high_ms))
        for name, latency in latencies.items()
    }
    before = {
        row.texts["name"]: Point(row.texts["name"], float(row.numbers["mpjpe_mm"] or 0), float(row.numbers["latency_ms"] or 0))
        for row in rows
    }  # fmt: skip
    own = [row.texts["name"] for row in rows if not row.paper]
    others = [row.texts["name"] for row in rows if row.paper]
    after = {name: replace(again[name], mm=point.mm) for name, point in before.items()}
    then = {one.other.name: one for one in at_equal_error([before[n] for n in own], [before[n] for n in others])}
    now = at_equal_error([after[n] for n in own], [after[n] for n in others])
    return [_claim(then[one.other.name], one) for one in now]


def _claim(then: Faster | Behind, now: Faster | Behind) -> Claim:
    name = now.other.name
    if isinstance(then, Behind) or isinstance(now, Behind):
        return Claim(
            name=f"a file as accurate as {name}",
            asked="one",
            measured=f"the nearest is {now.nearest.mm - now.other.mm:.1f} mm behind" if isinstance(now, Behind) else "one",
            holds=isinstance(now, Faster),
        )  # fmt: skip
    return Claim(
        name=f"times faster than {name} at its error",
        asked=f"{then.times:.2f}, within {WITHIN:.0%}",
        measured=f"{now.times:.2f}",
        holds=abs(now.times / then.times - 1) <= WITHIN,
        low=now.low,
        high=now.high,
    )
