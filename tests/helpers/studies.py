"""The reference study, and study folders of any size: real networks with made-up figures."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import yaml

from arch.cost import cost
from arch.search_space import Space
from arch.space import Arch, preset
from explore.data.sample import Dataset
from explore.data.skeleton import H36M17
from explore.evaluation.evaluator import Evaluator
from explore.evaluation.intervals import Units, bootstrap, independent_units
from explore.evaluation.metrics import frame_errors
from explore.report.predictions import Predictions
from explore.report.rows import TrialRow
from explore.report.snapshot import Snapshot, save_snapshot
from explore.report.summary import Summary, settings_of
from explore.report.tables import write_tables
from explore.search.config import SearchConfig
from explore.search.costs.quantities import LatencySource, is_measured
from explore.search.results import CandidateResult, FinalistResult, FinalistRow
from explore.search.storage.records import StudyRecords, TrialRecord, candidate_figures, candidate_file
from tests.helpers import ROOT

REFERENCE = ROOT / "results" / "version-0.1"


def _latency(bundle: Path) -> float:
    return float(json.loads((bundle / "litert" / "manifest.json").read_text())["metrics"]["latency_ms"])


FAST, MIDDLE, ACCURATE = (path.name for path in sorted((REFERENCE / "bundles").iterdir(), key=_latency))


def write_study(folder: Path, count: int, names: dict[int, str] | None = None, device: str = "") -> Path:
    """Write a study folder with `count` complete candidates, the paper's three networks first.

    names: replace those of some trials; device: a remote device, on which trial N takes N + 1 ms
    """
    rng = random.Random(0)
    space = Space.named("mobile").at(64)
    networks = {preset(f"paper-{size}-relu@64").id: preset(f"paper-{size}-relu@64") for size in ("L", "S", "XS")}
    while len(networks) < count:
        arch = space.sample(rng)
        networks[arch.id] = arch
    archs = list(networks.values())[:count]
    remote = [{f"latency_ms {device}": number + 1.0} if device else {} for number in range(count)]
    names = names or {}
    trials = [
        _trial(number, arch, names.get(number, arch.name if number < 3 else arch.id), remote[number], rng)
        for number, arch in enumerate(archs)
    ]
    config = SearchConfig(study=folder.name, results=str(folder.parent), trials=max(1, count))
    (folder / "page").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(settings_of(config)))
    importances = {"mpjpe_mm": {"width": 0.6, "head": 0.4}, "latency_ms": {"width": 0.7, "intermediate_channels": 0.3}}
    snapshot = Snapshot(
        networks=networks,
        minutes={number: round(0.7 * number + 1, 2) for number in range(count)},
        importances=importances if count else {},
        mean_pose_mm=222.4,
    )
    summary = Summary(folder, settings_of(config), {}, tuple(trials), (), {}, snapshot, Predictions())
    write_tables(summary)
    save_snapshot(folder, snapshot)
    return folder


def _trial(number: int, arch: Arch, name: str, remote: dict[str, float], rng: random.Random) -> TrialRow:
    """Return a trial; networks with more MACs are more accurate and slower, with noise."""
    spent = cost(arch)
    mm = 260 - 14 * (spent.macs / 1e6) ** 0.33 + rng.gauss(0, 9)
    return TrialRow(
        trial=number,
        stage="measured",
        name=name,
        arch_id=arch.id,
        recipe="int8-static",
        mpjpe_mm=mm,
        pa_mpjpe_mm=0.66 * mm,
        float_mpjpe_mm=mm - 0.4,
        latency_ms=spent.macs / 1.1e8 * rng.uniform(0.8, 1.5) + 0.03,
        macs=spent.macs,
        params=spent.params,
        bytes=int(spent.weight_bytes_int8 * 1.1),
        samples=4000,
        remote=remote,
    )


def write_candidate(config: SearchConfig, arch: Arch, **figures: Any) -> CandidateResult:
    """Write the result of a candidate, made up except for the given figures, and return it."""
    made = {"mpjpe_mm": 151.0, "pa_mpjpe_mm": 100.0, "float_mpjpe_mm": 150.0, "bytes": 100_000, "export_s": 1.0}
    made |= {"runtime": "litert", "recipe": "int8-static", "file": "model.tflite", **vars(cost(arch)), **figures}
    result = CandidateResult(name=arch.name, arch_id=arch.id, arch=arch, config_hash=config.hash, **made)
    path = config.folder / "candidates" / arch.id / "result.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(result.model_dump_json())
    return result


@dataclass(frozen=True)
class StubEvaluator:
    """What comparisons need of an Evaluator: ground truth, independent units and the mean-pose baseline."""

    data: Dataset
    mean_pose_mm: float = 220.0

    @cached_property
    def units(self) -> Units:
        return independent_units(self.data)


def evaluators(frames: int = 200) -> dict[str, StubEvaluator]:
    """Return stub evaluators of both parts; the validation part has half of the frames."""
    rng = np.random.default_rng(0)
    found = {}
    for part, count in (("validation", frames // 2), ("test", frames)):
        joints = rng.normal((0, 0, 4000), 300, (count, len(H36M17), 3))
        ones = np.ones(count, int)
        data = Dataset(
            part, part, Path("/data"), H36M17, f"hash of {part}", tuple(f"{i}.jpg" for i in range(count)),
            np.full((count, 2), 100), np.tile([10.0, 10, 50, 80], (count, 1)), joints, joints,
            np.ones(joints.shape[:2], np.float32), ones > 0, np.full(count, 4000.0), np.ones((count, 2)),
            np.ones((count, 2)), ones, ("",) * count, ones, np.arange(count),
        )  # fmt: skip
        found[part] = StubEvaluator(data)
    return found


@dataclass(frozen=True)
class MadeFile:
    """A network of a made-up study: its name, error in mm and latency in ms; `noise` is that of one frame, mm.

    source: where the latency is from; predictions have no interval
    """

    name: str
    mm: float
    ms: float
    noise: float = 4.0
    checks_failed: tuple[str, ...] = ()
    source: LatencySource = "measured"


def write_compared_study(
    folder: Path, files: Sequence[MadeFile], with_joints: bool = True, **settings: Any
) -> tuple[SearchConfig, StudyRecords, dict[str, Evaluator]]:
    """Write candidates and finalists with predicted joints for the frames of `evaluators`, as a search leaves them.

    Names that begin with `paper-` are baselines, `settings` those of the study. Each frame is about as difficult for all networks.
    """
    config = SearchConfig(study=folder.name, results=str(folder.parent), runtimes=("litert",), **settings)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(settings_of(config)))
    parts, rng, space = evaluators(), random.Random(0), Space.named("mobile").at(64)
    trials, finalists = [], []
    for number, file in enumerate(files):
        arch = preset(f"{file.name}@64") if file.name.startswith("paper-") else space.sample(rng)
        shared: dict[str, Any] = {"name": file.name, "arch_id": arch.id, "arch": arch, "config_hash": config.hash}
        shared |= vars(cost(arch)) | {"samples": 4000, "float_mpjpe_mm": file.mm, "float_pa_mpjpe_mm": file.mm}
        place = "litert-int8-static/model.tflite"
        figures = {"runtime": "litert", "recipe": "int8-static", "file": place, "bytes": 10**6, "export_s": 1.0}
        interval = {"ratio_low": file.ms * 0.99, "ratio_high": file.ms * 1.01} if is_measured(file.source) else {}
        figures |= {"latency_ms": file.ms, "latency": interval, "latency_source": file.source}
        errors: dict[str, dict[str, Any]] = {}
        for part, home in (("validation", "candidates"), ("test", "finalists")):
            joints = _predicted(parts[part], file, number)
            error = bootstrap(frame_errors(joints, parts[part].data), parts[part].units)
            errors[part] = {"mpjpe_mm": error.value, "pa_mpjpe_mm": error.value, "mpjpe_interval": error}
            if with_joints:
                path = folder / home / arch.id / place
                path.parent.mkdir(parents=True)
                np.save(path.parent / "joints.npy", joints)
        result = CandidateResult(**shared, **figures, **errors["validation"])
        name = {"name": file.name, "arch_id": arch.id, "recipe": "int8-static"}
        trials.append(
            TrialRecord(
                number, "complete", "measured", **name, figures=candidate_figures(result), file=candidate_file(result)
            )
        )
        row = (
            figures | errors["test"] | {"float_bytes": 10**6, "float_mpjpe_mm": file.mm, "float_file_mpjpe_mm": file.mm}
        )
        row |= {"float_latency_ms": 2 * file.ms, "certificate": {}, "checks_failed": list(file.checks_failed)}
        row |= {"checks_passed": not file.checks_failed, "bundle": f"bundles/{file.name}/litert"}
        plain = FinalistRow(**row | {"recipe": "float", "bundle": None, "file": "litert-float/model.tflite"})
        finalists.append(FinalistResult(**shared, rows=[plain, FinalistRow(**row)]))
    return config, StudyRecords(tuple(trials), tuple(finalists), {}), cast("dict[str, Evaluator]", parts)


def _predicted(evaluator: StubEvaluator, file: MadeFile, seed: int) -> np.ndarray:
    """Return the ground truth with each joint but the root moved, such that the MPJPE of the part is `file.mm`."""
    true, root = evaluator.data.joints_cam, evaluator.data.skeleton.root
    hard = np.random.default_rng(1).gamma(16, 1 / 16, len(true))
    errors = file.mm * hard + np.random.default_rng((2, seed)).normal(0, file.noise, len(true))
    moved = true.copy()
    moved[..., 0] += errors[:, None]
    moved[:, root] = true[:, root]
    scale = file.mm / frame_errors(moved, evaluator.data).mean()
    moved[..., 0] = true[..., 0] + scale * (moved[..., 0] - true[..., 0])
    return moved
