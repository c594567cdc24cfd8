"""Results of an exported file with its certificate, as one row for `export` and for a search."""

from __future__ import annotations

from dataclasses import asdict
from math import isfinite
from typing import Any

from arch.network import PoseNet
from arch.space import Arch
from explore.evaluation.evaluator import Accuracy, Evaluator
from explore.evaluation.intervals import paired_bootstrap
from explore.evaluation.metrics import frame_errors
from explore.export.exporter import ExportedModel, Exporter, Predictions, normalise
from quantize import runtimes
from quantize.certificate import Increase, certify
from quantize.recipes import Recipe
from quantize.sensitivity import step_costs

SIMULATED_PIXELS = 16 * 64 * 64  # of all images together that the steps are ranked on


def certificate_row(
    evaluator: Evaluator,
    arch: Arch,
    network: Predictions,
    file: ExportedModel,
    float_file: ExportedModel,
    costs: dict[str, float],
) -> dict[str, Any]:
    """Return the row of `file`.

    evaluator: evaluated the network and the files
    network: predictions of the float network in torch
    float_file: the float file of the same runtime, possibly `file` itself
    costs: see `simulated_costs`
    """
    quantized = file is not float_file
    certificate = certify(
        arch,
        file.recipe,
        file.summary,
        weight_bits=runtimes.get(file.runtime).WEIGHT_BITS,
        quantizer=_quantizer_options(file),
        torch_mm=network.mm,
        file_mm=file.mm,
        float_mm=float_file.mm if quantized else None,
        float_summary=float_file.summary if quantized else None,
        increase=increase(evaluator, file, float_file) if quantized else None,
        steps_mm=costs,
    )
    return {
        "runtime": file.runtime,
        "recipe": file.recipe.name,
        "float_fallback_layers": list(file.recipe.float_fallback_layers),
        "bytes": file.summary.bytes,
        "float_bytes": float_file.summary.bytes,
        "mpjpe_mm": file.accuracy.mpjpe,
        "pa_mpjpe_mm": file.accuracy.pa_mpjpe,
        "mpjpe_interval": interval_of(file.accuracy),
        "float_mpjpe_mm": network.accuracy.mpjpe,
        "float_file_mpjpe_mm": float_file.accuracy.mpjpe,
        "export_s": file.seconds,
        "certificate": certificate.model_dump(mode="json"),
        "checks_passed": certificate.passed,
        "checks_failed": [check.name for check in certificate.checks if not check.passed],
    }


def _quantizer_options(file: ExportedModel) -> dict[str, str]:
    """Return the options that the quantizer ran with; none for float files, and where training found the ranges."""
    if not file.recipe.quantized or (file.recipe.qat_samples and file.runtime == "openvino"):
        return {}
    return file.recipe.options(runtimes.get(file.runtime).quantizer_options(file.recipe))


def increase(evaluator: Evaluator, file: ExportedModel, float_file: ExportedModel) -> Increase:
    """Return the increase of MPJPE of `file` over the float file, paired by image."""
    errors, float_errors = (frame_errors(predictions.mm, evaluator.data) for predictions in (file, float_file))
    found = paired_bootstrap(errors, float_errors, evaluator.units)
    low, high = (found.low, found.high) if isfinite(found.low) else (None, None)
    return Increase(found.value, low, high, float_file.accuracy.mpjpe)


def interval_of(accuracy: Accuracy) -> dict[str, Any] | None:
    """Return the 95% interval of an MPJPE as a dict; None if it is unknown."""
    return asdict(accuracy.interval) if accuracy.interval else None


def simulated_costs(exporter: Exporter, net: PoseNet, recipe: Recipe) -> dict[str, float]:
    """Return the error in mm that a recipe adds in each step alone, simulated on a few training images."""
    count = max(2, SIMULATED_PIXELS // net.arch.input_size**2)
    return step_costs(net, normalise(exporter.evaluator.calibration(count, exporter.config.seed)), recipe.activations)
