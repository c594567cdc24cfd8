"""Settings of a training run, and the presets of `train --preset`."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, field_validator

from explore.config import MAX_SAMPLES, SHARE, Strict


def _check_device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise ValueError("write auto, cpu, cuda, cuda:N or mps")
    return name


Device = Annotated[str, AfterValidator(_check_device)]  # see explore.train.engine.find_devices
STUDY = "study"  # value of a finalist's `teacher`: the most accurate candidate of its study
PAPER_EPOCHS = 25
MOST_FRAMES = 192_000  # of a run that does not give their number
PASSES = 4  # over the frames of a rendered set that is rendered for a run
LONG_EPOCHS = 25  # `python -m benchmarks training`: augmentation costs 29 mm after 1.6 epochs, 5 mm after 16

# Values of TrainConfig. "paper": Section 4.2 of the paper and its published training code. "ours": the defaults, with
# augmentation chosen by `default_augment`. "supernet": the defaults of `train --supernet`.
PRESETS: dict[str, dict[str, Any]] = {
    "ours": {},
    "paper": {
        "batch_size": 24,
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "schedule": "steps",
        "warmup": 0.0,
        "weight_decay": 0.0,
        "grad_clip": 0.0,
        "ema_decay": 0.0,
        "heatmap_loss": 0.0,
        "augment": "paper",
    },
}
SUPERNET_PRESET: dict[str, Any] = {"samples": 40000, "batch_size": 16, "learning_rate": 4e-3, "augment": "light"}


def frames_for(samples: int, least: int) -> int:
    """Return the frames to render for a run of so many samples: `least`, doubled until PASSES passes are enough.

    Longer runs than those of MOST_FRAMES see their frames more often, unless the user gives a number.
    """
    while PASSES * least < samples and least < MOST_FRAMES:
        least *= 2
    return least


class TrainConfig(Strict):
    """Settings of one training run. Its length is a number of samples and does not depend on the batch size.

    The defaults were chosen at 9,600 samples (`python -m benchmarks training`); `training:long` found none that is
    distinguishably better at 40,000 and 160,000 samples.
    """

    renamed: ClassVar[dict[str, str]] = {
        "batch": "batch_size",
        "rate": "learning_rate",
        "clip": "grad_clip",
        "ema": "ema_decay",
    }

    samples: int = Field(4000, ge=1, le=MAX_SAMPLES, description="number of training samples")
    batch_size: int = Field(
        8, ge=2, description="samples per step, over all processes; batch normalisation needs at least two"
    )
    optimizer: Literal["adamw", "adam"] = Field("adamw", description="adam: as in the paper")
    learning_rate: float = Field(8e-3, gt=0, description="peak learning rate", json_schema_extra={"alias": "lr"})
    schedule: Literal["cosine", "steps"] = Field(
        "cosine",
        description="steps: divide the learning rate by 10 after 17/25 and 21/25 of the run, as in the paper",
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="part of the run with a linear warm-up", json_schema_extra=SHARE)
    weight_decay: float = Field(1e-4, ge=0, description="weight decay of AdamW; Adam has none")
    grad_clip: float = Field(1.0, ge=0, description="maximum norm of the gradient; 0: no clipping")
    ema_decay: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay of the exponential moving average of the weights; 0: keep the last weights",
    )
    heatmap_loss: float = Field(0.05, ge=0, description="weight of the cross entropy of the heatmap's marginals")
    augment: Literal["none", "light", "paper", "real"] = Field(
        "light",
        description=f"augmentation of crops; chosen by preset ours: none below {LONG_EPOCHS} epochs, where it costs accuracy, "
        "else real if people have masks, else light",
    )
    teacher: str = Field(
        "",
        description="network to learn from besides the ground truth: a checkpoint or a bundle; empty: none",
        json_schema_extra={"metavar": "FILE"},
    )
    teacher_weight: float = Field(
        1.0, gt=0, description="weight of the teacher's coordinates and marginals in the loss"
    )

    @field_validator("teacher")
    @classmethod
    def _no_study(cls, teacher: str) -> str:
        if teacher == STUDY:
            raise ValueError("study is possible for the finalists of a search only; give a checkpoint or a bundle")
        return teacher


class CandidateConfig(TrainConfig):
    """Training of a search candidate: short, therefore without augmentation."""

    augment: Literal["none", "light", "paper", "real"] = Field("none", description="augmentation of crops")


class FinalConfig(CandidateConfig):
    """Further training of a finalist from its candidate's weights: longer, at a lower learning rate."""

    samples: int = Field(
        6000, ge=1, le=MAX_SAMPLES, description="number of training samples after those of the candidate"
    )
    learning_rate: float = Field(3e-3, gt=0, description="peak learning rate")
    teacher: str = Field(
        "",
        description="network to learn from besides the ground truth: a checkpoint, a bundle, or study, the candidate with the "
        "lowest error; empty: none",
        json_schema_extra={"metavar": "study|FILE"},
    )

    @field_validator("teacher")
    @classmethod
    def _no_study(cls, teacher: str) -> str:
        return teacher


def default_augment(epochs: float, masks: bool = False) -> str:
    """Return the augmentation of the preset "ours" for a run of so many epochs. masks: some people have one."""
    if epochs < LONG_EPOCHS:
        return "none"
    return "real" if masks else "light"
