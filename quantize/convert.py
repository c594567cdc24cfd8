"""Conversions in a child process kept warm: a converter that crashes or hangs fails one export, not the caller."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from arch.errors import InputError
from arch.files import atomic_dir
from arch.space import Arch
from quantize import audit, calibration, runtimes
from quantize.recipes import Recipe
from quantize.runtimes import Array

TAIL_LINES = 12
TAIL_BYTES = 16_384
PROJECT = Path(__file__).resolve().parent.parent


class ConversionError(RuntimeError):
    """An export failed: the first line says what, the rest are the last lines that the converter printed."""


class Converter:
    """Exports one at a time in a child process that keeps its libraries loaded.

    Everything the converters print goes to `log`. A child that crashes, or exceeds the time limit and is killed,
    fails that export with `ConversionError`; the next export starts a fresh one. Threads may share a Converter.

        with Converter("convert.log") as converter:
            model = converter.export(arch, weights, "litert", recipe("int8-static"), pictures, "out/litert")
    """

    def __init__(self, log: str | Path, threads: int = 1) -> None:
        self.log = Path(log)
        self.threads = threads
        self.seconds: dict[str, float] = {}  # of the last export: child, total
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Converter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def export(
        self,
        arch: Arch,
        weights: str | Path,
        runtime: str,
        recipe: Recipe,
        pictures: Array | None,
        folder: str | Path,
        timeout_s: float = 300.0,
    ) -> Path:
        """Make the model file of `arch` with the weights of a safetensors file; `pictures` calibrate an INT8 recipe.

        `folder` appears whole, or stays as it was. Returns the path of the model file in it.

        Raises:
            InputError: the network cannot ship by this recipe, or weights or pictures do not fit it.
            ConversionError: the converter failed, crashed or took longer than `timeout_s` seconds.
        """
        audit.check(arch, runtime, recipe)
        if recipe.qat_samples:
            raise InputError(f"recipe {recipe.name}: is made by training; only `export` and `bench` do that")
        chosen = calibration.check(pictures, arch, recipe)
        folder = Path(folder).absolute()
        what = f"{runtime} {recipe.name} of {arch.name}"
        with self._lock, atomic_dir(folder) as made, tempfile.TemporaryDirectory() as scratch:
            array = Path(scratch, "calibration.npy")
            if chosen is not None:
                np.save(array, chosen, allow_pickle=False)
            started = time.monotonic()
            answer = self._ask(
                {
                    "module": runtimes.RUNTIMES[runtime],
                    "arch": arch.model_dump(),
                    "weights": str(Path(weights).absolute()),
                    "recipe": recipe.model_dump(),
                    "calibration": str(array) if chosen is not None else None,
                    "folder": str(made),
                },
                what,
                timeout_s,
            )
            self.seconds = {"child": answer["seconds"], "total": time.monotonic() - started}
            model: str = answer["model"]
            if not (made / model).is_file():
                raise ConversionError(f"{what}: the converter left no {model}")
        return folder / model

    def close(self) -> None:
        """End the child process."""
        if self._child is not None:
            _kill(self._child)
            self._child = None

    def _ask(self, request: dict[str, Any], what: str, timeout_s: float) -> dict[str, Any]:
        """One request to the child, started where none runs, and its answer."""
        if self._child is not None and self._child.poll() is not None:
            self.close()
        if self._child is None:
            self._child = _start(self.log, self.threads)
        child = self._child
        start = self.log.stat().st_size
        try:
            line = _exchange(child, request, timeout_s)
        except BaseException as error:
            self.close()
            if isinstance(error, TimeoutError):
                reason = f"took longer than {timeout_s:g} s and was stopped"
                raise ConversionError(f"{what}: {reason}{_tail(self.log, start)}") from None
            if isinstance(error, EOFError):
                raise ConversionError(f"{what}: {_how_ended(child)}{_tail(self.log, start)}") from None
            raise
        answer: dict[str, Any] = json.loads(line)
        if answer.get("kind") == "input":
            raise InputError(answer["error"])
        if "error" in answer:
            raise ConversionError(f"{what}: {answer['error']}{_tail(self.log, start)}")
        return answer


def _start(log: Path, threads: int) -> subprocess.Popen[bytes]:
    """A child in a session of its own, so that it and whatever it starts can be killed together."""
    log.parent.mkdir(parents=True, exist_ok=True)
    bounds = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    path = [str(PROJECT), os.environ.get("PYTHONPATH", "")]
    environment = (
        os.environ
        | {name: str(threads) for name in bounds}
        | {
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "PYTHONUNBUFFERED": "1",
        }
    )
    with open(log, "ab") as chatter:
        return subprocess.Popen(
            [sys.executable, "-m", "quantize.convert_child", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=chatter,
            bufsize=0,
            env=environment,
            start_new_session=True,
        )


def _exchange(child: subprocess.Popen[bytes], request: dict[str, Any], timeout_s: float) -> bytes:
    """Send a line and wait for the line that answers.

    Raises:
        TimeoutError: no answer in time.
        EOFError: the child ended.
    """
    assert child.stdin and child.stdout
    deadline = time.monotonic() + timeout_s
    try:
        child.stdin.write(json.dumps(request).encode() + b"\n")
    except BrokenPipeError:
        raise EOFError from None
    received = b""
    while not received.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([child.stdout], [], [], left)[0]:
            raise TimeoutError
        part = os.read(child.stdout.fileno(), 65_536)
        if not part:
            raise EOFError
        received += part
    return received


def _kill(child: subprocess.Popen[bytes]) -> None:
    """Kill the child's whole group and collect it."""
    with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe:
            pipe.close()


def _how_ended(child: subprocess.Popen[bytes]) -> str:
    status = child.wait()
    if status >= 0:
        return f"the converter ended with status {status}"
    hint = " (out of memory?)" if -status == signal.SIGKILL else ""
    return f"the converter crashed with {signal.Signals(-status).name}{hint}"


def _tail(log: Path, start: int) -> str:
    """The last lines written to the log since `start`, and where to read the rest."""
    with open(log, "rb") as file:
        file.seek(max(start, log.stat().st_size - TAIL_BYTES))
        lines = [line.rstrip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return "".join(f"\n  {line[:300]}" for line in [*lines[-TAIL_LINES:], f"the whole log: {log}"])
