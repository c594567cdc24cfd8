"""What INT8 costs and gains: one network by every recipe in every runtime, judged as files and timed interleaved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from explore.bench import Claim
from explore.bench.intervals import of_difference
from explore.config import SearchConfig
from explore.export import maker
from explore.progress import Display
from explore.search.dataset import open_judge
from explore.ship.files import MadeFile, Workshop
from explore.train.checkpoint import load_network
from quantize import audit
from quantize.convert import Converter
from quantize.recipes import Recipe, recipe

MOST_LOSS_MM = 0.5  # of a runtime's best INT8 recipe


def files_by_recipe(
    checkpoint: Path, folder: Path, config: SearchConfig, display: Display, recipes: Sequence[Recipe]
) -> tuple[list[dict[str, Any]], list[Claim]]:
    """A row a runtime of `config` and recipe, and the claims: the best INT8 file without further training within 0.5 mm of
    the float file.

    A row: network, samples it was trained on, further_samples in 8 bits, runtime, recipe, mpjpe_mm, pa_mpjpe_mm,
    drop_mm (beyond the float file; over other people like those of the test part it is, in 95% of cases, between
    drop_low_mm and drop_high_mm), kib, int8_share, export_s, and latency_ms, speedup over the float file (None where
    other processes kept disturbing), or `refused`, the reason why the network cannot ship so. Files stay in `folder`
    and are not made twice.

    Raises:
        InputError: no checkpoint.
        ConversionError, Diverged: making a file failed.
    """
    net, facts = load_network(checkpoint)
    arch = net.arch
    config = config.model_copy(update={"scale": arch.input})
    recipes = [recipe("float"), *(chosen for chosen in recipes if chosen.name != "float")]
    display.stage("data")
    judge = open_judge(config, lambda done, total: display.update(done / max(1, total)))
    files: dict[tuple[str, str], MadeFile | str] = {}
    folder.mkdir(parents=True, exist_ok=True)
    with Converter(folder / "converter.log") as converter:
        workshop = Workshop(folder, judge, converter, config)
        display.stage(f"int8 {arch.name}")
        for chosen in recipes:
            make = maker(workshop, net, checkpoint, chosen, display)
            for runtime in config.runtimes:
                display.update(len(files) / (len(recipes) * len(config.runtimes)), f"{runtime} {chosen.name}")
                reasons = audit.reasons(arch, runtime, chosen)
                files[runtime, chosen.name] = "; ".join(reasons) or make(runtime, ())
        display.stage("latency")
        made = {f"{r} {name}": file for (r, name), file in files.items() if isinstance(file, MadeFile)}
        latencies = workshop.latencies(made, f"{config.runtimes[0]} float")
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
            low, high = of_difference(judge, file.mm, plain.mm)
            row |= {"drop_low_mm": low, "drop_high_mm": high}
            rows.append(row | _figures(file, plain, ms[key], ms[f"{runtime} float"]))
    return rows, [_claim(arch.name, runtime, rows) for runtime in config.runtimes]


def _figures(file: MadeFile, plain: MadeFile, ms: float | None, float_ms: float | None) -> dict[str, Any]:
    return {
        "mpjpe_mm": file.accuracy.mpjpe,
        "pa_mpjpe_mm": file.accuracy.pa_mpjpe,
        "drop_mm": file.accuracy.mpjpe - plain.accuracy.mpjpe,
        "kib": file.audit.bytes / 1024,
        "int8_share": file.audit.int8_share,
        "export_s": file.seconds,
        "latency_ms": ms,
        "speedup": float_ms / ms if ms and float_ms else None,
    }


def _claim(network: str, runtime: str, rows: list[dict[str, Any]]) -> Claim:
    """Of the runtime's INT8 files the one that loses least, but for those whose weights saw more than the float file's."""
    files = [row for row in rows if row["runtime"] == runtime and _is_int8(row) and not row["further_samples"]]
    best = min(files, key=lambda row: float(row["drop_mm"]), default=None)
    return Claim(
        name=f"{network} {runtime}: best INT8 recipe without further training, against float",
        asked=f"+{MOST_LOSS_MM} mm",
        measured=f"{best['drop_mm']:+.2f} mm" if best else "no INT8 file",
        holds=best is not None and best["drop_mm"] <= MOST_LOSS_MM,
        low=best["drop_low_mm"] if best else None,
        high=best["drop_high_mm"] if best else None,
    )


def _is_int8(row: dict[str, Any]) -> bool:
    chosen: Recipe = recipe(row["recipe"])
    return chosen.int8 and "drop_mm" in row
