"""Evaluation of predictions in millimetres on one part of the data: validation or test.

Everything that makes a choice uses the validation part, which no network was trained on. The test part serves for the
figures of models that were chosen before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pydantic.dataclasses
from numpy.typing import NDArray

from arch.errors import InputError
from explore.data import SYNTHETIC_LEVELS, open_dataset, parse_data
from explore.data.batches import Evaluation, evaluation_arrays, sample_crop
from explore.data.config import DataConfig, DatasetConfig, Human36MOptions, MpiInf3dhpOptions
from explore.data.mix import to_skeleton
from explore.data.sample import Dataset
from explore.data.sample_errors import SplitNotFound
from explore.data.skeleton import BLAZEPOSE33, Skeleton
from explore.data.split import check_disjoint, hold_out
from explore.evaluation.intervals import Interval, Units, bootstrap, independent_units
from explore.evaluation.metrics import check_3d, frame_errors, mean_pose_error, score

if TYPE_CHECKING:
    from explore.data.synthetic.config import SyntheticConfig

Part = Literal["validation", "test"]
APPLIES_TO = {  # readers and the keys of DatasetConfig that have an effect on their data only
    "Human3.6M": (("human36m",), ("protocol", "test_subjects", "test_step", "detected")),
    "Human3.6M and MPI-INF-3DHP": (("human36m", "mpi_inf_3dhp"), ("train_subjects", "train_step")),
    "the embedded data set": (("synthetic",), ("test_frames", "val_frames", "frame", "seed", "poses", "skeleton")),
}


@pydantic.dataclasses.dataclass(frozen=True)
class Accuracy:
    """Mean errors over a part in mm: after root alignment, and after Procrustes alignment.

    interval: 95% interval of the MPJPE; None for parts of a single unit, and in files of version 0.1
    """

    mpjpe: float
    pa_mpjpe: float
    interval: Interval | None = None


@dataclass(frozen=True)
class Evaluator:
    """Training part and evaluated part of the data at one input size. Images are decoded on first use and kept.

    data: the evaluated part; part: its name; config: settings that the data was opened with
    """

    train: Dataset
    data: Dataset
    size: int
    part: Part = "test"
    config: DataConfig | None = None

    @cached_property
    def evaluation(self) -> Evaluation:
        """Crops of the evaluated part with their ground truth."""
        return evaluation_arrays(self.data, self.size)

    @cached_property
    def mean_pose_mm(self) -> float:
        """MPJPE of the mean-pose baseline: predict the mean training pose for every image."""
        return float(mean_pose_error(self.train, self.data))

    @cached_property
    def units(self) -> Units:
        """Independent units of the evaluated part, for `paired_bootstrap`."""
        return independent_units(self.data)

    def evaluate(self, normalised: NDArray[np.float32]) -> Accuracy:
        """Return the accuracy of normalised predictions (N, J, 3) for the whole part."""
        mm = self.evaluation.to_camera(normalised)
        scores, found = score(mm, self.data), bootstrap(frame_errors(mm, self.data), self.units)
        interval = found if np.isfinite([found.low, found.high]).all() else None
        return Accuracy(scores.mpjpe, scores.pa_mpjpe, interval)

    def calibration(self, count: int, seed: int) -> NDArray[np.uint8]:
        """Return `count` unaugmented training crops (count, S, S, 3), chosen by `seed`."""
        order = np.random.default_rng((seed, 2)).permutation(len(self.train))
        chosen = [int(index) for index in np.resize(order, count)]
        return np.stack([sample_crop(self.train, index, self.size)[0] for index in chosen])


@dataclass(frozen=True)
class Evaluators:
    """Evaluators of both parts. They share the training part, which contains neither of them."""

    validation: Evaluator
    test: Evaluator

    @property
    def train(self) -> Dataset:
        return self.validation.train


Progress = Callable[[int, int], None]


def open_evaluator(config: DataConfig, workers: int = 1, progress: Progress | None = None) -> Evaluator:
    """Open the whole training split and the test part, for training with a fixed recipe, which selects nothing.

    Test joints are matched to the training skeleton by name. The embedded set is rendered on first use by `workers`
    processes, with progress(done, total) after each frame.

    Raises:
        InputError: data that cannot be used, or parts that share subjects, clips or images.
    """
    train, test = _train_and_test(config, workers, progress)
    test = comparable(train, test)
    check_disjoint(training=train, test=test)
    return Evaluator(train, test, config.input_size, config=config)


def open_evaluators(
    config: DataConfig, workers: int = 1, progress: Progress | None = None, choose_on_test: bool = False
) -> Evaluators:
    """Open training, validation and test part, for everything that makes a choice.

    The validation part is held out of the training split (explore.data.split); the embedded set renders one of its
    own. For the rest see `open_evaluator`.

    choose_on_test: take the test part as validation part, too, as studies of version 0.1 do
    """
    if choose_on_test:
        evaluator = open_evaluator(config, workers, progress)
        return Evaluators(evaluator, evaluator)
    train, test = _train_and_test(config, workers, progress)
    train, validation, test = divide(
        train, test, config.dataset, _rendered_validation(config, train, workers, progress)
    )
    return Evaluators(
        Evaluator(train, validation, config.input_size, "validation", config),
        Evaluator(train, test, config.input_size, config=config),
    )


def divide(
    train: Dataset, test: Dataset, config: DatasetConfig, validation: Dataset | None = None
) -> tuple[Dataset, Dataset, Dataset]:
    """Return training, validation and test part of two splits. The validation part is held out if not given.

    Raises:
        InputError: a part would be empty, has no 3D, or shares subjects, clips or images with another.
    """
    test = comparable(train, test)
    if validation is None:
        train, validation = hold_out(train, config.val_subjects, config.val_fraction)
    elif config.val_subjects is not None:
        raise InputError("dataset.val-subjects: the embedded data set renders a validation part of its own; omit it")
    check_disjoint(training=train, validation=validation, test=test)
    return train, validation, test


def comparable(train: Dataset, test: Dataset) -> Dataset:
    """Return a test part with the joints of the training part. InputError: no joint in common, or without 3D."""
    test = to_skeleton(test, train.skeleton)
    check_3d(test)
    return test


def check_keys(config: DataConfig) -> None:
    """Raise an InputError for a key of `dataset` that has no effect on the data."""
    specs = (*parse_data(config.data), *parse_data(config.dataset.test_on or config.data))
    readers = {data.partition(":")[0] for data in specs}
    for name, (known, keys) in APPLIES_TO.items():
        for key in keys if readers.isdisjoint(known) else ():
            if getattr(config.dataset, key) != DatasetConfig.model_fields[key].default:
                raise InputError(
                    f"dataset.{key.replace('_', '-')}: applies to {name} only, not to {config.data}; omit it"
                )


def _train_and_test(config: DataConfig, workers: int, progress: Progress | None) -> tuple[Dataset, Dataset]:
    tested = config.dataset.test_on or config.data
    framing = config.dataset.framing
    check_keys(config)
    if framing == "roi" and config.dataset.detected:
        raise InputError(
            "dataset.detected: gives boxes only, but framing roi needs joints; omit it, or use framing box"
        )
    train = open_dataset(
        config.data, "train", partial(reader_options, config), workers=workers, progress=progress, framing=framing
    )
    if not train.has_depth.any():
        raise InputError(f"data {config.data}: annotates no depth; put a 3D set before it: human36m:PATH+{config.data}")
    options = partial(reader_options, config, skeleton=train.skeleton)
    test = open_dataset(tested, "test", options, workers=workers, progress=progress, framing=framing)
    return train, test


def _rendered_validation(config: DataConfig, train: Dataset, workers: int, progress: Progress | None) -> Dataset | None:
    """Return the validation part of the rendered set that the first samples with depth are from, if it has one."""
    if not train.origins[int(train.has_depth.argmax())].startswith("synthetic"):
        return None
    spec = next(part for part in parse_data(config.data) if part.startswith("synthetic:"))
    try:
        options = partial(reader_options, config, skeleton=train.skeleton)
        validation = open_dataset(
            spec, "validation", options, workers=workers, progress=progress, framing=config.dataset.framing
        )
    except SplitNotFound:  # a folder rendered by version 0.1
        return None
    return to_skeleton(validation, train.skeleton)


def is_rendered(config: DataConfig, validation: bool = False) -> bool:
    """Return whether the data, with or without the validation part, can be opened without rendering frames."""
    from explore.host import default_cache

    specs = parse_data(config.data)
    used = specs + parse_data(config.dataset.test_on)[:1] if config.dataset.test_on else specs
    folders = [default_cache() / reader_options(config, data).name for data in used if _is_level(data)]
    if validation and _is_level(specs[0]):
        folders.append(reader_options(config, specs[0]).validation_folder(default_cache()))
    return all((folder / "dataset.json").is_file() for folder in folders)


def rendering_options(config: DataConfig) -> SyntheticConfig | None:
    """Return how the embedded data set in `data` is rendered; None if there is none."""
    return next((reader_options(config, spec) for spec in parse_data(config.data) if _is_level(spec)), None)


def _is_level(data: str) -> bool:
    """Return whether a data set is the embedded one, named by its level."""
    kind, _, level = data.partition(":")
    return kind == "synthetic" and level in SYNTHETIC_LEVELS


def evaluation_note(config: DataConfig) -> str:
    """Return what errors on the test part depend on, as text: the protocol, and the source of boxes and root depths."""
    options = tested_human36m(config)
    given = f"{'detected' if config.dataset.detected else 'annotated'} boxes and root depths"
    return f"{options.note}; {given}" if options else given


def tested_human36m(config: DataConfig) -> Human36MOptions | None:
    """Return the subjects and steps of the test part if it is of Human3.6M."""
    options = reader_options(config, config.dataset.test_on or parse_data(config.data)[0])
    return options if isinstance(options, Human36MOptions) else None


def reader_options(config: DataConfig, data: str, skeleton: Skeleton | None = None) -> Any:
    """Return the options of the reader of one data set, or None for readers without options.

    skeleton: of the training data, which rendered sets take unless the settings name another
    """
    given = config.dataset
    if data.startswith("synthetic:"):
        from explore.data.synthetic.config import SyntheticConfig

        return SyntheticConfig.model_validate(
            {
                "level": data.removeprefix("synthetic:") if _is_level(data) else "easy",  # of a folder it is known
                "seed": given.seed,
                "size": given.frame or min(512, max(128, 2 * config.input_size)),
                "train_frames": given.train_frames,
                "test_frames": given.test_frames,
                "val_frames": given.val_frames,
                "poses": given.poses,
                "framing": given.framing,
                "skeleton": given.skeleton or (BLAZEPOSE33.name if skeleton == BLAZEPOSE33 else ""),
            }
        )
    if data.startswith("mpi_inf_3dhp:"):
        chosen = {"train_subjects": given.train_subjects, "train_step": given.train_step}
        return MpiInf3dhpOptions.model_validate({key: value for key, value in chosen.items() if value is not None})
    if not data.startswith("human36m:"):
        return None
    chosen = given.model_dump(include=set(Human36MOptions.model_fields))
    for split in ("train", "test"):
        chosen[f"{split}_step"] = chosen[f"{split}_step"] or (1 if chosen[f"{split}_subjects"] else None)
    return Human36MOptions.model_validate(chosen)
