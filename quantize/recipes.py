"""Quantization recipes: precision, calibration, float fallback layers and fine-tuning of a model file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from arch.documents import load_mapping
from arch.errors import InputError, describe, not_one_of, note_renamed
from arch.space import Arch

WeightPrecision = Literal["float32", "float16", "int8"]
ActivationPrecision = Literal["float32", "int16", "int8"]
InputType = Literal["float32", "uint8"]
OPTIONS = ("activation_range", "activation_symmetry", "weight_range", "weight_granularity")


class Recipe(BaseModel):
    """How a model file is made. The decoding of the head is never part of the file.

    INT8 weights with float activations are weight-only quantization, and with int16 activations W8A16. Float fallback
    layers keep float weights and activations within a quantized file: the first `float_first` steps of the network and
    those named in `float_fallback_layers` (`stem`, `decoder1`, `head`; see `arch.plan`). The fields of `OPTIONS` are
    options of the quantizer; without a value, the runtime's default applies, which the certificate names.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    renamed: ClassVar[dict[str, str]] = {"float_islands": "float_fallback_layers"}

    name: str = Field(
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="name in results; default: the name of the file",
    )
    weights: WeightPrecision = Field(default="float32", description="int8 weights are symmetric")
    activations: ActivationPrecision = Field(default="float32", description="integers have one range per tensor")
    dynamic: bool = Field(
        default=False, description="dynamic range quantization: ranges of activations come from each image at run time"
    )
    calibration_images: int = Field(
        default=0, strict=True, ge=0, le=10_000, description="images that activation ranges come from"
    )
    float_first: int = Field(
        default=0, strict=True, ge=0, le=16, description="number of first steps that stay in float"
    )
    float_fallback_layers: tuple[str, ...] = Field(
        default=(), description="steps that stay in float: stem, decoder1, head"
    )
    input_dtype: InputType = Field(
        default="float32", description="uint8: the file receives RGB values and normalises them, channels last"
    )
    float_budget_mm: float | None = Field(
        default=None,
        strict=True,
        gt=0,
        description="mixed precision: the most sensitive steps stay in float until the MPJPE of the file on the "
        "validation part exceeds the network's by at most this many mm",
    )
    activation_range: Literal["minmax", "average", "percentile", "histogram"] | None = Field(
        default=None, description="range of activations: extremes, mean of the images' extremes, or clipped"
    )
    activation_symmetry: Literal["asymmetric", "symmetric"] | None = Field(
        default=None, description="symmetric: the range of activations is centred at zero"
    )
    weight_range: Literal["minmax", "octav"] | None = Field(
        default=None, description="range of weights: extremes, or clipped for the least squared error (OCTAV)"
    )
    weight_granularity: Literal["channel", "tensor"] | None = Field(
        default=None, description="one range of weights for each output channel, or for each tensor"
    )
    qat_samples: int = Field(
        default=0, strict=True, ge=0, le=10**9, description="training samples of quantization-aware training"
    )

    @model_validator(mode="before")
    @classmethod
    def _accept_old_keys(cls, values: Any) -> Any:
        return {cls.renamed.get(k, k): v for k, v in values.items()} if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.activations in ("int8", "int16") and self.weights != "int8":
            raise ValueError(f"activations: {self.activations} activations need int8 weights")
        if self.dynamic and self.activations != "int8":
            raise ValueError("dynamic: possible with int8 activations only")
        if self.calibrated and self.calibration_images < 1:
            raise ValueError(f"calibration_images: {self.activations} activations need at least one image")
        if (self.float_fallback_layers or self.float_first) and not self.quantized:
            raise ValueError("float_fallback_layers: possible with int8 weights only")
        if self.qat_samples and not self.int8:
            raise ValueError("qat_samples: possible in an int8 recipe only")
        if self.float_budget_mm is not None and (self.qat_samples or not self.quantized):
            raise ValueError("float_budget_mm: possible with int8 weights and without qat_samples only")
        for option in OPTIONS:
            if getattr(self, option) and not (self.quantized if option.startswith("weight") else self.calibrated):
                raise ValueError(f"{option}: the recipe quantizes no {option.partition('_')[0]}s with stored ranges")
        return self

    @property
    def quantized(self) -> bool:
        """Whether weights are INT8."""
        return self.weights == "int8"

    @property
    def calibrated(self) -> bool:
        """Whether the file contains ranges of activations."""
        return self.activations in ("int8", "int16") and not self.dynamic

    @property
    def int8(self) -> bool:
        """Whether activations are INT8 with calibrated ranges, outside the float fallback layers."""
        return self.activations == "int8" and not self.dynamic

    @property
    def identity(self) -> dict[str, Any]:
        """The fields that hashes of exported files contain; the default of a field of later versions is left out."""
        later = ("input_dtype", "dynamic", "float_budget_mm", *OPTIONS)
        unset = {name for name in later if getattr(self, name) == type(self).model_fields[name].default}
        return self.model_dump(mode="json", exclude=unset)

    def with_input(self, dtype: InputType) -> Recipe:
        """Return the recipe for files with an input of another type, which is part of its name."""
        if dtype == self.input_dtype:
            return self
        return self.model_copy(update={"input_dtype": dtype, "name": f"{self.name[: 63 - len(dtype)]}-{dtype}"})

    def options(self, supported: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
        """Return the quantizer's options: those of the recipe, and for the others the first of the supported values."""
        return {option: getattr(self, option) or supported[option][0] for option in OPTIONS if option in supported}

    def with_float_layers(self, steps: tuple[str, ...]) -> Recipe:
        """Return the recipe with further float fallback layers."""
        layers = tuple(dict.fromkeys((*self.float_fallback_layers, *steps)))
        return self.model_copy(update={"float_fallback_layers": layers})

    def float_steps(self, arch: Arch) -> tuple[str, ...]:
        """Return the names of all steps of the network that stay in float.

        Raises:
            InputError: a float fallback layer is not a step of the network.
        """
        steps = [node.name for node in arch.plan.nodes]
        for layer in self.float_fallback_layers:
            if layer not in steps:
                raise InputError(
                    f"recipe {self.name}: float_fallback_layers: '{layer}' is not a step of this network; use "
                    f"{', '.join(steps)}"
                )
        return tuple(dict.fromkeys((*steps[: self.float_first], *self.float_fallback_layers)))


RECIPES: dict[str, Recipe] = {
    each.name: each
    for each in (
        Recipe(name="float"),
        Recipe(name="fp16", weights="float16"),
        Recipe(name="int8-static", weights="int8", activations="int8", calibration_images=24),
        Recipe(name="int8-float-stem", weights="int8", activations="int8", calibration_images=24, float_first=2),
        Recipe(name="int8-mixed", weights="int8", activations="int8", calibration_images=24, float_budget_mm=0.5),
        Recipe(name="int8-dynamic", weights="int8", activations="int8", dynamic=True),
        Recipe(name="int8-weights", weights="int8"),
        Recipe(name="w8a16", weights="int8", activations="int16", calibration_images=24),
        Recipe(name="int8-qat", weights="int8", activations="int8", calibration_images=24, qat_samples=4000),
    )
}


def recipe(name: str | Path) -> Recipe:
    """Return a recipe by its name, or from a YAML file with the fields of `Recipe`.

    Raises:
        InputError: no such recipe or file, an unknown key, or a wrong value.
    """
    if str(name) in RECIPES:
        return RECIPES[str(name)]
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        raise InputError(f"quantization: not a .yaml file, and {not_one_of(str(name), RECIPES)}")
    values = load_mapping(path, f"lines of the form `key: value` with {', '.join(Recipe.model_fields)}")
    for old in Recipe.renamed.keys() & values.keys():
        note_renamed(str(path), old, Recipe.renamed[old])
    try:
        made = Recipe.model_validate({"name": path.stem} | values)
    except ValidationError as error:
        raise InputError(f"{path}: {describe(error, Recipe)}") from None
    if made != RECIPES.get(made.name, made):
        raise InputError(f"{path}: name: {made.name} is a built-in recipe of other values; write another name")
    return made
