"""A recipe says, as data, how a network becomes a model file: precisions, calibration, layers that stay float."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from arch.errors import InputError
from arch.space import Arch

Precision = Literal["float32", "float16", "int8"]


class Recipe(BaseModel):
    """How a model file is made. The head's decode stays outside the graph, in float, for every recipe.

    The first `float_first` steps of the network, and those that `float_islands` names (`stem`, `decoder1`, `head`;
    see `arch.plan`), keep float weights and activations within an INT8 file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="what results call it; a file's own",
    )
    weights: Precision = Field(default="float32", description="per output channel where int8")
    activations: Precision = Field(default="float32", description="per tensor where int8, from calibrated ranges")
    calibration_images: int = Field(default=0, ge=0, le=10_000, description="pictures that the ranges come from")
    float_first: int = Field(default=0, ge=0, le=16, description="first steps of the network that stay float")
    float_islands: tuple[str, ...] = Field(default=(), description="steps that stay float: stem, decoder1, head")
    qat_samples: int = Field(default=0, ge=0, description="training samples of quantization-aware fine-tuning")

    @model_validator(mode="after")
    def _sensible(self) -> Recipe:
        if self.activations == "int8" and self.weights != "int8":
            raise ValueError("activations: int8 activations need int8 weights")
        if self.weights == "int8" and self.activations != "int8":
            raise ValueError("weights: int8 weights with float activations are slower than float here; set activations")
        if self.activations == "float16" and self.weights != "float16":
            raise ValueError("activations: float16 activations need float16 weights")
        if self.int8 and self.calibration_images < 1:
            raise ValueError("calibration_images: int8 activations need at least one picture for their ranges")
        if (self.float_islands or self.float_first) and not self.int8:
            raise ValueError("float_islands: only an int8 recipe has them")
        if self.qat_samples and not self.int8:
            raise ValueError("qat_samples: only an int8 recipe trains for it")
        return self

    @property
    def int8(self) -> bool:
        """Whether activations, and with them the arithmetic, are 8-bit integers."""
        return self.activations == "int8"

    @property
    def after_training(self) -> Recipe:
        """What is left to do once quantization-aware training, where it is part of the recipe, is done."""
        return self.model_copy(update={"qat_samples": 0})

    def with_islands(self, steps: tuple[str, ...]) -> Recipe:
        """The recipe with more steps in float."""
        return self.model_copy(update={"float_islands": tuple(dict.fromkeys((*self.float_islands, *steps)))})

    def float_steps(self, arch: Arch) -> tuple[str, ...]:
        """Names of the network's steps that stay float.

        Raises:
            InputError: a float island is no step of this network.
        """
        steps = [node.name for node in arch.plan.nodes]
        for island in self.float_islands:
            if island not in steps:
                raise InputError(
                    f"recipe {self.name}: float_islands: '{island}' is no step of this network; take {', '.join(steps)}"
                )
        first = steps[: self.float_first]
        return (*first, *(island for island in self.float_islands if island not in first))


RECIPES: dict[str, Recipe] = {
    made.name: made
    for made in (
        Recipe(name="float"),
        Recipe(name="fp16", weights="float16"),
        Recipe(name="int8-static", weights="int8", activations="int8", calibration_images=24),
        Recipe(name="int8-float-stem", weights="int8", activations="int8", calibration_images=24, float_first=2),
        Recipe(name="int8-qat", weights="int8", activations="int8", calibration_images=24, qat_samples=4000),
    )
}


def recipe(name: str | Path) -> Recipe:
    """A recipe by its name, or from a YAML file with the fields of `Recipe`.

    Raises:
        InputError: no such recipe or file, or the file has an unknown key or a wrong value.
    """
    if str(name) in RECIPES:
        return RECIPES[str(name)]
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        raise InputError(f"recipe: '{name}' is not one of {', '.join(RECIPES)}, nor a .yaml file")
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: should hold keys and values: {', '.join(Recipe.model_fields)}")
    try:
        return Recipe.model_validate({"name": path.stem} | values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = f"unknown key; the keys are {', '.join(Recipe.model_fields)}"
        raise InputError(f"{path}: {key}: {message}" if key else f"{path}: {message}") from None
