"""The options of `measure --calibrate`."""

from __future__ import annotations

from pydantic import Field

from explore.config import Strict


class CalibrateConfig(Strict):
    """What a calibration is of."""

    space: str = Field("mobile", description="name of a space, or a YAML file")
    scale: int = Field(64, ge=32, description="px of the input")
    runtime: str = Field("litert", description="runtime of the model files")
    recipe: str = Field("int8-static", description="their recipe")
    networks: int = Field(150, ge=20, description="networks to learn from")
    unseen: int = Field(50, ge=5, description="networks that the predictor is judged on and never learns from")
    seed: int = Field(0, ge=0, description="seed of the choice of networks")
    workers: int = Field(0, ge=0, description="converter processes; 0: one a core")
    out: str = Field("", description="file of the predictor; empty: results/predictors/ and its name")
