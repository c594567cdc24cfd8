"""The columns that CSV files, terminal, README and page share: one header, unit and explanation each."""

from __future__ import annotations

from dataclasses import dataclass

DEVICE_PREFIX = "latency_ms "  # keys of latencies on remote devices: this prefix, then the device
COUNT_PREFIX = "instructions "  # keys of instruction counts: this prefix, then the processor
SOURCE_PREFIX = "source "  # keys of the sources of latencies: this prefix, then the key of the latency
SOURCE_TOOLTIP = (
    "where the latency is from. Measured; measured under load: EDGEPOSE_BACKGROUND_LOAD allowed other processes. Not "
    "measured, since other processes disturbed it: candidate, the latency of the same network's candidate file; predictor "
    "or MACs, a prediction."
)


@dataclass(frozen=True)
class Column:
    """One column.

    key: name in code, of a value in the unit that the key ends in (bytes and plain counts otherwise)
    title, unit: together the header
    scale: value of the key's unit in one of the header's unit, such as 1e6 for MACs in millions
    digits: decimal places of a number; None: text, or a number shown as it is
    log: plotted on a logarithmic axis
    plotted: offered as an axis and a filter of the page; lower is better for all of these
    """

    key: str
    title: str
    tooltip: str
    unit: str = ""
    scale: float = 1.0
    digits: int | None = None
    log: bool = False
    plotted: bool = False

    @property
    def header(self) -> str:
        return f"{self.title} {self.unit}".strip()

    def text(self, value: float) -> str:
        """Return a value for people, without its unit; an empty string for NaN."""
        return "" if value != value else f"{value / self.scale:.{self.digits or 0}f}"


_COLUMNS = (
    Column("trial", "trial", "number of the trial in the study"),
    Column("state", "state", "complete, pruned or failed"),
    Column("stage", "stage", "how far the trial came"),
    Column("name", "name", "preset, or id of the network"),
    Column("arch_id", "id", "hash of the network's fields"),
    Column("kind", "kind", "candidate: trained briefly; exported: a finalist, trained in full and written as a bundle"),
    Column("runtime", "runtime", "runtime that executes the file"),
    Column("recipe", "quantization", "quantization recipe of the file"),
    Column(
        "part", "part",
        "part of the data that the errors in this row were measured on. Candidates: validation, on which every choice is made. "
        "Exported files: test, used once, after they were chosen. Version 0.1 evaluated both on the test part.",
    ),
    Column(
        "mpjpe_mm", "MPJPE",
        "mean per-joint position error of the exported file on the row's part of the data; in brackets its 95% bootstrap interval",
        "mm", digits=1, plotted=True,
    ),
    Column("mpjpe_low_mm", "MPJPE low", "lower bound of the 95% bootstrap interval of the MPJPE", "mm", digits=1),
    Column("mpjpe_high_mm", "MPJPE high", "upper bound of the 95% bootstrap interval of the MPJPE", "mm", digits=1),
    Column("units", "resampled units", "independent units that the bootstrap resamples: subjects, clips or frames"),
    Column("pa_mpjpe_mm", "PA-MPJPE", "MPJPE after Procrustes alignment (scale, rotation, translation)", "mm", digits=1),
    Column("float_mpjpe_mm", "float MPJPE", "MPJPE of the network before quantization", "mm", digits=1),
    Column("latency_ms", "latency", "time of one inference of the file", "ms", digits=3, log=True, plotted=True),
    Column(f"{SOURCE_PREFIX}latency_ms", "latency from", SOURCE_TOOLTIP),
    Column("ratio_low", "latency ratio low", "lower bound (95%) of the latency relative to the study's reference network"),
    Column("ratio_high", "latency ratio high", "upper bound (95%) of the latency relative to the study's reference network"),
    Column("float_latency_ms", "float latency", "time of one inference of the float file", "ms", digits=3),
    Column("macs", "MACs", "multiply-accumulate operations of one inference, in millions", "M", 1e6, 1, True, True),
    Column("params", "params", "weights of the network, in millions", "M", 1e6, 2, True, True),
    Column("bytes", "size", "size of the model file (1 MB = 1,000,000 bytes)", "MB", 1e6, 2, True, True),
    Column("memory", "peak memory", "largest sum of activations alive at the same time, in the file's precision", "MB", 1e6, 3, True, True),
    Column("samples", "samples", "training samples that the network has seen"),
    Column("train_s", "training", "training time by one worker", "s", digits=0),
    Column("on_front", "on front", "not dominated by another row of the same kind and runtime, by the point estimates"),
    Column(
        "front", "front",
        "yes: not dominated by another row of the same kind and runtime. Indistinguishable: the 95% interval of the paired "
        "difference of the errors contains 0. Not tested: no intervals, so only the point estimates say so.",
    ),
    Column("checks_failed", "failed checks", "checks of the bundle's certificate that failed"),
    Column("network", "architecture", "encoder and width, stem stride, intermediate channels, concatenation, decoder, head, activation"),
    Column("seed", "seed", "seed of the study"),
    Column("config_hash", "config hash", "hash of the study's configuration"),
    Column("bundle", "bundle", "folder of the bundle within the study"),
    Column("reason", "reason", "why the trial has no figures"),
)  # fmt: skip
COLUMNS = {column.key: column for column in _COLUMNS}
PLOTTED = tuple(column.key for column in _COLUMNS if column.plotted)

TRIAL_KEYS = (
    "trial", "state", "stage", "name", "arch_id", "recipe", "part", "mpjpe_mm", "mpjpe_low_mm", "mpjpe_high_mm", "units",
    "pa_mpjpe_mm", "float_mpjpe_mm", "latency_ms", "macs", "params", "bytes", "memory", "samples", "seed", "config_hash",
    "on_front", "front", "reason",
)  # fmt: skip
EXPORTED_KEYS = (
    "name", "arch_id", "runtime", "recipe", "part", "mpjpe_mm", "mpjpe_low_mm", "mpjpe_high_mm", "units", "pa_mpjpe_mm",
    "float_mpjpe_mm", "latency_ms", "ratio_low", "ratio_high", "float_latency_ms", "macs", "params", "bytes", "memory",
    "samples", "train_s", "network", "seed", "config_hash", "on_front", "front", "checks_failed", "bundle",
)  # fmt: skip
OLD_KEYS = {"rung": "stage", "gates_failed": "checks_failed"}  # headers of version 0.1 that differ from the keys


def column(key: str) -> Column:
    """Return the column of a key, also of a latency on a remote device and of its source."""
    if key.startswith(SOURCE_PREFIX + DEVICE_PREFIX):
        latency = column(key.removeprefix(SOURCE_PREFIX))
        return Column(key, f"{latency.title} from", SOURCE_TOOLTIP)
    if key.startswith(DEVICE_PREFIX):
        device = key.removeprefix(DEVICE_PREFIX)
        return Column(
            key, f"latency on {device}", f"time of one inference on {device}", "ms", digits=3, log=True, plotted=True
        )
    if key.startswith(COUNT_PREFIX):
        cpu = key.removeprefix(COUNT_PREFIX)
        tooltip = f"instructions of one inference of the file on an emulated {cpu}, in millions; caches and clocks are ignored"
        return Column(key, f"instructions on {cpu}", tooltip, "M", 1e6, 2, True, True)
    return COLUMNS[key]


def key_of(header: str) -> str:
    """Return the key of a CSV header of this version or of version 0.1; unknown headers stay as they are."""
    if header.startswith("latency on "):
        for end, prefix in ((" ms", DEVICE_PREFIX), (" from", SOURCE_PREFIX + DEVICE_PREFIX)):
            if header.endswith(end):
                return prefix + header.removeprefix("latency on ").removesuffix(end)
    if header.startswith("instructions on "):
        return COUNT_PREFIX + header.removeprefix("instructions on ").removesuffix(" M")
    by_header = {found.header: found.key for found in _COLUMNS}
    return by_header.get(header) or OLD_KEYS.get(header, header)


def with_devices(keys: tuple[str, ...], devices: tuple[str, ...], sources: bool = False) -> tuple[str, ...]:
    """Return the keys with those of remote devices and emulated processors behind the local latency.

    sources: whether the source of a latency follows it
    """
    at = keys.index("latency_ms")
    shown = [
        key
        for cost in ("latency_ms", *devices)
        for key in ((cost, SOURCE_PREFIX + cost) if sources and not cost.startswith(COUNT_PREFIX) else (cost,))
    ]
    return (*keys[:at], *shown, *keys[at + 1 :])
