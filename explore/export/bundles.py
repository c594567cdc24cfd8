"""Bundles of exported files, with their data, skeleton, calibration, metrics and certificate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arch.space import Arch
from explore.data.framing import roi_of
from explore.export import golden
from explore.export.certificates import interval_of
from explore.export.exporter import ExportedModel, Exporter
from explore.export.output_calibration import OutputCalibration
from explore.export.training_data import describe_training, skeleton_of
from quantize import bundle
from quantize.calibration import digest
from quantize.manifest import Calibration, Data, Evaluation, Skeleton

METRICS = ("mpjpe_mm", "pa_mpjpe_mm", "latency_ms", "float_mpjpe_mm", "float_file_mpjpe_mm", "float_latency_ms")


def export_bundle(
    exporter: Exporter,
    arch: Arch,
    file: ExportedModel,
    row: dict[str, Any],
    target: Path,
    as_zip: bool = False,
    outputs: OutputCalibration | None = None,
    languages: Sequence[str] = (),
) -> Path:
    """Write the bundle of `file` with the metrics and the certificate of its row; returns its path.

    target: folder of the bundle; with `as_zip` the name of the .zip without its suffix
    outputs: calibration of the file's outputs
    languages: of the decoders to add, see `quantize.sdk`
    """
    metrics = {key: float(row[key]) for key in METRICS if row[key] is not None}
    if "replaced_activations" in row:
        metrics["original_activations_mpjpe_mm"] = row["replaced_activations"]["before_mpjpe_mm"]
    seed, calibration, evaluated = exporter.config.seed, None, exporter.evaluator.data
    if file.recipe.calibrated:
        images = exporter.calibration_images(file.recipe)
        calibration = Calibration(count=len(images), seed=seed, hash=digest(images))
    record = exporter.trained_on or describe_training(exporter.evaluator)
    skeleton = record.skeleton
    written = bundle.write(
        exporter.folder / f"{file.runtime}-bundle" if as_zip else target,
        file.model,
        arch=arch,
        runtime=file.runtime,
        recipe=file.recipe,
        roi=roi_of(skeleton_of(skeleton)) if record.framing == "roi" else None,
        confidence=outputs.confidence if outputs else None,
        scale=outputs.scale if outputs else None,
        skeleton=Skeleton.model_validate(skeleton.model_dump(include=set(Skeleton.model_fields))),
        data=Data(name=record.name, hash=record.hash),
        licence=record.licence,
        calibration=calibration,
        metrics=metrics,
        evaluation=Evaluation(
            data=evaluated.name,
            part=exporter.evaluator.part,
            hash=evaluated.hash,
            mpjpe_interval=interval_of(file.accuracy),
        ),
        certificate=row["certificate"],
        seed=seed,
        config_hash=exporter.config_hash or exporter.config.hash,
    )
    written = bundle.add_golden(written, golden.stored_predictions(written))
    bundle.add_decoders(written, languages)
    return bundle.save_zip(written, target.with_suffix(".zip")) if as_zip else target
