"""What a measurement takes and gives, the same for every device."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from arch.decode import MEAN, STD
from arch.files import sha256_file
from arch.space import Arch
from explore.config import MeasureConfig
from explore.measure.probe import QUIET, tolerated
from quantize.bundle import Bundle

Isa = Literal["avx2", "avx512", "vnni", "amx"]
Positive = Field(gt=0, allow_inf_nan=False)


class DeviceError(RuntimeError):
    """A device went away, was too slow or full, or answered nonsense; one line with the device's own words."""


@dataclass(frozen=True)
class Model:
    """A model file to measure; `files[0]` is the one that the runtime loads."""

    name: str
    files: tuple[Path, ...]
    runtime: str
    recipe: str
    arch: Arch

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.files)

    def for_probe(self) -> dict[str, Any]:
        """What `explore.measure.probe` wants to know of it."""
        files = [{"name": p.name, "sha256": sha256_file(p), "bytes": p.stat().st_size} for p in self.files]
        arch = self.arch
        shape = {"input": arch.input, "head": arch.head, "heatmap": arch.heatmap, "depth_bins": arch.depth_bins}
        return {"name": self.name, "runtime": self.runtime, "files": files, "mean": MEAN, "std": STD, **shape}


def from_bundle(bundle: Bundle) -> Model:
    files = tuple(bundle.path / file.name for file in bundle.manifest.files)
    return Model(str(bundle.path), files, bundle.manifest.runtime, bundle.manifest.recipe.name, bundle.arch)


@dataclass(frozen=True)
class Settings:
    """How to measure. `limit_s` bounds how long a device may take to load a model, or keep silent.

    `quiet` is the share of the processor under which a round was disturbed.
    """

    threads: tuple[int, ...] = (1,)
    isa: Isa | None = None
    rules: MeasureConfig = field(default_factory=MeasureConfig)
    limit_s: float = 120.0
    quiet: float = QUIET

    def for_count(self, models: int) -> Settings:
        """The budget is meant for a model beside its reference; more models take longer."""
        return replace(self, rules=self.rules.model_copy(update={"budget": self.rules.budget * max(1.0, models / 2)}))

    def for_probe(self) -> dict[str, Any]:
        rules = {key: getattr(self.rules, key) for key in ("rounds", "calls", "width", "budget")}
        return {
            "threads": self.threads,
            "isa": self.isa,
            "check_s": self.limit_s,
            "rules": rules | {"quiet": self.quiet, "neighbours": tolerated()},
        }


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Machine(Part):
    """A device as it is; what it does not tell is None."""

    system: str
    processor: str
    board: str | None = None
    cores: int | None = Field(None, description="usable by the measurement")
    all_cores: int | None = None
    instruction_sets: tuple[str, ...] = ()
    memory_mb: int | None = None
    python: str | None = None
    browser: str | None = None
    features: tuple[str, ...] = Field((), description="of the browser's WebAssembly")


class State(Part):
    """A device as it was at one moment; what it does not tell is None."""

    governor: str | None = None
    mhz: tuple[int, ...] | None = None
    throttle_events: int | None = Field(None, description="thermal, since the device was started")
    board_throttled: str | None = Field(None, description="a Raspberry Pi's own flags; 0: never")
    hottest_c: FiniteFloat | None = None
    load: FiniteFloat | None = None


class Row(Part):
    """One model at one thread count on one device. Milliseconds a call; 95% intervals; ratios to `reference`.

    `median_ms` and what belongs to it are of the network alone; end to end is crop, resize, normalise, network and
    decode of one person in one photo. `settled` says whether the interval came to be within the asked width.
    """

    device: str
    machine: Machine
    before: State = State()
    after: State = State()
    model: str
    reference: str
    runtime: str
    recipe: str
    runtime_version: str
    delegate: str
    delegated: float | None = Field(None, ge=0, le=1, description="share of the operators that the delegate took")
    isa: Isa | None = Field(None, description="cap on the instruction set")
    instruction_sets_used: tuple[str, ...] | None = Field(None, description="where the runtime tells")
    kernels: dict[str, int] | None = None
    threads: int = Field(ge=1)
    median_ms: float = Positive
    p90_ms: float | None = Field(None, gt=0, allow_inf_nan=False)
    low_ms: float = Positive
    high_ms: float = Positive
    ratio: float = Positive
    ratio_low: float = Positive
    ratio_high: float = Positive
    calls: int = Field(ge=1)
    rounds: int = Field(ge=1)
    dropped_rounds: int = Field(ge=0)
    settled: bool
    cpu_over_wall: FiniteFloat | None = None
    waiting: FiniteFloat | None = Field(None, description="share of time runnable without a processor")
    decode_ms: FiniteFloat | None = None
    end_to_end_ms: FiniteFloat | None = None
    load_ms: FiniteFloat | None = None
    first_ms: FiniteFloat | None = Field(None, description="the first call, which prepares what load left undone")
    peak_mb: FiniteFloat | None = Field(None, description="resident memory of the process at most")
    model_mb: FiniteFloat | None = Field(None, description="of that, what loading and running the model added")
    notes: tuple[str, ...] = ()


Checked = TypeVar("Checked", bound=Part)


def checked(kind: type[Checked], values: Any, device: str) -> Checked:
    """A part from what a device answered.

    Raises:
        DeviceError: the answer makes no sense.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        given = repr(first["input"])[:80]
        raise DeviceError(f"{device}: answered nonsense: {key or 'answer'}: {first['msg']} (given: {given})") from None


def notes(machine: Machine, before: State, after: State, threads: int) -> tuple[str, ...]:
    """What a reader should know before believing a row."""
    found = []
    if before.governor and before.governor not in ("performance", "schedutil"):
        found.append(f"the frequency governor is {before.governor}")
    if before.mhz and after.mhz and min(after.mhz) < 0.9 * max(before.mhz):
        found.append(f"the frequency went from {max(before.mhz)} to {min(after.mhz)} MHz")
    if (after.throttle_events or 0) > (before.throttle_events or 0):
        found.append(f"throttled by heat {after.throttle_events - (before.throttle_events or 0)} times meanwhile")  # type: ignore[operator]
    if after.board_throttled and after.board_throttled not in ("0", "0x0"):
        found.append(f"the board was throttled (flags {after.board_throttled})")
    if machine.cores and threads > machine.cores:
        found.append(f"{threads} threads on {machine.cores} cores")
    return tuple(found)
