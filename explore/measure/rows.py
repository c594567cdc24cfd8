"""Input and output of a measurement, the same for every device: model files, settings and rows of results."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from arch.decode import IMAGENET_MEAN, IMAGENET_STD
from arch.errors import WorkError, describe
from arch.files import sha256_file
from arch.space import Arch
from explore.measure.config import MeasureConfig
from explore.measure.probe.protocol import MIN_CPU_SHARE, ProtocolSettings

if TYPE_CHECKING:
    from quantize.bundle import Bundle

MAX_TEXT = 1000  # characters of a text from a device
Isa = Literal["avx2", "avx512", "vnni", "amx"]
Positive = Field(gt=0, allow_inf_nan=False)


class DeviceError(WorkError):
    """A device disconnected, was too slow or full, or sent an invalid reply; one line with the device's own message."""


@dataclass(frozen=True)
class Model:
    """A model file to measure; the runtime loads `files[0]`. `recipe` is the name of its quantization recipe."""

    name: str
    files: tuple[Path, ...]
    runtime: str
    recipe: str
    arch: Arch

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.files)

    def for_probe(self) -> dict[str, Any]:
        """Return the description of the model in a request to `explore.measure.probe`."""
        arch = self.arch
        return {
            "name": self.name,
            "runtime": self.runtime,
            "files": [{"name": p.name, "sha256": sha256_file(p), "bytes": p.stat().st_size} for p in self.files],
            "mean": IMAGENET_MEAN,
            "std": IMAGENET_STD,
            "input_size": arch.input_size,
            "head": arch.head,
            "heatmap_size": arch.heatmap_size,
            "depth_bins": arch.depth_bins,
        }

    def row_values(self, reference: Model, threads: int) -> dict[str, Any]:
        """Return the columns of a row that identify its model."""
        own = {"model": self.name, "runtime": self.runtime, "recipe": self.recipe}
        return {**own, "reference": reference.name, "threads": threads}


def from_bundle(bundle: Bundle) -> Model:
    """Return the model of a bundle, named by the bundle's path."""
    files = tuple(bundle.path / file.name for file in bundle.manifest.files)
    return Model(str(bundle.path), files, bundle.manifest.runtime, bundle.manifest.recipe.name, bundle.arch)


@dataclass(frozen=True)
class Settings:
    """Settings of a measurement on a device.

    Attributes:
        threads: thread counts to measure, each in rounds of its own.
        isa: cap on the instruction set.
        protocol: settings of the latency protocol; its `threads` are not used.
        timeout_s: time that a device may take to load a model, or to send nothing, s.
        min_cpu_share: see `ProtocolSettings`.
    """

    threads: tuple[int, ...] = (1,)
    isa: Isa | None = None
    protocol: MeasureConfig = field(default_factory=MeasureConfig)
    timeout_s: float = 120.0
    min_cpu_share: float = MIN_CPU_SHARE

    def for_count(self, models: int) -> Settings:
        """Return settings for several models, see `MeasureConfig.for_count`."""
        return replace(self, protocol=self.protocol.for_count(models))

    def for_probe(self) -> dict[str, Any]:
        """Return the settings in a request to `explore.measure.probe`."""
        protocol = self.protocol.model_dump(exclude={"threads"})
        settings = ProtocolSettings(**protocol, min_cpu_share=self.min_cpu_share)
        return {"threads": self.threads, "isa": self.isa, "timeout_s": self.timeout_s, "settings": vars(settings)}


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Machine(Record):
    """The hardware and system of a device; None where the device does not report it."""

    system: str
    processor: str
    board: str | None = None
    cores: int | None = Field(None, description="cores that the measurement may use")
    all_cores: int | None = None
    instruction_sets: tuple[str, ...] = ()
    memory_mb: int | None = None
    python: str | None = None
    browser: str | None = None
    features: tuple[str, ...] = Field((), description="features of the browser's WebAssembly")


class MachineState(Record):
    """The state of a device at one moment; None where the device does not report it."""

    governor: str | None = None
    mhz: tuple[int, ...] | None = None
    throttle_events: int | None = Field(None, description="thermal throttling events since the device was started")
    board_throttled: str | None = Field(None, description="throttling flags of a Raspberry Pi; 0: never throttled")
    hottest_c: FiniteFloat | None = None
    load: FiniteFloat | None = None


class Row(Record):
    """Latency of a model at a thread count on a device, ms per call, with 95% intervals and ratios to `reference`.

    `median_ms` to `waiting` describe the network alone (see `explore.measure.latency.Latency`). `end_to_end_ms` adds
    crop, resize, normalisation and decoding of one person in one photo.
    """

    device: str
    machine: Machine
    before: MachineState = MachineState()
    after: MachineState = MachineState()
    model: str
    reference: str
    runtime: str
    recipe: str
    runtime_version: str
    delegate: str
    delegated: float | None = Field(None, ge=0, le=1, description="fraction of the operators that the delegate runs")
    isa: Isa | None = Field(None, description="cap on the instruction set")
    instruction_sets_used: tuple[str, ...] | None = Field(None, description="as far as the runtime reports them")
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
    converged: bool
    cpu_over_wall: FiniteFloat | None = None
    waiting: FiniteFloat | None = None
    decode_ms: FiniteFloat | None = None
    end_to_end_ms: FiniteFloat | None = None
    load_ms: FiniteFloat | None = None
    first_ms: FiniteFloat | None = Field(None, description="the first call, which may include preparation")
    peak_mb: FiniteFloat | None = Field(None, description="peak resident memory of the process")
    model_mb: FiniteFloat | None = Field(None, description="resident memory added by loading and running the model")
    under_load: bool = Field(False, description="measured while EDGEPOSE_BACKGROUND_LOAD accepted other processes")
    notes: tuple[str, ...] = ()


Validated = TypeVar("Validated", bound=Record)


def validated(kind: type[Validated], values: Any, device: str) -> Validated:
    """Return a record from a device's reply, whose texts lose control characters, which a terminal would obey.

    Raises:
        DeviceError: the reply is invalid.
    """
    try:
        return kind.model_validate(_printable(values))
    except ValidationError as error:
        raise DeviceError(f"{device}: invalid reply: {describe(error, kind)}") from None


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return "".join(character for character in value[:MAX_TEXT] if character.isprintable())
    if isinstance(value, list | tuple):
        return [_printable(part) for part in value]
    return {_printable(key): _printable(part) for key, part in value.items()} if isinstance(value, dict) else value


def notes(machine: Machine, before: MachineState, after: MachineState, threads: int) -> tuple[str, ...]:
    """Return warnings about the conditions of a measurement."""
    found = []
    if before.governor and before.governor not in ("performance", "schedutil"):
        found.append(f"the frequency governor is {before.governor}")
    if before.mhz and after.mhz and min(after.mhz) < 0.9 * max(before.mhz):
        found.append(f"the frequency changed from {max(before.mhz)} to {min(after.mhz)} MHz")
    throttled = (after.throttle_events or 0) - (before.throttle_events or 0)
    if throttled > 0:
        found.append(f"thermally throttled {throttled} times during the measurement")
    if after.board_throttled and after.board_throttled not in ("0", "0x0"):
        found.append(f"the board was throttled (flags {after.board_throttled})")
    if machine.cores and threads > machine.cores:
        found.append(f"{threads} threads on {machine.cores} cores")
    return tuple(found)
