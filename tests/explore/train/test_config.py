"""Defaults of the training settings, and the number of rendered frames."""

from __future__ import annotations

import pytest

from explore.train.config import PASSES, CandidateConfig, FinalConfig, TrainConfig, frames_for


def test_runs_keep_the_settings_that_they_were_measured_with() -> None:
    """Those of version 0.1: a change would change the result of studies that are resumed."""
    expected = {"batch_size": 8, "learning_rate": 8e-3, "schedule": "cosine", "weight_decay": 1e-4, "ema_decay": 0.0}
    for model in (TrainConfig, CandidateConfig):
        assert model().model_dump(include=set(expected)) == expected
    assert FinalConfig().model_dump(include=set(expected)) == expected | {"learning_rate": 3e-3}


@pytest.mark.parametrize(("samples", "frames"), [(4000, 6000), (24_000, 6000), (24_001, 12_000), (160_000, 48_000)])
def test_a_run_passes_over_its_frames_four_times_at_most(samples: int, frames: int) -> None:
    assert frames_for(samples, 6000) == frames and samples <= PASSES * frames
