"""Gain from distillation: a student with and without a teacher, at equal samples and at equal CPU time.

Three students are trained for each seed: with the teacher, without it on the same samples, and without it for the CPU
time of the distillation. A fourth one also gets the CPU time of the teacher's own training, which a search pays for
anyway if the teacher is one of its candidates. Results are cached run by run: an interrupted benchmark continues.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from arch.files import content_hash, write_atomic
from arch.space import Arch
from benchmarks import Claim, decrease_of_each_seed
from benchmarks.steps import part_of, run_steps
from benchmarks.training_long import LONG
from explore.data.config import DataConfig
from explore.evaluation.evaluator import Evaluator, open_evaluators
from explore.host import default_cache
from explore.train.config import CandidateConfig
from quantize.checkpoint import save_network

# Two networks of the space `elastic`, with 18 and 3.5 M MACs: fb36b0512c and cca857ef41.
CONFIG: dict[str, Any] = {
    "train": 6000, "val": 500, "samples": 6000, "teacher_samples": 16000, "seeds": [0, 1, 2], "weight": 1.0,
    "teacher": {
        "encoder": "mobilenet_v2", "width": 0.75, "stem_stride": 2, "depths": [1, 2, 2, 3, 2, 2, 1],
        "expansions": [1.0, 6.0, 3.0, 6.0, 3.0, 4.0, 3.0], "intermediate_channels": 128, "activation": "relu",
        "decoder_width": 96, "decoder_conv": "separable", "decoder_stages": 3, "heatmap_size": 16, "depth_bins": 16,
        "input_size": 64,
    },
    "student": LONG["arch"],
}  # fmt: skip
KINDS = ("distilled", "equal samples", "equal CPU time", "equal CPU time, the teacher's training included")
Rows = list[dict[str, Any]]


def run(progress: Callable[[float], None]) -> tuple[Rows, list[Claim]]:
    """Return a row for the teacher, and one for each student and seed; errors in mm on the validation part."""
    import torch

    torch.set_num_threads(1)
    teacher, student = Arch(**CONFIG["teacher"]), Arch(**CONFIG["student"])
    data = {"train_frames": CONFIG["train"], "val_frames": CONFIG["val"], "test_frames": 500}
    evaluator = open_evaluators(DataConfig(dataset=data, input_size=student.input_size)).validation  # type: ignore[arg-type]
    folder = default_cache() / f"bench-distillation-{content_hash(CONFIG)}"
    weights, total = folder / "teacher.safetensors", 1 + len(KINDS) * len(CONFIG["seeds"])

    def trained(index: int, arch: Arch, samples: int, seed: int, **changes: Any) -> dict[str, Any]:
        config, report = CandidateConfig(samples=samples, **changes), part_of(progress, index, total)
        train = partial(_train, arch, evaluator, config, seed, folder / str(index), report)
        return run_steps(folder, {str(index): train}, report)[str(index)]

    rows = [{"student": "teacher", "seed": 0, **trained(0, teacher, CONFIG["teacher_samples"], 0)}]
    if not weights.exists():
        write_atomic(weights, (folder / "0.safetensors").read_bytes())
    for turn, seed in enumerate(CONFIG["seeds"]):
        first, samples = 1 + turn * len(KINDS), CONFIG["samples"]
        found = [
            trained(first, student, samples, seed, teacher=str(weights), teacher_weight=CONFIG["weight"]),
            trained(first + 1, student, samples, seed),
        ]
        a_second = found[1]["samples"] / found[1]["cpu_s"]
        for place, seconds in enumerate((found[0]["cpu_s"], found[0]["cpu_s"] + rows[0]["cpu_s"])):
            found.append(trained(first + 2 + place, student, round(a_second * seconds), seed))
        rows += [{"student": kind, "seed": seed, **row} for kind, row in zip(KINDS, found, strict=True)]
        progress((first + len(KINDS)) / total)
    shutil.rmtree(folder)
    return rows, claims(rows)


def _train(
    arch: Arch, evaluator: Evaluator, config: CandidateConfig, seed: int, path: Path, report: Callable[[float], None]
) -> dict[str, Any]:
    from explore.train.distill import make_objective
    from explore.train.loop import predict, train

    objective = make_objective(config, evaluator.train, seed)
    state = path.with_suffix(".state")
    result = train(
        arch, evaluator.train, config, seed, state, progress=lambda done, all_: report(done / all_), objective=objective
    )
    save_network(path.with_suffix(".safetensors"), result.net)
    accuracy = evaluator.evaluate(predict(result.net, evaluator.evaluation.images))
    return {
        "arch_id": arch.id,
        "samples": result.samples,
        "passes": round(result.samples / len(evaluator.train), 1),
        "mpjpe_mm": round(accuracy.mpjpe, 2),
        "pa_mpjpe_mm": round(accuracy.pa_mpjpe, 2),
        "cpu_s": round(result.cpu_seconds, 1),
    }


def claims(rows: Rows) -> list[Claim]:
    """Compare the student with a teacher with each student without one, seed by seed."""
    errors = {kind: np.array([row["mpjpe_mm"] for row in rows if row["student"] == kind]) for kind in KINDS}
    found = []
    for kind in KINDS[1:]:
        gains = errors[kind] - errors["distilled"]
        found.append(decrease_of_each_seed(f"by distillation, {kind}", gains))
    return found
