"""The results that a search writes beside the weights of each network, and their rows in tables.

A result is written once, when it is complete. Latencies are ratios to the study's reference network, converted to
milliseconds with the reference network's own latency.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from arch.space import Arch
from explore.evaluation.intervals import Interval
from explore.search.costs.quantities import LOCAL, LatencySource, is_measured


class Result(BaseModel):
    """Base class: immutable; keys of later versions are ignored, so that a result stays readable."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a result from its file."""
        return cls.model_validate_json(path.read_bytes())


class TrainResult(Result):
    """Training of one network, or the estimate that replaces it.

    `trained_with` is the device and the precision (`explore.train.engine.Engine.name`), None in files of version 0.1.
    `teacher` is the network that it also learned from, and the first digits of the SHA-256 of its file.
    `samples`, `train_s`, `loss` and `skipped_steps` are None for estimates; `estimator`,
    `noise_mm` and `cpu_s` are set for estimates alone. `measured` is false where the error is a prediction and the
    exported file has random weights; `in_full` is false where the network was not trained for all of its samples.
    `float_mpjpe_interval` is the 95% interval of `float_mpjpe_mm` on the evaluated part.
    """

    samples: int | None = None
    train_s: float | None = None
    loss: float | None = None
    skipped_steps: int | None = None
    float_mpjpe_mm: float
    float_pa_mpjpe_mm: float | None = None
    float_mpjpe_interval: Interval | None = None
    estimator: str | None = None
    in_full: bool = True
    noise_mm: float | None = None
    cpu_s: float | None = None
    measured: bool = True
    trained_with: str | None = None
    teacher: str | None = None


class NetworkResult(TrainResult):
    """Fields that candidates and finalists share: the network, its training and its cost (see `arch.cost.Cost`)."""

    name: str
    arch_id: str
    arch: Arch
    config_hash: str
    params: int
    macs: int
    paper_gflops: float
    peak_activation_bytes_float: int
    peak_activation_bytes_int8: int
    weight_bytes_float: int
    weight_bytes_int8: int


class RemoteLatency(Result):
    """Latency of a file on a remote device, ms, with the 95% interval of its ratio to the reference network."""

    model_config = ConfigDict(frozen=True, extra="allow")
    latency_ms: float
    ratio: float
    source: LatencySource = "measured"


class WithLatency(Result):
    """The costs of a file that depend on how it was exported or measured.

    latency_ms: on this machine; None where it does not count or is unknown
    remote: on other devices, by address
    instructions: of one inference, by the name of the emulated processor
    peak_bytes: largest sum of activations alive at the same time; None in files of version 0.1
    """

    peak_bytes: int | None = None
    latency_ms: float | None = None
    latency: dict[str, Any] = {}
    latency_source: LatencySource = "measured"
    remote: dict[str, RemoteLatency] = Field(default={}, validation_alias=AliasChoices("remote", "elsewhere"))
    instructions: dict[str, int] = {}

    @property
    def sources(self) -> dict[str, LatencySource]:
        """Where each latency is from, by address."""
        here: dict[str, LatencySource] = {} if self.latency_ms is None else {LOCAL: self.latency_source}
        return here | {address: latency.source for address, latency in self.remote.items()}

    @property
    def is_measured(self) -> bool:
        """Whether every latency is measured."""
        return all(map(is_measured, self.sources.values()))


class CandidateResult(NetworkResult, WithLatency):
    """One candidate: the error of its exported file on the validation part, and that file's latency.

    part: the evaluated part: test in studies of version 0.1; missing in files of older versions
    mpjpe_interval: 95% interval of the error; None for predictions, and in files of version 0.1
    """

    runtime: str
    recipe: str
    file: str = Field(description="model file, relative to the candidate's folder")
    bytes: int
    part: Literal["validation", "test"] | None = None
    mpjpe_mm: float
    pa_mpjpe_mm: float | None
    mpjpe_interval: Interval | None = None
    export_s: float
    cached: bool = False

    def measured_ratio(self, address: str) -> float | None:
        """Return the measured latency on a device as a ratio to the reference network; None if there is none."""
        if address not in self.sources or not is_measured(self.sources[address]):
            return None
        return self.latency.get("ratio") if address == LOCAL else self.remote[address].ratio


def candidate_files(folder: Path) -> list[Path]:
    """Return the files of the results of all candidates of a study; the names of their folders are hashes."""
    return sorted((folder / "candidates").glob("*/result*.json"))


def candidate_results(folder: Path) -> Iterator[tuple[Path, CandidateResult]]:
    """Yield the file and the result of each candidate of a study."""
    for path in candidate_files(folder):
        yield path, CandidateResult.read(path)


class FinalistRow(WithLatency):
    """One exported file of a finalist: its runtime and recipe, its figures on the test part and its certificate."""

    runtime: str
    recipe: str
    float_fallback_layers: list[str] = Field(
        default=[], validation_alias=AliasChoices("float_fallback_layers", "float_islands")
    )
    bytes: int
    float_bytes: int
    mpjpe_mm: float
    pa_mpjpe_mm: float
    mpjpe_interval: Interval | None = None
    float_mpjpe_mm: float
    float_file_mpjpe_mm: float
    export_s: float
    certificate: dict[str, Any]
    checks_passed: bool = Field(validation_alias=AliasChoices("checks_passed", "gates_hold"))
    checks_failed: list[str] = Field(validation_alias=AliasChoices("checks_failed", "gates_failed"))
    float_latency_ms: float | None = None
    bundle: str | None
    file: str


class FinalistResult(NetworkResult):
    """One finalist: trained longer, exported for every runtime in float and with each of its `recipes`, by name.

    equal_samples: its training up to the samples that all finalists have, evaluated on the test part; None where all
        finalists are trained on equal samples
    total_train_s: training time, its candidate's included
    """

    recipes: list[str] = []
    rows: list[FinalistRow]
    equal_samples: TrainResult | None = None
    total_train_s: float | None = None


def finalist_results(folder: Path) -> dict[Path, FinalistResult]:
    """Read the results of all finalists of a study, by file."""
    return {path: FinalistResult.read(path) for path in sorted((folder / "finalists").glob("*/result.json"))}
