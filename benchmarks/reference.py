"""The paper's networks and those of two studies, all trained on the same 150,000 samples with several seeds.

Training takes hours, so that it goes on over many runs and machines: the result of each network and seed, with the
errors of its INT8 file on every frame of the test part, is kept in results/bench/reference/. Several processes of
`reference:train` share the work. Latencies (`reference:latency`) are measured in one run on files with random weights,
which are as fast as trained ones.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from arch.cost import cost
from arch.files import content_hash, write_atomic
from arch.space import Arch, named_arch
from benchmarks import Claim, claims_table, markdown_table
from benchmarks.int8_full_size import noise_images
from benchmarks.steps import part_of, run_missing
from explore.data.config import DataConfig
from explore.evaluation.evaluator import Evaluators, open_evaluators
from explore.evaluation.intervals import Interval, Units, bootstrap, paired_bootstrap
from explore.host import default_cache
from explore.measure.config import MeasureConfig
from explore.measure.emulated.cpus import CPUS
from explore.measure.emulated.emulator import Emulator, Job
from explore.measure.latency import Latency, measure, retry_disturbed
from explore.measure.untrained import Conversion, convert_models
from explore.report.iso_accuracy import IsoAccuracy, Point, at_iso_accuracy, spread
from explore.report.study_folder import read_summary
from explore.train.config import TrainConfig
from quantize import runtimes
from quantize.recipes import recipe

CONFIG: dict[str, Any] = {
    "data": "synthetic:full", "dataset": {"train_frames": 40000, "val_frames": 1000, "test_frames": 2000},
    "input_size": 64, "samples": 150000, "batch_size": 32, "learning_rate": 4e-3, "precision": "bf16", "device": "auto",
    "paper": ["paper-L-relu", "paper-S-relu", "paper-XS-relu"], "more": [], "seeds": [0, 1, 2],
    "studies": ["results/full-64", "results/reference"],
    "runtime": "litert", "quantization": "int8-static",
}  # fmt: skip
PARTS = ("train", "latency")
RECORDS = Path("results/bench/reference")
EVALUATIONS = 6
CPU = "cortex-a76"  # emulated, see docs/arm.md
RULES = MeasureConfig(rounds=12, calls=30, max_seconds=120.0)
FASTER = {"paper-L-relu": 5.0, "paper-S-relu": 1.0, "paper-XS-relu": 2.0}  # targets of the files that are as accurate


class Trained(BaseModel):
    """One network of one seed after training. Errors in mm are those of the INT8 file on the test part.

    float_mm:  MPJPE of the network itself on the test part
    curve:     (samples, MPJPE in mm on the validation part) during training
    frames_mm: error of the INT8 file on each frame of the test part, rounded to 0.1 mm
    trained_with: device and precision
    """

    model_config = ConfigDict(frozen=True)

    network: str
    arch: Arch
    seed: int
    samples: int
    mpjpe_mm: float
    pa_mpjpe_mm: float
    float_mm: float
    mean_pose_mm: float
    curve: list[tuple[int, float]]
    train_minutes: float
    trained_with: str
    machine: str
    settings: str
    data_hash: str
    test_hash: str
    frames_mm: list[float]


@dataclass(frozen=True)
class Run:
    """A network and seed to train. name: the paper's, or the network id."""

    name: str
    arch: Arch
    seed: int

    @property
    def key(self) -> str:
        return f"{self.name}-{self.arch.input_size}px-seed{self.seed}"

    @property
    def record(self) -> Path:
        return RECORDS / f"{self.key}.json"


def run(
    progress: Callable[[float], None], part: str = "", before: Iterable[dict[str, Any]] = ()
) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Return a row for each trained network, and the comparisons with the paper's.

    Raises:
        ConversionError, Disturbed: an export or a measurement failed.
    """
    if part != "latency":
        train_missing(planned(), progress)
    results = stored()
    latencies = {row["network"]: row["latency"] for row in before if row.get("latency")}
    if part != "train":
        latencies = time_files(results)
    rows = [row_of(name, found, latencies.get(name)) for name, found in results.items()]
    return rows, claims(results, latencies)


def planned() -> list[Run]:
    """Return all runs: those of the first seed first, and of these the paper's first."""
    size = CONFIG["input_size"]
    networks = {name: named_arch(f"{name}@{size}") for name in (*CONFIG["paper"], *CONFIG["more"])}
    for study in map(read_summary, map(Path, CONFIG["studies"])):
        for row in study.exported:
            if not row.baseline:
                arch = study.snapshot.networks[row.arch_id]
                networks[row.name] = arch.model_copy(update={"input_size": size})
    return [Run(name, arch, seed) for seed in CONFIG["seeds"] for name, arch in networks.items()]


def stored() -> dict[str, list[Trained]]:
    """Return the results of the present settings by network, the most expensive first."""
    found = [Trained.model_validate_json(path.read_bytes()) for path in sorted(RECORDS.glob("*.json"))]
    ordered = sorted((one for one in found if one.settings == settings()), key=lambda one: -cost(one.arch).macs)
    return {name: [one for one in ordered if one.network == name] for name in dict.fromkeys(o.network for o in ordered)}


def settings() -> str:
    """Return the hash of everything but network and seed that an error depends on. Precisions are not told apart."""
    keys = ("data", "dataset", "input_size", "samples", "batch_size", "learning_rate", "runtime", "quantization")
    return content_hash({key: CONFIG[key] for key in keys})


# ---- training ----


def train_missing(runs: Sequence[Run], progress: Callable[[float], None]) -> None:
    """Train all networks that have no result; another process may take some of them."""
    import torch

    torch.set_num_threads(1)
    folder = default_cache() / f"bench-reference-{settings()}"
    by_key = {one.key: one for one in runs}
    data = DataConfig(data=CONFIG["data"], dataset=CONFIG["dataset"], input_size=CONFIG["input_size"])
    opened = cache(lambda: open_evaluators(data, 1))

    def run_one(key: str) -> None:
        report = part_of(progress, list(by_key).index(key), len(by_key))
        found = train_one(by_key[key], opened(), folder / key, report)
        write_atomic(by_key[key].record, found.model_dump_json(indent=1) + "\n")

    def is_done(key: str) -> bool:
        path = by_key[key].record
        return path.exists() and Trained.model_validate_json(path.read_bytes()).settings == settings()

    run_missing(folder, by_key, is_done, run_one)


def train_one(one: Run, data: Evaluators, folder: Path, progress: Callable[[float], None]) -> Trained:
    """Train a network, quantize it and evaluate the file on the test part."""
    from explore.evaluation import metrics
    from explore.export.config import ExportConfig
    from explore.export.exporter import Exporter
    from explore.train.engine import start_engine
    from explore.train.loop import predict, train
    from explore.train.precision import with_precision
    from quantize.checkpoint import save_network
    from quantize.convert import Converter
    from quantize.environment import machine

    config = TrainConfig(**{key: CONFIG[key] for key in ("samples", "batch_size", "learning_rate")}, augment="none")
    engine = with_precision(start_engine(CONFIG["device"]), CONFIG["precision"], one.arch, config.batch_size)
    curve: list[tuple[int, float]] = []

    def validate(net: Any, step: int) -> None:
        joints = predict(net, data.validation.evaluation.images, device=engine.device)
        curve.append((step * config.batch_size, round(data.validation.evaluate(joints).mpjpe, 1)))

    folder.mkdir(parents=True, exist_ok=True)
    trained = train(
        one.arch, data.train, config, one.seed, folder / "state.safetensors", engine=engine, evaluate=validate,
        evaluations=EVALUATIONS, history=curve, progress=lambda done, total: progress(0.98 * done / total),
    )  # fmt: skip
    validate(trained.net, trained.samples // config.batch_size)
    weights = folder / "weights.safetensors"
    save_network(weights, trained.net)
    with Converter(folder / "converter.log") as converter:
        exporter = Exporter(folder, data.test, converter, ExportConfig())
        file = exporter.export(one.arch, weights, CONFIG["runtime"], recipe(CONFIG["quantization"]), "int8")
        plain = exporter.evaluate_torch(trained.net)
    progress(1.0)
    return Trained(
        network=one.name,
        arch=one.arch,
        seed=one.seed,
        samples=trained.samples,
        mpjpe_mm=round(file.accuracy.mpjpe, 2),
        pa_mpjpe_mm=round(file.accuracy.pa_mpjpe, 2),
        float_mm=round(plain.accuracy.mpjpe, 2),
        mean_pose_mm=round(data.test.mean_pose_mm, 2),
        curve=curve,
        train_minutes=round(trained.seconds / 60, 1),
        trained_with=engine.name,
        machine=machine()["processor"],
        settings=settings(),
        data_hash=data.train.hash,
        test_hash=data.test.data.hash,
        frames_mm=metrics.frame_errors(file.mm, data.test.data).round(1).tolist(),
    )


# ---- latency and comparison ----


def time_files(results: dict[str, list[Trained]]) -> dict[str, dict[str, float]]:
    """Return the latency of each network's file, measured in interleaved rounds, and its instructions on an ARM processor.

    Raises:
        InputError: the emulator of the processor is not set up.
    """
    emulator = Emulator.open()
    place, made, runtime = default_cache() / "bench-headline", recipe(CONFIG["quantization"]), CONFIG["runtime"]
    jobs = [
        Conversion(found[0].arch, runtime, made, place / f"{found[0].arch.id}-{runtime}-{made.name}")
        for found in results.values()
    ]
    files = [model.files[0] for model in convert_models(jobs, 0, place)]
    x = noise_images(CONFIG["input_size"], 1)
    calls = {name: runtimes.get(runtime).load(path, 1).prepare(x) for name, path in zip(results, files, strict=True)}
    found = retry_disturbed(lambda: measure(calls, RULES, next(iter(calls))))
    counts = {}
    for (name, trained), path in zip(results.items(), files, strict=True):
        job = Job(
            name, runtime, (path,), np.zeros((1, 3, trained[0].arch.input_size, trained[0].arch.input_size), np.float32)
        )
        counts[name] = emulator.count(CPUS[CPU], job).total
    return {name: latency_fields(latency, counts[name]) for name, latency in found.items()}


def latency_fields(latency: Latency, instructions: int) -> dict[str, float]:
    values = {"ms": latency.median_ms, "low_ms": latency.low_ms, "high_ms": latency.high_ms}
    return {key: round(value, 4) for key, value in values.items()} | {"instructions": instructions}


def row_of(name: str, found: list[Trained], latency: dict[str, float] | None) -> dict[str, Any]:
    """Return the row of a network: errors are means over its seeds."""
    interval = mean_error(found)
    return {
        "network": name,
        "network_id": found[0].arch.id,
        "macs": cost(found[0].arch).macs,
        "params": cost(found[0].arch).params,
        "seeds": [one.seed for one in found],
        "samples": found[0].samples,
        "mpjpe_mm": round(interval.value, 1),
        "mpjpe_low_mm": round(interval.low, 1),
        "mpjpe_high_mm": round(interval.high, 1),
        "by_seed_mm": [round(one.mpjpe_mm, 1) for one in found],
        "pa_mpjpe_mm": round(statistics.fmean(one.pa_mpjpe_mm for one in found), 1),
        "float_mm": round(statistics.fmean(one.float_mm for one in found), 1),
        "last_gain_mm": round(statistics.fmean(one.curve[-2][1] - one.curve[-1][1] for one in found), 1),
        "mean_pose_mm": found[0].mean_pose_mm,
        "train_minutes": round(statistics.fmean(one.train_minutes for one in found), 1),
        "trained_with": sorted({one.trained_with for one in found}),
        "latency": latency,
        "data_hash": found[0].data_hash,
    }


def mean_error(found: Sequence[Trained]) -> Interval:
    errors = mean_frames(found)
    return bootstrap(errors, frames(errors))


def mean_frames(found: Sequence[Trained]) -> NDArray[np.float64]:
    """Return the error (N,) of each frame, the mean over seeds."""
    return np.asarray(np.mean([one.frames_mm for one in found], 0))


def frames(errors: NDArray[np.float64]) -> Units:
    """Return the units of the test part: rendered frames are independent."""
    return Units("frame", np.arange(len(errors)))


def comparisons(results: dict[str, list[Trained]], latencies: dict[str, dict[str, float]]) -> list[IsoAccuracy]:
    """Compare the networks of the study with the paper's, on the seeds that both have."""
    points = {}
    for name, found in results.items():
        if name in latencies:
            latency, error = latencies[name], mean_error(found)
            spread_ms = spread(latency["low_ms"], latency["high_ms"])
            points[name] = Point(name, error.value, latency["ms"], spread_ms, error.low, error.high)

    def difference(a: Point, b: Point) -> Interval | None:
        seeds = {one.seed for one in results[a.name]} & {one.seed for one in results[b.name]}
        if not seeds:
            return None
        first, second = (mean_frames([one for one in results[p.name] if one.seed in seeds]) for p in (a, b))
        return paired_bootstrap(first, second, frames(first))

    own = [point for name, point in points.items() if name not in CONFIG["paper"]]
    paper = [point for name, point in points.items() if name in CONFIG["paper"]]
    mean_pose_mm = next(iter(results.values()))[0].mean_pose_mm if results else None
    return at_iso_accuracy(own, paper, mean_pose_mm, difference)


def claims(results: dict[str, list[Trained]], latencies: dict[str, dict[str, float]]) -> list[Claim]:
    """Return for each of the paper's networks whether a file as accurate is as much faster as the target says."""
    found = []
    for one in comparisons(results, latencies):
        accurate = one.verdict in ("at least as accurate", "not distinguishable")
        target = FASTER[one.other.name]
        found.append(
            Claim(
                name=f"times as fast as {one.other.name}'s file: a file that is as accurate",
                target=f">= {target:g}",
                measured=one.text,
                passed=accurate and one.times >= target,
                low=one.low if accurate else None,
                high=one.high if accurate else None,
            )
        )
    return found


def markdown(rows: Sequence[dict[str, Any]], claims: Sequence[Claim]) -> str:
    """Return results/bench/reference.md."""
    head = (
        "network", "MACs M", "params M", "seeds", "MPJPE mm", "95% interval", "PA-MPJPE mm", "float MPJPE mm", "last part mm",
        "latency ms", f"instructions M on {CPU}",
    )  # fmt: skip
    texts = [
        "# Long training",
        (__doc__ or "").strip(),
        f"{rows[0]['samples']} samples; MPJPE of the mean pose: {rows[0]['mean_pose_mm']:.1f} mm. Errors and latencies are those of "
        f"{CONFIG['quantization']} files for {CONFIG['runtime']}, the means over seeds. Last part: decrease of the error on the "
        f"validation part in the last {1 / EVALUATIONS:.0%} of the training.",
        markdown_table(head, [_cells(row) for row in rows]),
        "## Targets",
        claims_table(claims),
    ]
    return "\n\n".join(texts) + "\n"


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    latency = row["latency"]
    return (
        row["network"],
        f"{row['macs'] / 1e6:.1f}",
        f"{row['params'] / 1e6:.2f}",
        ", ".join(map(str, row["seeds"])),
        f"{row['mpjpe_mm']:.1f}",
        f"{row['mpjpe_low_mm']:.1f} to {row['mpjpe_high_mm']:.1f}",
        f"{row['pa_mpjpe_mm']:.1f}",
        f"{row['float_mm']:.1f}",
        f"{row['last_gain_mm']:.1f}",
        f"{latency['ms']:.3f}" if latency else "",
        f"{latency['instructions'] / 1e6:.1f}" if latency else "",
    )
