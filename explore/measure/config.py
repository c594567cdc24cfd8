"""Settings of the latency protocol and of `measure --calibrate`."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from explore.config import MAX_WORKERS, PX, SECONDS, SHARE, Strict


class MeasureConfig(Strict):
    """Settings of the latency protocol (see `explore.measure.probe.protocol`)."""

    renamed: ClassVar[dict[str, str]] = {"width": "ci_width", "budget": "max_seconds"}

    threads: int = Field(1, ge=1, description="threads of the runtime")
    rounds: int = Field(12, ge=3, description="least number of interleaved rounds, the pilot")
    calls: int = Field(30, ge=1, description="timed calls of a model in a round")
    ci_width: float = Field(
        0.03,
        gt=0,
        description="requested width of the 95% interval of every ratio; the pilot determines how many rounds this needs",
        json_schema_extra=SHARE,
    )
    max_seconds: float = Field(
        6.0, gt=0, description="time after which no further round starts", json_schema_extra=SECONDS
    )

    def for_count(self, models: int) -> MeasureConfig:
        """Return settings for several models: `max_seconds` is meant for one model and its reference."""
        return self.model_copy(update={"max_seconds": self.max_seconds * max(1.0, models / 2)})


class CalibrateConfig(Strict):
    """Settings of a latency predictor (`measure --calibrate`)."""

    renamed: ClassVar[dict[str, str]] = {"scale": "input_size", "recipe": "quantization"}

    space: str = Field("mobile", description="search space: a name or a YAML file")
    input_size: int = Field(64, ge=32, description="side of the network's input", json_schema_extra=PX)
    runtime: str = Field("litert", description="runtime of the model files")
    quantization: str = Field("int8-static", description="quantization recipe of the model files")
    networks: int = Field(150, ge=20, description="networks to fit the predictor on")
    unseen: int = Field(50, ge=5, description="networks to test the predictor on")
    seed: int = Field(0, ge=0, description="random seed of the choice of networks")
    workers: int = Field(0, ge=0, le=MAX_WORKERS, description="converter processes; 0: one per core")
    out: str = Field("", description="predictor file to write, by default results/predictors/TARGET-....json")
