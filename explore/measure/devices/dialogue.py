"""The caller's side of `explore.measure.probe`: send the job and the files it lacks, hear progress, get the rows."""

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
from typing import IO, Any

from explore.measure import probe
from explore.measure.devices import Report
from explore.measure.rows import DeviceError, Machine, Model, Row, Settings, State, checked, notes

GRACE_S = 5.0  # that a program has to say that its own time is over
SLOWEST_BYTES = 100_000  # a second, of a line that files are sent over
ANSWER_BYTES = 16 << 20  # of answers; more is nonsense


def converse(
    device: str,
    command: Sequence[str],
    first: bytes,
    models: Sequence[Model],
    settings: Settings,
    local: bool,
    report: Report,
) -> dict[str, Any]:
    """Run `command`, which ends in `probe.py serve`, write `first` and the job to it, and return its result.

    With `local`, the program reads the files where they lie; otherwise they are sent when it asks for them.

    Raises:
        DeviceError: no or no sensible answer in time, or one that says why there is no result.
        Disturbed: the device was too busy for a figure.
    """
    described = [model.for_probe() for model in models]
    if local:
        for model, values in zip(models, described, strict=True):
            values["path"] = str(model.files[0].absolute())
    job = {"version": probe.VERSION, "models": described, **settings.for_probe()}
    with tempfile.TemporaryFile() as chatter:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=chatter, bufsize=0, start_new_session=True
        )
        try:
            talk = _Talk(device, child, chatter, settings.limit_s + GRACE_S)
            talk.send(first + json.dumps(job).encode() + b"\n")
            return _listen(talk, models, _longest_s(models, settings), report)
        finally:
            _end(child)


def rows(device: str, result: dict[str, Any], models: Sequence[Model]) -> list[Row]:
    """The checked rows of a result.

    Raises:
        DeviceError: they make no sense.
    """
    about = checked(Machine, result.get("machine"), device)
    before, after = checked(State, result.get("before"), device), checked(State, result.get("after"), device)
    recipes = {model.name: model.recipe for model in models}
    given = result.get("rows")
    if not isinstance(given, list) or not all(isinstance(row, dict) for row in given):
        raise DeviceError(f"{device}: answered nonsense: no list of rows")
    common = {"device": device, "machine": about, "before": before, "after": after, "isa": result.get("isa")}
    made = []
    for values in given:
        own = {
            "reference": models[0].name,
            "recipe": recipes.get(str(values.get("model")), ""),
            "notes": notes(about, before, after, int(values.get("threads") or 1)),
        }
        made.append(checked(Row, {**values, **common, **own}, device))
    return made


def _longest_s(models: Sequence[Model], settings: Settings) -> float:
    """Seconds that a whole measurement may take."""
    sent = sum(model.bytes for model in models) / SLOWEST_BYTES
    timed = len(settings.threads) * 4 * settings.rules.budget
    return GRACE_S + sent + timed + settings.limit_s * (1 + len(models) + len(settings.threads))


def _listen(talk: _Talk, models: Sequence[Model], longest_s: float, report: Report) -> dict[str, Any]:
    deadline = time.monotonic() + longest_s
    files = {
        file["sha256"]: path
        for model in models
        for file, path in zip(model.for_probe()["files"], model.files, strict=True)
    }
    while True:
        message = talk.hear()
        if time.monotonic() > deadline:
            raise DeviceError(f"{talk.device}: not done after {longest_s:.0f} s")
        if "progress" in message:
            report(min(1.0, max(0.0, float(message["progress"]))), str(message.get("text", ""))[:200])
        elif "need" in message:
            for digest in message["need"]:
                if digest not in files:
                    raise DeviceError(f"{talk.device}: answered nonsense: asks for a file that is not in the job")
                report(0.0, f"sending {files[digest].name}")
                talk.send(files[digest].read_bytes())
        elif "error" in message:
            if message.get("kind") == "disturbed":
                raise probe.Disturbed(f"{talk.device}: {message['error']}")
            raise DeviceError(f"{talk.device}: {message['error']}")
        elif isinstance(message.get("result"), dict):
            result: dict[str, Any] = message["result"]
            return result
        else:
            raise DeviceError(f"{talk.device}: answered nonsense: {str(message)[:120]}")


class _Talk:
    """Lines from and bytes to a child process; no wait is longer than `patience_s`."""

    def __init__(self, device: str, child: subprocess.Popen[bytes], chatter: IO[bytes], patience_s: float) -> None:
        assert child.stdin and child.stdout
        self.device, self.child, self.chatter, self.patience_s = device, child, chatter, patience_s
        self.to, self.back = child.stdin.fileno(), child.stdout.fileno()
        os.set_blocking(self.to, False)
        self.received, self.total, self.ended = b"", 0, False

    def send(self, content: bytes) -> None:
        """Also listens meanwhile: a program that cannot store what it is sent says so and reads no more."""
        left = memoryview(content)
        deadline = time.monotonic() + self.patience_s
        while left:
            reads = [] if self.ended else [self.back]
            ready = select.select(reads, [self.to], [], max(0.0, deadline - time.monotonic()))
            if self.back in ready[0]:
                self._take()
            if self.to in ready[1]:
                try:
                    left = left[os.write(self.to, left[: 1 << 16]) :]
                except BrokenPipeError:
                    return  # why is in what it said
                deadline = time.monotonic() + self.patience_s
            elif not any(ready):
                raise DeviceError(f"{self.device}: took no data for {self.patience_s:g} s{self._words()}")

    def hear(self) -> dict[str, Any]:
        deadline = time.monotonic() + self.patience_s
        while b"\n" not in self.received:
            if self.ended:
                raise DeviceError(f"{self.device}: {self._how_ended()}")
            if not select.select([self.back], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise DeviceError(f"{self.device}: silent for {self.patience_s:g} s{self._words()}")
            self._take()
        line, self.received = self.received.split(b"\n", 1)
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise DeviceError(f"{self.device}: answered nonsense: {line[:120].decode(errors='replace')!r}")
        return message

    def _take(self) -> None:
        part = os.read(self.back, 65_536)
        self.ended = not part
        self.received += part
        self.total += len(part)
        if self.total > ANSWER_BYTES:
            raise DeviceError(f"{self.device}: answered nonsense: more than {ANSWER_BYTES >> 20} MiB")

    def _how_ended(self) -> str:
        try:
            status = self.child.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return f"stopped answering{self._words()}"
        if status < 0:
            return f"the measuring program was ended by {signal.Signals(-status).name}{self._words()}"
        return f"ended with status {status} and no answer{self._words()}"

    def _words(self) -> str:
        """The last line that it wrote to standard error."""
        self.chatter.seek(0)
        lines = [line.strip() for line in self.chatter.read().decode(errors="replace").splitlines() if line.strip()]
        return f": {lines[-1][:300]}" if lines else ""


def _end(child: subprocess.Popen[bytes]) -> None:
    """Close its input, which ends a program on another machine, then kill the whole group here."""
    for pipe in (child.stdin, child.stdout):
        if pipe:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(0.5)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
