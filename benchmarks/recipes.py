"""Trained networks by every recipe in LiteRT: whether a search gains from the recipe as a dimension.

Parts: `front`, subnets of the bundled supernet, whose weights are trained together, and the fronts of error and latency
and of error and size by one recipe and by all; `real`, the network that `predict` uses, also by the options of the
quantizer and by W8A16. Files are evaluated on rendered people; float layers are chosen on the validation part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from arch.cost import cost
from arch.files import content_hash
from arch.search_space import Space
from benchmarks import Claim, at_least, at_most, claims_table, markdown_table
from benchmarks.intervals import mpjpe_difference_interval
from explore.data.config import DatasetConfig
from explore.estimate import EstimatorContext, make
from explore.estimate.config import EstimateConfig
from explore.evaluation.evaluator import Evaluator, Evaluators, open_evaluators
from explore.export.certificates import simulated_costs
from explore.export.exporter import ExportedModel, Exporter
from explore.export.mixed_precision import export_within_budget
from explore.host import default_cache
from explore.measure.config import MeasureConfig
from explore.pareto import hypervolume, non_dominated_rank
from explore.search.config import SearchConfig
from quantize.checkpoint import load_network
from quantize.convert import Converter
from quantize.recipes import Recipe, recipe

CONFIG: dict[str, Any] = {
    "networks": 3, "seed": 0, "train": 300, "validation": 100, "test": 200,
    "recipes": ["float", "fp16", "int8-weights", "int8-dynamic", "int8-static", "int8-float-stem", "int8-mixed"],
    "options": ["activation_range=minmax", "activation_symmetry=symmetric", "weight_range=octav",
                "weight_granularity=tensor"],
    "supernet": "explore/estimate/supernets/elastic-synthetic-easy-64.safetensors",
    "real": "results/real-128/net.safetensors", "real_frames": 200,
}  # fmt: skip
PARTS = ("front", "real")
BASE = "int8-static"
GAIN = 1.01  # hypervolume with all recipes / with one: what a dimension should bring at least
BUDGET_MM = 0.5  # of int8-mixed
DATA = SearchConfig(input_size=64, timeout=1800)
LATENCY = MeasureConfig(rounds=8, calls=10, max_seconds=60.0)


@dataclass(frozen=True)
class Network:
    """A trained network and its checkpoint."""

    name: str
    weights: Path


def run(
    progress: Callable[[float], None], part: str = "", before: list[dict[str, Any]] | None = None
) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Return the rows of both parts, those of `before` where only one is repeated, and the claims of all rows."""
    rows = [row for row in before or [] if row["part"] != part]
    if part in ("", "front"):
        rows += _front(lambda share: progress(0.6 * share))
    if part in ("", "real"):
        rows += _real(lambda share: progress(0.6 + 0.4 * share))
    return rows, _claims(rows)


def _front(progress: Callable[[float], None]) -> list[dict[str, Any]]:
    """Return rows of subnets of the bundled supernet, from the smallest to the largest."""
    frames = DatasetConfig(train_frames=CONFIG["train"], val_frames=CONFIG["validation"], test_frames=CONFIG["test"])
    config = DATA.model_copy(update={"dataset": frames, "runtimes": ("litert",), "measure": LATENCY})
    parts = open_evaluators(config.data_config, config.processes)
    options = EstimateConfig(supernet=CONFIG["supernet"])
    estimator = make("supernet", EstimatorContext(parts.validation, config.candidate, options, CONFIG["seed"]))
    rng, space = Random(CONFIG["seed"]), Space.named("elastic").at(config.input_size)
    sampled = sorted({space.sample(rng) for _ in range(8 * CONFIG["networks"])}, key=lambda arch: cost(arch).macs)
    chosen = [sampled[i] for i in np.linspace(0, len(sampled) - 1, CONFIG["networks"]).round().astype(int)]
    networks = []
    for arch in chosen:
        folder = _folder() / arch.id
        if not (folder / "weights.safetensors").exists():
            folder.mkdir(parents=True, exist_ok=True)
            estimator.estimate(arch, folder)
        networks.append(Network(arch.name, folder / "weights.safetensors"))
    return _rows("front", networks, config, parts, [recipe(name) for name in CONFIG["recipes"]], progress)


def _folder() -> Path:
    """Return where networks and files stay, so that a repeated run only repeats the timings."""
    return default_cache() / f"bench-recipes-{content_hash(CONFIG)}"


def _real(progress: Callable[[float], None]) -> list[dict[str, Any]]:
    """Return rows of the network that `predict` uses, on rendered people with its framing and landmarks."""
    frames = CONFIG["real_frames"]
    dataset = DatasetConfig(
        train_frames=frames, val_frames=frames, test_frames=frames, framing="roi", skeleton="blazepose33"
    )
    update = {
        "data": "synthetic:full", "dataset": dataset, "input_size": 128, "runtimes": ("litert",), "measure": LATENCY,
    }  # fmt: skip
    config = DATA.model_copy(update=update)
    static = recipe(BASE)
    recipes = [recipe(name) for name in (*CONFIG["recipes"], "w8a16")]
    for option in CONFIG["options"]:
        key, value = option.split("=")
        recipes.append(static.model_copy(update={key: value, "name": f"{BASE}-{value}"}))
    parts = open_evaluators(config.data_config, config.processes)
    return _rows("real", [Network("real-128", Path(CONFIG["real"]))], config, parts, recipes, progress)


def _rows(
    part: str,
    networks: list[Network],
    config: SearchConfig,
    parts: Evaluators,
    recipes: list[Recipe],
    progress: Callable[[float], None],
) -> list[dict[str, Any]]:
    """Export every network by every recipe, evaluate the files and time them in one interleaved run."""
    files: dict[tuple[str, str], ExportedModel] = {}
    with Converter(_folder() / "converter.log") as converter:
        for network in networks:
            exporter = Exporter(_folder() / network.name, parts.test, converter, config.export_config)
            for index, chosen in enumerate(recipes):
                files[network.name, chosen.name] = _export(exporter, parts.validation, network, chosen)
                progress((len(files) + index / len(recipes)) / (len(networks) * len(recipes)) * 0.9)
        latencies = exporter.measure_latency(
            {f"{name} {made}": file for (name, made), file in files.items()}, f"{networks[0].name} float"
        )
    rows = []
    for (name, made), file in files.items():
        plain = files[name, "float"]
        low, high = mpjpe_difference_interval(parts.test, file.mm, plain.mm)
        ms = None if isinstance(latencies, str) else latencies[f"{name} {made}"].median_ms
        float_ms = None if isinstance(latencies, str) else latencies[f"{name} float"].median_ms
        rows.append(
            {
                "part": part,
                "network": name,
                "recipe": made,
                "float_fallback_layers": list(file.recipe.float_fallback_layers),
                "mpjpe_mm": file.accuracy.mpjpe,
                "drop_mm": file.accuracy.mpjpe - plain.accuracy.mpjpe,
                "drop_low_mm": low,
                "drop_high_mm": high,
                "kib": file.summary.bytes / 1024,
                "int8_share": file.summary.int8_share,
                "delegated": file.summary.delegated,
                "latency_ms": ms,
                "speedup": float_ms / ms if ms and float_ms else None,
            }
        )
    return rows


def _export(exporter: Exporter, validation: Evaluator, network: Network, chosen: Recipe) -> ExportedModel:
    net, _ = load_network(network.weights)
    if chosen.float_budget_mm is None:
        return exporter.export(net.arch, network.weights, "litert", chosen, f"litert-{chosen.name}")
    costs = simulated_costs(exporter, net, chosen)
    return export_within_budget(exporter, validation, net, network.weights, "litert", chosen, costs)


def _claims(rows: list[dict[str, Any]]) -> list[Claim]:
    claims = []
    front = [row for row in rows if row["part"] == "front"]
    if front and all(row["latency_ms"] for row in front):
        claims += [_gain(front, "latency_ms", "latency"), _gain(front, "kib", "size")]
    for row in rows:
        if row["recipe"] == "int8-mixed":
            name = f"{row['network']}: increase in MPJPE of int8-mixed on the test part, mm"
            measured = f"{row['drop_mm']:+.2f}, {len(row['float_fallback_layers'])} float layers"
            interval = {"low": row["drop_low_mm"], "high": row["drop_high_mm"]}
            claims.append(at_most(name, BUDGET_MM, row["drop_mm"], measured, **interval))
    return claims


def _gain(rows: list[dict[str, Any]], column: str, name: str) -> Claim:
    """Compare the front of error and `column` with all recipes with that of the better single recipe's networks."""
    points = np.array([[row["mpjpe_mm"], np.log10(row[column])] for row in rows])
    reference = points.max(0) + 1e-6
    static = hypervolume(points[[row["recipe"] == BASE for row in rows]], reference)
    ratio = hypervolume(points, reference) / static
    members = [row["recipe"] for row, rank in zip(rows, non_dominated_rank(points), strict=True) if rank == 0]
    others = ", ".join(f"{members.count(each)} {each}" for each in dict.fromkeys(members))
    text = f"hypervolume of error and {name}, all recipes / {BASE}"
    return at_least(text, GAIN, ratio, f"{ratio:.3f} (front: {others})")


def markdown(rows: list[dict[str, Any]], claims: list[Claim]) -> str:
    """Return the page beside the record."""
    lines = [
        "# Recipes in LiteRT\n",
        "Written by `python -m benchmarks recipes`; machine and versions are in `recipes.json`. One thread; the latencies of",
        "a part are from one interleaved run. `front`: subnets of the bundled supernet at 64 px; `real`: results/real-128 at",
        "128 px. MPJPE is measured on rendered test subjects; `drop` is the increase over the float file of the network.\n",
        claims_table(claims),
        "",
    ]
    head = (
        "network", "recipe", "float layers", "MPJPE mm", "drop mm", "95%", "latency ms", "speed-up", "KiB",
        "INT8 MACs",
    )  # fmt: skip
    for part in PARTS:
        cells = [_cells(row) for row in rows if row["part"] == part]
        lines += [f"## {part}\n", markdown_table(head, cells), ""]
    return "\n".join(lines)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["network"],
        row["recipe"],
        " ".join(row["float_fallback_layers"]),
        f"{row['mpjpe_mm']:.2f}",
        f"{row['drop_mm']:+.2f}",
        f"{row['drop_low_mm']:+.2f} to {row['drop_high_mm']:+.2f}",
        f"{row['latency_ms']:.3f}" if row["latency_ms"] else "",
        f"{row['speedup']:.2f}" if row["speedup"] else "",
        f"{row['kib']:.0f}",
        f"{row['int8_share']:.0%}",
    )
