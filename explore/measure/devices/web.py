"""`web`, or `web://host:port`: any browser that opens the page that this serves; models run in LiteRT.js.

LiteRT.js (XNNPACK in WebAssembly) is installed by `npm ci` from the lock file beside the page into the user's cache on
first use, and served from there: the browser needs no other host, and may reach none. The address holds a token that
one browser can use once. With `?token=WORD` the address stays the same, and the open page comes back for the next
measurement of a search or a calibration. Browsers offer threads and a fine clock on localhost and https only: for a phone on
`web://0.0.0.0:8000` that leaves one thread, or `adb reverse tcp:8000 tcp:8000` and localhost there.

The browser sends the times of every round; they are judged here, by the same rules as on any device. It does not tell
how much of the processor it had: a round is dropped where the page was not in front.
"""

from __future__ import annotations

import json
import mimetypes
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from arch.errors import InputError
from arch.files import atomic_dir, sha256_file
from explore.measure import probe
from explore.measure.devices import Report, options
from explore.measure.rows import DeviceError, Machine, Model, Row, Settings, checked

PAGE = Path(__file__).with_name("webpage")
PACKAGES = {"core": "@litertjs/core", "wasm-utils": "@litertjs/wasm-utils"}
BODY_BYTES = 1 << 20
NPM_S = 300.0


@dataclass
class Web:
    """`wait_s` is how long it waits for a browser; `announce` is told the address to open.

    With a `token`, the page that is open asks again for work after each measurement.
    """

    name: str
    host: str
    port: int
    wait_s: float
    announce: Callable[[str], None]
    token: str | None = None

    @property
    def address(self) -> str | None:
        """The address that stays the same, where there is one."""
        return f"http://{reachable(self.host)}:{self.port}/{self.token}/" if self.token else None

    def describe(self) -> Machine:
        """A browser says what it is when it opens the page; until then there is nothing to tell."""
        return Machine(system="web", processor="known when a browser opens the page")

    def measure(self, models: Sequence[Model], settings: Settings, report: Report) -> list[Row]:
        for model in models:
            if model.runtime != "litert":
                raise InputError(f"{model.name}: {self.name}: LiteRT.js runs litert bundles only")
        if settings.isa:
            raise InputError(f"isa: {self.name}: only openvino can be capped, and no browser runs it; leave --isa away")
        modules = installed(report)
        session = _Session(self.name, models, settings.for_count(len(models)), report, self.token is not None)
        token = self.token or secrets.token_urlsafe(16)
        try:
            server = ThreadingHTTPServer((self.host, self.port), _handler(token, session, modules))
        except OSError as error:
            raise InputError(f"device: {self.name}: cannot listen there: {error}; give web://HOST:PORT") from None
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            self.announce(f"http://{reachable(self.host)}:{server.server_address[1]}/{token}/")
            report(0.0, "waiting for a browser to open the page")
            return session.wait(self.wait_s, settings.limit_s)
        finally:
            server.shutdown()
            server.server_close()
            thread.join(5)


class _Session:
    """What one browser has told so far. Handlers of requests add to it, the caller waits for its end."""

    def __init__(self, name: str, models: Sequence[Model], settings: Settings, report: Report, again: bool) -> None:
        self.name, self.models, self.settings, self.report, self.again = name, models, settings, report, again
        self.changed = threading.Condition()
        self.heard = time.monotonic()
        self.machine: Machine | None = None
        self.isolated = False
        self.loaded: dict[int, list[dict[str, Any]]] = {}
        self.blocks: dict[int, list[list[probe.Block]]] = {}
        self.dropped: dict[int, int] = {}
        self.began: dict[int, float] = {}
        self.step_ms = 0.0
        self.ended = False
        self.failure: str | None = None

    def receive(self, what: str, said: dict[str, Any]) -> dict[str, Any]:
        """Take one message in, and answer it.

        Raises:
            ValueError: it makes no sense, or another browser was first.
        """
        with self.changed:
            if what != "hello" and self.machine is None:
                raise ValueError("say hello first")
            self.heard = time.monotonic()
            try:
                answer: dict[str, Any] = getattr(self, f"_{what}")(said)
            except (KeyError, TypeError, OverflowError, DeviceError) as error:
                raise ValueError(f"that makes no sense: {type(error).__name__}: {error}") from None
            self.changed.notify_all()
            return answer

    def wait(self, wait_s: float, limit_s: float) -> list[Row]:
        """Rows, once the browser is done.

        Raises:
            DeviceError: no browser came, it fell silent, or it says what failed.
            Disturbed: the page was out of sight in too many rounds.
        """
        with self.changed:
            while not self.ended and self.failure is None:
                limit = wait_s if self.machine is None else limit_s
                left = self.heard + limit - time.monotonic()
                if left <= 0:
                    what = "no browser opened the page" if self.machine is None else "the browser was silent"
                    raise DeviceError(f"{self.name}: {what} for {limit:g} s")
                self.changed.wait(left)
            if self.failure is not None:
                raise DeviceError(f"{self.name}: the browser says: {self.failure}")
            return [row for threads in self.settings.threads for row in self._rows(threads)]

    def _hello(self, said: dict[str, Any]) -> dict[str, Any]:
        if self.machine is not None:
            raise ValueError("this address was used already; start the measurement again for another browser")
        self.isolated = bool(said["isolated"])
        memory = said.get("memory_gb")
        values = {
            "system": str(said["platform"])[:100] or "unknown",
            "processor": "not told by browsers",
            "cores": said.get("cores"),
            "memory_mb": int(memory * 1024) if memory else None,
            "browser": str(said["agent"])[:300],
        }
        self.machine = checked(Machine, values, self.name)
        given = [{"url": f"model/{index}", "name": Path(model.name).name} for index, model in enumerate(self.models)]
        return {
            "models": given,
            "threads": list(self.settings.threads),
            "calls": self.settings.rules.calls,
            "again": self.again,
        }

    def _loaded(self, said: dict[str, Any]) -> dict[str, Any]:
        threads = self._threads(said)
        facts = [
            {"load_ms": float(one["load_ms"]), "first_ms": float(one["first_ms"]), "full": bool(one["full"])}
            for one in said["models"]
        ]
        if len(facts) != len(self.models):
            raise ValueError("that is another number of models")
        self.step_ms = float(said["step_ms"])
        self.loaded[threads], self.blocks[threads], self.dropped[threads] = facts, [[] for _ in facts], 0
        self.began[threads] = time.monotonic()
        return {}

    def _round(self, said: dict[str, Any]) -> dict[str, Any]:
        threads, rules = self._threads(said), self.settings.rules
        times = [np.array(own, np.float64) for own in said["times"]]
        sound = all(own.shape == (rules.calls,) and np.isfinite(own).all() and own.min() > 0 for own in times)
        if len(times) != len(self.models) or not sound:
            raise ValueError("those are no times")
        kept = self.blocks[threads]
        if said["hidden"]:
            self.dropped[threads] += 1
        else:
            for own, ms in zip(kept, times, strict=True):
                own.append(probe.Block(ms, 1.0, None))
        count, spent = len(kept[0]), time.monotonic() - self.began[threads]
        done = count >= rules.rounds and probe.settled(kept, kept[0], rules.width)
        over = spent > rules.budget and (count >= rules.rounds or spent > 2 * rules.budget)
        share = 1.0 if done or over else min(1.0, max(spent / rules.budget, 0.5 * count / rules.rounds))
        counts = self.settings.threads
        self.report((counts.index(threads) + share) / len(counts), f"{threads} threads, {count} rounds")
        return {"more": not (done or over), "share": share}

    def _done(self, said: dict[str, Any]) -> dict[str, Any]:
        if set(self.blocks) != set(self.settings.threads):
            raise ValueError("there are thread counts left")
        self.ended = True
        return {}

    def _error(self, said: dict[str, Any]) -> dict[str, Any]:
        self.failure = " ".join(str(said["error"]).split())[:300]
        return {}

    def _threads(self, said: dict[str, Any]) -> int:
        threads = said["threads"]
        if threads not in self.settings.threads or isinstance(threads, bool):
            raise ValueError("that thread count was not asked for")
        return int(threads)

    def _rows(self, threads: int) -> list[Row]:
        kept, dropped = self.blocks[threads], self.dropped[threads]
        count, rules = len(kept[0]), self.settings.rules
        if count < max(3, rules.rounds // 2) or count < dropped:
            raise probe.Disturbed(
                f"{self.name}: {dropped} of {count + dropped} rounds ran while the page was not in front"
            )
        assert self.machine
        features = ["threads"] * (max(self.settings.threads) > 1) + ["cross-origin isolated"] * self.isolated
        machine = self.machine.model_copy(update={"features": tuple(features)})
        notes = (
            ()
            if self.step_ms < 0.05
            else (f"the browser's clock steps by {self.step_ms:g} ms; calls timed in batches",)
        )
        made = []
        for model, own, facts in zip(self.models, kept, self.loaded[threads], strict=True):
            values = {
                **probe.summary(own, kept[0], dropped, rules.width),
                "cpu_over_wall": None,
                "device": self.name,
                "machine": machine,
                "model": model.name,
                "reference": self.models[0].name,
                "runtime": model.runtime,
                "recipe": model.recipe,
                "runtime_version": f"LiteRT.js {version()}",
                "delegate": "XNNPACK in WebAssembly",
                "delegated": 1.0 if facts["full"] else None,
                "threads": threads,
                "load_ms": facts["load_ms"],
                "first_ms": facts["first_ms"],
                "notes": notes,
            }
            made.append(checked(Row, values, self.name))
        return made


def _handler(token: str, session: _Session, modules: Path) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 30
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self._asked()
            if session.ended or session.failure is not None:  # over a connection kept open: the next has its own
                self.close_connection = True
                self._answer(404, b"not found", "text/plain")
            elif path == "":
                nonce = secrets.token_urlsafe(12)
                page = (PAGE / "page.html").read_text().replace("NONCE", nonce)
                self._answer(200, page.encode(), "text/html; charset=utf-8", nonce)
            elif path == "page.js":
                self._answer(200, (PAGE / "page.js").read_bytes(), "text/javascript")
            elif path is not None and (found := _file(path, session.models, modules)):
                kind = mimetypes.guess_type(found.name)[0] or "application/octet-stream"
                self._answer(200, found.read_bytes(), kind)
            else:
                self._answer(404, b"not found", "text/plain")

        def do_POST(self) -> None:
            path = self._asked()
            length = self.headers.get("Content-Length", "")
            if path not in ("hello", "loaded", "round", "done", "error") or not length.isdigit():
                self.close_connection = True
                self._answer(404, b"not found", "text/plain")
                return
            if int(length) > BODY_BYTES:
                self.close_connection = True
                self._answer(413, b"too much", "text/plain")
                return
            try:
                said = json.loads(self.rfile.read(int(length)))
                if not isinstance(said, dict):
                    raise ValueError("that makes no sense")
                answer = session.receive(path, said)
            except (ValueError, RecursionError) as error:
                self._answer(409, str(error)[:300].encode(), "text/plain")
                return
            self._answer(200, json.dumps(answer).encode(), "application/json")

        def _asked(self) -> str | None:
            """What stands behind the token; None where that is not ours."""
            path = self.path.split("?")[0]
            start = f"/{token}/"
            return path[len(start) :] if secrets.compare_digest(path[: len(start)].encode(), start.encode()) else None

        def _answer(self, status: int, content: bytes, kind: str, nonce: str = "") -> None:
            self.send_response(status)
            about = {"Content-Type": kind, "Content-Length": str(len(content))}
            for key, value in (about | headers(nonce)).items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


def _file(path: str, models: Sequence[Model], modules: Path) -> Path | None:
    """A model, or a file of LiteRT.js."""
    if model := re.fullmatch(r"model/(\d{1,4})", path):
        index = int(model[1])
        return models[index].files[0] if index < len(models) else None
    return module_file(path, modules)


def headers(nonce: str) -> dict[str, str]:
    """Of every answer: the page is isolated, and loads nothing from elsewhere."""
    allowed = f"'self' 'wasm-unsafe-eval' 'unsafe-eval' blob: 'nonce-{nonce}'"
    return {
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Embedder-Policy": "require-corp",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Content-Security-Policy": f"default-src 'none'; script-src {allowed}; style-src 'nonce-{nonce}'; "
        f"connect-src 'self' blob:; worker-src 'self' blob:; base-uri 'none'; form-action 'none'",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }


def module_file(path: str, modules: Path) -> Path | None:
    """A file of LiteRT.js."""
    package, _, rest = path.partition("/")
    if package not in PACKAGES or not re.fullmatch(r"(dist|wasm)/[A-Za-z0-9_.-]+\.(js|wasm)", rest):
        return None
    found = modules / PACKAGES[package] / rest
    return found if found.is_file() else None


def version() -> str:
    """Of LiteRT.js, as the lock file has it."""
    lock = json.loads((PAGE / "package-lock.json").read_text())
    return str(lock["packages"]["node_modules/@litertjs/core"]["version"])


def installed(report: Report) -> Path:
    """The folder node_modules with LiteRT.js, installed on first use.

    Raises:
        InputError: npm is missing.
        DeviceError: npm failed.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgepose"
    folder = home / f"litertjs-{version()}-{sha256_file(PAGE / 'package-lock.json')[:12]}"
    if (folder / "node_modules").is_dir():
        return folder / "node_modules"
    npm = shutil.which("npm")
    if npm is None:
        raise InputError("web: needs npm (Node.js 18 or newer) to install LiteRT.js once; install it (Debian: npm)")
    report(0.0, f"installing LiteRT.js {version()} (38 MB, once) into {folder} by npm ci")
    with atomic_dir(folder) as made:
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(PAGE / name, made / name)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        try:
            done = subprocess.run(
                command, cwd=made, stdin=subprocess.DEVNULL, capture_output=True, timeout=NPM_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise DeviceError(f"web: npm ci took longer than {NPM_S:g} s and was stopped") from None
        if done.returncode:
            words = done.stderr.decode(errors="replace").strip().splitlines() or ["no words"]
            raise DeviceError(f"web: npm ci failed with status {done.returncode}: {words[0][:200]}")
    return folder / "node_modules"


def reachable(host: str) -> str:
    """An address of this machine that others can open, where it listens on all of them. No packet is sent."""
    if host not in ("0.0.0.0", "::"):
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probing:
        try:
            probing.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probing.getsockname()[0])


def show(address: str, words: str = "open this on the device, once") -> None:
    """The address on standard error, as text and as a QR code."""
    print(f"{words}: {address}", file=sys.stderr)
    try:
        import segno
    except ImportError:
        print("pip install segno draws it as a QR code here", file=sys.stderr)
        return
    segno.make(address).terminal(sys.stderr, compact=True)


def open(address: str) -> Web:
    """From `web[://host:port][?wait=SECONDS&token=WORD]`; loopback and a free port unless told otherwise."""
    place, _, query = address.partition("?")
    found = re.fullmatch(r"web(?:://(?P<host>[A-Za-z0-9.-]+)(?::(?P<port>\d{1,5}))?)?", place)
    if not found:
        raise InputError(f"device: '{address}': cannot be read; write web or web://HOST:PORT")
    given = options(address, query, ("wait", "token"))
    wait, token = given.get("wait", "300"), given.get("token")
    if not wait.isdigit() or not 1 <= int(wait) <= 86_400:
        raise InputError(f"device: '{address}': wait: {wait} is no number of seconds; write ?wait=300")
    port = int(found["port"] or 0)
    if port > 65_535:
        raise InputError(f"device: '{address}': there is no port {port}; write web://HOST:PORT")
    if token is not None and not (port and re.fullmatch(r"[A-Za-z0-9_-]{8,64}", token)):
        raise InputError(
            f"device: '{address}': token: needs a port, and 8 to 64 letters or digits; write web://HOST:8000?token=WORD"
        )
    return Web("web", found["host"] or "127.0.0.1", port, float(wait), show, token)
