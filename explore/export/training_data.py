"""The data that a checkpoint was trained on: opened for calibration and evaluation, and described in the bundles.

Calibration images, joint names and licence belong to the network, so that they come from the checkpoint's record.
Another data set is used only if --data names it, and it must have the network's joints.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from arch.errors import InputError
from arch.space import Arch
from explore.config import parse
from explore.data import SYNTHETIC_LEVELS, join
from explore.data.config import DatasetConfig
from explore.data.mix import to_skeleton
from explore.data.skeleton import BLAZEPOSE33, Skeleton, mapping, pair_joints
from explore.evaluation.evaluator import Evaluator
from explore.export.config import ExportConfig
from explore.train.provenance import joint_names, licence, trained_on
from quantize.checkpoint import TRAINED_ON, JointNames, TrainedOn, read_trained_on


@dataclass(frozen=True)
class TrainingData:
    """The data of a checkpoint.

    checkpoint: the file, for messages; arch: its network; facts: see quantize.checkpoint
    config: settings that open the data for calibration and evaluation
    record: the checkpoint's own record; None in version 0.1
    is_named: whether the data was named explicitly, not read from the checkpoint
    """

    checkpoint: Path
    arch: Arch
    facts: Mapping[str, Any]
    config: ExportConfig
    record: TrainedOn | None
    is_named: bool

    def with_joints(self, evaluator: Evaluator) -> Evaluator:
        """Return the evaluator with the joints of the network, in the order of its output.

        Joints are matched by side and part. Without a record only their number is known.

        Raises:
            InputError: a scored joint of the network is missing.
        """
        own = evaluator.train.skeleton
        where, given = f"{self.checkpoint}: data {self.config.data}", ", ".join(own.names)
        if self.record is None:
            if len(own) != self.arch.num_joints:
                raise InputError(
                    f"{where}: {len(own)} joints ({given}), but the network predicts {self.arch.num_joints}; "
                    "give the data set that it was trained on with --data"
                )
            return evaluator
        skeleton = skeleton_of(self.record.skeleton)
        missing = mapping(own, skeleton) < 0
        names = [skeleton.names[joint] for joint in skeleton.scored if missing[joint]]
        if names:
            rendered = skeleton.name == BLAZEPOSE33.name and self.config.data.startswith("synthetic:")
            advice = f"--dataset.skeleton {skeleton.name}" if rendered else "a data set with these joints with --data"
            raise InputError(
                f"{where}: no joint {', '.join(names)} among {given}; the network predicts "
                f"{', '.join(skeleton.names)}; give {advice}"
            )
        if (own.names, own.root) == (skeleton.names, skeleton.root):
            return evaluator
        train, data = (to_skeleton(part, skeleton) for part in (evaluator.train, evaluator.data))
        return replace(evaluator, train=train, data=data)

    def describe(self, evaluator: Evaluator) -> TrainedOn:
        """Return the record of the checkpoint, or what is known of one of version 0.1.

        The licence of a checkpoint without a record is known only if the opened data has the name in its facts.
        """
        if self.record is not None:
            return self.record
        name = str(self.facts.get("data") or "")
        same = name == evaluator.train.name
        return describe_training(evaluator).model_copy(
            update={
                "name": name,
                "hash": str(self.facts.get("data_hash") or ""),
                "licence": licence(self.config.data) if same else "",
            }
        )


def training_data(checkpoint: Path, arch: Arch, facts: Mapping[str, Any], config: ExportConfig) -> TrainingData:
    """Find the settings that open the data of a checkpoint: those of its record, changed by the options given.

    config: `data` applies unless it is empty, and the keys of `dataset` where they were set explicitly; the others are
        the record's for data of the same readers, such as a set that was moved; the framing is always the record's

    Raises:
        InputError: a checkpoint of version 0.1 of other than embedded data, without --data.
    """
    record = read_trained_on(dict(facts), checkpoint)
    given = config.dataset.model_dump(include=config.dataset.model_fields_set)
    named = bool(config.data)
    data, dataset = config.data, dict[str, Any]()
    if not named:
        data = _embedded(checkpoint, facts) if record is None else record.data
    if record is not None:
        dataset = dict(record.dataset) if _readers(data) == _readers(record.data) else {"framing": record.framing}
        if given.get("framing", record.framing) != record.framing:
            raise InputError(
                f"{checkpoint}: --framing {given['framing']}: the network was trained with framing {record.framing}; omit it"
            )
    where = f"{checkpoint}: {TRAINED_ON}: dataset"
    chosen = {"data": data, "dataset": parse(DatasetConfig, dataset | given, where), "input_size": arch.input_size}
    return TrainingData(checkpoint, arch, facts, config.model_copy(update=chosen), record, named)


def _readers(data: str) -> list[str]:
    """Return the readers of the data sets that a specification joins; their folders need not exist."""
    return re.findall(r"(?:^|\+)(\w+):", data)


def _embedded(checkpoint: Path, facts: Mapping[str, Any]) -> str:
    """Return the specification of the embedded set that a checkpoint of version 0.1 names."""
    name = str(facts.get("data") or "")
    for level in SYNTHETIC_LEVELS:
        if name == f"synthetic-{level}":
            return f"synthetic:{level}"
    found = f"'{name}', without a path" if name else "none"
    raise InputError(
        f"{checkpoint}: {TRAINED_ON}: missing, because version 0.1 wrote the file (training data: {found}); name the "
        "data set that it was trained on with --data READER:PATH"
    )


def skeleton_of(record: JointNames) -> Skeleton:
    """Return the skeleton that a checkpoint stores."""
    parents = np.full(len(record.joints), -1)
    for parent, child in record.edges:
        parents[child] = parent
    return Skeleton(
        name=record.name,
        names=record.joints,
        parents=tuple(parents.tolist()),
        flip_pairs=record.flip_pairs,
        root=record.root,
        unscored=record.unscored,
        unpaired=pair_joints(record.joints)[1],
        hips=record.hips,
    )


def describe_training(evaluator: Evaluator) -> TrainedOn:
    """Return the record of a network that is trained on the training part of `evaluator`."""
    if facts := trained_on(evaluator):
        return TrainedOn.model_validate(facts[TRAINED_ON])
    train = evaluator.train
    return TrainedOn(
        data=train.name,
        dataset={"framing": train.framing},
        name=train.name,
        hash=train.hash,
        skeleton=joint_names(train.skeleton),
        input_size=evaluator.size,
    )


def trained_further(record: TrainedOn, evaluator: Evaluator) -> TrainedOn:
    """Return the record of a network that was fine-tuned on the training part of `evaluator`."""
    tuning = describe_training(evaluator)
    if tuning.data == record.data:
        return record
    licences = (record.licence, tuning.licence)
    return record.model_copy(
        update={
            "data": join(record.data, tuning.data),
            "name": f"{record.name}+{tuning.name}",
            "hash": f"{record.hash}+{tuning.hash}",
            "licence": "; ".join(dict.fromkeys(licences)) if all(licences) else "",
        }
    )
