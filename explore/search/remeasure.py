"""`search --remeasure`: the latencies of all shipped files anew, side by side, for a study that was searched in company.

Nothing is trained or exported. Within a runtime all files are timed in one run, in turns with the reference network.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch

from arch.errors import InputError
from arch.files import write_atomic
from explore.config import SearchConfig
from explore.host import host_folder, try_lock
from explore.measure.lane import Lane
from explore.progress import Display
from explore.report.kept import keep
from explore.report.page import write_page
from explore.report.study import Summary, write_report
from explore.search import identity
from explore.search.candidate import Bench, caller, latencies_of, measured, reference_file
from explore.search.dataset import open_judge
from explore.search.devices import LOCAL, reference_ms
from explore.search.references import references
from explore.search.stages import like_the_reference
from explore.search.study import baselines, open_study
from quantize.bundle import annotate, load
from quantize.convert import Converter

SHARE = 0.5  # of the protocol's budget that a file may take


def remeasure(config: SearchConfig, display: Display) -> Summary:
    """Time the bundles of a finished study again; results, manifests, tables, plot, README and page follow.

    Raises:
        InputError: no finished study of this configuration here, another search runs it, or another kind of machine.
        Disturbed: other work kept the machine from a figure.
    """
    started = time.time()
    paths = sorted((config.folder / "finalists").glob("*/result.json"))
    if not paths:
        raise InputError(f"--remeasure: {config.folder} has no finalists; run `search` without it first")
    alone = try_lock(config.folder / "locks" / "parent.lock")
    if alone is None:
        raise InputError(f"{config.folder}: another search runs this study; wait for it")
    with alone, display, Converter(config.folder / "logs" / "converter-0.log") as converter:
        identity.leave(config)
        if not like_the_reference(config):
            raise InputError(
                f"{config.folder}: its reference network was timed on another kind of machine; search there"
            )
        torch.set_num_threads(1)
        display.stage("data")
        judge = open_judge(config, lambda done, total: display.update(done / max(1, total)))
        lane = Lane(host_folder() / "lane")
        bench = Bench(config, judge, lane, converter, lambda stage, done, total: None)
        results = {path: json.loads(path.read_text()) for path in paths}
        display.stage("latency")
        for index, runtime in enumerate(config.runtimes):
            _time(bench, results, runtime)
            display.update((index + 1) / len(config.runtimes))
        lane.close()
        for path, result in results.items():
            write_atomic(path, json.dumps(result, indent=2))
            _annotate(config.folder, result)
        study = open_study(config)
        space = identity.space_of(config)
        others = baselines(config, space) | references(config, space)
        summary = write_report(config, study, judge, others, time.time() - started)
        keep(config.folder, study, judge.mean_pose_mm)
        write_page(config.folder)
    return summary


def _time(bench: Bench, results: dict[Path, dict[str, Any]], runtime: str) -> None:
    """Time the files of one runtime and put what they took into their rows."""
    config = bench.config
    calls = {"reference": caller(bench, config.runtime, reference_file(config))}
    for path, result in results.items():
        for row in result["rows"]:
            if row["runtime"] == runtime:
                calls[f"{path.parent.name} {row['recipe']}"] = caller(bench, runtime, path.parent / row["file"])
    budget = config.measure.budget * len(calls) * SHARE
    found = measured(bench, calls, config.measure.model_copy(update={"budget": budget}))
    for path, result in results.items():
        for row in result["rows"]:
            if row["runtime"] == runtime:
                latency, plain = found[f"{path.parent.name} {row['recipe']}"], found[f"{path.parent.name} float"]
                row |= latencies_of(latency, plain, reference_ms(config, LOCAL))


def _annotate(folder: Path, result: dict[str, Any]) -> None:
    for row in result["rows"]:
        if row.get("bundle") and (folder / row["bundle"]).is_dir():
            metrics = {key: float(row[key]) for key in ("latency_ms", "float_latency_ms")}
            annotate(load(folder / row["bundle"]), metrics=metrics)
