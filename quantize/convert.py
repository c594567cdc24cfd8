"""Conversion in a child process that stays warm, so that a crash or a hang fails one export and not the caller."""

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
from typing import TYPE_CHECKING, Any

import numpy as np

from arch.errors import InputError, WorkError
from arch.files import atomic_dir
from arch.space import Arch
from quantize import calibration, child_process, operator_check, runtimes
from quantize.recipes import Recipe
from quantize.runtimes import Array

if TYPE_CHECKING:
    from quantize.task_tail import Body

TAIL_LINES = 12
TAIL_BYTES = 16_384
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class ConversionError(WorkError):
    """An export failed. The first line has the reason and the path of the log, the others are the last of the log."""


class Converter:
    """Exports networks, one at a time, in a child process that keeps its libraries loaded.

    The output of the converters goes to `log`. If the child crashes, or is killed at the time limit, the export raises
    `ConversionError` and the next one starts a new child. Threads may share a Converter.

        with Converter("convert.log") as converter:
            model = converter.export(arch, weights, "litert", recipe("int8-static"), images, "out/litert")
    """

    def __init__(self, log: str | Path) -> None:
        self.log = Path(log)
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Converter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def export(
        self,
        arch: Arch,
        weights: str | Path,
        runtime: str,
        recipe: Recipe,
        images: Array | None,
        folder: str | Path,
        timeout_s: float = 300.0,
        trained: bool = False,
    ) -> Path:
        """Convert a network and return the path of the model file in `folder`, which stays as it was on failure.

        Args:
            weights: checkpoint with the weights of `arch`.
            images: normalised RGB (N, 3, S, S) to calibrate an INT8 recipe on.
            trained: whether `weights` had the quantization-aware training of the recipe.

        Raises:
            InputError: the recipe cannot be applied to the network, or weights or images do not fit it.
            ConversionError: the converter failed, crashed or took longer than `timeout_s` seconds.
        """
        operator_check.check(arch, runtime, recipe)
        if recipe.qat_samples and not trained:
            raise InputError(f"recipe {recipe.name}: needs training; use `export`")
        chosen = calibration.check(images, arch, recipe)
        folder = Path(folder).absolute()
        title = f"{runtime} {recipe.name} of {arch.name}"
        with self._lock, atomic_dir(folder) as made, tempfile.TemporaryDirectory() as scratch:
            array = Path(scratch, "calibration.npy")
            if chosen is not None:
                np.save(array, chosen, allow_pickle=False)
            request = {
                "module": runtimes.RUNTIMES[runtime],
                "arch": arch.model_dump(),
                "weights": str(Path(weights).absolute()),
                "recipe": recipe.model_dump(),
                "calibration": str(array) if chosen is not None else None,
                "folder": str(made),
            }
            model = self._request(request, title, timeout_s)
            if not (made / model).is_file():
                raise ConversionError(f"{title}: the converter wrote no {model}")
        return folder / model

    def export_task_tail(self, arch: Arch, body: Body, depth_scale: float, folder: Path, timeout_s: float) -> Path:
        """Convert the float end of a MediaPipe graph (`quantize.task_tail`) and return its file in `folder`.

        Raises:
            ConversionError: the converter failed, crashed or took longer than `timeout_s` seconds.
        """
        with self._lock, atomic_dir(folder) as made:
            request = {"arch": arch.model_dump(), "body": body.model_dump(), "depth_scale": depth_scale}
            model = self._request(request | {"folder": str(made.absolute())}, f"landmarks of {arch.name}", timeout_s)
        return folder / model

    def close(self) -> None:
        """End the child process."""
        if self._child is not None:
            _kill(self._child)
            self._child = None

    def _request(self, request: dict[str, Any], title: str, timeout_s: float) -> str:
        """Send a request to the child, which is started if necessary, and return the name of the model file."""
        if self._child is not None and self._child.poll() is not None:
            self.close()
        if self._child is None:
            self._child = _start(self.log)
        child = self._child
        start = self.log.stat().st_size
        try:
            line = _exchange(child, request, timeout_s)
        except BaseException as error:
            self.close()
            if isinstance(error, TimeoutError):
                raise _failed(title, f"took longer than {timeout_s:g} s and was stopped", self.log, start) from None
            if isinstance(error, EOFError):
                reason = f"the converter {child_process.exit_reason(child.wait())}"
                raise _failed(title, reason, self.log, start) from None
            raise
        answer: dict[str, Any] = json.loads(line)
        if "input_error" in answer:
            raise InputError(answer["input_error"])
        if "error" in answer:
            raise _failed(title, answer["error"], self.log, start)
        return str(answer["model"])


def _start(log: Path) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, so that its whole process group can be killed."""
    log.parent.mkdir(parents=True, exist_ok=True)
    variables = dict.fromkeys(THREAD_VARIABLES, "1") | {"PYTHONUNBUFFERED": "1"}
    with open(log, "ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "quantize.convert_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            bufsize=0,
            env=child_process.environment() | variables,
            start_new_session=True,
        )


def _exchange(child: subprocess.Popen[bytes], request: dict[str, Any], timeout_s: float) -> bytes:
    """Send a request as one line and return the line of the answer.

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
    """Kill the child's process group and reap the child."""
    with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe:
            pipe.close()


def _failed(title: str, reason: str, log: Path, start: int) -> ConversionError:
    """Return the error of an export with the last lines of the log since `start`."""
    with open(log, "rb") as file:
        file.seek(max(start, log.stat().st_size - TAIL_BYTES))
        lines = [line.rstrip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    shown = (f"{title}: {reason}; full log: {log}", *(line[:300] for line in lines[-TAIL_LINES:]))
    return ConversionError("\n  ".join(shown))
