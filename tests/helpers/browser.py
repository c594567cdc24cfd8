"""Node, Chromium with playwright, LiteRT.js, and a plain static server. A test is skipped where one of them is missing."""

from __future__ import annotations

import base64
import contextlib
import functools
import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from explore import web_server


def in_javascript(module_path: Path, expression: str, **given: Any) -> Any:
    """Return the value of a JavaScript expression; `js` is a module, `given` holds the inputs."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here (Debian: nodejs)")
    module = base64.b64encode(module_path.read_bytes()).decode()
    code = (
        "const given = JSON.parse(require('fs').readFileSync(0, 'utf8'));"
        f"import('data:text/javascript;base64,{module}')"
        f".then((js) => console.log(JSON.stringify({expression})));"
    )
    done = subprocess.run([node, "-e", code], input=json.dumps(given), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def chromium() -> str:
    """Return the program."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    return found or pytest.skip("no Chromium here (Debian: chromium)")


@contextlib.contextmanager
def launched(*flags: str) -> Iterator[Any]:
    """A headless browser."""
    program, sync = chromium(), pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu", *flags])
        yield browser
        browser.close()


@contextlib.contextmanager
def page_with_camera(video: Path, **options: Any) -> Iterator[tuple[Any, list[str]]]:
    """A page whose camera shows a video, and the errors on it so far."""
    fake = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    faults: list[str] = []
    with launched(*fake, f"--use-file-for-fake-video-capture={video}") as browser:
        page = browser.new_page(**options)
        page.on("pageerror", lambda error: faults.append(str(error)))
        yield page, faults


@contextlib.contextmanager
def litertjs() -> Iterator[None]:
    """For calls that install LiteRT.js."""
    if shutil.which("npm") is None:
        pytest.skip("no npm here (Debian: npm)")
    try:
        yield
    except web_server.InstallError as error:
        pytest.skip(f"LiteRT.js cannot be installed here: {error}")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """No headers for isolation, no special types, no log."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path, handler: type[Quiet] = Quiet) -> Iterator[str]:
    """The address at which a folder is served."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
