"""The configuration of a study: one YAML file, every key of which is also an option of the command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator

from arch.errors import InputError
from arch.files import content_hash

Model = TypeVar("Model", bound=BaseModel)

PX: dict[str, JsonValue] = {"unit": "px"}
SECONDS: dict[str, JsonValue] = {"unit": "s"}
SHARE: dict[str, JsonValue] = {"unit": "share"}
RUNTIME_OF = {"onnx": "onnxruntime"}  # what a runtime is called for short


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DatasetConfig(Strict):
    """Which part of a data set is used, and how the embedded one is rendered."""

    train_subjects: tuple[int, ...] | None = Field(None, description="subjects to train on; none: the protocol's")
    test_subjects: tuple[int, ...] | None = Field(None, description="subjects to test on; none: the protocol's")
    train_step: int | None = Field(
        None, ge=1, description="every n-th frame; none: the protocol's, 1 with own subjects"
    )
    test_step: int | None = Field(None, ge=1, description="every n-th frame; none: the protocol's, 1 with own subjects")
    protocol: Literal[1, 2] = Field(2, description="Human3.6M protocol where no subjects are given")
    test_on: str = Field("", description="READER:PATH whose test part is used; empty: that of the first data set")
    detected: str = Field("", description="Human3.6M: file of detected boxes and root depths; empty: the annotated")
    train: int = Field(6000, ge=1, description="embedded set: frames to train on")
    test: int = Field(500, ge=1, description="embedded set: frames to test on, of bodies never trained on")
    frame: int = Field(
        0, ge=0, description="embedded set: side of a frame; 0: twice the scale, 128 to 512", json_schema_extra=PX
    )
    seed: int = Field(0, ge=0, description="embedded set: seed of the renderer")


class TrainConfig(Strict):
    """One training run. Its length is told in samples seen, so that it does not depend on the batch."""

    samples: int = Field(4000, ge=1, description="training samples seen")
    batch: int = Field(8, ge=1, description="samples a step")
    optimizer: Literal["adamw", "adam"] = Field("adamw", description="adam: the paper's")
    rate: float = Field(8e-3, gt=0, description="peak learning rate")
    schedule: Literal["cosine", "steps"] = Field(
        "cosine", description="steps: a tenth of the rate after 17/25 of the run, and again after 21/25 (the paper's)"
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="of the run, in which the rate rises", json_schema_extra=SHARE)
    weight_decay: float = Field(1e-4, ge=0, description="of AdamW; Adam has none")
    clip: float = Field(1.0, ge=0, description="norm that gradients are cut to; 0: none")
    ema: float = Field(0.0, ge=0, lt=1, description="decay of the averaged weights that a run ends with; 0: the last")
    heatmap_loss: float = Field(0.05, ge=0, description="weight of the cross entropy of the heatmap's marginals")
    augment: Literal["none", "light", "paper"] = Field(
        "light", description="augmentation of crops; short runs learn most without"
    )


class CandidateConfig(TrainConfig):
    """Training of a candidate: short, so nothing is augmented."""

    augment: Literal["none", "light", "paper"] = Field("none", description="augmentation of crops")


class FinalConfig(CandidateConfig):
    """Training of a finalist, which goes on from its candidate's weights: longer, at a lower rate."""

    samples: int = Field(6000, ge=1, description="training samples seen, beside the candidate's")
    rate: float = Field(3e-3, gt=0, description="peak learning rate")


class EstimateConfig(Strict):
    """What the estimators other than `full` are given."""

    samples: int = Field(500, ge=1, description="short, inherit: training samples of a first run")
    supernet: str = Field("", description="supernet: checkpoint of train --supernet; empty: shipped, or --retrain")
    space: str = Field("elastic", description="supernet: the space of that checkpoint")
    trust: float = Field(1.0, ge=0, description="predictor: deviations by which a network may be better than predicted")


class MeasureConfig(Strict):
    """The latency protocol (see explore.measure.protocol)."""

    threads: int = Field(1, ge=1, description="threads of the runtime")
    rounds: int = Field(12, ge=3, description="interleaved rounds at least")
    calls: int = Field(30, ge=1, description="timed calls of a model in a round")
    width: float = Field(0.03, gt=0, description="asked width of the ratio's 95% interval", json_schema_extra=SHARE)
    budget: float = Field(6.0, gt=0, description="after which no further round is started", json_schema_extra=SECONDS)


class SearchConfig(Strict):
    """A study: what is searched, on which data, judged how, for how long."""

    study: str = Field("", description="name of the study's folder; empty: from space, data and scale")
    results: str = Field("results", description="folder that holds the studies")
    space: str = Field("mobile", description="name of a space, or a YAML file")
    scale: int = Field(
        64, ge=32, description="side of the input; networks and heatmaps scale with it", json_schema_extra=PX
    )
    data: str = Field("synthetic:easy", description="synthetic:easy, READER:PATH, or several joined by +")
    dataset: DatasetConfig = Field(DatasetConfig(), description="parts of the data set")
    trials: int = Field(20, ge=1, description="candidates to train, the paper's three among them")
    estimator: Literal["full", "short", "supernet", "inherit", "predictor"] = Field(
        "full", description="how a candidate's error is found; finalists are always trained in full"
    )
    estimate: EstimateConfig = Field(EstimateConfig(), description="estimator")
    rungs: tuple[float, ...] = Field(
        (),
        description="of a candidate's training; at each all but the better stop (0.1,0.3 say)",
        json_schema_extra=SHARE,
    )
    eta: float = Field(2.0, gt=1, description="rungs: one candidate in so many goes on")
    sampler: Literal["tpe", "nsga2", "gp", "random"] = Field("tpe", description="Optuna's sampler")
    max_cost: float = Field(
        0.5, gt=0, description="of paper-L's MACs; candidates above are not trained", json_schema_extra=SHARE
    )
    candidate: CandidateConfig = Field(CandidateConfig(), description="training of a candidate")
    finalists: int = Field(6, ge=1, description="networks of the front that are trained longer and shipped")
    final: FinalConfig = Field(FinalConfig(), description="training of a finalist")
    references: tuple[str, ...] = Field(
        (), description="presets trained and shipped as the finalists are, whatever they cost, to compare with"
    )
    runtime: str = Field("litert", description="runtime whose INT8 file the search judges")
    runtimes: tuple[str, ...] = Field(("litert", "openvino", "onnxruntime"), description="runtimes of the bundles")
    recipe: str = Field("int8-static", description="quantization recipe")
    recipes: tuple[str, ...] = Field((), description="recipes that the search chooses among; none: `recipe` alone")
    objective: Literal["int8", "float"] = Field(
        "int8", description="what candidates are judged by: the recipe's file, or the float file for comparison"
    )
    measure: MeasureConfig = Field(MeasureConfig(), description="latency protocol")
    devices: tuple[str, ...] = Field(
        ("local",), description="where latency counts, an objective each (see measure --help)"
    )
    max_ms: tuple[str, ...] = Field((), description="DEVICE=MS: limits; a further device with one is no objective")
    predictor: str = Field("", description="file of measure --calibrate: candidates it finds too slow are not trained")
    workers: int = Field(0, ge=0, description="processes; 0: one a core")
    storage: str = Field(
        "",
        description="sqlite:///, journal:///, postgresql:// or grpc:// URL of the study; empty: study.db in its folder",
    )
    cache: str = Field(
        "", description="folder of finished candidates that studies share; empty: RESULTS/.cache; none: off"
    )
    ray: str = Field(
        "", description="run the workers on this Ray cluster: its address, or local; empty: as processes here"
    )
    lease: float = Field(
        60.0, gt=0, description="without a sign of life, after which a worker counts as dead", json_schema_extra=SECONDS
    )
    seed: int = Field(0, ge=0, description="seed of sampler, weights and batches")
    timeout: float = Field(300.0, gt=0, description="that one conversion may take", json_schema_extra=SECONDS)

    @field_validator("runtime", "runtimes")
    @classmethod
    def _whole_names(cls, value: Any) -> Any:
        """`onnx` means its runtime."""
        return RUNTIME_OF.get(value, value) if isinstance(value, str) else tuple(RUNTIME_OF.get(v, v) for v in value)

    @property
    def name(self) -> str:
        """Folder of the study."""
        data = (
            self.data.split(":")[0]
            if not self.data.startswith("synthetic")
            else self.data.replace(":", "-").split("/")[-1]
        )
        return self.study or f"{Path(self.space).stem}-{data}-{self.scale}"

    @property
    def folder(self) -> Path:
        return Path(self.results) / self.name

    @property
    def every_runtime(self) -> tuple[str, ...]:
        """The runtime that the search judges, then the others that it ships for."""
        return tuple(dict.fromkeys((self.runtime, *self.runtimes)))

    @property
    def processes(self) -> int:
        return self.workers or len(os.sched_getaffinity(0))

    def identity(self) -> dict[str, Any]:
        """Everything that a candidate's result depends on: the study may be resumed only with the same."""
        free = {
            "study",
            "results",
            "trials",
            "finalists",
            "final",
            "references",
            "workers",
            "timeout",
            "runtimes",
            "predictor",
        }
        free |= {"storage", "cache", "ray", "lease"}
        values = {key: value for key, value in self.model_dump(mode="json").items() if key not in free}
        younger = (
            "recipes",
            "objective",
            "devices",
            "max_ms",
            "estimator",
            "estimate",
            "rungs",
            "eta",
        )  # than some studies
        default = SearchConfig().model_dump(mode="json", include=set(younger))
        return {key: value for key, value in values.items() if key not in younger or value != default[key]}

    @property
    def hash(self) -> str:
        return content_hash(self.identity())


def load_yaml(path: str | Path) -> Any:
    """The content of a YAML file.

    Raises:
        InputError: the file is missing or no YAML.
    """
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = str(error).replace("\n", " ")
        raise InputError(f"{path}: not a YAML file ({line}); mend or leave it out") from None


def parse(model: type[Model], values: Any, where: str) -> Model:
    """Validated configuration from plain values.

    Raises:
        InputError: one line with `where`, the key and the fix.
    """
    if not isinstance(values, dict):
        raise InputError(f"{where}: holds no keys; write key: value lines")
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            owner = _owner(model, first["loc"][:-1])
            raise InputError(f"{where}: {key}: unknown key; there are {', '.join(owner.model_fields)}") from None
        raise InputError(f"{where}: {key}: {first['msg']} (given: {first['input']!r})") from None


def _owner(model: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel]:
    for part in path:
        annotation = model.model_fields[str(part)].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return model
