"""The client of the measuring program (`explore.measure.probe`): send requests and files, receive progress and rows."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from explore.measure.devices import Progress
from explore.measure.probe import program
from explore.measure.probe.protocol import QUIET, Disturbed, allowed_background_load
from explore.measure.probe.server import exit_reason, last_line
from explore.measure.rows import DeviceError, Machine, MachineState, Model, Row, Settings, notes, validated

GRACE_S = 5.0  # for the program to report its own timeout
MIN_BYTES_PER_S = 100_000  # of the connection that files are sent over
MAX_REPLY_BYTES = 16 << 20


def run_here(
    device: str, python: str, models: Sequence[Model], settings: Settings, progress: Progress
) -> dict[str, Any]:
    """Run the program with an interpreter of this machine and return its result (see `request`)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "probe.py")
        path.write_bytes(program())
        return request(device, [python, str(path), "serve", folder], b"", models, settings, True, progress)


def request(
    device: str,
    command: Sequence[str],
    prefix: bytes,
    models: Sequence[Model],
    settings: Settings,
    local: bool,
    progress: Progress,
) -> dict[str, Any]:
    """Run `command`, which starts the program with `serve`, and return its result.

    Args:
        device: name of the device in messages.
        prefix: bytes to send before the request.
        local: the program reads the files from their paths; otherwise they are sent when it requests them.

    Raises:
        DeviceError: no valid reply in time, or the program reports an error.
        Disturbed: the device was too busy.
    """
    described = [model.for_probe() for model in models]
    files: dict[str, Path] = {}
    for model, values in zip(models, described, strict=True):
        files |= {file["sha256"]: path for file, path in zip(values["files"], model.files, strict=True)}
        if local:
            values["path"] = str(model.files[0].absolute())
    message = {"models": described, **settings.for_probe()}
    with tempfile.TemporaryFile() as stderr:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, bufsize=0, start_new_session=True
        )
        try:
            connection = _Connection(device, child, stderr, settings.timeout_s + GRACE_S)
            connection.send(prefix + json.dumps(message).encode() + b"\n")
            return _await_result(connection, files, _time_limit_s(models, settings), progress)
        finally:
            _terminate(child)


def parse_rows(device: str, result: dict[str, Any], models: Sequence[Model]) -> list[Row]:
    """Return the validated rows of a result.

    Raises:
        DeviceError: they are invalid.
    """
    machine = validated(Machine, result.get("machine"), device)
    before = validated(MachineState, result.get("before"), device)
    after = validated(MachineState, result.get("after"), device)
    recipes = {model.name: model.recipe for model in models}
    given = result.get("rows")
    if not isinstance(given, list) or not all(isinstance(row, dict) for row in given):
        raise DeviceError(f"{device}: invalid reply: no list of rows")
    common = {"device": device, "machine": machine, "before": before, "after": after, "isa": result.get("isa")}
    common["under_load"] = allowed_background_load() > QUIET
    rows = []
    for values in given:
        own = {"reference": models[0].name, "recipe": recipes.get(str(values.get("model")), ""), "notes": ()}
        row = validated(Row, {**values, **common, **own}, device)
        rows.append(row.model_copy(update={"notes": notes(machine, before, after, row.threads)}))
    return rows


def _time_limit_s(models: Sequence[Model], settings: Settings) -> float:
    """Return the longest time that a complete measurement may take."""
    transfer = sum(model.bytes for model in models) / MIN_BYTES_PER_S
    timing = len(settings.threads) * 4 * settings.protocol.max_seconds
    return GRACE_S + transfer + timing + settings.timeout_s * (1 + len(models) + len(settings.threads))


def _await_result(
    connection: _Connection, files: dict[str, Path], time_limit_s: float, progress: Progress
) -> dict[str, Any]:
    deadline = time.monotonic() + time_limit_s
    device = connection.device
    while True:
        message = connection.receive()
        if time.monotonic() > deadline:
            raise DeviceError(f"{device}: not done after {time_limit_s:.0f} s")
        if isinstance(share := message.get("progress"), int | float):
            progress(min(1.0, max(0.0, share)), str(message.get("text", ""))[:200])
        elif isinstance(needed := message.get("need"), list):
            for digest in map(str, needed):
                if digest not in files:
                    raise DeviceError(f"{device}: invalid reply: requests a file that is not among the models")
                progress(0.0, f"sending {files[digest].name}")
                connection.send(files[digest].read_bytes())
        elif "error" in message:
            kind = Disturbed if message.get("kind") == "disturbed" else DeviceError
            raise kind(f"{device}: {message['error']}")
        elif isinstance(message.get("result"), dict):
            result: dict[str, Any] = message["result"]
            return result
        else:
            raise DeviceError(f"{device}: invalid reply: {str(message)[:120]}")


class _Connection:
    """Lines from and bytes to a child process; no wait is longer than `timeout_s`."""

    def __init__(self, device: str, child: subprocess.Popen[bytes], stderr: IO[bytes], timeout_s: float) -> None:
        assert child.stdin and child.stdout
        self.device, self.child, self.stderr, self.timeout_s = device, child, stderr, timeout_s
        self.output, self.input = child.stdin.fileno(), child.stdout.fileno()
        os.set_blocking(self.output, False)
        self.received, self.total, self.ended = b"", 0, False

    def send(self, content: bytes) -> None:
        left = memoryview(content)
        while left:
            if not select.select([], [self.output], [], self.timeout_s)[1]:
                raise DeviceError(f"{self.device}: accepted no data for {self.timeout_s:g} s{last_line(self.stderr)}")
            try:
                left = left[os.write(self.output, left[: 1 << 16]) :]
            except BrokenPipeError:
                return  # the program has failed; its reply contains the reason

    def receive(self) -> dict[str, Any]:
        """Return the next message."""
        deadline = time.monotonic() + self.timeout_s
        while b"\n" not in self.received:
            if self.ended:
                raise DeviceError(f"{self.device}: {self._exit_reason()}{last_line(self.stderr)}")
            if not select.select([self.input], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise DeviceError(f"{self.device}: no reply for {self.timeout_s:g} s{last_line(self.stderr)}")
            part = os.read(self.input, 65_536)
            self.ended = not part
            self.received += part
            self.total += len(part)
            if self.total > MAX_REPLY_BYTES:
                raise DeviceError(f"{self.device}: invalid reply: more than {MAX_REPLY_BYTES >> 20} MiB")
        line, self.received = self.received.split(b"\n", 1)
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise DeviceError(f"{self.device}: invalid reply: {line[:120].decode(errors='replace')!r}")
        return message

    def _exit_reason(self) -> str:
        try:
            return f"the measuring program {exit_reason(self.child.wait(GRACE_S))}"
        except subprocess.TimeoutExpired:
            return "closed its output without a result"


def _terminate(child: subprocess.Popen[bytes]) -> None:
    """Close the pipes, which ends a program on another machine, then kill the process group here."""
    for pipe in (child.stdin, child.stdout):
        if pipe:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(0.5)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
