"""`adb://serial`: an Android phone, by its platform's adb and TensorFlow's `benchmark_model`, which the user supplies.

CPU, GPU and NNAPI are rows of their own, told apart by `delegate`. The tool times a model within one run of its own,
so a round is a run of the tool for every model in turn; what the processor did meanwhile it does not tell. Decoding
and end to end are not measured there: the tool knows the network alone.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arch.errors import InputError
from arch.files import sha256_file
from explore.measure import probe
from explore.measure.devices import Report, options
from explore.measure.rows import DeviceError, Machine, Model, Row, Settings, State, checked, notes

HOME = "/data/local/tmp/edgepose"
DELEGATES = {  # our word: the tool's flags
    "XNNPACK": ("--use_xnnpack=true",),
    "GPU": ("--use_gpu=true",),
    "NNAPI": ("--use_nnapi=true", "--use_xnnpack=false"),
}
ABOUT = """
for name in ro.product.manufacturer ro.product.model ro.soc.model ro.board.platform ro.build.version.release; do
  echo "$name=$(getprop $name)"
done
echo "cores=$(nproc)"; uname -sm; grep -m1 MemTotal /proc/meminfo; grep -m1 Features /proc/cpuinfo
"""
NOW = """
for cpu in /sys/devices/system/cpu/cpu[0-9]*; do
  echo "governor=$(cat $cpu/cpufreq/scaling_governor 2>/dev/null)"; echo "khz=$(cat $cpu/cpufreq/scaling_cur_freq 2>/dev/null)"
done
for zone in /sys/class/thermal/thermal_zone*; do echo "heat=$(cat $zone/temp 2>/dev/null)"; done
"""


@dataclass(frozen=True)
class Run:
    """What one run of `benchmark_model` said: ms of a call (the median where the tool tells it), MB, delegation."""

    ms: float
    calls: int
    init_ms: float
    first_ms: float
    mb: float | None
    delegated: float | None
    partitions: int | None


def parse_run(text: str) -> Run:
    """The output of `benchmark_model`, of any version since 2020.

    Raises:
        ValueError: it holds no result; the message is the tool's own complaint.
    """
    number = r"([-+0-9.eE]+)"
    timings = re.search(
        rf"Inference timings in us: Init: {number}, First inference: {number}, Warmup \(avg\): {number}, "
        rf"Inference \(avg\): {number}",
        text,
    )
    counts = re.findall(r"count=(\d+) (?:first=|curr=)([^\n]*)", text)
    if not timings or not counts:
        raise ValueError(_complaint(text))
    init, first, _, average = map(float, timings.groups())
    middle = re.search(rf"median={number}", counts[-1][1])
    memory = re.search(
        rf"(?:Memory footprint delta[^:]*|Peak memory footprint \(MB\)): init=\S+ overall={number}", text
    )
    partly = re.search(r"partially executed by the delegate w/ (\d+) delegate kernels", text)
    delegated, partitions = None, None
    if "will be completely executed by the delegate" in text:
        delegated, partitions = 1.0, 1
    elif "will not be executed by the delegate" in text:
        delegated, partitions = 0.0, 0
    elif partly:
        partitions = int(partly[1])
    us = float(middle[1]) if middle else average
    return Run(
        us / 1e3,
        int(counts[-1][0]),
        init / 1e3,
        first / 1e3,
        float(memory[1]) if memory else None,
        delegated,
        partitions,
    )


def _complaint(text: str) -> str:
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    loud = [
        line
        for line in lines
        if re.search(r"error|fail|not found|unable|cannot|denied|abort|segmentation", line, re.IGNORECASE)
    ]
    return (loud or lines or ["no output"])[-1][:300]


@dataclass(frozen=True)
class Adb:
    name: str
    serial: str
    tool: str | None

    def describe(self) -> Machine:
        return self._machine(30.0)

    def measure(self, models: Sequence[Model], settings: Settings, report: Report) -> list[Row]:
        if settings.isa:
            raise InputError(f"isa: {self.name}: only openvino can be capped, and no Android runs it; leave --isa away")
        for model in models:
            if model.runtime != "litert":
                raise InputError(f"{model.name}: {self.name}: benchmark_model runs litert bundles only")
        if not self.tool or not Path(self.tool).is_file():
            what = f"{self.tool}: no such file" if self.tool else "none given"
            raise InputError(
                f"{self.name}: benchmark_model: {what}; give TensorFlow's Android binary by --benchmark-model PATH"
            )
        settings = settings.for_count(len(models))
        about = self._machine(settings.limit_s)
        tool = self._put(Path(self.tool), settings.limit_s, report)
        self._shell(f"chmod 755 {tool}", settings.limit_s)
        there = [self._put(model.files[0], settings.limit_s, report) for model in models]
        before = self._state(settings.limit_s)
        columns = [("XNNPACK", threads) for threads in settings.threads] + [("GPU", 1), ("NNAPI", 1)]
        made: list[dict[str, Any]] = []
        lacking: list[str] = []
        for index, (delegate, threads) in enumerate(columns):
            report(index / len(columns), f"{delegate}, {threads} thread{'s' * (threads > 1)}")
            try:
                made += self._column(tool, there, models, delegate, threads, settings)
            except ValueError as error:
                if delegate == "XNNPACK":
                    raise DeviceError(f"{self.name}: {error}") from None
                lacking.append(f"no {delegate} figures: {error}")
        after = self._state(settings.limit_s)
        version = f"benchmark_model {sha256_file(self.tool)[:12]}"
        common = {"device": self.name, "machine": about, "before": before, "after": after, "runtime_version": version}
        return [
            checked(
                Row,
                {**row, **common, "notes": (*notes(about, before, after, row["threads"]), *row["notes"], *lacking)},
                self.name,
            )
            for row in made
        ]

    def _column(
        self, tool: str, there: list[str], models: Sequence[Model], delegate: str, threads: int, settings: Settings
    ) -> list[dict[str, Any]]:
        """Rows of one delegate: rounds of runs in turn, until the intervals are within the width or the budget ends."""
        rules = settings.rules
        runs: list[list[Run]] = [[] for _ in models]
        began = time.monotonic()
        while True:
            for own, path in zip(runs, there, strict=True):
                own.append(self._run(tool, path, delegate, threads, settings))
            blocks = [[probe.Block(np.array([run.ms]), 1.0, None) for run in own] for own in runs]
            rounds = len(runs[0])
            if rounds >= 3 and probe.settled(blocks, blocks[0], rules.width) and rounds >= min(rules.rounds, 5):
                break
            if rounds >= 3 and time.monotonic() - began > rules.budget:
                break
        return [
            _row(models[0], model, delegate, threads, own, probe.summary(block, blocks[0], 0, rules.width))
            for model, own, block in zip(models, runs, blocks, strict=True)
        ]

    def _run(self, tool: str, path: str, delegate: str, threads: int, settings: Settings) -> Run:
        command = [
            tool,
            f"--graph={path}",
            f"--num_threads={threads}",
            f"--num_runs={settings.rules.calls}",
            "--min_secs=0",
            "--warmup_runs=3",
            "--warmup_min_secs=0",
            *DELEGATES[delegate],
        ]
        made = parse_run(self._shell(shlex.join(command) + " 2>&1", settings.limit_s))
        if delegate != "XNNPACK" and made.delegated == 0.0:
            raise ValueError(f"the {delegate} delegate takes no operator of it")
        return made

    def _put(self, file: Path, limit_s: float, report: Report) -> str:
        """Path there of a file, sent unless it is there already; checked by its hash."""
        digest = sha256_file(file)
        path = f"{HOME}/{digest[:24]}"
        look = f"sha256sum {path} 2>/dev/null || true"
        if digest not in self._shell(look, limit_s):
            report(0.0, f"sending {file.name}")
            self._shell(f"mkdir -p {HOME}", limit_s)
            self._adb(["push", str(file), path], limit_s)
            if digest not in self._shell(look, limit_s):
                raise DeviceError(f"{self.name}: {file.name} arrived damaged")
        return path

    def _machine(self, limit_s: float) -> Machine:
        text = self._shell(ABOUT, limit_s)
        said = dict(re.findall(r"^([\w.]+)=(.+)$", text, re.MULTILINE))
        system = re.search(r"^Linux \S+$", text, re.MULTILINE)
        memory = re.search(r"MemTotal:\s*(\d+)", text)
        features = re.search(r"^Features\s*:\s*(.+)$", text, re.MULTILINE)
        known = features[1].split() if features else []
        board = " ".join(said.get(key, "") for key in ("ro.product.manufacturer", "ro.product.model")).strip()
        values = {
            "system": f"Android {said.get('ro.build.version.release', '?')} {system[0] if system else ''}".strip(),
            "processor": said.get("ro.soc.model") or said.get("ro.board.platform") or "unknown",
            "board": board or None,
            "cores": int(said["cores"]) if said.get("cores", "").isdigit() else None,
            "instruction_sets": [name for name in probe.FLAGS if name in known],
            "memory_mb": int(memory[1]) // 1024 if memory else None,
        }
        return checked(Machine, values, self.name)

    def _state(self, limit_s: float) -> State:
        text = self._shell(NOW, limit_s)
        governors = sorted(set(re.findall(r"^governor=(\S+)$", text, re.MULTILINE)))
        mhz = [int(khz) // 1000 for khz in re.findall(r"^khz=(\d+)$", text, re.MULTILINE)]
        heat = [int(value) / 1000 for value in re.findall(r"^heat=(\d+)$", text, re.MULTILINE)]
        values = {"governor": "/".join(governors) or None, "mhz": mhz or None, "hottest_c": max(heat) if heat else None}
        return checked(State, values, self.name)

    def _shell(self, script: str, limit_s: float) -> str:
        return self._adb(["shell", script], limit_s)

    def _adb(self, arguments: list[str], limit_s: float) -> str:
        """Output of an adb command.

        Raises:
            DeviceError: it failed or took too long, with its words.
        """
        client = shutil.which("adb")
        if client is None:
            raise InputError("adb: not installed; install Android's platform tools (Debian: adb)")
        chosen = ["-s", self.serial] if self.serial else []
        try:
            done = subprocess.run(
                [client, *chosen, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise DeviceError(
                f"{self.name}: adb {arguments[0]} took longer than {limit_s:g} s and was stopped"
            ) from None
        text = done.stdout.decode(errors="replace")
        if done.returncode:
            raise DeviceError(f"{self.name}: {_complaint(done.stderr.decode(errors='replace') + text)}")
        return text


def _row(
    reference: Model, model: Model, delegate: str, threads: int, runs: list[Run], figures: dict[str, Any]
) -> dict[str, Any]:
    last = runs[-1]
    memory = [run.mb for run in runs if run.mb is not None]
    parts = f"{delegate} takes it in {last.partitions} parts" if (last.partitions or 1) > 1 else ""
    return {
        **figures,
        "p90_ms": None,
        "cpu_over_wall": None,
        "calls": sum(run.calls for run in runs),
        "model": model.name,
        "reference": reference.name,
        "runtime": model.runtime,
        "recipe": model.recipe,
        "delegate": delegate,
        "delegated": last.delegated,
        "threads": threads,
        "load_ms": float(np.median([run.init_ms for run in runs])),
        "first_ms": float(np.median([run.first_ms for run in runs])),
        "model_mb": max(memory) if memory else None,
        "notes": (parts,) if parts else (),
    }


def open(address: str) -> Adb:
    """From `adb://[serial][?benchmark_model=PATH]`; without a serial, the only device that adb knows."""
    place, _, query = address.partition("?")
    found = re.fullmatch(r"adb(?:://((?:[A-Za-z0-9][A-Za-z0-9_.:-]*)?))?", place)
    if not found:
        raise InputError(f"device: '{address}': cannot be read; write adb://SERIAL, as adb devices lists it")
    return Adb(place, found[1] or "", options(address, query, ("benchmark_model",)).get("benchmark_model"))
