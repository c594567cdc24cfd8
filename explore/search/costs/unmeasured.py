"""Measure the files of a study whose latency was predicted because other processes disturbed the measurement.

Nothing is trained or exported. Workers do this at the end of the candidates and of the finalists, as far as the machine
is idle by then, and `search --remeasure` does it at any later time.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from arch.files import write_atomic
from arch.space import Arch
from explore.host import locked
from explore.measure.latency import Disturbed
from explore.measure.rows import DeviceError
from explore.search.candidate import latency_fields, measured
from explore.search.config import SearchConfig
from explore.search.context import EvalContext
from explore.search.costs.latency import measure_files, remeasure_reference
from explore.search.costs.quantities import is_measured
from explore.search.costs.remote_devices import measure_on
from explore.search.finalists import row_latency
from explore.search.recipes_of_trial import exported_recipes, searched_recipes
from explore.search.results import FinalistResult, FinalistRow, WithLatency, candidate_results, finalist_results
from quantize.bundle import annotate, load
from quantize.recipes import recipe


def measure_rest(context: EvalContext) -> None:
    """Measure the files that are not measured yet; stop where other processes still disturb a measurement."""
    config = context.config
    with locked(config.folder / "locks" / "unmeasured.lock"):  # one worker at a time
        try:
            measure_candidates(context)
            if not all(map(_is_measured, finalist_results(config.folder).values())):
                measure_finalists(context)
        except (Disturbed, DeviceError):
            return


def measure_candidates(context: EvalContext) -> None:
    """Measure the reference network and the candidates' files that are not measured.

    Raises:
        Disturbed, DeviceError: other processes disturbed every attempt, or a device failed.
    """
    config = context.config
    remeasure_reference(context)
    _convert(config)
    for path, candidate in candidate_results(config.folder):
        file = path.parent / candidate.file
        changes: dict[str, Any] = {}
        if candidate.latency_ms is not None and not is_measured(candidate.latency_source):
            context.report("latency", 0, 1)
            changes |= measured(context, file)
        changes |= _remote(config, candidate.arch, candidate.recipe, file, candidate)
        if changes:
            write_atomic(path, candidate.model_copy(update=changes).model_dump_json(indent=2))


def measure_finalists(context: EvalContext) -> None:
    """Measure all exported files again, those of a runtime together; update results and manifests.

    Raises:
        Disturbed, DeviceError: other processes disturbed every attempt, or a device failed.
    """
    config, results = context.config, finalist_results(context.config.folder)
    for runtime in config.every_runtime:
        results = _measure(context, results, runtime)
    for path, result in results.items():
        rows = [
            row.model_copy(update=_remote(config, result.arch, row.recipe, path.parent / row.file, row))
            for row in result.rows
        ]
        write_atomic(path, result.model_copy(update={"rows": rows}).model_dump_json(indent=2))
        _annotate(config.folder, rows)


def _is_measured(result: FinalistResult) -> bool:
    """Return whether the latency of every exported file is known and measured."""
    return all(row.latency_ms is not None and row.is_measured for row in result.rows)


def _convert(config: SearchConfig) -> None:
    """Convert latencies that relate to an estimate of the reference network's latency to the measured one."""
    for path, candidate in candidate_results(config.folder):
        if changes := _converted(config, candidate):
            write_atomic(path, candidate.model_copy(update=changes).model_dump_json(indent=2))
    for path, result in finalist_results(config.folder).items():
        converted = [_converted(config, row) for row in result.rows]
        if any(converted):
            rows = [row.model_copy(update=changes) for row, changes in zip(result.rows, converted, strict=True)]
            write_atomic(path, result.model_copy(update={"rows": rows}).model_dump_json(indent=2))


def _converted(config: SearchConfig, result: WithLatency) -> dict[str, Any]:
    if result.latency_ms is None or "ratio" not in result.latency:
        return {}
    fields = latency_fields(config, result.latency, result.latency_source)
    return {} if math.isclose(fields["latency_ms"], result.latency_ms) else fields


def _measure(context: EvalContext, results: dict[Path, FinalistResult], runtime: str) -> dict[Path, FinalistResult]:
    """Measure the files of one runtime; return the results with their new latencies."""
    files = {
        f"{path.parent.name} {row.recipe}": (runtime, path.parent / row.file)
        for path, result in results.items()
        for row in result.rows
        if row.runtime == runtime
    }
    found = measure_files(context, files)

    def remeasured(row: FinalistRow, network: str) -> FinalistRow:
        if row.runtime != runtime:
            return row
        latency, float_latency = found[f"{network} {row.recipe}"], found[f"{network} float"]
        return row.model_copy(update=row_latency(context.config, latency, float_latency))

    return {
        path: result.model_copy(update={"rows": [remeasured(row, path.parent.name) for row in result.rows]})
        for path, result in results.items()
    }


def _remote(config: SearchConfig, arch: Arch, recipe_name: str, file: Path, result: WithLatency) -> dict[str, Any]:
    """Measure a file on the devices where its latency is not measured; return the changed fields of its result."""
    missing = [address for address, latency in result.remote.items() if not is_measured(latency.source)]
    if not missing:
        return {}
    given = next(
        name for name in (*searched_recipes(config), *exported_recipes(config)) if recipe(name).name == recipe_name
    )
    return {"remote": result.remote | {address: measure_on(config, arch, given, file, address) for address in missing}}


def _annotate(folder: Path, rows: list[FinalistRow]) -> None:
    for row in rows:
        if row.bundle and row.latency_ms and row.float_latency_ms and (folder / row.bundle).is_dir():
            metrics = {"latency_ms": row.latency_ms, "float_latency_ms": row.float_latency_ms}
            annotate(load(folder / row.bundle), metrics=metrics)
