"""A search with simulated stages: training, export, evaluation and timing are pauses that write files.

Processes, leases, storage and result files are those of a real search. A `Plan` beside the study gives the duration of
each stage and the faults to inject. The benchmarks `faults` and `scale` run it.
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
from explore.progress import Display
from explore.redact import redacted
from explore.search import run, study
from explore.search.candidate import AtRung, network_figures
from explore.search.config import SearchConfig
from explore.search.finalists import Finalist
from explore.search.results import CandidateResult, FinalistResult
from explore.search.storage.backends import StorageLost
from explore.search.study import SearchFailed
from explore.search.workers import join, leases, worker
from explore.search.workers.leases import LATENCY
from quantize import runtimes
from quantize.convert import Converter
from quantize.recipes import recipe

STAGES = ("train", "export", "evaluate", "latency")
STEPS = 5  # progress reports per stage
SPACE = {
    "name": "simulated",
    "base": {"input_size": 256, "num_joints": 18, "stem_stride": 2, "heatmap_size": 32, "depths": [1] * 7},
    "dimensions": {
        "encoder": ["mobilehumanpose", "mobilenet_v2"],
        "width": [0.25, 0.5, 0.75],
        "intermediate_channels": [128, 256],
        "activation": ["relu"],
        "head": ["volumetric", "heatmap-2.5d"],
        "decoder_width": [32, 64, 128],
    },
}


class Fault(BaseModel):
    """A fault injected in the middle of a stage.

    times: occurrences in the whole study
    arch: id of the only affected network; `first` is the first network that reaches the stage; empty: any network
    """

    kind: str  # kill, hang, memory, freeze
    stage: str  # lease, train, export, evaluate, latency, tell, finalist
    times: int = 1
    arch: str = ""


class Plan(BaseModel):
    """Durations and faults of a simulated search.

    seconds: duration of each stage
    busy: whether stages compute, or sleep
    weights: bytes of a candidate's weights
    most_bytes: limit of the size of a file that a worker writes; 0: none
    """

    seconds: dict[str, float] = {}
    busy: bool = False
    weights: int = 1000
    most_bytes: int = 0
    faults: list[Fault] = []


def write_plan(config: SearchConfig, plan: Plan) -> None:
    write_atomic(config.folder / "plan.json", plan.model_dump_json())


def write_space(folder: Path) -> Path:
    path = folder / "simulated.yaml"
    write_atomic(path, yaml.safe_dump(SPACE, sort_keys=False))
    return path


class SimulatedWork:
    """Simulated implementation of `explore.search.workers.worker.Work`."""

    abilities = frozenset({LATENCY})

    def __init__(self, config: SearchConfig, report: worker.Reporter) -> None:
        self._config = config
        self._report = report
        self._plan = Plan.model_validate_json((config.folder / "plan.json").read_text())
        if self._plan.most_bytes:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self._plan.most_bytes, resource.RLIM_INFINITY))

    def reference(self) -> None:
        write_atomic(self._config.folder / "reference" / "reference.json", json.dumps({"litert": {"median_ms": 1.0}}))

    def candidate(self, arch: Arch, recipe: str, at_rung: AtRung) -> CandidateResult:
        """Pass the rungs, with errors that fall with training, faster for small networks; then write a result."""
        folder = self._config.folder / "candidates" / arch.id
        for rung in range(len(self._config.rungs)):
            self._do(folder, f"rung-{rung}", arch)
            at_rung(rung, simulated_mm(arch) * (1 + cost(arch).macs / 1e9 / (rung + 1)))
        for stage in STAGES:
            self._do(folder, stage, arch)
        path = folder / "result.json"
        if not path.exists():
            result = CandidateResult(
                **network_figures(arch, self._config),
                float_mpjpe_mm=simulated_mm(arch),
                runtime=self._config.runtime,
                recipe=recipe,
                file="weights.bin",
                bytes=self._plan.weights,
                mpjpe_mm=simulated_mm(arch),
                pa_mpjpe_mm=simulated_mm(arch),
                export_s=0.0,
                latency_ms=simulated_ms(arch),
                latency={},
            )
            write_atomic(path, result.model_dump_json())
            self._note("result", arch)
        self._inject("tell", arch)
        return CandidateResult.model_validate_json(path.read_text())

    def finalist(self, finalist: Finalist) -> FinalistResult:
        arch = finalist.arch
        self._do(finalist.folder(self._config), "finalist", arch)
        recipes = list(finalist.recipes)
        result = FinalistResult(
            **network_figures(arch, self._config), float_mpjpe_mm=simulated_mm(arch), recipes=recipes, rows=[]
        )
        write_atomic(finalist.result_file(self._config), result.model_dump_json())
        return result

    def _do(self, folder: Path, stage: str, arch: Arch) -> None:
        if (folder / f"{stage}.json").exists():
            return
        seconds = self._plan.seconds.get(stage, 0.05) / STEPS
        for step in range(STEPS):
            self._report(stage, step, STEPS)
            spend(seconds, self._plan.busy)
            if step == STEPS // 2:
                self._inject(stage, arch)
        if stage == "train":
            write_atomic(folder / "weights.bin", os.urandom(self._plan.weights))
        write_atomic(folder / f"{stage}.json", "{}")
        self._note(stage, arch)

    def _note(self, stage: str, arch: Arch) -> None:
        """Append a line for each finished stage, to detect stages that ran twice."""
        with open(self._config.folder / "notes", "a") as file:
            file.write(f"{stage} {arch.id}\n")

    def _inject(self, stage: str, arch: Arch) -> None:
        for index, fault in enumerate(self._plan.faults):
            if fault.stage == stage and self._applies(index, fault, arch) and self._take(index, fault):
                FAULTS[fault.kind](self._config)

    def _applies(self, index: int, fault: Fault, arch: Arch) -> bool:
        if fault.arch != "first":
            return fault.arch in ("", arch.id)
        path = self._config.folder / f"fault-{index}-of"
        with suppress(FileExistsError), open(path, "x") as file:
            file.write(arch.id)
        return path.read_text() == arch.id

    def _take(self, index: int, fault: Fault) -> bool:
        """Count an occurrence; return False once `times` is reached."""
        for count in range(fault.times):
            path = self._config.folder / f"fault-{index}-{count}"
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            return True
        return False


def simulated_mm(arch: Arch) -> float:
    """Return an error that falls with MACs, with deterministic noise for each network."""
    return float(300 / (cost(arch).macs / 1e6) ** 0.25 + 20 * _noise(arch))


def simulated_ms(arch: Arch) -> float:
    """Return a latency that rises with MACs, with deterministic noise for each network."""
    return cost(arch).macs / 1e8 * (1 + _noise(arch) / 4)


def _noise(arch: Arch) -> float:
    return int(hashlib.sha256(arch.id.encode()).hexdigest()[:8], 16) / 2**32


def spend(seconds: float, busy: bool) -> None:
    """Sleep for `seconds`, or compute for as long on one core."""
    if not busy:
        time.sleep(seconds)
        return
    until = time.process_time() + seconds
    while time.process_time() < until:
        hashlib.sha256(b"0" * 65_536)


def _kill(config: SearchConfig) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _memory(config: SearchConfig) -> None:
    """Allocate more memory than the process may use."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20), before[1]))
    try:
        held = [bytearray(64 << 20) for _ in range(64)]
        raise RuntimeError(f"{len(held)} blocks were allocated despite the limit")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _hang(config: SearchConfig) -> None:
    """Start a real conversion in a converter process that never answers."""
    runtimes.RUNTIMES["hanging"] = "benchmarks.hanging"
    arch = preset("paper-XS-relu@64")
    scratch = config.folder / "hanging"
    with Converter(scratch / "log") as converter:
        converter.export(arch, scratch / "weights", "hanging", recipe("float"), None, scratch / "out", timeout_s=8.0)


def _freeze(config: SearchConfig) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


FAULTS: dict[str, Callable[[SearchConfig], None]] = {"kill": _kill, "memory": _memory, "hang": _hang, "freeze": _freeze}


def main(config: SearchConfig, phase: worker.Phase, index: int, pipe: Connection) -> None:
    """Entry of a worker process."""
    worker.start_worker(config, index)
    report = worker.Reporter(pipe)
    try:
        tools = SimulatedWork(config, report)
        _kill_at_lease(tools)
        worker.work(config, phase, tools, report)
    except (SearchFailed, InputError, StorageLost) as error:
        worker.send_error(pipe, error)


def _kill_at_lease(tools: SimulatedWork) -> None:
    """Inject the fault `lease`: the worker dies after it took a trial and before it wrote its lease."""
    if not any(fault.stage == "lease" for fault in tools._plan.faults):
        return
    real = leases.TrialLease

    def lease(*args: Any) -> Any:
        for index, fault in enumerate(tools._plan.faults):
            if fault.stage == "lease" and tools._take(index, fault):
                _kill(tools._config)
        return real(*args)

    setattr(study, "TrialLease", lease)  # noqa: B010 - fault injection


def command(argv: list[str]) -> int:
    """Run `lead CONFIG` or `join CONFIG`, with a JSON file; return the exit status of the command line."""
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
    from benchmarks import simulated_search  # importable by this name in Ray workers

    raise SystemExit(simulated_search.command(sys.argv[1:]))
