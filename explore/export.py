"""A checkpoint to bundles: every runtime's file judged and timed beside its float file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from explore.config import SearchConfig
from explore.measure.lane import Lane
from explore.progress import Display
from explore.search.candidate import Bench, caller, export_and_judge, measured, ship
from explore.search.dataset import open_judge
from explore.train.checkpoint import load_network, save_network
from explore.train.loop import predict
from quantize import audit
from quantize.convert import Converter
from quantize.recipes import recipe


def export_bundles(checkpoint: Path, out: Path, config: SearchConfig, display: Display) -> list[dict[str, Any]]:
    """Write `out/RUNTIME` for each runtime of `config`; returns a row a bundle.

    Raises:
        InputError: no checkpoint, or a network that cannot ship by the recipe.
        ConversionError: a converter failed.
    """
    net, facts = load_network(checkpoint)
    arch = net.arch
    for runtime in config.runtimes:
        audit.check(arch, runtime, recipe(config.recipe))
    config = config.model_copy(update={"scale": arch.input})
    display.stage("data")
    judge = open_judge(config, lambda done, total: display.update(done / max(1, total)))
    float_mpjpe = judge.score(predict(net, judge.evaluation.images)).mpjpe
    out.mkdir(parents=True, exist_ok=True)
    log = out / "converter.log"
    with tempfile.TemporaryDirectory() as scratch, Converter(log) as converter:
        folder = Path(scratch)
        save_network(folder / "weights.safetensors", net, facts)
        done = 0

        def report(stage: str, part: int, total: int) -> None:
            display.update(done / (len(config.runtimes) + 1), stage)

        bench = Bench(config, judge, Lane(folder / "locks"), converter, report)
        display.stage(f"export {arch.name}")
        rows, calls = [], {}
        for runtime in config.runtimes:
            for name in dict.fromkeys(("float", config.recipe)):
                row = export_and_judge(bench, arch, folder, runtime, name)
                calls[f"{runtime} {name}"] = caller(bench, runtime, folder / row["file"])
                if name == config.recipe:
                    rows.append(row)
            done += 1
        calls["reference"] = next(iter(calls.values()))
        latencies = measured(bench, calls, config.measure.model_copy(update={"budget": 3 * config.measure.budget}))
        for row in rows:
            latency = latencies[f"{row['runtime']} {row['recipe']}"]
            row |= {
                "latency_ms": latency.median_ms,
                "latency": latency.as_dict(),
                "float_mpjpe_mm": float_mpjpe,
                "float_latency_ms": latencies[f"{row['runtime']} float"].median_ms,
                "bundle": str(out / row["runtime"]),
            }
            ship(bench, arch, folder, row, float_mpjpe, out / row["runtime"])
    return rows
