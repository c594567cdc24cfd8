"""Chromium with playwright, LiteRT.js, and a plain static server. A test is skipped where one of them is missing."""

from __future__ import annotations

import contextlib
import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from explore import web_server


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
