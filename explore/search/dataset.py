"""The data of a study, opened as its configuration says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from explore.config import SearchConfig
from explore.data import Human36MOptions, open_dataset
from explore.judge import Judge


def open_judge(config: SearchConfig, progress: Callable[[int, int], None] | None = None) -> Judge:
    """Train and test part at the study's scale; the embedded set is rendered on its first use.

    Raises:
        InputError: data that cannot be used.
    """
    options = _options(config)
    train = open_dataset(config.data, "train", options, workers=config.processes, progress=progress)
    return Judge(train, open_dataset(config.data, "test", options), config.scale)


def _options(config: SearchConfig) -> Any:
    given = config.dataset
    if config.data.startswith("synthetic:"):
        from explore.data.synthetic.dataset import SyntheticConfig

        frame = given.frame or min(512, max(128, 2 * config.scale))
        level = config.data.partition(":")[2]
        return SyntheticConfig.model_validate(
            {"level": level, "seed": given.seed, "size": frame, "train": given.train, "test": given.test}
        )
    return Human36MOptions(
        protocol=given.protocol, train_subjects=given.train_subjects, test_subjects=given.test_subjects
    )
