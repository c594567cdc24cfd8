"""Settings of the renderer, and the subjects of each part."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from arch.files import content_hash
from explore.data.config import PROCEDURAL, Framing, PoseSources, RenderedSkeleton
from explore.data.synthetic.labelled import load_poses
from explore.data.synthetic.motion import load_motion
from explore.data.synthetic.retarget import Joints


class Poses(Protocol):
    """Captured poses. `sample` returns the ends of bones by name, m, of a random pose of a split."""

    @property
    def hash(self) -> str: ...

    def sample(self, rng: np.random.Generator, split: str) -> Joints: ...


VERSIONS = {"easy": 1, "full": 3}  # of the rendered images; increase it when the same seed gives other pixels
TRAIN_SUBJECTS, TEST_SUBJECTS = (1, 5, 6, 7, 8), (9, 11)
VALIDATION_SUBJECTS = (3, 4)
SPLITS = {"train": TRAIN_SUBJECTS, "test": TEST_SUBJECTS, "validation": VALIDATION_SUBJECTS}  # the order seeds frames

VALIDATION = "validation-"  # folder of a validation part, with its number of frames
LOADERS: dict[str, Callable[[Path], Poses]] = {
    "cmu": lru_cache(maxsize=2)(load_motion),
    "labelled": lru_cache(maxsize=2)(load_poses),
}


class SyntheticConfig(BaseModel):
    """Settings of the renderer.

    level: easy (seen from the front, plain backgrounds) or full (seen from all sides and heights, in the surroundings and
           light of panoramas, more clothes, occluders)
    size:  side of the square frames, px
    poses: procedural, cmu:FOLDER of captured motion (explore.data.synthetic.motion), labelled:FOLDER of a labelled set
           (explore.data.synthetic.labelled), or several joined by +, of which one is chosen for each frame; half of the
           frames are procedural where procedural is one of them
    skeleton: joints of the annotations; empty: h36m18. The images do not depend on it
    framing: crops that the frames are made for (explore.data.framing): roi places people such that frames hold their
           regions of interest, too
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: Literal["easy", "full"] = "easy"
    seed: int = Field(default=0, ge=0)
    size: int = Field(default=128, ge=32, le=1024)
    train_frames: int = Field(default=4000, ge=1)
    test_frames: int = Field(default=400, ge=1)
    val_frames: int = Field(default=500, ge=1)
    poses: PoseSources = PROCEDURAL
    skeleton: RenderedSkeleton = ""
    framing: Framing = "box"

    @property
    def sources(self) -> list[tuple[str, Poses]]:
        """Kinds and poses of the captured sources of `poses`. InputError: files that cannot be read."""
        parts = (part.partition(":") for part in re.split(r"\+(?=(?:cmu|labelled):)", self.poses))
        return [(kind, LOADERS[kind](Path(folder).expanduser())) for kind, _, folder in parts if kind != PROCEDURAL]

    @property
    def frames(self) -> int:
        """Number of training and test frames."""
        return self.train_frames + self.test_frames

    @property
    def facts(self) -> dict[str, Any]:
        """Everything that training and test images depend on, with captured motion as the hash of its files."""
        values: dict[str, Any] = {
            "level": self.level, "seed": self.seed, "size": self.size,
            "train": self.train_frames, "test": self.test_frames,
        }  # fmt: skip
        if sources := self.sources:
            kinds = [PROCEDURAL] if self.poses.startswith(PROCEDURAL) else []
            values["poses"] = "+".join(kinds + [f"{kind}:{poses.hash}" for kind, poses in sources])
            values["parts"] = 4  # of the clips, and the fraction of procedural poses: changed in 0.2
        if self.framing != "box":
            values["framing"] = self.framing
        return values

    @property
    def name(self) -> str:
        return f"synthetic-{self.level}-{content_hash({'version': VERSIONS[self.level], **self.facts})}"

    def validation_folder(self, root: Path) -> Path:
        """Return the folder of the validation part below the folder of rendered sets."""
        return root / self.name / f"{VALIDATION}{self.val_frames}"
