"""Rows of a study's tables: candidates, exported files, and the user's own models."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from explore.report.columns import COUNT_PREFIX, DEVICE_PREFIX, SOURCE_PREFIX
from explore.search.costs.quantities import LatencySource, is_measured

nan = math.nan
AnyRow = TypeVar("AnyRow", bound="Row")


def with_interval(value: float, low: float, high: float) -> str:
    """Return `136.8 (132.1 to 141.7)`; the value alone without an interval, an empty string without a value."""
    if value != value:
        return ""
    return f"{value:.1f} ({low:.1f} to {high:.1f})" if math.isfinite(low) and math.isfinite(high) else f"{value:.1f}"


@dataclass(frozen=True)
class Row:
    """Figures of one network or file; NaN where a figure is missing. The fields are keys of `explore.report.columns`.

    part: part of the data that the errors were measured on, validation or test
    mpjpe_low_mm, mpjpe_high_mm: 95% bootstrap interval of the MPJPE, over `units` such as "60 subjects"
    on_front: whether no other row of the same kind and runtime is better, by the point estimates
    front: the same in words, with the members of the front that it cannot be distinguished from
    baseline: whether this is a preset that the study compares its own networks with
    remote: latency in ms on remote devices, and instructions on emulated processors, by column key
    sources: where each latency is from, by its column key; those of version 0.1 and of references are measured
    """

    kind: ClassVar[str] = "reference"  # of the user's own, on the page alone

    name: str = ""
    arch_id: str = ""
    runtime: str = ""
    recipe: str = ""
    part: str = ""
    mpjpe_mm: float = nan
    mpjpe_low_mm: float = nan
    mpjpe_high_mm: float = nan
    units: str = ""
    pa_mpjpe_mm: float = nan
    float_mpjpe_mm: float = nan
    latency_ms: float = nan
    float_latency_ms: float = nan
    macs: float = nan
    params: float = nan
    bytes: float = nan
    memory: float = nan
    samples: float = nan
    network: str = ""
    bundle: str = ""
    on_front: bool = False
    front: str = ""
    baseline: bool = False
    remote: dict[str, float] = field(default_factory=dict)
    sources: dict[str, LatencySource] = field(default_factory=dict)

    @property
    def file_key(self) -> str:
        """Identity of the file that the figures belong to."""
        return f"{self.kind}/{self.arch_id}/{self.runtime}/{self.recipe}"

    @property
    def has_interval(self) -> bool:
        return math.isfinite(self.mpjpe_low_mm) and math.isfinite(self.mpjpe_high_mm)

    @property
    def mpjpe_text(self) -> str:
        """The MPJPE in mm with its interval, if there is one."""
        return with_interval(self.mpjpe_mm, self.mpjpe_low_mm, self.mpjpe_high_mm)

    def get(self, key: str) -> Any:
        """Return the value of a column, None for a column that this kind of row does not have."""
        if key.startswith(SOURCE_PREFIX):
            return self.sources.get(key.removeprefix(SOURCE_PREFIX), "")
        return self.remote.get(key, nan) if key.startswith((DEVICE_PREFIX, COUNT_PREFIX)) else getattr(self, key, None)

    def is_measured(self, key: str) -> bool:
        """Return whether the value of a column is no prediction in place of a measurement."""
        return is_measured(self.sources.get(key, "measured"))


@dataclass(frozen=True)
class TrialRow(Row):
    """One trial."""

    kind: ClassVar[str] = "candidate"

    trial: float = nan
    state: str = "complete"
    stage: str = ""
    reason: str = ""


@dataclass(frozen=True)
class ExportedRow(Row):
    """One exported file of a finalist. checks_failed: names of failed certificate checks, joined by semicolons."""

    kind: ClassVar[str] = "exported"

    ratio_low: float = nan
    ratio_high: float = nan
    train_s: float = nan
    checks_failed: str = ""


@dataclass(frozen=True)
class EqualSamplesRow(ExportedRow):
    """A finalist after the number of samples that all finalists have: float network's error, file's latency."""

    kind: ClassVar[str] = "equal samples"
