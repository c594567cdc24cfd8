"""The teachers of a study's networks (explore.train.distill)."""

from __future__ import annotations

from pathlib import Path

from arch.cost import cost
from arch.space import Arch
from explore.data.sample import Dataset
from explore.search.config import SearchConfig
from explore.search.context import EvalContext
from explore.search.results import candidate_results
from explore.train.config import STUDY, TrainConfig
from explore.train.distill import Teacher, open_teacher


def check_teachers(config: SearchConfig, data: Dataset | None = None) -> None:
    """Check that the teachers of a study can be opened and, once there is `data`, that they have its skeleton.

    Raises:
        InputError: as `explore.train.distill.open_teacher`.
    """
    for path in {config.candidate.teacher, config.final.teacher} - {"", STUDY}:
        open_teacher(path, data)


def teacher_of(context: EvalContext, settings: TrainConfig, arch: Arch) -> Teacher | None:
    """Return the teacher that `settings` name for `arch`; None for the study's most accurate network itself."""
    path, data = settings.teacher, context.evaluator.train
    if path == STUDY:
        best = most_accurate(context.config)
        if best is None or best.parent.name == arch.id:
            return None
        path = str(best)
    return open_teacher(path, data, context.engine) if path else None


def teacher_macs(config: SearchConfig) -> float:
    """Return the MACs of the finalists' teacher; 0 without one."""
    path = config.final.teacher
    if path == STUDY:
        path = str(most_accurate(config) or "")
    return float(cost(open_teacher(path, None).arch).macs) if path else 0.0


def most_accurate(config: SearchConfig) -> Path | None:
    """Return the weights of the candidate with the lowest error of its exported file on the validation part."""
    found = [
        (result.mpjpe_mm, path.with_name("weights.safetensors"))
        for path, result in candidate_results(config.folder)
        if result.measured
    ]
    return min(found)[1] if found else None
