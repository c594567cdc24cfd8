"""The measuring program: one file that needs numpy and a runtime, run here or sent to another machine.

`probe.py serve` reads a job as a line of JSON on standard input and answers in lines of JSON on standard output:
`need` (files that are not in its cache, which then follow as raw bytes), `progress`, and at last `result` or `error`.
Models run in child processes (`probe.py work`), so that one that crashes, hangs or eats the memory fails alone.

The protocol: interleaved rounds over all models, so that the machine's drift of several percent within minutes is
shared and ratios to a reference are steady where lone times are not; disturbed rounds dropped; bootstrap intervals; no
figure from a machine whose other cores were busy.
Nothing of edgepose is imported, and nothing newer than Python 3.9 is used.
"""

from __future__ import annotations

import ctypes
import functools
import glob
import hashlib
import json
import os
import platform
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np

VERSION = 1
QUIET = 0.95  # of threads x wall: a round with less of the processor was disturbed
NEIGHBOURS = "EDGEPOSE_NEIGHBOURS"  # share of all cores that others may use: they share caches, memory and clock
CACHE_BYTES = 1 << 30  # of models kept on a device, the latest used
HEARTBEAT_S = 5.0  # at most between two lines to the caller
PHOTO = (480, 640)  # height and width of the photo that the end-to-end figure starts from
ISA = {  # asked for: (oneDNN's name, the processor's flag)
    "avx2": ("AVX2", "avx2"),
    "avx512": ("AVX512_CORE", "avx512bw"),
    "vnni": ("AVX512_CORE_VNNI", "avx512_vnni"),
    "amx": ("AVX512_CORE_AMX", "amx_int8"),
}
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "neon", "asimd", "asimddp", "i8mm", "sve")


class Failed(Exception):
    """The work failed; the message says why."""


class Disturbed(RuntimeError):
    """Other processes disturbed too many rounds, or kept other cores busy: there is no figure to report."""


# --- the protocol


@dataclass(frozen=True)
class Rules:
    """Of a measurement: rounds at least, timed calls of a network a round, asked width of intervals, seconds.

    `neighbours` is the share of all cores that other processes may use meanwhile.
    """

    rounds: int = 12
    calls: int = 30
    width: float = 0.03
    budget: float = 6.0
    quiet: float = QUIET
    neighbours: float = field(default_factory=lambda: tolerated())


@dataclass(frozen=True)
class Entry:
    """What is timed: a function that runs it once, how often a round, and the threads it keeps busy.

    Rounds go on until the intervals of what is `watched` are narrow enough.
    """

    call: Callable[[], Any]
    count: int
    threads: int = 1
    watched: bool = True


@dataclass(frozen=True)
class Block:
    """One entry in one round: ms of each call, the share of threads x wall that it had, and that it had to wait."""

    ms: np.ndarray
    share: float
    waiting: float | None

    def disturbed(self, threads: int, quiet: float) -> bool:
        """A lone thread is busy all the time unless it waits for the processor. Several also wait for each other,

        which is the runtime's own doing, so of them only the time spent runnable without a processor counts.
        """
        if threads > 1 and self.waiting is not None:
            return self.waiting > 1 - quiet
        return self.share < quiet


def time_rounds(
    entries: dict[str, Entry],
    reference: str,
    rules: Rules,
    progress: Callable[[float, str], None] = lambda share, text: None,
) -> tuple[dict[str, list[Block]], int]:
    """The blocks of the undisturbed rounds by entry, as many for each, and how many rounds were dropped.

    Rounds go on until the interval of every watched entry's ratio to `reference` is within `rules.width`, or of the budget.

    Raises:
        Disturbed: fewer than half of the rounds were quiet, or other processes kept other cores busy.
    """
    counts = _counts(entries, rules)
    kept: dict[str, list[Block]] = {name: [] for name in entries}
    watched = [name for name, entry in entries.items() if entry.watched]
    names, order = list(entries), np.random.default_rng(0)
    count = dropped = 0
    started, theirs = time.monotonic(), others_s()
    while True:
        order.shuffle(names)
        blocks = {name: _timed(entries[name], counts[name]) for name in names}
        if any(block.disturbed(entries[name].threads, rules.quiet) for name, block in blocks.items()):
            dropped += 1
        else:
            count += 1
            for name, block in blocks.items():
                kept[name].append(block)
        spent = time.monotonic() - started
        progress(min(1.0, max(spent / rules.budget, 0.5 * count / rules.rounds)), f"{count} rounds, {dropped} dropped")
        if count >= rules.rounds and settled([kept[name] for name in watched], kept[reference], rules.width):
            break
        enough = count >= rules.rounds or (spent > 2 * rules.budget and count + dropped >= max(3, rules.rounds // 2))
        if spent > rules.budget and enough:
            break
    if count < max(3, rules.rounds // 2) or count < dropped:
        raise Disturbed(
            f"{dropped} of {count + dropped} rounds were disturbed by other processes; "
            f"free the processor and measure again"
        )
    after = others_s()
    if theirs is not None and after is not None:
        share = (after - theirs) / (time.monotonic() - started) / (os.cpu_count() or 1)
        if share > rules.neighbours:
            raise Disturbed(
                f"other processes used {share:.0%} of the machine's cores meanwhile, and share caches, memory and clock; "
                f"stop them and measure again, or set {NEIGHBOURS}=1 to have the figure all the same"
            )
    return kept, dropped


def _counts(entries: dict[str, Entry], rules: Rules) -> dict[str, int]:
    """Warm up, and take fewer calls a round where the least number of rounds would not fit into the budget."""
    seconds = {}
    for name, entry in entries.items():
        for _ in range(3):
            began = time.perf_counter()
            entry.call()
            seconds[name] = time.perf_counter() - began
    whole = rules.rounds * sum(entry.count * seconds[name] for name, entry in entries.items())
    share = min(1.0, rules.budget / max(1e-9, whole))
    return {name: max(min(3, entry.count), int(entry.count * share)) for name, entry in entries.items()}


def _timed(entry: Entry, count: int) -> Block:
    entry.call()
    walls = np.empty(count)
    waited = run_delay_s()
    cpu = time.process_time()
    start = previous = time.perf_counter()
    for index in range(count):
        entry.call()
        now = time.perf_counter()
        walls[index] = now - previous
        previous = now
    whole = max(1e-9, (previous - start) * entry.threads)
    share = (time.process_time() - cpu) / whole
    after = run_delay_s()
    return Block(walls * 1e3, share, None if waited is None or after is None else (after - waited) / whole)


def run_delay_s() -> float | None:
    """Seconds that this process's threads were runnable without a processor; None where the kernel does not say."""
    total, found = 0, False
    for path in glob.glob("/proc/self/task/*/schedstat"):
        try:
            with open(path) as file:
                total += int(file.read().split()[1])
        except (OSError, IndexError, ValueError):  # the thread ended meanwhile
            continue
        found = True
    return total * 1e-9 if found else None


def tolerated() -> float:
    """The share of all cores that others may use; of a machine that is always shared, the environment says more."""
    return float(os.environ.get(NEIGHBOURS, "0.25"))


def others_s() -> float | None:
    """Seconds of processor time that all other processes have used so far; None where the kernel does not say."""
    fields = _text("/proc/stat").split("\n", 1)[0].split()
    if len(fields) < 8:
        return None
    user, nice, system, _, _, interrupts, soft = (int(field) for field in fields[1:8])
    used = (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")
    mine = os.times()
    return used - mine.user - mine.system


def block_ratios(own: list[Block], reference: list[Block]) -> np.ndarray:
    """Ratio of the medians, round by round."""
    return np.array([np.median(a.ms) / np.median(b.ms) for a, b in zip(own, reference)])  # noqa: B905


def bootstrap_median(values: np.ndarray, draws: int = 500, seed: int = 0) -> tuple[float, float]:
    """95% interval of the median."""
    medians = np.median(np.random.default_rng(seed).choice(values, (draws, len(values))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(low), float(high)


def settled(everything: list[list[Block]], reference: list[Block], width: float) -> bool:
    """Whether every ratio's interval is within the asked width; of the reference itself, its median's."""
    for own in everything:
        values = np.array([np.median(b.ms) for b in own]) if own is reference else block_ratios(own, reference)
        low, high = bootstrap_median(values)
        if high - low > width * float(np.median(values)):
            return False
    return True


def summary(own: list[Block], reference: list[Block], dropped: int, width: float) -> dict[str, Any]:
    """Figures of an entry: ms of a call, 95% interval of the median, ratio to the reference with its interval."""
    everything = np.concatenate([block.ms for block in own])
    low, high = bootstrap_median(np.array([np.median(block.ms) for block in own]))
    ratios = block_ratios(own, reference)
    ratio_low, ratio_high = bootstrap_median(ratios)
    waiting = [block.waiting for block in own if block.waiting is not None]
    return {
        "median_ms": float(np.median(everything)),
        "p90_ms": float(np.percentile(everything, 90)),
        "low_ms": low,
        "high_ms": high,
        "ratio": float(np.median(ratios)),
        "ratio_low": ratio_low,
        "ratio_high": ratio_high,
        "calls": len(everything),
        "rounds": len(own),
        "dropped_rounds": dropped,
        "cpu_over_wall": float(np.mean([block.share for block in own])),
        "waiting": float(np.mean(waiting)) if waiting else None,
        "settled": settled([own], reference, width),
    }


# --- runtimes, each as put(x), run() and take(); twins of quantize.runtimes, which cannot travel


class LiteRT:
    """XNNPACK, as the phones run it."""

    def __init__(self, path: str, threads: int) -> None:
        Interpreter, self.version = _interpreter_class()
        self.interpreter = Interpreter(model_path=path, num_threads=threads)
        self.interpreter.allocate_tensors()
        self.entry = self.interpreter.get_input_details()[0]["index"]
        self.exit = self.interpreter.get_output_details()[0]["index"]
        self.run: Callable[[], Any] = self.interpreter.invoke

    def put(self, x: np.ndarray) -> None:
        self.interpreter.set_tensor(self.entry, np.ascontiguousarray(x.transpose(0, 2, 3, 1)))

    def take(self) -> np.ndarray:
        raw: np.ndarray = self.interpreter.get_tensor(self.exit)
        return raw.transpose(0, 3, 1, 2) if raw.ndim == 4 else raw

    def facts(self) -> dict[str, Any]:
        """Share of the operators that the delegate took: the nodes listed after the file's own are delegates."""
        details = self.interpreter._get_ops_details()
        delegates = {detail["index"] for detail in details if detail["op_name"].upper() == "DELEGATE"}
        if not delegates:
            return {"delegate": "none", "delegated": 0.0}
        makers = {tensor: detail for detail in details for tensor in detail["outputs"]}
        pending, running = [self.exit], set()
        while pending:
            maker = makers.get(pending.pop())
            if maker is not None and maker["index"] not in running:
                running.add(maker["index"])
                pending.extend(maker["inputs"])
        left = len(running - delegates)
        return {"delegate": "XNNPACK", "delegated": 1 - left / max(1, len(details) - len(delegates))}


def _interpreter_class() -> tuple[Any, str]:
    try:
        from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-not-found, unused-ignore]

        return Interpreter, "ai-edge-litert " + version_of("ai-edge-litert")
    except ImportError:
        from tflite_runtime.interpreter import Interpreter  # type: ignore[import-not-found, unused-ignore]

        return Interpreter, "tflite-runtime " + version_of("tflite-runtime")


class OpenVINO:
    """The CPU plug-in; float stays float32, also where AMX or fp16 units would tempt it."""

    def __init__(self, path: str, threads: int) -> None:
        import openvino  # type: ignore[import-not-found, unused-ignore]

        self.version = "openvino " + version_of("openvino")
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
        core = openvino.Core()
        self.model = core.compile_model(core.read_model(path), "CPU", {**options, "INFERENCE_NUM_THREADS": threads})
        self.request = self.model.create_infer_request()
        # Python's infer copies the outputs otherwise, which no program on a phone does.
        self.run: Callable[[], Any] = functools.partial(self.request.infer, share_outputs=True)

    def put(self, x: np.ndarray) -> None:
        self.request.get_input_tensor().data[:] = x

    def take(self) -> np.ndarray:
        return np.array(self.request.get_output_tensor(0).data)

    def facts(self) -> dict[str, Any]:
        """The kernels of the convolutions, whose names say the instruction set they were written for."""
        kernels: dict[str, int] = {}
        for node in self.model.get_runtime_model().get_ordered_ops():
            info = node.get_rt_info()
            if info["layerType"].value == "Convolution":
                name = str(info["primitiveType"].value)
                kernels[name] = kernels.get(name, 0) + 1
        used = sorted(
            {
                part
                for name in kernels
                for part in re.findall(r"avx512(?:_amx)?|avx2|avx|sse4\w*|sve|neon|asimd|acl", name)
            }
        )
        return {"delegate": "CPU plug-in", "delegated": 1.0, "kernels": kernels, "instruction_sets_used": used}


class OnnxRuntime:
    """The CPU provider, without threads that spin between calls."""

    def __init__(self, path: str, threads: int) -> None:
        import onnxruntime  # type: ignore[import-not-found, unused-ignore]

        self.version = "onnxruntime " + version_of("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        entry = session.get_inputs()[0]
        self.value = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(entry.shape, np.float32))
        self.binding = session.io_binding()
        self.binding.bind_ortvalue_input(entry.name, self.value)
        self.binding.bind_output(session.get_outputs()[0].name)
        self.run: Callable[[], Any] = lambda: session.run_with_iobinding(self.binding)

    def put(self, x: np.ndarray) -> None:
        self.value.update_inplace(np.ascontiguousarray(x, np.float32))

    def take(self) -> np.ndarray:
        return np.asarray(self.binding.copy_outputs_to_cpu()[0])

    def facts(self) -> dict[str, Any]:
        return {"delegate": "CPUExecutionProvider", "delegated": 1.0}


RUNTIMES: dict[str, Any] = {"litert": LiteRT, "openvino": OpenVINO, "onnxruntime": OnnxRuntime}
INSTALL = {"litert": "ai-edge-litert", "openvino": "openvino", "onnxruntime": "onnxruntime"}


def version_of(package: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "of unknown version"


# --- before and after the network


def to_input(photo: np.ndarray, box: tuple[float, float, float], size: int, mean: Any, std: Any) -> np.ndarray:
    """Square crop (left, top, side in px) of an RGB photo, bilinear, normalised: (1, 3, size, size) float32."""
    left, top, side = box
    centres = (np.arange(size, dtype=np.float32) + 0.5) * np.float32(side / size) - 0.5
    across, down = centres + np.float32(left), centres + np.float32(top)
    x0, y0 = np.floor(across).astype(np.intp), np.floor(down).astype(np.intp)
    wx, wy = (across - x0)[None, :, None], (down - y0)[:, None, None]
    columns = np.clip(np.stack([x0, x0 + 1]), 0, photo.shape[1] - 1)
    rows = np.clip(np.stack([y0, y0 + 1]), 0, photo.shape[0] - 1)
    upper, lower = photo[rows[0]].astype(np.float32), photo[rows[1]].astype(np.float32)
    strip = upper + (lower - upper) * wy
    crop = strip[:, columns[0]] * (1 - wx) + strip[:, columns[1]] * wx
    scaled = (crop / 255 - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], np.float32)


def softmax(scores: np.ndarray) -> np.ndarray:
    shares: np.ndarray = np.exp(scores - scores.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def decode(raw: np.ndarray, head: str, cells: int, bins: int) -> np.ndarray:
    """Raw output of one picture to (J, 3) in cells; twin of arch.decode."""
    along, depth = np.arange(cells, dtype=np.float32) + 0.5, np.arange(bins, dtype=np.float32) + 0.5
    if head == "simcc":
        places = (np.arange(2 * cells, dtype=np.float32) + 0.5) / np.float32(2)
        parts = np.split(raw[0], [2 * cells, 4 * cells], axis=-1)
        return np.stack([softmax(parts[0]) @ places, softmax(parts[1]) @ places, softmax(parts[2]) @ depth], 1)
    if head == "volumetric":
        volume = softmax(raw.reshape(raw.shape[1] // bins, -1)).reshape(-1, bins, cells * cells)
        plane, z = volume.sum(1), volume.sum(2) @ depth
    else:
        joints = raw.shape[1] // 2
        plane = softmax(raw[0, :joints].reshape(joints, -1))
        z = ((plane * raw[0, joints:].reshape(joints, -1)).sum(1) + 0.5) * bins
    maps = plane.reshape(-1, cells, cells)
    return np.stack([maps.sum(1) @ along, maps.sum(2) @ along, z], 1)


# --- the machine


def _text(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read().strip("\0\n ")
    except OSError:
        return ""


def _numbers(pattern: str) -> Iterator[float]:
    for path in sorted(glob.glob(pattern)):
        try:
            yield float(_text(path))
        except ValueError:
            continue


def cpus() -> list[int]:
    """The processors that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def machine() -> dict[str, Any]:
    """What does not change: system, board, processor, cores, instruction sets, memory."""
    text = _text("/proc/cpuinfo")
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    model = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", text, re.MULTILINE)
    parts = sorted(set(re.findall(r"^CPU part\s*:\s*(\w+)$", text, re.MULTILINE)))
    known = set(flags[1].split()) if flags else set()
    memory = re.search(r"MemTotal:\s*(\d+) kB", _text("/proc/meminfo"))
    processor = model[1] if model else platform.processor() or platform.machine()
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "board": _text("/proc/device-tree/model") or None,
        "processor": processor + (f" (parts {', '.join(parts)})" if parts else ""),
        "cores": len(cpus()),
        "all_cores": os.cpu_count() or 1,
        "instruction_sets": [name for name in FLAGS if name in known],
        "memory_mb": int(memory[1]) // 1024 if memory else None,
        "python": platform.python_version(),
    }


def state() -> dict[str, Any]:
    """What may change between two calls; None where it cannot be read."""
    folders = [f"/sys/devices/system/cpu/cpu{index}" for index in cpus()]
    governors = sorted({_text(f"{folder}/cpufreq/scaling_governor") for folder in folders} - {""})
    mhz = [khz / 1000 for folder in folders for khz in _numbers(f"{folder}/cpufreq/scaling_cur_freq")]
    if not mhz:
        mhz = [float(value) for value in re.findall(r"^cpu MHz\s*:\s*([\d.]+)$", _text("/proc/cpuinfo"), re.MULTILINE)]
    events = [count for folder in folders for count in _numbers(f"{folder}/thermal_throttle/*_throttle_count")]
    heat = [value / 1000 for value in _numbers("/sys/class/thermal/thermal_zone*/temp")]
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "governor": "/".join(governors) or None,
        "mhz": [round(value) for value in mhz] or None,
        "throttle_events": int(sum(events)) if events else None,
        "board_throttled": _text("/sys/devices/platform/soc/soc:firmware/get_throttled") or None,  # Raspberry Pi
        "hottest_c": max(heat) if heat else None,
        "load": load,
    }


def _resident_mb(key: str) -> float | None:
    found = re.search(rf"^{key}:\s*(\d+) kB", _text("/proc/self/status"), re.MULTILINE)
    return int(found[1]) / 1024 if found else None


# --- the child process that holds the models


def work() -> None:
    """One task from standard input, its answer as the last line of JSON on standard output."""
    requests, say = _private_pipes()
    _limit()
    task = json.loads(requests.readline())
    try:
        if task["do"] == "check":
            say(result=_check(task["model"]))
        else:
            say(result=_time_models(task, say))
    except Disturbed as error:
        say(error=str(error), kind="disturbed")
    except Exception as error:  # whatever a runtime throws: there is no common class
        say(error=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", kind="failed")


def _limit() -> None:
    """No more memory than the machine has, no core file, and no life after the parent's."""
    import resource

    memory = machine()["memory_mb"]
    if memory:
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        soft = memory << 20
        resource.setrlimit(resource.RLIMIT_AS, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _check(model: dict[str, Any]) -> dict[str, Any]:
    """Load a model alone in this process and run it: load and first call in ms, memory in MB, delegation, kernels."""
    make = RUNTIMES[model["runtime"]]
    try:
        _import(model["runtime"])
    except ImportError as error:
        raise Failed(f"the runtime is missing there ({error}); pip install {INSTALL[model['runtime']]}") from None
    before = _resident_mb("VmRSS")
    x = _picture(model)
    began = time.perf_counter()
    network = make(model["path"], 1)
    loaded = time.perf_counter()
    network.put(x)
    network.run()
    first = time.perf_counter()
    network.run()
    raw = network.take()
    if not np.isfinite(raw).all():
        raise Failed("its output is not finite")
    decode(raw, model["head"], model["heatmap"], model["depth_bins"])
    after = _resident_mb("VmRSS")
    return {
        "runtime_version": network.version,
        "load_ms": (loaded - began) * 1e3,
        "first_ms": (first - loaded) * 1e3,
        "peak_mb": _resident_mb("VmHWM"),
        "model_mb": after - before if after is not None and before is not None else None,
        **network.facts(),
    }


def _import(runtime: str) -> None:
    if runtime == "litert":
        _interpreter_class()
    else:
        __import__(runtime)


def _picture(model: dict[str, Any]) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (model["input"], model["input"], 3), np.uint8)
    return to_input(pixels, (0.0, 0.0, float(model["input"])), model["input"], model["mean"], model["std"])


def _time_models(task: dict[str, Any], say: Callable[..., None]) -> list[dict[str, Any]]:
    """Network, decoding and end to end of every model in the same interleaved rounds."""
    rules, threads = Rules(**task["rules"]), task["threads"]
    photo = np.random.default_rng(1).integers(0, 256, (*PHOTO, 3), np.uint8)
    entries: dict[str, Entry] = {}
    few = max(3, rules.calls // 5)
    for index, model in enumerate(task["models"]):
        network = RUNTIMES[model["runtime"]](model["path"], threads)
        network.put(_picture(model))
        network.run()
        entries[f"network {index}"] = Entry(network.run, rules.calls, threads)
        entries[f"decode {index}"] = Entry(_decoder(network.take(), model), few, watched=False)
        entries[f"whole {index}"] = Entry(_whole(network, photo, model), few, threads, watched=False)
    told = [0.0]

    def progress(share: float, text: str) -> None:
        if time.monotonic() - told[0] > 0.3:
            told[0] = time.monotonic()
            say(progress=share, text=f"{threads} thread{'s' * (threads > 1)}, {text}")

    kept, dropped = time_rounds(entries, "network 0", rules, progress)
    rows = []
    for index in range(len(task["models"])):
        row = summary(kept[f"network {index}"], kept["network 0"], dropped, rules.width)
        for part, key in (("decode", "decode_ms"), ("whole", "end_to_end_ms")):
            row[key] = float(np.median(np.concatenate([block.ms for block in kept[f"{part} {index}"]])))
        rows.append({**row, "threads": threads})
    return rows


def _decoder(raw: np.ndarray, model: dict[str, Any]) -> Callable[[], Any]:
    return lambda: decode(raw, model["head"], model["heatmap"], model["depth_bins"])


def _whole(network: Any, photo: np.ndarray, model: dict[str, Any]) -> Callable[[], Any]:
    """From a photo and a box to joints: crop, resize, normalise, network, decode."""
    side = 0.8 * min(PHOTO)
    box = (0.5 * (PHOTO[1] - side), 0.5 * (PHOTO[0] - side), side)

    def call() -> None:
        network.put(to_input(photo, box, model["input"], model["mean"], model["std"]))
        network.run()
        decode(network.take(), model["head"], model["heatmap"], model["depth_bins"])

    return call


def _private_pipes() -> tuple[IO[str], Callable[..., None]]:
    """Our pipes under other numbers; what a library prints goes to standard error and is no answer."""
    requests = os.fdopen(os.dup(0), "r")
    answers = os.fdopen(os.dup(1), "w")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)

    def say(**message: Any) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    return requests, say


# --- the process that serves a job


def serve(home: str) -> None:
    """A job from standard input; the answer, or why there is none, on standard output."""
    try:
        job = json.loads(_read_line())
        if job["version"] != VERSION:
            raise Failed(f"the job is of version {job['version']}, this program of {VERSION}")
        _receive(job["models"], home)
        _say(result=_measure(job))
    except Disturbed as error:
        _say(error=str(error), kind="disturbed")
    except Failed as error:
        _say(error=str(error), kind="failed")
    except OSError as error:
        _say(error=str(error), kind="failed")


def _say(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _read(count: int) -> bytes:
    """Exactly so many bytes of standard input, which nobody buffers."""
    parts, left = [], count
    while left:
        part = os.read(0, min(left, 1 << 20))
        if not part:
            raise Failed("the input ended early")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _read_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        line += _read(1)
    return line


def _receive(models: list[dict[str, Any]], home: str) -> None:
    """Give every model a path: where the caller says it lies, or in the cache, asking for what is not there."""
    wanted: dict[str, tuple[str, int]] = {}
    for model in models:
        files = model["files"]
        if "path" in model:
            continue
        key = hashlib.sha256("".join(file["sha256"] for file in files).encode()).hexdigest()[:24]
        folder = os.path.join(home, "models", key)
        os.makedirs(folder, 0o700, exist_ok=True)
        os.utime(folder)
        model["path"] = os.path.join(folder, os.path.basename(files[0]["name"]))
        for file in files:
            path = os.path.join(folder, os.path.basename(file["name"]))
            if not os.path.exists(path) or os.path.getsize(path) != file["bytes"] or _sha256(path) != file["sha256"]:
                wanted[path] = (file["sha256"], file["bytes"])
    if not wanted:
        return
    _make_room(os.path.join(home, "models"), {os.path.dirname(path) for path in wanted})
    _say(need=[digest for digest, _ in wanted.values()])
    for path, (digest, count) in wanted.items():
        content = _read(count)
        if hashlib.sha256(content).hexdigest() != digest:
            raise Failed(f"{os.path.basename(path)} arrived damaged")
        beside = f"{path}.{os.getpid()}"
        try:
            with open(beside, "wb") as file:
                file.write(content)
            os.replace(beside, path)
        except OSError as error:
            if os.path.exists(beside):
                os.unlink(beside)
            raise Failed(f"cannot store {os.path.basename(path)} of {count} bytes: {error}") from None


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def _make_room(folder: str, keep: Any) -> None:
    """Forget the models used longest ago where the cache holds more than it may."""
    sizes = {}
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        sizes[path] = sum(entry.stat().st_size for entry in os.scandir(path) if entry.is_file())
    total = sum(sizes.values())
    for path in sorted(sizes, key=os.path.getmtime):
        if total <= CACHE_BYTES:
            return
        if path not in keep:
            shutil.rmtree(path, ignore_errors=True)
            total -= sizes[path]


def _measure(job: dict[str, Any]) -> dict[str, Any]:
    about = machine()
    environment = _environment(job, about)
    models = job["models"]
    facts = []
    for model in models:
        facts.append(_child({"do": "check", "model": model}, job["check_s"], environment, model["name"]))
    before = state()
    rows = []
    names = ", ".join(model["name"] for model in models)
    for threads in job["threads"]:
        task = {"do": "time", "models": models, "threads": threads, "rules": job["rules"]}
        limit = job["check_s"] + 4 * job["rules"]["budget"]
        for index, row in enumerate(_child(task, limit, environment, names)):
            rows.append({"model": models[index]["name"], "runtime": models[index]["runtime"], **facts[index], **row})
    return {"machine": about, "before": before, "after": state(), "isa": job["isa"], "rows": rows}


def _environment(job: dict[str, Any], about: dict[str, Any]) -> dict[str, str]:
    """Of the children: numpy on one thread, and oneDNN's cap where one is asked for."""
    bounds = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(bounds, "1"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    if job["isa"]:
        cap, flag = ISA[job["isa"]]
        if flag not in _text("/proc/cpuinfo").split():
            raise Failed(f"isa: the processor ({about['processor']}) has no {job['isa']}")
        environment["ONEDNN_MAX_CPU_ISA"] = cap
    return environment


def _child(task: dict[str, Any], limit_s: float, environment: dict[str, str], what: str) -> Any:
    """The answer of a child process; a crash, a hang or a lost caller ends it."""
    with tempfile.TemporaryFile() as chatter:
        child = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), "work"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=chatter,
            env=environment,
            bufsize=0,
        )
        try:
            answer = _converse(child, task, limit_s, what)
            status = child.wait(5) if answer is None else 0
        finally:
            child.kill()
            child.wait()
        if answer is None:
            chatter.seek(0)
            lines = [line for line in chatter.read().decode(errors="replace").splitlines() if line.strip()]
            raise Failed(f"{what}: the runtime {_how(status)}{': ' + lines[-1][:300] if lines else ''}")
    if answer.get("kind") == "disturbed":
        raise Disturbed(answer["error"])
    if "error" in answer:
        raise Failed(f"{what}: {answer['error'].replace('Failed: ', '', 1)}")
    return answer["result"]


def _converse(child: Any, task: dict[str, Any], limit_s: float, what: str) -> dict[str, Any] | None:
    """Pass the child's progress on until it answers; None: it ended without."""
    try:
        child.stdin.write(json.dumps(task).encode() + b"\n")
    except BrokenPipeError:
        return None
    deadline = time.monotonic() + limit_s
    received, listening = b"", [child.stdout, 0]
    news: dict[str, Any] = {"progress": 0.0, "text": f"loading {what}"}
    while True:
        ready = select.select(listening, [], [], max(0.0, min(HEARTBEAT_S, deadline - time.monotonic())))[0]
        if time.monotonic() > deadline:
            raise Failed(f"{what}: took longer than {limit_s:g} s and was stopped")
        if not ready:
            _say(**news)  # still here
        if 0 in ready and not os.read(0, 4096):
            raise Failed("the caller went away")
        if child.stdout not in ready:
            continue
        part = os.read(child.stdout.fileno(), 65536)
        if not part:
            return None
        received += part
        while b"\n" in received:
            line, received = received.split(b"\n", 1)
            message: dict[str, Any] = json.loads(line)
            if "progress" not in message:
                return message
            news = message
            _say(**news)


def _how(status: int) -> str:
    if status == -signal.SIGKILL:
        return "was killed (out of memory?)"
    return f"crashed with {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        work()
