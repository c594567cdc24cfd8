"""`web` or `web://host:port`: a browser that opens the page served here; models run in LiteRT.js.

The address contains a token that one browser can use once. With `?token=WORD` the address stays the same, and the open
page returns for the next measurement of a search or a calibration. Browsers offer threads and a precise clock to pages
of localhost and https only: a phone on `web://0.0.0.0:8000` has one thread, unless it opens localhost after
`adb reverse tcp:8000 tcp:8000`.

The browser sends the times of every round; they are evaluated here by the same protocol as on any device. A browser
does not report its CPU time: instead, rounds are dropped during which the page was hidden.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arch.errors import InputError
from explore import web_server
from explore.measure.devices import Progress, options, require_litert
from explore.measure.probe.protocol import Block, Disturbed, least_rounds, needed_rounds, summarise, time_is_up
from explore.measure.rows import DeviceError, Machine, Model, Row, Settings, validated
from explore.web_server import PageHandler, PageServer, module_file, reachable

PAGE = Path(__file__).with_name("webpage")
MESSAGES = ("hello", "loaded", "round", "done", "error")
CLOCK_STEP_MS = 0.05  # a coarser clock is reported with the results


@dataclass
class Web:
    """A browser.

    Attributes:
        wait_s: time to wait for a browser, s.
        announce: called with the address to open.
        token: fixed part of the address; the open page then returns after each measurement.
    """

    name: str
    host: str
    port: int
    wait_s: float
    announce: Callable[[str], None]
    token: str | None = None

    @property
    def address(self) -> str | None:
        """The fixed address, or None without a token."""
        return f"http://{reachable(self.host)}:{self.port}/{self.token}/" if self.token else None

    def describe(self) -> Machine:
        """Return a placeholder: a browser describes itself when it opens the page.

        Raises:
            InputError: the page cannot be served at this address.
        """
        try:
            socket.create_server((self.host, self.port)).close()
        except OSError as error:
            raise self._cannot_listen(error) from None
        return Machine(system="web", processor="unknown until a browser opens the page")

    def measure(self, models: Sequence[Model], settings: Settings, progress: Progress) -> list[Row]:
        require_litert(self.name, "LiteRT.js", models, settings)
        try:
            modules = web_server.installed(progress)
        except web_server.InstallError as error:
            raise DeviceError(str(error)) from None
        session = _Session(self.name, models, settings.for_count(len(models)), progress, self.token is not None)
        token = self.token or secrets.token_urlsafe(16)
        try:
            server = PageServer((self.host, self.port), _handler(token, session, modules))
        except OSError as error:
            raise self._cannot_listen(error) from None
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            self.announce(f"http://{reachable(self.host)}:{server.server_address[1]}/{token}/")
            progress(0.0, "waiting for a browser to open the page")
            return session.wait(self.wait_s, settings.timeout_s)
        finally:
            server.shutdown()
            server.server_close()
            thread.join(5)

    def _cannot_listen(self, error: OSError) -> InputError:
        return InputError(f"target: {self.name}: cannot listen there: {error}; choose another web://HOST:PORT")


class _Session:
    """The measurement of one browser: request handlers add its messages, and the caller waits for the end."""

    def __init__(self, name: str, models: Sequence[Model], settings: Settings, progress: Progress, again: bool) -> None:
        self.name, self.models, self.settings, self.progress, self.again = name, models, settings, progress, again
        self.changed = threading.Condition()
        self.last_message = time.monotonic()
        self.machine: Machine | None = None
        self.isolated = False
        self.loaded: dict[int, list[dict[str, Any]]] = {}
        self.blocks: dict[int, list[list[Block]]] = {}
        self.dropped: dict[int, int] = {}
        self.began: dict[int, float] = {}
        self.step_ms = 0.0
        self.ended = False
        self.failure: str | None = None

    def receive(self, name: str, message: dict[str, Any]) -> dict[str, Any]:
        """Process one of MESSAGES and return the answer.

        Raises:
            ValueError: the message is invalid, or another browser has used the address.
        """
        with self.changed:
            if name != "hello" and self.machine is None:
                raise ValueError("the first message must be hello")
            self.last_message = time.monotonic()
            try:
                answer: dict[str, Any] = getattr(self, f"_{name}")(message)
            except (KeyError, TypeError, OverflowError, DeviceError) as error:
                raise ValueError(f"invalid message: {type(error).__name__}: {error}") from None
            self.changed.notify_all()
            return answer

    def wait(self, wait_s: float, timeout_s: float) -> list[Row]:
        """Wait until the browser is done, and return the rows.

        Raises:
            DeviceError: no browser opened the page, it stopped sending, or it reports an error.
            Disturbed: the page was hidden in too many rounds.
        """
        with self.changed:
            while not self.ended and self.failure is None:
                limit = wait_s if self.machine is None else timeout_s
                left = self.last_message + limit - time.monotonic()
                if left <= 0:
                    reason = "no browser opened the page" if self.machine is None else "the browser sent nothing"
                    raise DeviceError(f"{self.name}: {reason} for {limit:g} s")
                self.changed.wait(left)
            if self.failure is not None:
                raise DeviceError(f"{self.name}: the browser reports: {self.failure}")
            return [row for threads in self.settings.threads for row in self._rows(threads)]

    def _hello(self, message: dict[str, Any]) -> dict[str, Any]:
        if self.machine is not None:
            raise ValueError("this address is already in use; start the measurement again for another browser")
        self.isolated = bool(message["isolated"])
        memory = message.get("memory_gb")
        values = {
            "system": str(message["platform"])[:100] or "unknown",
            "processor": "not reported by browsers",
            "cores": message.get("cores"),
            "memory_mb": int(memory * 1024) if memory else None,
            "browser": str(message["agent"])[:300],
        }
        self.machine = validated(Machine, values, self.name)
        models = [{"url": f"model/{index}", "name": Path(model.name).name} for index, model in enumerate(self.models)]
        return {
            "models": models,
            "threads": list(self.settings.threads),
            "calls": self.settings.protocol.calls,
            "again": self.again,
        }

    def _loaded(self, message: dict[str, Any]) -> dict[str, Any]:
        threads = self._threads(message)
        facts = [
            {"load_ms": float(one["load_ms"]), "first_ms": float(one["first_ms"]), "full": bool(one["full"])}
            for one in message["models"]
        ]
        if len(facts) != len(self.models):
            raise ValueError("invalid message: another number of models")
        self.step_ms = float(message["step_ms"])
        self.loaded[threads], self.blocks[threads], self.dropped[threads] = facts, [[] for _ in facts], 0
        self.began[threads] = time.monotonic()
        return {}

    def _round(self, message: dict[str, Any]) -> dict[str, Any]:
        threads, protocol = self._threads(message), self.settings.protocol
        times = [np.array(own, np.float64) for own in message["times"]]
        valid = all(own.shape == (protocol.calls,) and np.isfinite(own).all() and own.min() > 0 for own in times)
        if len(times) != len(self.models) or not valid:
            raise ValueError("invalid message: not the times of a round")
        kept = self.blocks[threads]
        if message["hidden"]:
            self.dropped[threads] += 1
        else:
            for own, ms in zip(kept, times, strict=True):
                own.append(Block(ms, 1.0, None))
        count, spent = len(kept[0]), time.monotonic() - self.began[threads]
        done = count >= needed_rounds(kept, kept[0], protocol.rounds, protocol.ci_width)
        done = done or time_is_up(spent, count, self.dropped[threads], protocol.rounds, protocol.max_seconds)
        share = 1.0 if done else min(1.0, max(spent / protocol.max_seconds, 0.5 * count / protocol.rounds))
        counts = self.settings.threads
        self.progress((counts.index(threads) + share) / len(counts), f"{threads} threads, {count} rounds")
        return {"more": not done, "share": share}

    def _done(self, message: dict[str, Any]) -> dict[str, Any]:
        if set(self.blocks) != set(self.settings.threads):
            raise ValueError("invalid message: some thread counts were not measured")
        self.ended = True
        return {}

    def _error(self, message: dict[str, Any]) -> dict[str, Any]:
        self.failure = " ".join(str(message["error"]).split())[:300]
        return {}

    def _threads(self, message: dict[str, Any]) -> int:
        threads = message["threads"]
        if threads not in self.settings.threads or isinstance(threads, bool):
            raise ValueError("invalid message: this thread count was not requested")
        return int(threads)

    def _rows(self, threads: int) -> list[Row]:
        kept, dropped = self.blocks[threads], self.dropped[threads]
        count, protocol = len(kept[0]), self.settings.protocol
        if count < max(least_rounds(protocol.rounds), dropped):
            raise Disturbed(
                f"{self.name}: {dropped} of {count + dropped} rounds ran while the page was hidden; "
                f"keep it in the foreground"
            )
        assert self.machine
        features = ["threads"] * (max(self.settings.threads) > 1) + ["cross-origin isolated"] * self.isolated
        machine = self.machine.model_copy(update={"features": tuple(features)})
        coarse = f"the browser's clock has a resolution of {self.step_ms:g} ms; calls are timed in batches"
        notes = () if self.step_ms < CLOCK_STEP_MS else (coarse,)
        made = []
        for model, own, facts in zip(self.models, kept, self.loaded[threads], strict=True):
            values = {
                **summarise(own, kept[0], dropped, protocol.ci_width),
                **model.row_values(self.models[0], threads),
                "cpu_over_wall": None,
                "device": self.name,
                "machine": machine,
                "runtime_version": f"LiteRT.js {web_server.version()}",
                "delegate": "XNNPACK in WebAssembly",
                "delegated": 1.0 if facts["full"] else None,
                "load_ms": facts["load_ms"],
                "first_ms": facts["first_ms"],
                "notes": notes,
            }
            made.append(validated(Row, values, self.name))
        return made


def _handler(secret: str, session: _Session, modules: Path) -> type[PageHandler]:
    class Handler(PageHandler):
        token = secret

        def do_GET(self) -> None:
            path = self.requested()
            if session.ended or session.failure is not None:  # a kept-alive connection; the next session has its own
                self.close_connection = True
                self.reply_file(None)
            elif path == "":
                self.reply_page(PAGE / "page.html")
            elif path == "page.js":
                self.reply_file(PAGE / "page.js")
            elif path is not None and (model := re.fullmatch(r"model/(\d{1,4})", path)):
                index = int(model[1])
                self.reply_file(session.models[index].files[0] if index < len(session.models) else None)
            else:
                self.reply_file(module_file(path or "", modules))

        def do_POST(self) -> None:
            path = self.requested()
            length = self.headers.get("Content-Length", "0")
            if path not in MESSAGES:
                self.close_connection = True
                self.reply_file(None)
                return
            try:
                message = json.loads(self.rfile.read(int(length)))
                if not isinstance(message, dict):
                    raise ValueError("invalid message: not an object")
                answer = session.receive(path, message)
            except (ValueError, RecursionError) as error:
                self.reply(409, str(error)[:300].encode(), "text/plain")
                return
            self.reply(200, json.dumps(answer).encode(), "application/json")

    return Handler


def open(address: str) -> Web:
    """Return the device of `web[://host:port][?wait=SECONDS&token=WORD]`, by default loopback and a free port."""
    place, _, query = address.partition("?")
    found = re.fullmatch(r"web(?:://(?P<host>[A-Za-z0-9.-]+)(?::(?P<port>\d{1,5}))?)?", place)
    if not found:
        raise InputError(f"target: {address}: invalid address; write web or web://HOST:PORT")
    given = options(address, query, ("wait", "token"))
    wait, token = given.get("wait", "300"), given.get("token")
    if not wait.isdigit() or not 1 <= int(wait) <= 86_400:
        raise InputError(f"target: {address}: wait: {wait} is not a number of seconds; write ?wait=300")
    port = int(found["port"] or 0)
    if port > 65_535:
        raise InputError(f"target: {address}: port {port} is above 65535; write web://HOST:PORT")
    if token is not None and not (port and re.fullmatch(r"[A-Za-z0-9_-]{8,64}", token)):
        raise InputError(
            f"target: {address}: token: needs a port, and 8 to 64 letters or digits; write web://HOST:8000?token=WORD"
        )
    return Web("web", found["host"] or "127.0.0.1", port, float(wait), web_server.show, token)
