"""A judged file as a bundle: what its manifest says of the data, the skeleton and the calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from arch.space import Arch
from explore.config import SearchConfig
from explore.judge import Judge
from explore.ship.files import normalised
from quantize import bundle
from quantize.bundle import Bundle
from quantize.calibration import digest
from quantize.manifest import Calibration, Data, Skeleton
from quantize.recipes import Recipe


def write_bundle(
    target: Path,
    model: Path,
    arch: Arch,
    runtime: str,
    recipe: Recipe,
    judge: Judge,
    metrics: dict[str, float],
    config: SearchConfig,
    certificate: dict[str, Any] | None = None,
) -> Bundle:
    """Write the bundle of `model`, trained and calibrated on the training part of `judge`."""
    trained_on = judge.train
    skeleton = trained_on.skeleton
    calibration = None
    if recipe.int8:
        used = normalised(judge.calibration(recipe.calibration_images, config.seed))
        calibration = Calibration(count=len(used), seed=config.seed, hash=digest(used))
    return bundle.write(
        target,
        model,
        arch=arch,
        runtime=runtime,
        recipe=recipe,
        skeleton=Skeleton(name=skeleton.name, joints=skeleton.names, edges=skeleton.edges, root=skeleton.root),
        data=Data(name=trained_on.name, hash=trained_on.hash),
        calibration=calibration,
        metrics=metrics,
        certificate=certificate,
        seed=config.seed,
        config_hash=config.hash,
    )
