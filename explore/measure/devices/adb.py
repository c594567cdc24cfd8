"""`adb://serial`: an Android phone, measured with adb and `benchmark_model` of TensorFlow or LiteRT.

The user supplies the tool. CPU, GPU and NNAPI have rows of their own, which differ in `delegate`; a run that fell back
to the CPU is no row of GPU or NNAPI. The tool times one model per run, so a round is one run for each model. It reports
neither CPU time nor decoding and end-to-end latency.
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
from explore.measure.devices import Progress, options, require_litert
from explore.measure.probe.machine import INSTRUCTION_SETS
from explore.measure.probe.protocol import Block, needed_rounds, summarise
from explore.measure.rows import DeviceError, Machine, MachineState, Model, Row, Settings, notes, validated

HOME = "/data/local/tmp/edgepose"
DELEGATES = {  # name in rows: flags of the tool
    "XNNPACK": ("--use_xnnpack=true",),
    "GPU": ("--use_gpu=true",),
    "NNAPI": ("--use_nnapi=true", "--use_xnnpack=false"),
}
PILOT = 6  # rounds; a round starts the tool once for each model
CPU_DELEGATE = "TfLiteXNNPackDelegate"  # its name in the tool's log
NUMBER = r"([-+0-9.eE]+)"
SUMMARIES = (  # end of the output, with the unit of its times in ms
    (
        r"Inference timings in us: Init: (?P<init>[^,\s]+), First inference: (?P<first>[^,\s]+), "
        r"Warmup \(avg\): [^,\s]+, Inference \(avg\): (?P<mean>[-+0-9.eE]+)",
        1e-3,
    ),
    (
        r"Average inference timings in us: Warmup: (?P<first>[^,\s]+), Init: (?P<init>[^,\s]+), "
        r"(?:Inference|no stats): (?P<mean>[-+0-9.eE]+)",
        1e-3,
    ),
    (
        r"BENCHMARK RESULTS.*?Model initialization:\s*(?P<init>[-+0-9.eE]+) ms"
        r".*?Warmup \(first\):\s*(?P<first>[-+0-9.eE]+) ms.*?Inference \(avg\):\s*(?P<mean>[-+0-9.eE]+) ms",
        1.0,
    ),
)
MEMORY = (
    r"(?:Memory footprint delta[^:]*: \S+ overall=|Peak memory footprint \(MB\): \S+ overall=|Overall footprint:\s*)"
)
MACHINE_SCRIPT = """
for name in ro.product.manufacturer ro.product.model ro.soc.model ro.board.platform ro.build.version.release; do
  echo "$name=$(getprop $name)"
done
echo "cores=$(nproc)"; uname -sm; grep -m1 MemTotal /proc/meminfo; grep -m1 Features /proc/cpuinfo
"""
STATE_SCRIPT = """
for cpu in /sys/devices/system/cpu/cpu[0-9]*; do
  echo "governor=$(cat $cpu/cpufreq/scaling_governor 2>/dev/null)"; echo "khz=$(cat $cpu/cpufreq/scaling_cur_freq 2>/dev/null)"
done
for zone in /sys/class/thermal/thermal_zone*; do echo "temperature=$(cat $zone/temp 2>/dev/null)"; done
"""


@dataclass(frozen=True)
class Run:
    """One run of `benchmark_model`: ms of a call (the median where the tool reports it), memory, delegation."""

    ms: float
    calls: int
    init_ms: float
    first_ms: float
    mb: float | None
    delegated: float | None
    partitions: int | None


def parse_run(text: str) -> Run:
    """Parse the output of `benchmark_model`: of TensorFlow (since 2019) and of LiteRT.

    Raises:
        ValueError: the output has no result; the message is the tool's own error.
    """
    matches = [(re.search(pattern, text, re.DOTALL), unit) for pattern, unit in SUMMARIES]
    found, unit = next(((match, unit) for match, unit in matches if match), (None, 1.0))
    statistics = re.findall(r"^(?!.*microseconds).*\bcount=(\d+) ((?:first|curr)=.*)$", text, re.MULTILINE)
    runs = re.search(r"Inference \(avg\):.*?\((\d+) runs\)", text)
    calls = int(statistics[-1][0]) if statistics else int(runs[1]) if runs else 0
    if not found or not calls or "Benchmarking failed" in text:
        raise ValueError(_error_line(text))
    ms = float(found["mean"]) * unit
    if statistics and (median := re.search(rf"median={NUMBER}", statistics[-1][1])):
        ms = float(median[1]) * 1e-3
    elif median := re.search(rf"Inference \(median\):\s*{NUMBER} ms", text):
        ms = float(median[1])
    memory = re.search(MEMORY + NUMBER, text)
    delegated, partitions = _delegation(text)
    return Run(
        ms,
        calls,
        float(found["init"]) * unit,
        float(found["first"]) * unit,
        float(memory[1]) if memory else None,
        delegated,
        partitions,
    )


def _replaced(text: str) -> list[tuple[int, int, str, int]]:
    """Return operators replaced, all operators, delegate and partitions, as a delegate logs them."""
    pattern = r"Replacing (\d+) out of (\d+) node\(s\) with delegate \((\w+)\) node, yielding (\d+) partitions"
    return [(int(some), int(every), name, int(parts)) for some, every, name, parts in re.findall(pattern, text)]


def _delegation(text: str) -> tuple[float | None, int | None]:
    """Return the fraction of the operators that the delegate runs, and its partitions; None where not reported."""
    if "will be completely executed by the delegate" in text:
        return 1.0, 1
    if "will not be executed by the delegate" in text:
        return 0.0, 0
    if partial := re.search(r"partially executed by the delegate w/ (\d+) delegate kernels", text):
        return None, int(partial[1])
    replaced = _replaced(text)
    if not replaced:
        return None, None
    some, every, _, partitions = next((entry for entry in replaced if entry[2] != CPU_DELEGATE), replaced[0])
    return some / max(1, every), partitions


def why_on_cpu(text: str, delegate: str) -> str:
    """Return why a run does not show the latency of GPU or NNAPI, or an empty string.

    The tool falls back to the CPU, often without an error.
    """
    option = DELEGATES[delegate][0].partition("=")[0]
    unknown = re.search(r"Unconsumed cmdline flags:(.*)", text)
    if unknown and option in unknown[1]:
        return f"this benchmark_model has no option {option}"
    if "GPU accelerator could not be loaded" in text:
        return "benchmark_model found no GPU accelerator library on the phone"
    delegated, partitions = _delegation(text)
    if delegated == 0.0 or (_replaced(text) and all(entry[2] == CPU_DELEGATE for entry in _replaced(text))):
        return f"the {delegate} delegate runs none of its operators"
    registered = delegate == "GPU" and re.search(r"GPU accelerator\S* registered", text)
    if delegated is None and partitions is None and not registered:
        return f"benchmark_model does not report that the {delegate} delegate was applied"
    return ""


def _error_line(text: str) -> str:
    """Return the last line that looks like an error, or the last line."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    pattern = re.compile(r"error|fail|not found|unable|cannot|denied|abort|segmentation", re.IGNORECASE)
    errors = [line for line in lines if pattern.search(line) and not line.endswith("Benchmarking failed.")]
    return (errors or lines or ["no output"])[-1][:300]


@dataclass(frozen=True)
class Adb:
    name: str
    serial: str
    tool: str | None

    def describe(self) -> Machine:
        return self._machine(30.0)

    def measure(self, models: Sequence[Model], settings: Settings, progress: Progress) -> list[Row]:
        require_litert(self.name, "benchmark_model", models, settings)
        if not self.tool or not Path(self.tool).is_file():
            problem = f"{self.tool}: no such file" if self.tool else "missing"
            raise InputError(
                f"{self.name}: benchmark_model: {problem}; pass the Android binary of TensorFlow or LiteRT with --benchmark-model PATH"
            )
        settings = settings.for_count(len(models))
        machine = self._machine(settings.timeout_s)
        tool = self._put(Path(self.tool), settings.timeout_s, progress)
        self._shell(f"chmod 755 {tool}", settings.timeout_s)
        paths = [self._put(model.files[0], settings.timeout_s, progress) for model in models]
        before = self._state(settings.timeout_s)
        columns = [("XNNPACK", threads) for threads in settings.threads] + [("GPU", 1), ("NNAPI", 1)]
        rows: list[dict[str, Any]] = []
        missing: list[str] = []
        for index, (delegate, threads) in enumerate(columns):
            progress(index / len(columns), f"{delegate}, {threads} thread{'s' * (threads > 1)}")
            try:
                rows += self._time_delegate(tool, paths, models, delegate, threads, settings)
            except ValueError as error:
                if delegate == "XNNPACK":
                    raise DeviceError(f"{self.name}: {error}") from None
                missing.append(f"no {delegate} latency: {error}")
        after = self._state(settings.timeout_s)
        version = f"benchmark_model {sha256_file(self.tool)[:12]}"
        common = {"device": self.name, "machine": machine, "before": before, "after": after, "runtime_version": version}
        for row in rows:
            row["notes"] = (*notes(machine, before, after, row["threads"]), *row["notes"], *missing)
        return [validated(Row, {**row, **common}, self.name) for row in rows]

    def _time_delegate(
        self, tool: str, paths: list[str], models: Sequence[Model], delegate: str, threads: int, settings: Settings
    ) -> list[dict[str, Any]]:
        """Return the rows of one delegate; the pilot determines the number of rounds, unless the time is up."""
        protocol = settings.protocol
        runs: list[list[Run]] = [[] for _ in models]
        began, order = time.monotonic(), np.random.default_rng(0)
        while True:
            for place in order.permutation(len(paths)):
                runs[place].append(self._run(tool, paths[place], delegate, threads, settings))
            blocks = [[Block(np.array([run.ms]), 1.0, None) for run in own] for own in runs]
            rounds = len(runs[0])
            if rounds >= needed_rounds(blocks, blocks[0], min(protocol.rounds, PILOT), protocol.ci_width):
                break
            if rounds >= 3 and time.monotonic() - began > protocol.max_seconds:
                break
        return [
            _row(models[0], model, delegate, threads, own, summarise(block, blocks[0], 0, protocol.ci_width))
            for model, own, block in zip(models, runs, blocks, strict=True)
        ]

    def _run(self, tool: str, path: str, delegate: str, threads: int, settings: Settings) -> Run:
        command = [
            tool, f"--graph={path}", f"--num_threads={threads}", f"--num_runs={settings.protocol.calls}",
            "--min_secs=0", "--warmup_runs=3", "--warmup_min_secs=0", *DELEGATES[delegate],
        ]  # fmt: skip
        text = self._shell(shlex.join(command) + " 2>&1", settings.timeout_s)
        run = parse_run(text)
        if delegate != "XNNPACK" and (reason := why_on_cpu(text, delegate)):
            raise ValueError(reason)
        return run

    def _put(self, file: Path, timeout_s: float, progress: Progress) -> str:
        """Send a file unless the phone has it, verify its hash, and return its path on the phone."""
        digest = sha256_file(file)
        path = f"{HOME}/{digest[:24]}"
        check = f"sha256sum {path} 2>/dev/null || true"
        if digest not in self._shell(check, timeout_s):
            progress(0.0, f"sending {file.name}")
            self._shell(f"mkdir -p {HOME}", timeout_s)
            self._adb(["push", str(file), path], timeout_s)
            if digest not in self._shell(check, timeout_s):
                raise DeviceError(f"{self.name}: {file.name}: damaged in transfer; measure again")
        return path

    def _machine(self, timeout_s: float) -> Machine:
        text = self._shell(MACHINE_SCRIPT, timeout_s)
        properties = dict(re.findall(r"^([\w.]+)=(.+)$", text, re.MULTILINE))
        system = re.search(r"^Linux \S+$", text, re.MULTILINE)
        memory = re.search(r"MemTotal:\s*(\d+)", text)
        features = re.search(r"^Features\s*:\s*(.+)$", text, re.MULTILINE)
        supported = features[1].split() if features else []
        board = " ".join(properties.get(key, "") for key in ("ro.product.manufacturer", "ro.product.model")).strip()
        values = {
            "system": f"Android {properties.get('ro.build.version.release', '?')} {system[0] if system else ''}".strip(),
            "processor": properties.get("ro.soc.model") or properties.get("ro.board.platform") or "unknown",
            "board": board or None,
            "cores": int(properties["cores"]) if properties.get("cores", "").isdigit() else None,
            "instruction_sets": [name for name in INSTRUCTION_SETS if name in supported],
            "memory_mb": int(memory[1]) // 1024 if memory else None,
        }
        return validated(Machine, values, self.name)

    def _state(self, timeout_s: float) -> MachineState:
        text = self._shell(STATE_SCRIPT, timeout_s)
        governors = sorted(set(re.findall(r"^governor=(\S+)$", text, re.MULTILINE)))
        mhz = [int(khz) // 1000 for khz in re.findall(r"^khz=(\d+)$", text, re.MULTILINE)]
        temperatures = [int(value) / 1000 for value in re.findall(r"^temperature=(\d+)$", text, re.MULTILINE)]
        hottest = max(temperatures) if temperatures else None
        values = {"governor": "/".join(governors) or None, "mhz": mhz or None, "hottest_c": hottest}
        return validated(MachineState, values, self.name)

    def _shell(self, script: str, timeout_s: float) -> str:
        return self._adb(["shell", script], timeout_s)

    def _adb(self, arguments: list[str], timeout_s: float) -> str:
        """Return the output of an adb command.

        Raises:
            DeviceError: it failed or took too long.
        """
        client = shutil.which("adb")
        if client is None:
            raise InputError("adb: is not installed; install Android's platform tools (Debian: adb)")
        command = [client, *(["-s", self.serial] if self.serial else []), *arguments]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            name = f"{self.name}: adb {arguments[0]}"
            raise DeviceError(f"{name} took longer than {timeout_s:g} s and was stopped") from None
        text = done.stdout.decode(errors="replace")
        if done.returncode:
            raise DeviceError(f"{self.name}: {_error_line(done.stderr.decode(errors='replace') + text)}")
        return text


def _row(
    reference: Model, model: Model, delegate: str, threads: int, runs: list[Run], figures: dict[str, Any]
) -> dict[str, Any]:
    last = runs[-1]
    memory = [run.mb for run in runs if run.mb is not None]
    parts = f"{delegate} runs it in {last.partitions} partitions" if (last.partitions or 1) > 1 else ""
    return {
        **figures,
        "p90_ms": None,
        "cpu_over_wall": None,
        "calls": sum(run.calls for run in runs),
        **model.row_values(reference, threads),
        "delegate": delegate,
        "delegated": last.delegated,
        "load_ms": float(np.median([run.init_ms for run in runs])),
        "first_ms": float(np.median([run.first_ms for run in runs])),
        "model_mb": max(memory) if memory else None,
        "notes": (parts,) if parts else (),
    }


def open(address: str) -> Adb:
    """Return the device of `adb://[serial][?benchmark_model=PATH]`, by default the only one that is connected."""
    place, _, query = address.partition("?")
    found = re.fullmatch(r"adb(?:://((?:[A-Za-z0-9][A-Za-z0-9_.:-]*)?))?", place)
    if not found:
        raise InputError(f"target: {address}: invalid address; write adb://SERIAL, with a serial from adb devices")
    return Adb(place, found[1] or "", options(address, query, ("benchmark_model",)).get("benchmark_model"))
