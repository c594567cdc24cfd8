"""A judged file as a bundle: what its manifest says of the data, the skeleton and the calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from arch.space import Arch
from explore.config import SearchConfig
from explore.judge import Judge
from explore.ship.files import MadeFile, Workshop, normalised
from quantize import bundle
from quantize.bundle import Bundle
from quantize.calibration import digest
from quantize.manifest import Calibration, Data, Skeleton
from quantize.recipes import Recipe

METRICS = ("mpjpe_mm", "pa_mpjpe_mm", "latency_ms", "float_mpjpe_mm", "float_file_mpjpe_mm", "float_latency_ms")


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


def ship(
    workshop: Workshop, arch: Arch, file: MadeFile, row: dict[str, Any], target: Path, packed: bool = False
) -> Path:
    """The file as a bundle, a folder or one .zip, with the metrics and the certificate of its row."""
    metrics = {key: float(row[key]) for key in METRICS if row[key] is not None}
    if "legalised" in row:
        metrics["before_legalising_mpjpe_mm"] = row["legalised"]["before_mpjpe_mm"]
    made = write_bundle(
        workshop.folder / f"{file.runtime}-bundle" if packed else target,
        file.model,
        arch,
        file.runtime,
        file.recipe,
        workshop.judge,
        metrics,
        workshop.config,
        row["certificate"],
    )
    return bundle.save_zip(made, target.with_suffix(".zip")) if packed else target
