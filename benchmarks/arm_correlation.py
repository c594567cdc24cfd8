"""Instructions on an emulated Cortex-A76 and MACs beside measured latency on x86, of random networks.

Networks, counts and latencies are kept in the folder of caches. Counts and latencies are separate steps; each appends
one row after another, so that it can be stopped and run again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arch.cost import cost
from arch.search_space import Space
from arch.space import Arch
from benchmarks import Claim
from explore.config import Strict
from explore.host import default_cache
from explore.measure.devices import Model, Settings, open_device
from explore.measure.emulated.cpus import CPUS
from explore.measure.emulated.emulator import Emulator, Job
from explore.measure.latency import Disturbed, retry_disturbed
from explore.measure.rows import DeviceError
from explore.measure.sampling import reference, sample_test_set
from explore.measure.untrained import Conversion, convert_models
from quantize import operator_check
from quantize.recipes import recipe

RUNTIMES = ("litert", "onnxruntime")
BATCH = 8  # networks measured together, beside the reference network
ATTEMPTS, PAUSE_S = 6, 5.0
DRAWS = 2000

Progress = Callable[[float, str], None]


class CorrelationSettings(Strict):
    """Networks, and the processor that instructions are counted on."""

    networks: int = 100
    space: str = "mobile"
    input_size: int = 64
    quantization: str = "int8-static"
    cpu: str = "cortex-a76"


SETTINGS = CorrelationSettings()


@dataclass(frozen=True)
class Correlation:
    """Kendall's tau-b with the latency of one runtime's files, by cost, each with its 95% interval.

    values: of `instructions`, `macs` and the `difference` of both
    """

    runtime: str
    networks: int
    values: dict[str, tuple[float, float, float]]

    def text(self, name: str) -> str:
        value, low, high = self.values[name]
        return f"{value:.3f} ({low:.3f} to {high:.3f})"


def folder() -> Path:
    return default_cache() / "bench-arm-correlation"


def networks() -> list[Arch]:
    """Return the networks, drawn uniformly from the space among those that both runtimes take."""
    chosen, space = recipe(SETTINGS.quantization), Space.named(SETTINGS.space).at(SETTINGS.input_size)
    drawn = sample_test_set(space, SETTINGS.input_size, RUNTIMES[0], chosen, 2 * SETTINGS.networks, 0)
    return [arch for arch in drawn if not operator_check.reasons(arch, RUNTIMES[1], chosen)][: SETTINGS.networks]


def models(archs: Iterable[Arch], runtime: str) -> Iterable[Model]:
    """Return the models of networks with random weights; files that exist are kept.

    Raises:
        ConversionError: a network could not be converted.
    """
    place = folder() / "files" / runtime
    chosen = recipe(SETTINGS.quantization)
    return convert_models([Conversion(arch, runtime, chosen, place / arch.id) for arch in archs], 1, folder())


def count_all(emulator: Emulator, progress: Progress) -> None:
    """Count the instructions of all files that are not counted yet.

    Raises:
        ConversionError, DeviceError: a network failed.
    """
    image = np.zeros((1, 3, SETTINGS.input_size, SETTINGS.input_size), np.float32)
    archs, path = networks(), folder() / "instructions.jsonl"
    known = {(row["arch_id"], row["runtime"]) for row in read_rows(path)}
    for runtime in RUNTIMES:
        missing = [arch for arch in archs if (arch.id, runtime) not in known]
        for index, model in enumerate(models(missing, runtime)):
            progress(1 - (len(missing) - index) / len(archs), f"{runtime} instructions of {model.arch.name}")
            job = Job(model.arch.name, runtime, model.files, image)
            count = emulator.count(CPUS[SETTINGS.cpu], job)
            row = {"arch_id": model.arch.id, "runtime": runtime, "instructions": count.total}
            append_row(path, row | {"emulator": emulator.setup.identity})


def measure_all(progress: Progress) -> None:
    """Measure the latency on this machine of all files that are not measured yet, beside the reference network.

    Raises:
        ConversionError: a network failed.
        Disturbed, DeviceError: other processes disturbed every attempt; the rows so far are kept.
    """
    archs, path, device = networks(), folder() / "latency.jsonl", open_device("local")
    known = {(row["arch_id"], row["runtime"]) for row in read_rows(path)}
    for runtime in RUNTIMES:
        missing = [arch for arch in archs if (arch.id, runtime) not in known]
        found = list(models([reference(SETTINGS.input_size), *missing], runtime)) if missing else []
        for start in range(1, len(found), BATCH):
            progress(1 - (len(found) - start) / len(archs), f"{runtime} latency")
            batch = [found[0], *found[start : start + BATCH]]

            def once(batch: list[Model] = batch) -> Any:
                return device.measure(batch, Settings(), lambda share, text: None)

            rows = retry_disturbed(once, ATTEMPTS, PAUSE_S, errors=(Disturbed, DeviceError))
            for model, row in zip(batch[1:], rows[1:], strict=True):
                measured = {"ratio": row.ratio, "reference_ms": rows[0].median_ms, "converged": row.converged}
                append_row(path, {"arch_id": model.arch.id, "runtime": runtime} | measured)


def rows_of() -> list[dict[str, Any]]:
    """Return a row for each file that is counted or measured."""
    counted = {(row["arch_id"], row["runtime"]): row for row in read_rows(folder() / "instructions.jsonl")}
    measured = {(row["arch_id"], row["runtime"]): row for row in read_rows(folder() / "latency.jsonl")}
    if not counted and not measured:
        return []
    return [
        {
            "part": "correlation",
            "runtime": runtime,
            "arch_id": arch.id,
            "macs": cost(arch).macs,
            "instructions": counted.get(key, {}).get("instructions"),
            "latency_ratio": measured.get(key, {}).get("ratio"),
            "converged": measured.get(key, {}).get("converged"),
        }
        for runtime in RUNTIMES
        for arch in networks()
        if (key := (arch.id, runtime)) in counted or key in measured
    ]


def correlations(rows: Iterable[dict[str, Any]]) -> list[Correlation]:
    """Return the correlation of each runtime whose files are counted and measured."""
    complete = [row for row in rows if row["instructions"] is not None and row["latency_ratio"] is not None]
    found = []
    for runtime in RUNTIMES:
        own = [row for row in complete if row["runtime"] == runtime]
        if len(own) < 3:
            continue
        table = np.array([[row["instructions"], row["macs"], row["latency_ratio"]] for row in own], float)
        rng = np.random.default_rng(0)
        draws = np.array([_taus(table[rng.integers(0, len(table), len(table))]) for _ in range(DRAWS)])
        low, high = np.percentile(draws, [2.5, 97.5], axis=0)
        values = zip(_taus(table), low, high, strict=True)
        names = ("instructions", "macs", "difference")
        found.append(Correlation(runtime, len(own), dict(zip(names, values, strict=True))))
    return found


def _taus(table: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return tau-b of the first and the second column with the third, and their difference."""
    from scipy.stats import kendalltau

    first, second = (float(kendalltau(table[:, index], table[:, 2]).statistic) for index in (0, 1))
    return first, second, first - second


def claims_of(found: Iterable[Correlation]) -> list[Claim]:
    """Return a claim for each runtime: instructions order networks by latency better than MACs do."""
    return [
        Claim(
            name=f"tau-b with x86 latency, instructions minus MACs ({one.runtime} INT8, {one.networks} networks)",
            target="above 0",
            measured=f"{one.values['difference'][0]:.3f}: {one.text('instructions')}, MACs {one.text('macs')}",
            passed=one.values["difference"][1] > 0,
            low=one.values["difference"][1],
            high=one.values["difference"][2],
        )
        for one in found
    ]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the complete rows of a file; a killed run may leave an incomplete last one."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Append a row to a file, in place of an incomplete last one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = path.read_bytes() if path.exists() else b""
    if content and not content.endswith(b"\n"):
        path.write_bytes(content[: content.rfind(b"\n") + 1])
    with open(path, "a") as file:
        file.write(json.dumps(row) + "\n")
