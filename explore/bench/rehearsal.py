"""A search with everything real but its stages: processes, claims, storage, files; training is a pause that writes files.

A plan beside the study says how long each stage takes and what breaks where. `bench faults` and `bench scale` run it.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from arch.cost import cost
from arch.errors import InputError
from arch.files import write_atomic
from arch.space import Arch, preset
from explore.config import SearchConfig
from explore.progress import Display
from explore.redact import redacted
from explore.search import claims, join, run, study, worker
from explore.search.claims import LATENCY
from explore.search.storage import StorageLost
from explore.search.study import SearchFailed
from quantize import runtimes
from quantize.convert import ConversionError, Converter
from quantize.recipes import recipe

STAGES = ("train", "export", "judge", "latency")
STEPS = 5  # parts of a stage, after each of which the worker reports
SPACE = {
    "name": "rehearsal",
    "base": {"input": 256, "joints": 18, "early_stride": 2, "heatmap": 32, "depths": [1] * 7},
    "dimensions": {
        "encoder": ["mobilehumanpose", "mobilenet_v2"],
        "width": [0.25, 0.5, 0.75],
        "inter": [128, 256],
        "activation": ["relu"],
        "head": ["volumetric", "depthmap"],
        "decoder_width": [32, 64, 128],
    },
}


class Fault(BaseModel):
    """What breaks in the middle of a stage, how often in the whole study, and for which network alone where named."""

    kind: str  # kill, hang, memory, freeze
    stage: str  # claim, train, export, judge, latency, tell, finalist
    times: int = 1
    arch: str = ""  # the network's id; first: whichever comes to this stage first


class Plan(BaseModel):
    """Seconds of each stage, whether they are spent computing, bytes of a candidate's weights, and faults."""

    seconds: dict[str, float] = {}
    busy: bool = False
    weights: int = 1000
    most_bytes: int = 0  # that the worker may write to one file; 0: any
    faults: list[Fault] = []


def write_plan(config: SearchConfig, plan: Plan) -> None:
    write_atomic(config.folder / "plan.json", plan.model_dump_json())


def write_space(folder: Path) -> Path:
    path = folder / "rehearsal.yaml"
    write_atomic(path, yaml.safe_dump(SPACE, sort_keys=False))
    return path


class Rehearsed:
    """See `explore.search.worker.Stages`."""

    able = frozenset({LATENCY})
    failures = (MemoryError, ConversionError)

    def __init__(self, config: SearchConfig, report: worker.Reporter) -> None:
        self._config = config
        self._report = report
        self._plan = Plan.model_validate_json((config.folder / "plan.json").read_text())
        if self._plan.most_bytes:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self._plan.most_bytes, resource.RLIM_INFINITY))

    def make_reference(self) -> None:
        write_atomic(self._config.folder / "reference" / "reference.json", json.dumps({"litert": {"median_ms": 1.0}}))

    def train_to(self, arch: Arch, rung: int) -> float:
        """Longer training is better, and small networks are done sooner."""
        self._do(self._config.folder / "candidates" / arch.id, f"rung-{rung}", arch)
        return float(figures_of(arch)["mpjpe_mm"]) * (1 + cost(arch).macs / 1e9 / (rung + 1))

    def evaluate(self, arch: Arch, recipe: str) -> dict[str, Any]:
        folder = self._config.folder / "candidates" / arch.id
        for stage in STAGES:
            self._do(folder, stage, arch)
        if not (folder / "result.json").exists():
            made = {"runtime": self._config.runtime, "recipe": recipe}
            figures = {"name": arch.name, "arch_id": arch.id, **made, **figures_of(arch)}
            result = {**figures, "arch": arch.model_dump(mode="json"), "config_hash": self._config.hash}
            write_atomic(folder / "result.json", json.dumps(result))
            self._note("result", arch)
        self._break("tell", arch)
        return json.loads((folder / "result.json").read_text())

    def finish(self, arch: Arch, recipes: tuple[str, ...]) -> dict[str, Any]:
        folder = self._config.folder / "finalists" / arch.id
        self._do(folder, "finalist", arch)
        row = {"runtime": self._config.runtime, "recipe": self._config.recipe, **figures_of(arch)}
        write_atomic(folder / "result.json", json.dumps({"name": arch.name, "arch_id": arch.id, "rows": [row]}))
        return {"rows": [row], "arch_id": arch.id}

    def _do(self, folder: Path, stage: str, arch: Arch) -> None:
        if (folder / f"{stage}.json").exists():
            return
        seconds = self._plan.seconds.get(stage, 0.05) / STEPS
        for step in range(STEPS):
            self._report(stage, step, STEPS)
            spend(seconds, self._plan.busy)
            if step == STEPS // 2:
                self._break(stage, arch)
        if stage == "train":
            write_atomic(folder / "weights.bin", os.urandom(self._plan.weights))
        write_atomic(folder / f"{stage}.json", "{}")
        self._note(stage, arch)

    def _note(self, stage: str, arch: Arch) -> None:
        """A line a finished stage: by it a stage that was done twice is found."""
        with open(self._config.folder / "notes", "a") as file:
            file.write(f"{stage} {arch.id}\n")

    def _break(self, stage: str, arch: Arch) -> None:
        for index, fault in enumerate(self._plan.faults):
            if fault.stage == stage and self._meant(index, fault, arch) and self._due(index, fault):
                BREAKS[fault.kind](self._config)

    def _meant(self, index: int, fault: Fault, arch: Arch) -> bool:
        if fault.arch != "first":
            return fault.arch in ("", arch.id)
        path = self._config.folder / f"fault-{index}-of"
        with suppress(FileExistsError), open(path, "x") as file:
            file.write(arch.id)
        return path.read_text() == arch.id

    def _due(self, index: int, fault: Fault) -> bool:
        for count in range(fault.times):
            path = self._config.folder / f"fault-{index}-{count}"
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            return True
        return False


def figures_of(arch: Arch) -> dict[str, Any]:
    """Figures that trade error for latency, with noise of their own for each network."""
    noise = int(hashlib.sha256(arch.id.encode()).hexdigest()[:8], 16) / 2**32
    macs = cost(arch).macs
    return {
        "mpjpe_mm": 300 / (macs / 1e6) ** 0.25 + 20 * noise,
        "latency_ms": macs / 1e8 * (1 + noise / 4),
        "macs": macs,
        "params": 1,
    }


def spend(seconds: float, busy: bool) -> None:
    """Let time pass, or compute for that long on one core."""
    if not busy:
        time.sleep(seconds)
        return
    until = time.process_time() + seconds
    while time.process_time() < until:
        hashlib.sha256(b"0" * 65_536)


def _kill(config: SearchConfig) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _memory(config: SearchConfig) -> None:
    """Ask for more memory than the process may have."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20), before[1]))
    try:
        held = [bytearray(64 << 20) for _ in range(64)]
        raise RuntimeError(f"{len(held)} blocks fitted where they should not")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _hang(config: SearchConfig) -> None:
    """A real conversion by a converter that never answers."""
    runtimes.RUNTIMES["hanging"] = "explore.bench.hanging"
    arch = preset("paper-XS-relu@64")
    scratch = config.folder / "hanging"
    with Converter(scratch / "log") as converter:
        converter.export(arch, scratch / "weights", "hanging", recipe("float"), None, scratch / "out", timeout_s=8.0)


def _freeze(config: SearchConfig) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


BREAKS: dict[str, Callable[[SearchConfig], None]] = {"kill": _kill, "memory": _memory, "hang": _hang, "freeze": _freeze}


def main(config: SearchConfig, phase: worker.Phase, index: int, pipe: Connection) -> None:
    """Entry of a worker process."""
    worker.begin(config, index)
    report = worker.Reporter(index, pipe)
    try:
        stages = Rehearsed(config, report)
        _kill_at_claim(stages)
        worker.work(config, phase, stages, report)
    except (SearchFailed, InputError, StorageLost) as error:
        worker.tell_error(pipe, index, error)


def _kill_at_claim(stages: Rehearsed) -> None:
    """The one moment that no stage covers: a trial is taken, and nothing says yet by whom."""
    if not any(fault.stage == "claim" for fault in stages._plan.faults):
        return
    real = claims.Claim

    def claim(*args: Any) -> Any:
        for index, fault in enumerate(stages._plan.faults):
            if fault.stage == "claim" and stages._due(index, fault):
                _kill(stages._config)
        return real(*args)

    setattr(study, "Claim", claim)  # noqa: B010 - a fault put in from outside


def command(argv: list[str]) -> int:
    """`lead CONFIG` or `join CONFIG` of a JSON file, as a command of its own; ends like the command line does."""
    config = SearchConfig.model_validate_json(Path(argv[1]).read_text())
    try:
        if argv[0] == "lead":
            run.lead(config, Display(), main)
        else:
            join.join(config.name, config.storage, config.results, config.workers, Display(), main)
    except InputError as error:
        print(f"error: {redacted(str(error))}", file=sys.stderr)
        return 2
    except (SearchFailed, StorageLost) as error:
        print(f"failed: {redacted(str(error))}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    from explore.bench import rehearsal  # under its own name, by which Ray's workers find it

    raise SystemExit(rehearsal.command(sys.argv[1:]))
