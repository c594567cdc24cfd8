"""Invalid input: one rule for all readers, for training and for evaluation.

1. An error that affects many samples aborts with one line that names the file, the key and the fix: an annotation
   file that is missing or truncated, a missing key or camera, a split without samples.
2. An error of a single sample is reported and counted by kind: its image is missing, truncated or of another size
   than annotated; its box has no area, is under one pixel or lies outside the image; its visible joints are not finite
   or lie behind the camera. Training skips such samples, up to `max_skipped` of a split (`Dataset.skipped` has the
   counts), and aborts beyond that. A test split aborts at the first one, so that its metrics cover every sample.
3. Errors that only decoding reveals follow the same rule when an image is first read: training takes the next sample
   instead and aborts beyond the same fraction; evaluation aborts at once.
4. Some input is no error: a grey image is read as three equal channels, 16 bits per channel as their high byte, and
   the EXIF orientation is ignored because annotations refer to stored pixels. Where they do not, the image size differs
   from the annotated one.
5. Some annotations are no samples and are left out and counted (`Dataset.left_out`): crowds, people without a visible
   joint, people in 3D whose root joint is hidden, objects of another category, and people annotated in 2D only in a
   test split with 3D.
6. Joints with visibility 0 have no coordinates, whatever the file has in their place: they are neither trained on nor
   scored, and the mean pose and all checks ignore them.

`python explore.py data check READER:PATH` lists all errors before a run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from arch.errors import InputError

MAX_SKIPPED_FRACTION, ALWAYS_SKIPPED = 0.01, 2  # of a training split; number that any split may have


def max_skipped(samples: int) -> float:
    """Return how many samples of a training split of this size may be skipped."""
    return max(ALWAYS_SKIPPED, MAX_SKIPPED_FRACTION * samples)


class SampleError(InputError):
    """One sample cannot be used. kind: missing, box, joints, camera, broken, size or format."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class SplitNotFound(InputError):
    """A split, or the file that describes it, does not exist."""


@dataclass
class SampleErrors:
    """The sample errors of one split. report_all: never abort, so that all errors are listed (`data check`)."""

    report_all: bool = False
    found: list[SampleError] = field(default_factory=list)

    def add(self, error: SampleError) -> None:
        self.found.append(error)

    def check_limit(self, samples: int, split: str) -> dict[str, int]:
        """Return the number of skipped samples by kind, of `samples` in the split.

        Raises:
            InputError: more errors than the rule allows.
        """
        if self.found and not self.report_all and (split == "test" or len(self.found) > max_skipped(samples)):
            others = len(self.found) - 1
            more = f" (and {others} of {samples} samples more)" if others else f" (1 of {samples} samples)"
            raise InputError(f"{self.found[0]}{more}")
        return dict(Counter(error.kind for error in self.found))
