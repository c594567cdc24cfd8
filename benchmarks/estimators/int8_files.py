"""Errors of the INT8 files of the reference networks."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.estimators import reference
from benchmarks.steps import Progress, run_missing
from explore.evaluation.evaluator import Evaluator
from explore.export.exporter import normalise, predict_file
from explore.train.loop import train_and_evaluate
from quantize import runtimes
from quantize.convert import Converter
from quantize.recipes import recipe

ROWS = reference.FOLDER / "int8.jsonl"
RUNTIME, RECIPE = "litert", "int8-static"
TIMEOUT = 300.0  # seconds of one conversion


def evaluate_all(evaluator: Evaluator, progress: Progress) -> None:
    """Add the missing rows, one for each reference network with its first seed; missing weights are trained again."""
    seed = reference.SET["seeds"][0]
    archs = {f"int8-{arch.id}": arch for arch in reference.networks()}

    def is_done(job: str) -> bool:
        return any(row["arch_id"] == archs[job].id for row in reference.read_rows(ROWS))

    if all(map(is_done, archs)):
        return
    chosen = recipe(RECIPE)
    calibration = normalise(evaluator.calibration(chosen.calibration_images, seed))
    images = evaluator.evaluation.images
    with tempfile.TemporaryDirectory() as scratch, Converter(Path(scratch, "converter.log")) as converter:

        def do(job: str) -> None:
            arch = archs[job]
            weights = reference.weights_of(arch.id, seed)
            if not weights.exists():
                train_and_evaluate(arch, evaluator, reference.settings(), seed, weights)
            folder = Path(scratch, arch.id)
            model = converter.export(arch, weights, RUNTIME, chosen, calibration, folder, TIMEOUT)
            session = runtimes.get(RUNTIME).load(model, 1)
            mm = evaluator.evaluate(predict_file(session, RUNTIME, arch, images)).mpjpe
            session.close()
            reference.add_row(ROWS, {"arch_id": arch.id, "seed": seed, "mm": round(mm, 3)})
            progress((list(archs).index(job) + 1) / len(archs))

        run_missing(reference.folder(), archs, is_done, do)
