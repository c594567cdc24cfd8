"""The configuration of a study: one YAML file, every key of which is also an option of the command."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from arch.files import content_hash
from explore.config import MAX_WORKERS, PX, SECONDS, SHARE, Strict
from explore.data.config import DataConfig, DatasetConfig
from explore.estimate.config import EstimateConfig
from explore.export.config import ExportConfig, runtime_name
from explore.measure.config import MeasureConfig
from explore.search.costs.quantities import ERROR, QUANTITIES, Limit, parse_limit, quantity
from explore.train.config import CandidateConfig, Device, FinalConfig
from quantize.environment import usable_cores

DURATION = re.compile("".join(rf"(?:(\d+(?:\.\d+)?){unit})?" for unit in "dhms"))
MAX_DAYS = 1000
STUDY_NAME = re.compile(r"[\w.+@=,-]([\w .+@=,-]{0,98}[\w.+@=,-])?")  # within `results`, and within a URL
MAC_LIMIT = "macs=0.5L"  # of studies without another limit of MACs

# Keys that may change when a study is resumed.
FREE_KEYS = (
    "study", "results", "budget", "trials", "finalists", "final", "equal_compute", "references", "workers", "timeout",
    "runtimes", "predictor", "storage", "cache", "ray", "lease", "device", "sampler",
)  # fmt: skip
# Keys that studies may lack; at their defaults they do not change the hash.
LATER_KEYS = ("quantizations", "objective", "objectives", "estimator", "estimate", "rungs", "eta", "precision")
LATER_DATASET_KEYS = ("framing", "skeleton")


class SearchConfig(Strict):
    """A study: the space, the data, the training of candidates and finalists, the measurements and the storage."""

    renamed: ClassVar[dict[str, str]] = {
        "scale": "input_size",
        "recipe": "quantization",
        "recipes": "quantizations",
    }
    replaced: ClassVar[dict[str, str]] = {
        "devices": "objectives",
        "max_ms": "limits",
        "max_macs": "limits",
        "max_cost": "limits",
    }

    study: str = Field("", description="name of the study's folder; empty: from space, data and input size")
    results: str = Field("results", description="folder of all studies", json_schema_extra={"metavar": "FOLDER"})
    space: str = Field("mobile", description="search space: a name or a YAML file")
    input_size: int = Field(
        64, ge=32, description="side of the network's input; networks and heatmaps scale with it", json_schema_extra=PX
    )
    data: str = Field(
        "synthetic:easy",
        description="synthetic:easy, READER:PATH, or several joined by +",
        json_schema_extra={"metavar": "DATA"},
    )
    dataset: DatasetConfig = Field(DatasetConfig(), description="parts of the data set")
    budget: str = Field(
        "15m",
        description="duration of the search, such as 15m, 8h or 2d; the numbers that are not given are planned for it; "
        "none: no plan and no limit",
        json_schema_extra={"metavar": "DURATION"},
    )
    trials: int = Field(20, ge=1, le=10**6, description="number of candidates, the paper's three networks included")
    estimator: Literal["full", "short", "supernet", "inherit", "predictor"] = Field(
        "full", description="source of a candidate's error; finalists are always trained in full"
    )
    estimate: EstimateConfig = Field(EstimateConfig(), description="estimator")
    rungs: tuple[float, ...] = Field(
        (),
        description="successive-halving rungs, as fractions of a candidate's training (0.1,0.3); only the best 1/eta "
        "continue",
        json_schema_extra=SHARE,
    )
    eta: float = Field(2.0, gt=1, description="reduction factor: one of eta candidates continues at each rung")
    sampler: Literal["cost-aware", "tpe", "nsga2", "gp", "random"] = Field(
        "cost-aware",
        description="how networks are proposed: cost-aware models the error only, the others are Optuna's; may change when a "
        "study is resumed",
    )
    objectives: tuple[str, ...] = Field(
        ("mpjpe", "latency"),
        description="quantities to minimise: mpjpe and any of latency (on this machine), latency@DEVICE (see measure "
        "--help), instructions@CPU (of one inference, on an emulated ARM processor), macs, params, size (of the exported "
        "file), peak-memory (of the activations)",
        json_schema_extra={"metavar": "NAME,..."},
    )
    limits: tuple[str, ...] = Field(
        (MAC_LIMIT,),
        description="largest values of networks on the front, of objectives or other quantities: latency=20ms, size=2MB, "
        f"macs=80M or a fraction of paper-L's; {MAC_LIMIT} holds unless another limit of macs is given",
        json_schema_extra={"metavar": "NAME=VALUE,...", "alias": "limit", "repeated": True},
    )
    candidate: CandidateConfig = Field(CandidateConfig(), description="training of a candidate")
    finalists: int = Field(6, ge=1, description="networks of the front that are trained longer and exported")
    final: FinalConfig = Field(FinalConfig(), description="training of a finalist")
    equal_compute: bool = Field(
        False,
        description="train the cheaper finalists further, until each had as much training time as the most expensive "
        "one; plans do so unless final.samples is given",
    )
    references: tuple[str, ...] = Field(
        (), description="presets to compare with: trained and exported like finalists, whatever their cost"
    )
    runtime: str = Field("litert", description="runtime whose exported files the search evaluates")
    runtimes: tuple[str, ...] = Field(
        ("litert", "openvino", "onnxruntime"), description="runtimes that finalists are exported for"
    )
    quantization: str = Field("int8-static", description="quantization recipe: a name or a YAML file")
    quantizations: tuple[str, ...] = Field(
        (), description="recipes as a dimension of the search; empty: `quantization` only"
    )
    objective: Literal["int8", "float"] = Field(
        "int8", description="file that candidates are evaluated as: the recipe's, or the float file for comparison"
    )
    measure: MeasureConfig = Field(MeasureConfig(), description="latency protocol")
    predictor: str = Field(
        "",
        description="latency predictor of measure --calibrate: skip networks that it predicts to be above a limit, and "
        "replace measurements that other processes disturb",
        json_schema_extra={"metavar": "FILE"},
    )
    workers: int = Field(0, ge=0, le=MAX_WORKERS, description="worker processes; 0: one for each core")
    device: Device = Field(
        "auto",
        description="where to train and evaluate: cpu, cuda, cuda:N, mps, or auto: the GPUs if there are any; workers take "
        "turns with them",
        json_schema_extra={"metavar": "DEVICE"},
    )
    precision: Literal["auto", "f32", "bf16"] = Field(
        "auto", description="precision of training; auto: bf16 on a GPU where a short trial is faster, else f32"
    )
    storage: str = Field(
        "",
        description="sqlite:///, journal:///, postgresql:// or grpc:// URL; empty: study.db in the study's folder",
        json_schema_extra={"metavar": "URL"},
    )
    cache: str = Field(
        "",
        description="folder of finished candidates that studies share; empty: RESULTS/.cache; none: no cache",
        json_schema_extra={"metavar": "FOLDER"},
    )
    ray: str = Field(
        "",
        description="run the workers on this Ray cluster; local: start one here; empty: plain processes",
        json_schema_extra={"metavar": "ADDRESS"},
    )
    lease: float = Field(
        60.0,
        gt=0,
        description="time without a heartbeat after which a worker is considered dead",
        json_schema_extra=SECONDS,
    )
    seed: int = Field(0, ge=0, description="seed of sampler, weights and batches")
    timeout: float = Field(300.0, gt=0, description="time limit of one conversion", json_schema_extra=SECONDS)

    _runtime_names = field_validator("runtime", "runtimes")(runtime_name)

    @model_validator(mode="before")
    @classmethod
    def _take_replaced_keys(cls, values: Any) -> Any:
        """Take over `devices`, `max_ms`, `max_macs` and `max_cost` of version 0.1."""
        if not isinstance(values, dict) or not cls.replaced.keys() & values.keys():
            return values
        old, values = {key: values.get(key) for key in cls.replaced}, dict(values)
        macs = old["max_macs"] if old["max_cost"] is None else old["max_cost"]
        given = [f"latency@{limit}" for limit in _parts(old["max_ms"])] + [f"macs={macs}"] * (macs is not None)
        limited = [text.rpartition("=")[0] for text in given]
        kept = [text for text in _parts(values.get("limits")) if text.rpartition("=")[0] not in limited]
        if given:
            values["limits"] = kept + given
        if old["devices"] is not None:
            first, *others = [f"latency@{device}" for device in _parts(old["devices"])] or [""]
            values["objectives"] = [ERROR, first, *(name for name in others if name not in limited)]
        return {key: value for key, value in values.items() if key not in cls.replaced}

    @field_validator("objective", mode="before")
    @classmethod
    def _file_to_evaluate(cls, value: Any) -> Any:
        if isinstance(value, str) and value.partition(",")[0].partition("@")[0] in QUANTITIES:
            raise ValueError(f"it is int8 or float, the file to evaluate; write objectives: {value}")
        return value

    @field_validator("objectives")
    @classmethod
    def _known_objectives(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        found = [quantity(name) for name in names]
        if ERROR not in names:
            raise ValueError(f"{ERROR} is missing: without the error, the smallest network is the best; add {ERROR}")
        if len({one.column for one in found}) < len(found):
            raise ValueError(
                f"{','.join(names)}: one is named twice, perhaps with other options of its address; keep one"
            )
        if len(names) < 2:
            raise ValueError(f"{ERROR} alone has no front; add a cost, such as {ERROR},latency or {ERROR},macs")
        return (ERROR, *(one.name for one in found if one.name != ERROR))

    @field_validator("limits", mode="before")
    @classmethod
    def _limits_as_texts(cls, values: Any) -> Any:
        """Accept a mapping from names to values, too."""
        return [f"{name}={value}" for name, value in values.items()] if isinstance(values, dict) else values

    @field_validator("limits")
    @classmethod
    def _known_limits(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        found: dict[str, str] = {}
        for limit in map(parse_limit, texts):
            if found.setdefault(limit.quantity.column, limit.text) != limit.text:
                raise ValueError(f"'{limit.text}': {limit.quantity.name} has another limit; keep one")
        return tuple(sorted(({"macs": MAC_LIMIT} | found).values()))

    @property
    def parsed_limits(self) -> tuple[Limit, ...]:
        return tuple(map(parse_limit, self.limits))

    @property
    def mac_limit(self) -> float:
        """The largest allowed number of MACs."""
        return next(limit.value(self.input_size) for limit in self.parsed_limits if limit.quantity.name == "macs")

    @field_validator("study")
    @classmethod
    def _folder_name(cls, name: str) -> str:
        if name and (not STUDY_NAME.fullmatch(name) or set(name) == {"."}):
            raise ValueError(
                "is not the name of a folder; write 1 to 100 letters, digits and spaces or . _ + @ = , - (other folders: "
                "--results)"
            )
        return name

    @field_validator("budget")
    @classmethod
    def _known_duration(cls, text: str) -> str:
        seconds(text)
        return text

    @property
    def budget_s(self) -> float:
        """`budget` in seconds; infinity for none."""
        return seconds(self.budget)

    @property
    def name(self) -> str:
        """Name of the study and of its folder."""
        data = self.data.split(":")[0]
        if self.data.startswith("synthetic"):
            data = self.data.replace(":", "-").split("/")[-1]
        return self.study or f"{Path(self.space).stem}-{data}-{self.input_size}"

    @property
    def folder(self) -> Path:
        return Path(self.results) / self.name

    @property
    def every_runtime(self) -> tuple[str, ...]:
        """The runtime that candidates are evaluated in, then the others that finalists are exported for."""
        return tuple(dict.fromkeys((self.runtime, *self.runtimes)))

    @property
    def data_config(self) -> DataConfig:
        """The settings that open the study's data."""
        return DataConfig(data=self.data, dataset=self.dataset, input_size=self.input_size)

    @property
    def export_config(self) -> ExportConfig:
        """The settings that export the study's networks."""
        return ExportConfig(**{key: getattr(self, key) for key in ExportConfig.model_fields})

    @property
    def processes(self) -> int:
        return self.workers or usable_cores()

    def identity(self) -> dict[str, Any]:
        """Return the settings that a candidate's result depends on; a study is resumed only with the same."""
        values = self.model_dump(mode="json", exclude=set(FREE_KEYS))
        values["estimate"]["supernet"] = ""  # its path differs between machines; its content is in data.json
        later = DatasetConfig().model_dump(mode="json", include=set(LATER_DATASET_KEYS))
        values["dataset"] = {
            key: value for key, value in values["dataset"].items() if key not in later or value != later[key]
        }
        defaults = SearchConfig().model_dump(mode="json", include=set(LATER_KEYS))
        return {key: value for key, value in values.items() if key not in LATER_KEYS or value != defaults[key]}

    @property
    def hash(self) -> str:
        return content_hash(self.identity())

    @property
    def final_hash(self) -> str:
        """Hash of the settings that a finalist's result depends on beyond its candidate's."""
        keys = {"final", "runtimes"} | ({"equal_compute"} if self.equal_compute else set())
        return content_hash([self.hash, self.model_dump(mode="json", include=keys)])


def seconds(text: str) -> float:
    """Return the seconds of a duration such as `15m`, `1h30m` or `2d`; infinity for `none`.

    Raises:
        ValueError: another text, or no time at all.
    """
    if text == "none":
        return math.inf
    match = DURATION.fullmatch(text)
    units = (86400.0, 3600.0, 60.0, 1.0)
    found = sum(float(part) * unit for part, unit in zip(match.groups(), units, strict=True) if part) if match else 0.0
    if not 0 < found <= MAX_DAYS * 86400:
        raise ValueError(
            f"'{text:.40}' is no duration; write one such as 15m, 1h30m or 2d, at most {MAX_DAYS}d, or none"
        )
    return found


def double(duration: str) -> str:
    """Return twice a duration, such as `30m` for `15m`."""
    hours, minutes = divmod(round(2 * seconds(duration) / 60), 60)
    return f"{hours}h{minutes}m" if hours and minutes else f"{hours}h" if hours else f"{minutes}m"


def _parts(value: Any) -> list[str]:
    """Return the entries of a list, or of a text that joins them by commas."""
    return [part for part in value.split(",") if part] if isinstance(value, str) else list(map(str, value or ()))
