"""The process that serves a measurement on a device, and the child processes that hold the models.

`probe.py serve FOLDER` reads a request as one line of JSON from standard input and replies in lines of JSON on standard
output: `need` (hashes of files that are not in its cache, which must follow as raw bytes), `progress`, and finally
`result` or `error`. FOLDER is the cache. Models run in child processes (`probe.py work`), so that a model that crashes,
hangs or runs out of memory fails alone.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import IO, Any

import numpy as np

from explore.measure.probe.machine import describe_machine, machine_state, read_text, resident_mb
from explore.measure.probe.protocol import Disturbed, ProtocolSettings, TimedCall, summarise, time_rounds
from explore.measure.probe.runtimes import INSTALL, RUNTIMES, litert_interpreter, to_input
from quantize.sdk.edgepose_decoder import HEADS, decode

CACHE_BYTES = 1 << 30  # of models on a device; the least recently used are deleted
HEARTBEAT_S = 5.0  # longest time between two lines to the client
PHOTO = (480, 640)  # height and width of the photo of the end-to-end latency, px
ISA = {  # name: (oneDNN's name, the processor's flag)
    "avx2": ("AVX2", "avx2"),
    "avx512": ("AVX512_CORE", "avx512bw"),
    "vnni": ("AVX512_CORE_VNNI", "avx512_vnni"),
    "amx": ("AVX512_CORE_AMX", "amx_int8"),
}


class ProbeError(Exception):
    """The measurement failed; the message is sent to the client."""


def work() -> None:
    """Run one task from standard input in this child process; the last line on standard output is its result."""
    requests, send = _private_pipes()
    _limit_resources()
    task = json.loads(requests.readline())
    try:
        send(result=_check(task["model"]) if task["do"] == "check" else _time_models(task, send))
    except Exception as error:  # runtimes have no common class of errors
        send(**_error(error))


def _error(error: Exception) -> dict[str, str]:
    message = " ".join(str(error).split())[:300]
    known = isinstance(error, (Disturbed, ProbeError, OSError))
    kind = "disturbed" if isinstance(error, Disturbed) else "failed"
    return {"error": message if known else f"{type(error).__name__}: {message}", "kind": kind}


def _private_pipes() -> tuple[IO[str], Callable[..., None]]:
    """Move the pipes to other file descriptors, so that output of libraries goes to standard error."""
    requests = os.fdopen(os.dup(0), "r")
    replies = os.fdopen(os.dup(1), "w")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)

    def send(**message: Any) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    return requests, send


def _limit_resources() -> None:
    """Limit the memory to the machine's, write no core file, and end with the parent process."""
    import resource

    memory = describe_machine()["memory_mb"]
    if memory:
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        soft = memory << 20
        resource.setrlimit(resource.RLIMIT_AS, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _check(model: dict[str, Any]) -> dict[str, Any]:
    """Load and run one model alone: times of loading and first call, memory, delegation, kernels."""
    runtime = model["runtime"]
    if runtime not in RUNTIMES or model["head"] not in HEADS:
        raise ProbeError(f"runtime {runtime}, head {model['head']}: unknown to this program; use a newer edgepose")
    try:
        if runtime == "litert":
            litert_interpreter()
        else:
            __import__(runtime)
    except ImportError as error:
        raise ProbeError(f"the runtime is not installed there ({error}); run pip install {INSTALL[runtime]}") from None
    before = resident_mb("VmRSS")
    x = _input(model)
    began = time.perf_counter()
    network = RUNTIMES[runtime](model["path"], 1)
    loaded = time.perf_counter()
    network.put(x)
    network.run()
    first = time.perf_counter()
    network.run()
    raw = network.take()
    if not np.isfinite(raw).all():
        raise ProbeError("its output is not finite")
    _decode(raw, model)
    after = resident_mb("VmRSS")
    return {
        "runtime_version": network.version,
        "load_ms": (loaded - began) * 1e3,
        "first_ms": (first - loaded) * 1e3,
        "peak_mb": resident_mb("VmHWM"),
        "model_mb": after - before if after is not None and before is not None else None,
        **network.facts(),
    }


def _input(model: dict[str, Any]) -> np.ndarray:
    size = model["input_size"]
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    return to_input(pixels, (0.0, 0.0, float(size)), size, model["mean"], model["std"])


def _decode(raw: np.ndarray, model: dict[str, Any]) -> None:
    """Decode a raw output, for the time that it takes."""
    decode(
        raw,
        {
            "head": model["head"],
            "heatmap": model["heatmap_size"],
            "depth_bins": model["depth_bins"],
            "depth_scale": 1.0,
        },
    )


def _time_models(task: dict[str, Any], send: Callable[..., None]) -> list[dict[str, Any]]:
    """Time network, decoding and end to end of every model in the same interleaved rounds."""
    settings, threads = ProtocolSettings(**task["settings"]), task["threads"]
    photo = np.random.default_rng(1).integers(0, 256, (*PHOTO, 3), np.uint8)
    timed: dict[str, TimedCall] = {}
    few = max(3, settings.calls // 5)
    for index, model in enumerate(task["models"]):
        network = RUNTIMES[model["runtime"]](model["path"], threads)
        network.put(_input(model))
        network.run()
        timed[f"network {index}"] = TimedCall(network.run, settings.calls, threads)
        timed[f"decode {index}"] = TimedCall(_decoder(network.take(), model), few, decisive=False)
        timed[f"whole {index}"] = TimedCall(_end_to_end(network, photo, model), few, threads, decisive=False)
    sent = [0.0]

    def progress(share: float, text: str) -> None:
        if time.monotonic() - sent[0] > 0.3:
            sent[0] = time.monotonic()
            send(progress=share, text=f"{threads} thread{'s' * (threads > 1)}, {text}")

    kept, dropped = time_rounds(timed, "network 0", settings, progress)
    rows = []
    for index in range(len(task["models"])):
        row = summarise(kept[f"network {index}"], kept["network 0"], dropped, settings.ci_width)
        for part, key in (("decode", "decode_ms"), ("whole", "end_to_end_ms")):
            row[key] = float(np.median(np.concatenate([block.ms for block in kept[f"{part} {index}"]])))
        rows.append({**row, "threads": threads})
    return rows


def _decoder(raw: np.ndarray, model: dict[str, Any]) -> Callable[[], Any]:
    return lambda: _decode(raw, model)


def _end_to_end(network: Any, photo: np.ndarray, model: dict[str, Any]) -> Callable[[], Any]:
    """Return a function from a photo to joints: crop, resize, normalise, network, decode."""
    side = 0.8 * min(PHOTO)
    box = (0.5 * (PHOTO[1] - side), 0.5 * (PHOTO[0] - side), side)

    def call() -> None:
        network.put(to_input(photo, box, model["input_size"], model["mean"], model["std"]))
        network.run()
        _decode(network.take(), model)

    return call


def serve(home: str) -> None:
    """Serve one request from standard input; `home` is the folder of the cache."""
    try:
        request = json.loads(sys.stdin.buffer.raw.readline())  # type: ignore[union-attr]  # unbuffered
        _receive_files(request["models"], home)
        _reply(result=_measure(request))
    except (Disturbed, ProbeError, OSError) as error:
        _reply(**_error(error))


def _reply(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _read(count: int) -> bytes:
    """Read `count` bytes of standard input without buffering."""
    content = bytearray()
    while len(content) < count:
        part = os.read(0, min(count - len(content), 1 << 20))
        if not part:
            raise ProbeError("the input ended early")
        content += part
    return bytes(content)


def _receive_files(models: list[dict[str, Any]], home: str) -> None:
    """Set the path of every model without one to its place in the cache; request the files that are missing there."""
    missing: dict[str, tuple[str, int]] = {}
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
                missing[path] = (file["sha256"], file["bytes"])
    if not missing:
        return
    _shrink_cache(os.path.join(home, "models"), {os.path.dirname(path) for path in missing})
    _reply(need=[digest for digest, _ in missing.values()])
    for path, (digest, count) in missing.items():
        content = _read(count)
        if hashlib.sha256(content).hexdigest() != digest:
            raise ProbeError(f"{os.path.basename(path)}: damaged in transfer; measure again")
        temporary = f"{path}.{os.getpid()}"
        try:
            with open(temporary, "wb") as file:
                file.write(content)
            os.replace(temporary, path)
        except OSError as error:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise ProbeError(f"{os.path.basename(path)}: cannot store {count} bytes: {error}") from None


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def _shrink_cache(folder: str, keep: set[str]) -> None:
    """Delete the least recently used models, except those in `keep`, while the cache is larger than CACHE_BYTES."""
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


def _measure(request: dict[str, Any]) -> dict[str, Any]:
    machine = describe_machine()
    environment = _environment(request["isa"], machine["processor"])
    models, timeout_s, settings = request["models"], request["timeout_s"], request["settings"]
    facts = [_child({"do": "check", "model": model}, timeout_s, environment, model["name"]) for model in models]
    before = machine_state()
    rows = []
    names = ", ".join(model["name"] for model in models)
    for threads in request["threads"]:
        task = {"do": "time", "models": models, "threads": threads, "settings": settings}
        for index, row in enumerate(_child(task, timeout_s + 4 * settings["max_seconds"], environment, names)):
            rows.append({"model": models[index]["name"], "runtime": models[index]["runtime"], **facts[index], **row})
    return {"machine": machine, "before": before, "after": machine_state(), "isa": request["isa"], "rows": rows}


def _environment(isa: str | None, processor: str) -> dict[str, str]:
    """Return the environment of child processes: numpy on one thread, and oneDNN's cap on the instruction set."""
    one_thread = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(one_thread, "1"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    if isa:
        cap, flag = ISA[isa]
        if flag not in read_text("/proc/cpuinfo").split():
            raise ProbeError(f"isa: the processor ({processor}) has no {isa}; choose another or omit --isa")
        environment["ONEDNN_MAX_CPU_ISA"] = cap
    return environment


def _child(task: dict[str, Any], timeout_s: float, environment: dict[str, str], name: str) -> Any:
    """Run a task in a child process; it is killed when it hangs or the client disconnects."""
    with tempfile.TemporaryFile() as stderr:
        child = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), "work"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
            bufsize=0,
        )
        try:
            reply = _await_reply(child, task, timeout_s, name)
            status = child.wait(5) if reply is None else 0
        finally:
            child.kill()
            child.wait()
        if reply is None:
            raise ProbeError(f"{name}: the runtime {exit_reason(status)}{last_line(stderr)}")
    if reply.get("kind") == "disturbed":
        raise Disturbed(reply["error"])
    if "error" in reply:
        raise ProbeError(f"{name}: {reply['error']}")
    return reply["result"]


def _await_reply(child: Any, task: dict[str, Any], timeout_s: float, name: str) -> dict[str, Any] | None:
    """Forward the child's progress until it replies; None if it ended without a reply."""
    try:
        child.stdin.write(json.dumps(task).encode() + b"\n")
    except BrokenPipeError:
        return None
    deadline = time.monotonic() + timeout_s
    received, inputs = b"", [child.stdout, 0]
    latest: dict[str, Any] = {"progress": 0.0, "text": f"loading {name}"}
    while True:
        ready = select.select(inputs, [], [], max(0.0, min(HEARTBEAT_S, deadline - time.monotonic())))[0]
        if time.monotonic() > deadline:
            raise ProbeError(f"{name}: stopped after {timeout_s:g} s; raise --timeout")
        if not ready:
            _reply(**latest)
        if 0 in ready and not os.read(0, 4096):
            raise ProbeError("the client disconnected")
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
            latest = message
            _reply(**latest)


def exit_reason(status: int) -> str:
    """Describe the exit status of a process that sent no result."""
    if status == -signal.SIGKILL:
        return "was killed by SIGKILL (out of memory?)"
    return f"crashed with {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}, no result"


def last_line(file: IO[bytes]) -> str:
    """Return the last line of a file after a colon, or an empty string."""
    file.seek(0)
    lines = file.read().decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f": {last[:300]}" if last else ""


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        work()
