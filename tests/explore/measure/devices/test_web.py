"""Measurement in a real browser, and browsers that send invalid messages, disconnect or connect twice."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from arch.errors import InputError
from explore import web_server
from explore.measure.devices import open_device, web
from explore.measure.latency import Disturbed
from explore.measure.rows import DeviceError, Model, Row, Settings
from tests.helpers import browser, free_port
from tests.helpers.measure import ignore_progress, quick

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
HELLO = {"agent": "A browser", "platform": "Test", "cores": 2, "memory_gb": 4, "isolated": True}


@pytest.fixture(scope="session")
def litertjs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache of the tests, with LiteRT.js installed."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPOSE_CACHE", str(cache))
        with browser.litertjs():
            web_server.installed(ignore_progress)
        yield cache


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """A function that opens an address in a new headless Chromium."""
    program = browser.chromium()
    started: list[subprocess.Popen[bytes]] = []

    def visit(address: str) -> None:
        command = [program, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", address]
        with open(tmp_path / "chromium.log", "wb") as log:
            started.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))

    yield visit
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def test_real_browser(
    litertjs: Path, chromium: Callable[[str], None], model_of: Callable[[str], Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(litertjs))
    device = open_device("web?wait=60")
    device.announce = chromium  # type: ignore[attr-defined]
    rows = device.measure([model_of("litert")] * 2, quick(threads=(1, 2)), ignore_progress)
    assert [(row.device, row.threads) for row in rows] == [("web", 1), ("web", 1), ("web", 2), ("web", 2)]
    for row in rows:
        assert row.rounds >= 3 and row.median_ms < 1000 and row.load_ms and row.delegate.startswith("XNNPACK")
        assert row.machine.browser and "Chrome" in row.machine.browser
        assert "cross-origin isolated" in row.machine.features and row.notes == ()
        assert row.runtime_version == f"LiteRT.js {web_server.version()}"
    assert rows[0].recipe == "int8-static" and rows[0].ratio == 1.0


@pytest.mark.slow
def test_open_page_returns_for_the_next_measurement(
    litertjs: Path, chromium: Callable[[str], None], model_of: Callable[[str], Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(litertjs))
    port = free_port()
    device = open_device(f"web://localhost:{port}?token=a-word-of-mine&wait=60")
    opened: list[str] = []

    def announce(address: str) -> None:
        if not opened:
            chromium(address)
        opened.append(address)

    device.announce = announce  # type: ignore[attr-defined]
    for _ in range(2):
        assert device.measure([model_of("litert")], quick(), ignore_progress)[0].rounds >= 3
    assert opened == [device.address] * 2  # type: ignore[attr-defined]


@pytest.mark.slow
def test_invalid_model_file(
    litertjs: Path,
    chromium: Callable[[str], None],
    tmp_path: Path,
    model_of: Callable[[str], Model],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(litertjs))
    good = model_of("litert")
    bad = tmp_path / "model.tflite"
    bad.write_bytes(b"no model" * 100)
    device = open_device("web?wait=60")
    device.announce = chromium  # type: ignore[attr-defined]
    with pytest.raises(DeviceError, match="the browser reports: ") as caught:
        device.measure([Model("bad", (bad,), "litert", "float", good.arch)], quick(), ignore_progress)
    assert "\n" not in str(caught.value)


class Visit:
    """A measurement in a thread, and HTTP requests to its page."""

    def __init__(self, models: list[Model], settings: Settings, wait_s: float) -> None:
        self.opened = threading.Event()
        self.address = ""
        self.outcome: list[Row] | BaseException | None = None
        device = web.Web("web", "127.0.0.1", 0, wait_s, self._announce)
        self.thread = threading.Thread(target=self._measure, args=(device, models, settings), daemon=True)
        self.thread.start()
        assert self.opened.wait(20)

    def _announce(self, address: str) -> None:
        self.address = address
        self.opened.set()

    def _measure(self, device: web.Web, models: list[Model], settings: Settings) -> None:
        try:
            self.outcome = device.measure(models, settings, ignore_progress)
        except BaseException as error:
            self.outcome = error

    def ask(
        self, method: str, what: str, body: Any = None, token: str | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        parts = urlsplit(self.address)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
        start = parts.path if token is None else f"/{token}/"
        connection.request(method, start + what, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content, dict(answer.getheaders())

    def end(self) -> list[Row] | BaseException | None:
        self.thread.join(30)
        assert not self.thread.is_alive()
        return self.outcome


@pytest.fixture
def visit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model_of: Callable[[str], Model]) -> Callable[..., Visit]:
    """A function that starts a measurement without a browser; the folder of LiteRT.js is empty."""
    monkeypatch.setattr(web_server, "installed", lambda progress: tmp_path)
    (tmp_path / "secret.js").write_text("secret")
    model = model_of("litert")

    def start(wait_s: float = 20.0, timeout_s: float = 20.0, **changes: object) -> Visit:
        return Visit([model], quick(timeout_s=timeout_s, **changes), wait_s)

    return start


def finish(page: Visit, hidden: bool = False, value: float = 1.0) -> None:
    facts = {"load_ms": 1.0, "first_ms": 1.0, "full": True}
    assert page.ask("POST", "loaded", {"threads": 1, "step_ms": 0.005, "models": [facts]})[0] == 200
    for _ in range(1000):
        status, content, _ = page.ask("POST", "round", {"threads": 1, "hidden": hidden, "times": [[value] * 3]})
        assert status == 200
        if not json.loads(content)["more"]:
            break
    assert page.ask("POST", "done", {})[0] == 200


def test_served_files_and_tokens(visit: Callable[..., Visit]) -> None:
    page = visit()
    status, content, headers = page.ask("GET", "")
    assert status == 200 and b"importmap" in content and b"://" not in content
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert page.ask("GET", "page.js")[0] == 200 and page.ask("GET", "model/0")[0] == 200
    for what in ("model/1", "model/../page.js", "core/../secret.js", "core/dist/../../secret.js", "secret.js", "x"):
        assert page.ask("GET", what)[0] == 404
    for token in ("", "wrong", "é"):
        assert page.ask("GET", "", token=token.encode().hex() or "x")[0] == 404
    assert page.ask("POST", "hello", HELLO, token="wrong")[0] == 404
    assert page.ask("POST", "wait", {})[0] == 404
    assert page.ask("POST", "round", {})[0] == 409  # before hello
    assert page.ask("POST", "hello", HELLO)[0] == 200
    status, content, _ = page.ask("POST", "hello", HELLO)
    assert status == 409 and b"already in use" in content
    finish(page)
    rows = page.end()
    assert isinstance(rows, list) and rows[0].median_ms == 1.0 and rows[0].machine.memory_mb == 4096


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"threads": 2, "hidden": False, "times": [[1, 1, 1]]},
        {"threads": 1, "hidden": False, "times": []},
        {"threads": 1, "hidden": False, "times": [[1, 1]]},
        {"threads": 1, "hidden": False, "times": [[1, 1, float("nan")]]},
        {"threads": 1, "hidden": False, "times": [[1, -1, 1]]},
        {"threads": [], "hidden": False, "times": "x"},
        {"threads": 1, "hidden": False, "times": [["a", "b", "c"]]},
        [1],
    ],
)
def test_invalid_messages_are_rejected(visit: Callable[..., Visit], body: Any) -> None:
    page = visit()
    page.ask("POST", "hello", HELLO)
    facts = {"load_ms": 1.0, "first_ms": 1.0, "full": True}
    page.ask("POST", "loaded", {"threads": 1, "step_ms": 0.005, "models": [facts]})
    assert page.ask("POST", "round", body)[0] == 409
    assert page.ask("POST", "error", {"error": "told\nto stop"})[0] == 200
    assert str(page.end()) == "web: the browser reports: told to stop"


def test_hidden_page_is_disturbed(visit: Callable[..., Visit]) -> None:
    page = visit()
    page.ask("POST", "hello", HELLO)
    finish(page, hidden=True)
    outcome = page.end()
    assert isinstance(outcome, Disturbed) and "page was hidden" in str(outcome)


def test_rounds_that_take_longer_than_the_time_are_repeated(visit: Callable[..., Visit]) -> None:
    page = visit(protocol=quick().protocol.model_copy(update={"max_seconds": 1e-6}))
    page.ask("POST", "hello", HELLO)
    finish(page)
    rows = page.end()
    assert isinstance(rows, list) and rows[0].rounds == 3


def test_no_browser_and_a_browser_that_disconnects(visit: Callable[..., Visit]) -> None:
    assert "no browser opened the page for 0.3 s" in str(visit(wait_s=0.3).end())
    page = visit(timeout_s=1.0)
    page.ask("POST", "hello", HELLO)
    assert "the browser sent nothing for 1 s" in str(page.end())


def test_unsupported_requests(
    model_of: Callable[[str], Model], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for address in (
        "web://",
        "web://h:x",
        "web://h:99999",
        "web?wait=x",
        "web?port=1",
        "web:/x",
        "web?token=long-enough",
        "web://h:1?token=short",
    ):
        with pytest.raises(InputError, match="target: "):
            open_device(address)
    with pytest.raises(InputError, match="litert bundles only"):
        open_device("web").measure([model_of("openvino")], quick(), ignore_progress)
    with pytest.raises(InputError, match="only openvino can be capped"):
        open_device("web").measure([model_of("litert")], quick(isa="avx2"), ignore_progress)
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="needs npm"):
        open_device("web").measure([model_of("litert")], quick(), ignore_progress)


def test_lock_file_has_hashes_and_no_hosts() -> None:
    lock = json.loads((web_server.LITERTJS / "package-lock.json").read_text())
    for package in list(lock["packages"].values())[1:]:
        assert "resolved" not in package and package["integrity"].startswith("sha512-")


def test_address_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    web_server.show("http://127.0.0.1:1/token/")
    assert "http://127.0.0.1:1/token/" in capsys.readouterr().err
