"""The reference networks as shipped: the error of each one's INT8 file, which is what a search is after."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from explore.bench.estimators import reference
from explore.estimate.alone import train_alone
from explore.judge import Judge
from explore.ship.files import file_answers, normalised
from quantize import runtimes
from quantize.convert import Converter
from quantize.recipes import recipe

ROWS = reference.FOLDER / "int8.jsonl"
RUNTIME, RECIPE = "litert", "int8-static"
TIMEOUT = 300.0  # seconds of one conversion


def judge_all(judge: Judge, progress: Callable[[float], None]) -> list[dict[str, Any]]:
    """A row a reference network, of its first seed; trains again what is no longer there."""
    seed = reference.SET["seeds"][0]
    archs = {f"int8-{arch.id}": arch for arch in reference.networks()}

    def is_there(job: str) -> bool:
        return any(row["arch_id"] == archs[job].id for row in reference.read_rows(ROWS))

    if all(map(is_there, archs)):
        return reference.read_rows(ROWS)
    chosen = recipe(RECIPE)
    pictures = normalised(judge.calibration(chosen.calibration_images, seed))
    images = judge.evaluation.images
    with tempfile.TemporaryDirectory() as scratch, Converter(Path(scratch, "converter.log")) as converter:

        def do(job: str) -> None:
            arch = archs[job]
            weights = reference.weights_of(arch.id, seed)
            if not weights.exists():
                train_alone(arch, judge, reference.settings(), seed, weights)
            folder = Path(scratch, arch.id)
            model = converter.export(arch, weights, RUNTIME, chosen, pictures, folder, TIMEOUT)
            session = runtimes.get(RUNTIME).load(model, 1)
            mm = judge.score(file_answers(session, RUNTIME, arch, images)).mpjpe
            session.close()
            reference.add_row(ROWS, {"arch_id": arch.id, "seed": seed, "mm": round(mm, 3)})
            progress((list(archs).index(job) + 1) / len(archs))

        reference.shared(list(archs), is_there, do)
    return reference.read_rows(ROWS)
