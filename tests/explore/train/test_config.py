"""Settings by the number of samples: recipes, explicit settings, and the number of rendered frames."""

from __future__ import annotations

import argparse

import pytest

from explore.options import add_options, from_options
from explore.train.config import (
    FINAL_LEARNING_RATE,
    PASSES,
    RECIPES,
    CandidateConfig,
    FinalConfig,
    TrainConfig,
    frames_for,
    recipe_for,
)

SHORT, LONG = 4000, 40_000


@pytest.mark.parametrize("samples", [1, *(least + more for least, _ in RECIPES[1:] for more in (-1, 0)), 10**7])
def test_settings_that_are_not_given_follow_the_number_of_samples(samples: int) -> None:
    expected = [settings for least, settings in RECIPES if least <= samples][-1]
    for model in (TrainConfig, CandidateConfig):
        assert model(samples=samples).model_dump(include=set(expected)) == expected == recipe_for(samples)
    final = FinalConfig(samples=samples)
    assert final.learning_rate == pytest.approx(FINAL_LEARNING_RATE * expected["learning_rate"])
    assert final.batch_size == expected["batch_size"]


def test_short_runs_keep_the_settings_that_they_were_measured_with() -> None:
    """Those of version 0.1: a change would change the result of studies that are resumed."""
    assert recipe_for(SHORT) == {
        "batch_size": 8, "learning_rate": 8e-3, "schedule": "cosine", "weight_decay": 1e-4, "ema_decay": 0.0,
    }  # fmt: skip
    assert FinalConfig().learning_rate == 3e-3


def test_given_settings_take_precedence_also_at_another_length() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, TrainConfig)
    config = from_options(parser.parse_args(["--samples", str(LONG), "--batch-size", "24"]), TrainConfig)
    assert config.batch_size == 24 and config.learning_rate == recipe_for(LONG)["learning_rate"]
    shorter = config.with_samples(SHORT)
    assert shorter.batch_size == 24 and shorter.learning_rate == recipe_for(SHORT)["learning_rate"]
    assert shorter.model_fields_set == {"samples", "batch_size"}
    stored = TrainConfig.model_validate(config.model_dump(mode="json"))  # as in the file of a study
    assert stored == config


def test_help_says_that_defaults_depend_on_the_samples() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, TrainConfig)
    text = " ".join(parser.format_help().split())
    assert "peak learning rate (default: by the number of samples)" in text and "PydanticUndefined" not in text


@pytest.mark.parametrize(("samples", "frames"), [(4000, 6000), (24_000, 6000), (24_001, 12_000), (160_000, 48_000)])
def test_a_run_passes_over_its_frames_four_times_at_most(samples: int, frames: int) -> None:
    assert frames_for(samples, 6000) == frames and samples <= PASSES * frames
