"""The data of a study, opened as its configuration says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from arch.errors import InputError
from explore.config import SearchConfig
from explore.data import SYNTHETIC_LEVELS, Human36MOptions, open_dataset, to_skeleton
from explore.judge import Judge


def open_judge(config: SearchConfig, progress: Callable[[int, int], None] | None = None) -> Judge:
    """Train and test part at the study's scale; the embedded set is rendered on its first use.

    The test part has the joints of the train part, by name.

    Raises:
        InputError: data that cannot be used.
    """
    tested = config.dataset.test_on or config.data
    options = _options(config, config.data)
    train = open_dataset(config.data, "train", options, workers=config.processes, progress=progress)
    test = open_dataset(tested, "test", _options(config, tested), workers=config.processes, progress=progress)
    if not train.has_depth.any():
        raise InputError(
            f"data {config.data}: annotates no depth; name a 3D set before it: human36m:PATH+{config.data}"
        )
    return Judge(train, to_skeleton(test, train.skeleton), config.scale)


def is_at_hand(config: SearchConfig) -> bool:
    """Whether the data can be opened without rendering anything."""
    for data in (config.data, config.dataset.test_on):
        if data.startswith("synthetic:"):
            from explore.data.synthetic.dataset import default_cache

            if not (default_cache() / _options(config, data).name / "dataset.json").is_file():
                return False
    return True


def _options(config: SearchConfig, data: str) -> Any:
    """The options of the first reader that `data` names."""
    given = config.dataset
    level = data.partition("+")[0].removeprefix("synthetic:")
    if data.startswith("synthetic:") and level in SYNTHETIC_LEVELS:
        from explore.data.synthetic.dataset import SyntheticConfig

        frame = given.frame or min(512, max(128, 2 * config.scale))
        return SyntheticConfig.model_validate(
            {"level": level, "seed": given.seed, "size": frame, "train": given.train, "test": given.test}
        )
    if data.startswith("mpi_inf_3dhp:"):
        from explore.data.mpi_inf_3dhp import MpiInf3dhpOptions

        chosen = {"train_subjects": given.train_subjects, "train_step": given.train_step}
        return MpiInf3dhpOptions.model_validate({key: value for key, value in chosen.items() if value is not None})
    if not data.startswith("human36m:"):
        return None
    return Human36MOptions(
        protocol=given.protocol,
        train_subjects=given.train_subjects,
        test_subjects=given.test_subjects,
        train_step=given.train_step or (1 if given.train_subjects else None),
        test_step=given.test_step or (1 if given.test_subjects else None),
        detected=given.detected,
    )
