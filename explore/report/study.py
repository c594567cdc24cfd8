"""What a study leaves: trials.csv, front.csv, a plot and a short README, all made from its storage and results."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from arch.files import write_atomic
from arch.space import Arch, make_arch
from explore.config import SearchConfig
from explore.judge import Judge
from explore.report.equal_error import Behind, Faster, Point, at_equal_error, spread
from explore.report.plot import plot_front
from explore.report.words import short
from explore.search import devices, rungs
from explore.search.front import ranks
from quantize.environment import machine, versions

TRIAL_COLUMNS = (
    "trial",
    "state",
    "rung",
    "name",
    "arch_id",
    "recipe",
    "mpjpe_mm",
    "pa_mpjpe_mm",
    "float_mpjpe_mm",
    "latency_ms",
    "macs",
    "params",
    "bytes",
    "samples",
    "seed",
    "config_hash",
    "on_front",
    "reason",
)
FRONT_COLUMNS = (
    "name",
    "arch_id",
    "runtime",
    "recipe",
    "mpjpe_mm",
    "pa_mpjpe_mm",
    "float_mpjpe_mm",
    "latency_ms",
    "ratio_low",
    "ratio_high",
    "float_latency_ms",
    "macs",
    "params",
    "bytes",
    "samples",
    "network",
    "seed",
    "config_hash",
    "on_front",
    "gates_failed",
    "bundle",
)


@dataclass(frozen=True)
class Shipped:
    """One file of a finalist: its own error and latency beside the float file's."""

    name: str
    arch_id: str
    runtime: str
    recipe: str
    mpjpe_mm: float
    pa_mpjpe_mm: float
    float_mpjpe_mm: float
    latency_ms: float
    ratio_low: float
    ratio_high: float
    float_latency_ms: float
    macs: int
    params: int
    bytes: int
    samples: int
    network: str
    on_front: bool
    bundle: str
    gates_failed: str  # of its certificate, joined by semicolons
    elsewhere: dict[str, float] = field(default_factory=dict)  # ms on further devices, by column


@dataclass(frozen=True)
class Summary:
    """What a study found. minutes: of this run alone; trained: of training in all runs, of one worker."""

    folder: Path
    mean_pose_mm: float
    shipped: tuple[Shipped, ...]
    trials: tuple[dict[str, Any], ...]
    baselines: tuple[str, ...]
    findings: tuple[str, ...]
    equal_error: tuple[Faster | Behind, ...]
    minutes: float
    trained: float

    @property
    def best(self) -> Path | str:
        """The bundle to try first: the most accurate that the search found."""
        judged = [file for file in self.shipped if file.runtime == self.shipped[0].runtime]
        own = [file for file in judged if file.name not in self.baselines] or judged
        return self.folder / min(own, key=lambda file: file.mpjpe_mm).bundle if own else "BUNDLE"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"folder": str(self.folder)}


def write_report(
    config: SearchConfig, study: optuna.Study, judge: Judge, baselines: dict[str, Arch], seconds: float
) -> Summary:
    """Write the tables, the plot, the page and the README of a study; returns what they hold."""
    trials, shipped = write_tables(config, study)
    summary = Summary(
        config.folder,
        judge.mean_pose_mm,
        tuple(shipped),
        tuple(trials),
        tuple(baselines),
        tuple(_findings(trials, baselines)),
        tuple(at_equal_error(*_points(config, shipped, baselines))),
        seconds / 60,
        _trained_minutes(config.folder),
    )
    about = {"machine": machine(), "versions": versions(), "data": judge.train.name, "data_hash": judge.train.hash}
    stamp = {"seed": config.seed, "config_hash": config.hash}
    write_atomic(config.folder / "environment.json", json.dumps(about | stamp, indent=2) + "\n")
    plot_front(config.folder / "front.png", config, summary)
    write_atomic(config.folder / "README.md", _readme(config, judge, summary))
    return summary


def write_tables(config: SearchConfig, study: optuna.Study) -> tuple[list[dict[str, Any]], list[Shipped]]:
    """Write trials.csv and front.csv as far as the study has come; returns their rows."""
    trials = _trials(study, config)
    shipped = _shipped(config)
    stamp = {"seed": config.seed, "config_hash": config.hash}
    front = [asdict(row) | row.elsewhere | stamp for row in shipped]
    write_atomic(config.folder / "trials.csv", _csv(_with_devices(TRIAL_COLUMNS, config), trials))
    write_atomic(config.folder / "front.csv", _csv(_with_devices(FRONT_COLUMNS, config), front))
    return trials, shipped


def _trials(study: optuna.Study, config: SearchConfig) -> list[dict[str, Any]]:
    """A row a trial, whatever became of it."""
    rows = []
    for trial in study.get_trials(deepcopy=False):
        result = trial.user_attrs.get("result", {})
        rows.append(
            {
                "seed": config.seed,
                "config_hash": config.hash,
                "trial": trial.number,
                "state": trial.state.name.lower(),
                "rung": rungs.reached(trial),
                "arch_id": trial.user_attrs.get("arch", ""),
                "recipe": trial.user_attrs.get("recipe", trial.params.get("recipe", config.recipe)),
                "reason": trial.user_attrs.get("reason", "").splitlines()[0] if "reason" in trial.user_attrs else "",
                "name": trial.user_attrs.get("baseline", trial.user_attrs.get("arch", "")),
                **{key: result[key] for key in TRIAL_COLUMNS if key in result and key not in ("name", "arch_id")},
                **devices.columns(result),
            }
        )
    done = [row for row in rows if row["state"] == TrialState.COMPLETE.name.lower()]
    if done:
        kept = np.array([devices.keeps(config, row) for row in done])
        points = np.array([devices.values(config, row) for row in done])
        points[~kept] = np.inf  # beyond a limit
        for row, rank, one in zip(done, ranks(points), kept, strict=True):
            row["on_front"] = bool(one and rank == 0)
    return rows


def _shipped(config: SearchConfig) -> list[Shipped]:
    """A row a bundle, the fastest first within a runtime."""
    rows = []
    for path in sorted((config.folder / "finalists").glob("*/result.json")):
        result = json.loads(path.read_text())
        floats = {row["runtime"]: row for row in result["rows"] if row["recipe"] == "float"}
        for row in result["rows"]:
            if row["recipe"] == config.recipe:  # of studies whose rows do not name their bundles
                row.setdefault("bundle", f"bundles/{result['name']}/{row['runtime']}")
            if row.get("bundle") is not None:
                rows.append((row, result, floats[row["runtime"]]))
    shipped = []
    for runtime in config.runtimes:
        mine = sorted((r for r in rows if r[0]["runtime"] == runtime), key=lambda r: r[0]["latency_ms"])
        if not mine:
            continue
        everywhere = all("elsewhere" in r[0] for r in mine)  # the runtime that the search judges
        points = [devices.values(config, r[0]) if everywhere else (r[0]["mpjpe_mm"], r[0]["latency_ms"]) for r in mine]
        rank = ranks(np.array(points))
        for (row, result, plain), level in zip(mine, rank, strict=True):
            shipped.append(
                Shipped(
                    result["name"],
                    result["arch_id"],
                    runtime,
                    row["recipe"],
                    row["mpjpe_mm"],
                    row["pa_mpjpe_mm"],
                    plain["mpjpe_mm"],
                    row["latency_ms"],
                    row["latency"]["ratio_low"],
                    row["latency"]["ratio_high"],
                    plain["latency_ms"],
                    result["macs"],
                    result["params"],
                    row["bytes"],
                    result["samples"],
                    short(make_arch(result["arch"])),
                    bool(level == 0),
                    row["bundle"],
                    "; ".join(row.get("gates_failed", ())),
                    devices.columns(row),
                )
            )
    return shipped


def _findings(trials: list[dict[str, Any]], baselines: dict[str, Arch]) -> list[str]:
    """Which of the paper's models was beaten in error and latency at once, under the same training budget."""
    done = [row for row in trials if row["state"] == "complete"]
    several = len({row["recipe"] for row in done}) > 1
    lines = []
    for name in baselines:
        paper = next((row for row in done if row["name"] == name), None)
        if paper is None:
            continue
        better = [
            row
            for row in done
            if row["mpjpe_mm"] < paper["mpjpe_mm"]
            and row["latency_ms"] < paper["latency_ms"]
            and row["name"] not in baselines
        ]
        if not better:
            lines.append(
                f"{name} ({paper['mpjpe_mm']:.1f} mm, {paper['latency_ms']:.2f} ms): no candidate beats it in both."
            )
            continue
        best = min(better, key=lambda row: (row["mpjpe_mm"], row["latency_ms"]))
        lines.append(
            f"{name} ({paper['mpjpe_mm']:.1f} mm, {paper['latency_ms']:.2f} ms) is beaten in both by {len(better)}; "
            f"{best['name']}{' ' + best['recipe'] if several else ''}: {best['mpjpe_mm']:.1f} mm, {best['latency_ms']:.2f} ms."
        )
    return lines


def _trained_minutes(folder: Path) -> float:
    """Of all candidates and finalists, as each training says of itself, over all its interruptions."""
    parts = [*folder.glob("candidates/*/trained.json"), *folder.glob("finalists/**/trained.json")]
    return sum(float(json.loads(path.read_text()).get("train_s", 0.0)) for path in parts) / 60


def _points(config: SearchConfig, shipped: list[Shipped], others: dict[str, Arch]) -> tuple[list[Point], list[Point]]:
    """The shipped files of the study's own runtime: ours, and those to compare with."""
    found: tuple[list[Point], list[Point]] = ([], [])
    for row in shipped:
        if row.runtime == config.runtime:
            point = Point(row.name, row.mpjpe_mm, row.latency_ms, spread(row.ratio_low, row.ratio_high))
            found[row.name in others].append(point)
    return found


def _with_devices(columns: tuple[str, ...], config: SearchConfig) -> tuple[str, ...]:
    """The columns with those of further devices behind the latency here."""
    after = columns.index("latency_ms") + 1
    return (*columns[:after], *map(devices.column, devices.further(config)), *columns[after:])


def _csv(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def front_table(shipped: tuple[Shipped, ...], runtime: str) -> list[tuple[str, ...]]:
    """Cells of the table of one runtime's files, heading first; with their recipes where these differ."""
    several = len({row.recipe for row in shipped}) > 1
    ms = "INT8 ms" if all(row.recipe.startswith("int8") for row in shipped) else "ms"
    further = list(dict.fromkeys(name for row in shipped if row.runtime == runtime for name in row.elsewhere))
    heading = ("model", "MPJPE mm", "PA mm", "float mm", ms, "float ms", "M MACs", "M params", "KiB", "front")
    table: list[tuple[str, ...]] = [(*heading, *(name.replace("latency_ms ", "ms on ") for name in further))]
    for row in shipped:
        if row.runtime == runtime:
            table.append(
                (
                    f"{row.name} {row.recipe}" if several else row.name,
                    f"{row.mpjpe_mm:.1f}",
                    f"{row.pa_mpjpe_mm:.1f}",
                    f"{row.float_mpjpe_mm:.1f}",
                    f"{row.latency_ms:.3f}",
                    f"{row.float_latency_ms:.3f}",
                    f"{row.macs / 1e6:.1f}",
                    f"{row.params / 1e6:.2f}",
                    f"{row.bytes / 1024:.0f}",
                    "yes" if row.on_front else "",
                    *(f"{row.elsewhere[name]:.3f}" for name in further),
                )
            )
    return table


def _markdown(table: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]])


def _gates(shipped: tuple[Shipped, ...]) -> str:
    """Whether the certificates of the shipped files hold, and which do not."""
    failed = [f"{row.bundle}: {row.gates_failed}" for row in shipped if row.gates_failed]
    if not failed:
        return "Every bundle carries its certificate (`docs/certificate.md`), and every gate of every file holds."
    return f"Every bundle carries its certificate; gates fail in {len(failed)} of {len(shipped)}: {', '.join(failed)}."


def _how_judged(config: SearchConfig) -> str:
    if config.estimator == "full":
        return f"Under equal training, {config.candidate.samples} samples each"
    return f"Candidates, estimated by {config.estimator}; only what is shipped was trained in full"


def _readme(config: SearchConfig, judge: Judge, summary: Summary) -> str:
    here = machine()
    counts: dict[str, int] = {}
    for row in summary.trials:
        counts[row["state"]] = counts.get(row["state"], 0) + 1
    tables = "\n\n".join(
        f"### {runtime}\n\n{_markdown(front_table(summary.shipped, runtime))}" for runtime in config.runtimes
    )
    findings = "\n".join(f"- {line}" for line in summary.findings)
    equal = "\n".join(f"- {line.text}" for line in summary.equal_error)
    networks = "\n".join(f"- `{name}`: {text}" for name, text in {r.name: r.network for r in summary.shipped}.items())
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    recipes = ", ".join(f"`{name}`" for name in dict.fromkeys(row.recipe for row in summary.shipped))
    gates = _gates(summary.shipped)
    return f"""# Study {config.name}

Scale: every network reads {config.scale} px; the paper's are scaled with it, heatmap and all. Errors are in mm on
{len(judge.test)} frames of {judge.test.name}, people who are not in the {len(judge.train)} training frames. Always answering
the mean training pose gives {summary.mean_pose_mm:.1f} mm. Error, latency and size are those of the very file in the bundle.

![front](front.png)

## Shipped files

Each was trained on {config.candidate.samples} + {config.final.samples} samples; {recipes} beside the float file, {config.measure.threads} thread(s).
{gates}

{tables}

{networks}

## At equal error

The shipped {config.runtime} files, trained alike, {config.measure.threads} thread(s); in brackets what the 95% intervals of the latencies leave open.

{equal or "Nothing to compare with was shipped; name it with `--references`."}

## {_how_judged(config)}{", judged as float files" * (config.objective == "float")}

{findings}

{", ".join(f"{count} {state}" for state, count in sorted(counts.items()))} trials, in `trials.csv`.

## How it was made

`python explore.py search` with `config.yaml` (hash {config.hash}, seed {config.seed}); {summary.trained:.0f} minutes of training by one worker, in all runs.
{here["processor"]}, {here["cores"]} cores, {", ".join(here["instruction_sets"])}; {packages}. Data hash {judge.train.hash}.

## Next

    python explore.py predict PHOTO --bbox x,y,w,h --model {summary.best}
    python explore.py search --trials {2 * config.trials}      # go on from here
"""
