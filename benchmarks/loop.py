"""Throughput of the training loop: images per second by setting, and the duration of each stage of a step.

Settings are interleaved, so that drift of the machine affects all of them. A step is that of `explore.train.loop`, with
a clock between its stages.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from arch.space import Arch, named_arch
from benchmarks import Claim, at_least, at_most
from explore.data import open_dataset
from explore.data.sample import Dataset
from explore.data.synthetic.config import SyntheticConfig
from explore.train.config import TrainConfig

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

CONFIG: dict[str, Any] = {
    "data": "synthetic:easy", "train": 6000, "test": 500, "batch": 8, "seed": 0, "rounds": 3, "seconds": 4.0, "warm": 3,
}  # fmt: skip
STAGES = ("crops", "forward", "loss", "loss backward", "backward", "optimizer")


@dataclass(frozen=True)
class Setting:
    """Options of the training loop; the default is the project's choice."""

    arch: str = "paper-XS-relu@64"
    changes: dict[str, Any] = field(default_factory=dict)  # fields of the network that differ
    channels_last: bool = True
    bf16: bool = False
    compiled: bool = False
    threads: int = 1
    processes: int = 1
    keeps_memory: bool = True

    @property
    def in_children(self) -> bool:
        """Whether it runs in child processes. A process that once keeps its freed memory does so to its end."""
        return self.processes > 1 or not self.keeps_memory


SETTINGS: dict[str, Setting] = {
    "default": Setting(),
    "contiguous memory format": Setting(channels_last=False),
    "bf16": Setting(bf16=True),
    "torch.compile": Setting(compiled=True),
    "two threads": Setting(threads=2),
    "two processes of one thread": Setting(processes=2),
    "paper-L": Setting(arch="paper-L-relu@64"),
    "paper-L, freed memory returned": Setting(arch="paper-L-relu@64", keeps_memory=False),
    "paper-L, bf16": Setting(arch="paper-L-relu@64", bf16=True),
    "paper-L, head heatmap-2.5d": Setting(arch="paper-L-relu@64", changes={"head": "heatmap-2.5d"}),
}


def run(progress: Callable[[float], None]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Return a row for each setting: images per second, and each stage's fraction of a step."""
    data = _data()
    turns = CONFIG["rounds"] * len(SETTINGS)
    runners = {name: _Runner(setting, data) for name, setting in SETTINGS.items() if not setting.in_children}
    found: dict[str, list[list[tuple[float, ...]]]] = {name: [] for name in SETTINGS}
    for turn in range(turns):
        name = list(SETTINGS)[turn % len(SETTINGS)]
        if name in runners:
            found[name].append(list(runners[name].steps(CONFIG["seconds"])))
        else:
            found[name].append(_run_processes(SETTINGS[name]))
        progress((turn + 1) / turns)
    rows = []
    for name, setting in SETTINGS.items():
        steps = [step for each in found[name] for step in each]
        typical = [statistics.median(stage) for stage in zip(*steps, strict=True)]
        speed = _images_per_second(found[name], setting.processes)
        row = {
            "setting": name,
            "arch": setting.arch,
            "images_s": round(speed, 1),
            "step_ms": round(sum(typical) * 1e3, 2),
        }
        if beside := found.get("default" if setting.arch == SETTINGS["default"].arch else "paper-L"):
            row["relative_speed"] = round(speed / _images_per_second(beside, 1), 2)
        row |= {stage: round(part / sum(typical), 3) for stage, part in zip(STAGES, typical, strict=True)}
        rows.append(row | ({"compiling_s": round(runners[name].compiling_s, 1)} if setting.compiled else {}))
    return rows, _claims({row["setting"]: row for row in rows})


def _claims(rows: dict[str, dict[str, Any]]) -> list[Claim]:
    """Check that the default is the fastest setting, and that one process per core scales."""
    slower = ("contiguous memory format", "bf16", "torch.compile", "two threads", "paper-L, freed memory returned")
    claims = [at_most(f"{name}: speed relative to the default", 1.05, rows[name]["relative_speed"]) for name in slower]
    pair = rows["two processes of one thread"]["relative_speed"]
    return [*claims, at_least("two processes, one per core: speed relative to one", 1.7, pair)]


def _images_per_second(rounds: list[list[tuple[float, ...]]], processes: int) -> float:
    """Return the median over rounds."""
    speeds = [len(steps) * CONFIG["batch"] / sum(map(sum, steps)) for steps in rounds]
    return processes * statistics.median(speeds)


def _data() -> Dataset:
    options = SyntheticConfig(level="easy", size=128, train_frames=CONFIG["train"], test_frames=CONFIG["test"])
    return open_dataset(CONFIG["data"], "train", options)


class _Runner:
    """The loop's step, timed by stage; goes on where its last turn ended."""

    def __init__(self, setting: Setting, data: Dataset) -> None:
        import torch

        from arch.network import build
        from explore.data.augment import AUGMENTS
        from explore.host import keep_freed_memory
        from explore.train.engine import Engine
        from explore.train.loader import load_batches

        if setting.keeps_memory:
            keep_freed_memory()
        torch.set_num_threads(setting.threads)
        self.setting, self.config = setting, TrainConfig(batch_size=CONFIG["batch"], augment="none")
        self.arch: Arch = named_arch(setting.arch).replace(**setting.changes)
        self.engine = Engine(precision="bf16" if setting.bf16 else "f32")
        net: Any = self.engine.setup(build(self.arch, CONFIG["seed"]).train())
        self.net = net.to(memory_format=torch.channels_last) if setting.channels_last else net
        self.optimizer = torch.optim.AdamW(
            net.parameters(), self.config.learning_rate, weight_decay=self.config.weight_decay
        )
        self.forward: Any = torch.compile(net.forward_heatmaps) if setting.compiled else net.forward_heatmaps
        self.batches = load_batches(
            data, range(10**9), CONFIG["batch"], self.arch.input_size, AUGMENTS[self.config.augment], CONFIG["seed"]
        )
        started = time.perf_counter()
        for _ in range(CONFIG["warm"]):
            self._step()
        self.compiling_s = time.perf_counter() - started

    def steps(self, seconds: float) -> Iterator[tuple[float, ...]]:
        """Yield the seconds of each stage, one tuple for each step, for `seconds`."""
        import torch

        torch.set_num_threads(self.setting.threads)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            yield self._step()

    def _step(self) -> tuple[float, ...]:
        import torch

        from explore.train.loop import batch_loss, to_input

        ticks = [time.perf_counter()]
        batch = next(self.batches)
        images = to_input(batch.images)
        x = images if self.setting.channels_last else images.contiguous()
        ticks.append(time.perf_counter())
        with self.engine.autocast():
            raw = self.forward(x)
        ticks.append(time.perf_counter())
        scores = raw.detach().float().requires_grad_()
        loss = batch_loss(scores, self.arch, batch, self.config)
        ticks.append(time.perf_counter())
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        ticks.append(time.perf_counter())
        raw.backward(scores.grad.to(raw.dtype))
        ticks.append(time.perf_counter())
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.config.grad_clip)
        self.optimizer.step()
        ticks.append(time.perf_counter())
        return tuple(after - before for before, after in itertools.pairwise(ticks))


def _run_processes(setting: Setting) -> list[tuple[float, ...]]:
    """Return the steps of all processes of the setting, which run at the same time."""
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(setting.processes), context.SimpleQueue()
    children = [
        context.Process(target=_run_process, args=(setting, barrier, answers, CONFIG), daemon=True)
        for _ in range(setting.processes)
    ]
    for child in children:
        child.start()
    steps = [step for _ in children for step in answers.get()]
    for child in children:
        child.join()
    return steps


def _run_process(setting: Setting, barrier: Barrier, answers: Any, config: dict[str, Any]) -> None:
    """Entry of one process; `config` is the CONFIG of the parent."""
    CONFIG.update(config)
    runner = _Runner(setting, _data())
    barrier.wait()
    answers.put(list(runner.steps(CONFIG["seconds"])))
