"""Settings of the estimators."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from explore.config import MAX_SAMPLES, Strict


class EstimateConfig(Strict):
    """Settings of the estimators other than `full`."""

    renamed: ClassVar[dict[str, str]] = {"trust": "confidence"}

    samples: int = Field(500, ge=1, le=MAX_SAMPLES, description="short, inherit: training samples of the first run")
    supernet: str = Field(
        "", description="supernet: checkpoint of train --supernet; empty: a built-in one, or --train-supernet"
    )
    space: str = Field("elastic", description="supernet: the space of that checkpoint")
    confidence: float = Field(
        1.0,
        ge=0,
        description="predictor: train a network in full if its predicted error minus this many standard deviations "
        "may improve the front",
    )
