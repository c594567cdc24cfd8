"""Settings of a data set: what to read, which part of it, and how the embedded set is rendered."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from arch.errors import InputError
from explore.config import PX, Strict

PROCEDURAL = "procedural"
MAX_FRAMES = 10**7  # of a part of the embedded set


def _check_poses(sources: str) -> str:
    if not re.match(rf"({PROCEDURAL}$|({PROCEDURAL}\+)?(cmu|labelled):.)", sources):
        raise ValueError(
            f"give {PROCEDURAL}, cmu:FOLDER or labelled:FOLDER, or several joined by + with {PROCEDURAL} first"
        )
    return sources


def _check_side(px: int) -> int:
    if px and not 32 <= px <= 1024:
        raise ValueError(f"{px} is not 0 or a number from 32 to 1024")
    return px


Framing = Literal["box", "roi"]
PoseSources = Annotated[str, AfterValidator(_check_poses)]
RenderedSkeleton = Literal["", "h36m18", "blazepose33"]


class DatasetConfig(Strict):
    """The part of a data set to use, and how to render the embedded one."""

    renamed: ClassVar[dict[str, str]] = {"train": "train_frames", "test": "test_frames"}

    train_subjects: tuple[int, ...] | None = Field(
        None, min_length=1, description="training subjects; none: those of the protocol"
    )
    test_subjects: tuple[int, ...] | None = Field(
        None, min_length=1, description="test subjects; none: those of the protocol"
    )
    val_subjects: tuple[int, ...] | None = Field(
        None,
        min_length=1,
        description="training subjects held out for validation; none: the last one of Human3.6M (S8 in protocol 2, S9 "
        "in protocol 1) and MPI-INF-3DHP, val-fraction of the subjects of other sets",
    )
    train_step: int | None = Field(
        None, ge=1, description="use every n-th training frame; none: as the protocol, or 1 with train-subjects"
    )
    test_step: int | None = Field(
        None, ge=1, description="use every n-th test frame; none: as the protocol, or 1 with test-subjects"
    )
    protocol: Literal[1, 2] = Field(2, description="Human3.6M protocol, used where no subjects are given")
    test_on: str = Field("", description="READER:PATH to test on; empty: the test split of the first data set")
    detected: str = Field(
        "",
        description="Human3.6M: file of detected boxes and root depths to test with, relative to the data set; empty: the "
        "annotated ones",
    )
    framing: Framing = Field(
        "box",
        description="crop of the network's input: an upright square around the box, or the region of interest of "
        "MediaPipe's PoseLandmarker, which is centred on the hips and rotated so that the body is upright",
        json_schema_extra={"short": True},
    )
    train_frames: int = Field(6000, ge=1, le=MAX_FRAMES, description="embedded set: number of training frames")
    test_frames: int = Field(
        500, ge=1, le=MAX_FRAMES, description="embedded set: number of test frames, of bodies not trained on"
    )
    val_frames: int = Field(
        500,
        ge=1,
        le=MAX_FRAMES,
        description="embedded set: number of validation frames, of bodies in neither other part",
    )
    val_fraction: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="fraction of the training subjects held out for validation, else of clips, else of images; unused "
        "with val-subjects and for the embedded set",
    )
    frame: Annotated[int, AfterValidator(_check_side)] = Field(
        0, ge=0, description="embedded set: side of a frame; 0: twice input-size, 128 to 512", json_schema_extra=PX
    )
    seed: int = Field(0, ge=0, description="embedded set: seed of the renderer")
    poses: PoseSources = Field(
        PROCEDURAL,
        description="embedded set: procedural, cmu:FOLDER of ASF/AMC clips, labelled:FOLDER of a custom set, or several "
        "joined by +, such as procedural+labelled:FOLDER",
    )
    skeleton: RenderedSkeleton = Field(
        "",
        description="embedded set: h36m18, or blazepose33, the 33 landmarks of MediaPipe Pose; empty: blazepose33 in a mix "
        "whose first data set has it, else h36m18",
        json_schema_extra={"metavar": "h36m18|blazepose33"},
    )


class DataConfig(Strict):
    """Everything needed to open training and test data. `data` is a specification as `open_dataset` takes it."""

    data: str = Field("synthetic:easy", description="synthetic:easy, READER:PATH, or several joined by +")
    dataset: DatasetConfig = Field(DatasetConfig(), description="parts of the data set")
    input_size: int = Field(64, ge=32, description="side of the network's input", json_schema_extra=PX)


# Protocol -> (training subjects, training step, test subjects, test step). MPJPE is reported for protocol 2,
# PA-MPJPE for protocol 1 (Section 4 of the paper).
PROTOCOLS = {
    1: ((1, 5, 6, 7, 8, 9), 5, (11,), 64),
    2: ((1, 5, 6, 7, 8), 5, (9, 11), 64),
}


class Human36MOptions(BaseModel):
    """Subjects and frame steps of Human3.6M; None takes the protocol's.

    detected: file of detected boxes and root depths that replace the annotated ones of the test split
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: int = Field(default=2, ge=1, le=2)
    train_subjects: tuple[int, ...] | None = None
    test_subjects: tuple[int, ...] | None = None
    train_step: int | None = Field(default=None, ge=1)
    test_step: int | None = Field(default=None, ge=1)
    detected: str = ""

    def part(self, split: str) -> tuple[tuple[int, ...], int]:
        """Return (subjects, step) of `train` or `test`."""
        train, train_step, test, test_step = PROTOCOLS[self.protocol]
        if split == "train":
            return self.train_subjects or train, self.train_step or train_step
        if split == "test":
            return self.test_subjects or test, self.test_step or test_step
        raise InputError(f"split {split!r} is unknown; give train or test")

    @property
    def is_protocol(self) -> bool:
        """Whether subjects and steps of both splits are those of the protocol."""
        return (*self.part("train"), *self.part("test")) == PROTOCOLS[self.protocol]

    @property
    def note(self) -> str:
        """The protocol and the test part, as text."""
        subjects, step = self.part("test")
        name = f"protocol {self.protocol}" if self.is_protocol else "no protocol, but chosen subjects or steps"
        listed = ", ".join(f"S{number}" for number in subjects)
        return f"Human3.6M, {name}: tested on {listed}" + (f", every {step}th frame" if step > 1 else "")


class MpiInf3dhpOptions(BaseModel):
    """Training subjects, cameras and frame step of MPI-INF-3DHP, whose videos have 25 or 50 frames a second.

    The default cameras are those at the height of a person.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    train_subjects: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    cameras: tuple[int, ...] = (0, 1, 2, 4, 5, 6, 7, 8)
    train_step: int = Field(default=5, ge=1)
