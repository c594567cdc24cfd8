"""Settings of exporting a trained network."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, field_validator

from arch.files import content_hash
from explore.config import SECONDS
from explore.data.config import DataConfig
from explore.measure.config import MeasureConfig

RUNTIME_ALIASES = {"onnx": "onnxruntime"}


def runtime_name(value: Any) -> Any:
    """Replace the aliases of runtimes, in one name or in several, by their names."""
    if isinstance(value, str):
        return RUNTIME_ALIASES.get(value, value)
    return tuple(RUNTIME_ALIASES.get(name, name) for name in value)


class ExportConfig(DataConfig):
    """Runtimes, recipe and latency protocol, and the data to calibrate and evaluate on."""

    renamed: ClassVar[dict[str, str]] = {"scale": "input_size", "recipe": "quantization"}

    data: str = Field(
        "",
        description="data set to calibrate and evaluate on: synthetic:easy, READER:PATH, or several joined by +; not "
        "given: the one that the checkpoint was trained on",
    )
    seed: int = Field(0, ge=0, description="seed of the calibration images and of fine-tuning")
    runtimes: tuple[str, ...] = Field(
        ("litert", "openvino", "onnxruntime"), min_length=1, description="runtimes, each with a bundle of its own"
    )
    quantization: str = Field("int8-static", description="quantization recipe: a name or a YAML file")
    timeout: float = Field(300.0, gt=0, description="time limit of one conversion", json_schema_extra=SECONDS)
    measure: MeasureConfig = Field(MeasureConfig(), description="latency protocol")

    _runtime_names = field_validator("runtimes")(runtime_name)

    @property
    def hash(self) -> str:
        """Hash of the settings that change a file or its figures."""
        return content_hash(self.model_dump(mode="json", exclude={"runtimes", "timeout"}))
