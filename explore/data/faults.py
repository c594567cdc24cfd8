"""Bad input: one rule for every reader, for training and for evaluation.

1. A fault that many samples hang on is refused with a line that names the file, the key and the fix: an annotation
   file that is missing or cut off, a key or a camera that is missing, a split without samples.
2. A fault of one sample is named and counted by its kind: its picture is missing, cut off, of another size than
   annotated or has 16 bits a channel; its box has no area or lies outside the picture; its joints are no numbers or
   lie behind the camera. In a training split such samples are skipped, up to FAULTY of all (`Dataset.skipped` has the
   counts); beyond that, and in a test split, whose figures must mean the whole of it, they are refused.
3. What decoding alone can tell is judged by the same rule when a picture is first needed: training takes the next
   sample in its place, and stops beyond the same share; evaluation stops at once.
4. What needs no guess is no fault: a grey picture is one of three equal channels. The orientation that a picture's
   EXIF data asks for is ignored, since annotations count stored pixels; where that is not so, the sizes disagree.

`python explore.py data check NAME:PATH` lists all of it ahead of a run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from arch.errors import InputError

FAULTY = 0.01  # of a training split


class SampleFault(InputError):
    """One sample cannot be used. kind: missing, box, joints, camera, broken, size, format."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Absent(InputError):
    """A split, or the file that would describe it, is not there."""


@dataclass
class Faults:
    """The faulty samples of one split. keep_going: list all of them instead of refusing (for `data check`)."""

    keep_going: bool = False
    found: list[SampleFault] = field(default_factory=list)

    def add(self, fault: SampleFault) -> None:
        self.found.append(fault)

    def settle(self, samples: int, split: str) -> dict[str, int]:
        """Counts by kind of what was skipped. samples: how many there were in all.

        Raises:
            InputError: more faults than the rule allows.
        """
        if self.found and not self.keep_going and (split == "test" or len(self.found) > FAULTY * samples):
            more = f" (and {len(self.found) - 1} of {samples} samples more)" if len(self.found) > 1 else ""
            raise InputError(f"{self.found[0]}{more}")
        return dict(Counter(fault.kind for fault in self.found))
