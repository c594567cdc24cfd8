"""The speed of a machine in a search: durations of training, rendering and export, measured or observed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict


class Speed(BaseModel):
    """Durations in seconds while all workers of the machine are busy. The defaults are those of two slow x86 cores.

    sample_s, mac_s: one worker trains one sample in sample_s + mac_s * MACs of the network
    frame_s: wall-clock time of one rendered frame, with all workers rendering
    candidate_s, finalist_s: export, evaluation and measurement of one network by one worker
    reference_s: export and measurement of the reference network
    report_s: start of the workers, and the reports at the end
    busy: factor in these times for other processes on the machine
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    sample_s: float = 4.5e-3
    mac_s: float = 1.25e-10
    frame_s: float = 7e-3
    candidate_s: float = 10.0
    finalist_s: float = 36.0
    reference_s: float = 25.0
    report_s: float = 25.0
    busy: float = 1.0

    def training(self, macs: float, samples: float = 1) -> float:
        """Return the time in which one worker trains a network on `samples` samples."""
        return samples * (self.sample_s + self.mac_s * macs)

    def slower(self, training: float, overhead: float) -> Speed:
        """Return the speed with training and all else slower by these factors."""
        others = ("frame_s", "candidate_s", "finalist_s", "reference_s", "report_s")
        changed = {key: getattr(self, key) * overhead for key in others}
        return self.model_copy(update=changed | {"sample_s": self.sample_s * training, "mac_s": self.mac_s * training})


USUAL_SPEED = Speed()


@dataclass(frozen=True)
class Timing:
    """Training of a network by one worker: MACs, wall-clock and CPU time of a sample, s."""

    macs: float
    wall_s: float
    cpu_s: float


def fit_speed(timings: Sequence[Timing], frame_s: float = USUAL_SPEED.frame_s) -> Speed:
    """Return the speed of a machine from timings of some networks on all workers.

    A machine that other processes keep busy may be idle a minute later: the speed is the geometric mean of the measured
    one and of the one that the CPU time implies. Other durations are scaled like the training of a network of median
    MACs.

    frame_s: wall-clock time of a rendered frame
    """
    from scipy.optimize import nnls

    macs, wall, cpu = np.array([(one.macs, one.wall_s, one.cpu_s) for one in timings], np.float64).T
    busy = float(np.sqrt(np.median(wall / np.minimum(wall, cpu))))
    seconds, frame_s = wall / busy, frame_s / busy
    sample_s, mac_s = map(float, nnls(np.stack([1 / seconds, macs / seconds], 1), np.ones(len(macs)))[0])
    middle = float(np.median(macs))
    factor = (sample_s + mac_s * middle) / USUAL_SPEED.training(middle)
    changed = {"sample_s": sample_s, "mac_s": mac_s, "frame_s": frame_s, "busy": busy}
    return USUAL_SPEED.slower(1.0, factor).model_copy(update=changed)


@dataclass(frozen=True)
class Trained:
    """A finished candidate that was trained: MACs, training samples, time of its training and of all of its work, s."""

    macs: float
    samples: int
    train_s: float
    total_s: float


def observed_speed(speed: Speed, candidates: Sequence[Trained]) -> Speed:
    """Return the speed corrected by the durations of candidates; their medians ignore interrupted ones."""
    if not candidates:
        return speed
    training = float(np.median([one.train_s / speed.training(one.macs, one.samples) for one in candidates]))
    others = float(np.median([max(0.0, one.total_s - one.train_s) for one in candidates]))
    return speed.slower(training, max(0.1, others / speed.candidate_s))
