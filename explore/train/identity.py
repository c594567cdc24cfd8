"""Identity of a training run: all that its result depends on. Only a run of the same identity resumes a state."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from arch.errors import InputError
from arch.files import content_hash, sha256_file
from arch.space import Arch, make_arch
from explore.data.sample import Dataset
from explore.train.config import TrainConfig

DIGITS = 12  # of the hashes of files
SHOWN = 3  # differences that a message names
OLD_SETTINGS = {
    "samples": "samples",
    "batch_size": "batch",
    "optimizer": "optimizer",
    "learning_rate": "rate",
    "schedule": "schedule",
    "warmup": "warmup",
    "weight_decay": "weight_decay",
    "grad_clip": "clip",
    "ema_decay": "ema",
    "heatmap_loss": "heatmap_loss",
    "augment": "augment",
}  # fmt: skip - settings of version 0.1 by their present names


@dataclass(frozen=True)
class RunIdentity:
    """All values that the result of a run depends on.

    Processes, device and batch-loading workers are not included: they change the result by rounding at most.

    values: arch, data, settings (augmentation included), seed, precision, objective, hashes of the files of init_from
            and backbone ("" without one), and entries of the caller
    hash_0_1: the hash by which version 0.1 identified the run, which included neither arch nor init_from
    """

    values: dict[str, Any]
    hash_0_1: str

    def check(self, facts: dict[str, Any], path: Path) -> None:
        """Check that a state with these facts belongs to this run.

        Raises:
            InputError: it belongs to another run; names the differences.
        """
        stored = facts.get("identity")
        advice = "repeat that call, or delete the file to start again"
        if isinstance(stored, dict):
            found = _differences(stored, self.values)
            if found:
                more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
                raise InputError(f"{path}: state of another run: {'; '.join(found[:SHOWN])}{more}; {advice}")
            return
        if found := _arch_differences(facts["arch"], self.values["arch"]):
            raise InputError(f"{path}: state of another run: {'; '.join(found[:SHOWN])}; {advice}")
        if facts.get("run") != self.hash_0_1:
            raise InputError(
                f"{path}: state of another run, by version 0.1: data, settings, seed, precision or backbone differ; {advice}"
            )
        if self.values["init_from"]:
            raise InputError(
                f"{path}: init_from: version 0.1 did not record it, so the state may have started from other weights; "
                "delete the file to start again"
            )


def run_identity(
    arch: Arch,
    data: Dataset,
    config: TrainConfig,
    seed: int,
    precision: str,
    init_from: Path | None,
    backbone: Path | None,
    objective: Any,
    others: dict[str, Any],
) -> RunIdentity:
    """Return the identity of a run.

    objective: identity of the objective, see `explore.train.loop.Objective`
    others:    further entries, such as the test data of evaluations during the run
    """
    settings = config.model_dump(mode="json", exclude={"teacher", "teacher_weight"})  # the objective has its hash
    backbone_hash = sha256_file(backbone) if backbone else ""
    values: dict[str, Any] = {
        "arch": arch.model_dump(mode="json"),
        "data": data_identity(data),
        "settings": settings,
        "seed": seed,
        "precision": precision,
        "init_from": sha256_file(init_from)[:DIGITS] if init_from else "",
        "backbone": backbone_hash[:DIGITS],
        "objective": objective,
    }
    old_facts = {
        "data": data.hash,
        "pictures": values["data"]["images"],
        "config": {old: settings[new] for new, old in OLD_SETTINGS.items()},
        "seed": seed,
        "precision": precision,
        "backbone": backbone_hash,
        "objective": objective,
    }
    return RunIdentity(json.loads(json.dumps(values | others)), content_hash(old_facts))  # as a state file has them


def data_identity(data: Dataset) -> dict[str, Any]:
    """Return what training and evaluation use of a data set.

    The hash of a data set is that of its annotations, also for a part of it; `samples` therefore hashes the columns.
    """
    digest = sha256("\n".join(data.files).encode())
    depth = data.depth_weight if (data.depth_weight != data.has_depth).any() else data.has_depth
    for column in (data.bbox, data.joints_img, data.joints_cam, data.vis, depth):
        digest.update(np.ascontiguousarray(column).tobytes())
    if data.masks or data.weights:
        digest.update(repr((data.masks, data.part, data.weights)).encode())
    skeleton = data.skeleton
    return {
        "name": data.name,
        "annotations": data.hash,
        "samples": f"{len(data)} ({digest.hexdigest()[:DIGITS]})",
        "images": data.image_hash,
        "joints": list(skeleton.names),
        "flip_pairs": [list(pair) for pair in skeleton.flip_pairs],
        "root": skeleton.names[skeleton.root],
    }


def _differences(there: dict[str, Any], here: dict[str, Any], prefix: str = "") -> list[str]:
    """Return a phrase for each value that differs, at any depth."""
    found = []
    for key in dict.fromkeys((*here, *there)):
        a, b = there.get(key), here.get(key)
        if key == "arch" and not prefix:
            found += _arch_differences(a, b)
        elif isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key} is {_shown(a)} there, {_shown(b)} here")
    return found


def _arch_differences(there: Any, here: Any) -> list[str]:
    """Return a phrase for each field that differs; none for two spellings of the same network."""
    one, other = (make_arch(dict(values), "arch") for values in (there, here))
    if one.id == other.id:
        return []
    return _differences(one.model_dump(mode="json"), other.model_dump(mode="json"), "arch.")


def _shown(value: Any) -> str:
    text = "none" if value in ("", None, []) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
