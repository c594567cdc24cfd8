"""Web pages that run models in the browser with LiteRT.js (XNNPACK in WebAssembly).

LiteRT.js is installed with `npm ci` from the lock file in `litertjs/` into the user's cache on first use, and served
from there: pages load nothing from other hosts. The path of every page starts with a secret token.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import mimetypes
import re
import secrets
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from arch.errors import InputError, WorkError, shortened
from arch.files import atomic_dir, sha256_file
from explore.host import default_cache

LITERTJS = Path(__file__).with_name("litertjs")
PACKAGES = {"core": "@litertjs/core", "wasm-utils": "@litertjs/wasm-utils"}  # by the first part of a path
NPM_S = 300.0
MAX_CONNECTIONS = 32  # at the same time
MAX_REQUESTS = 1000  # of one connection
REQUEST_S = 300.0  # longest time of a request; a slow phone needs a minute for the largest file
MAX_BODY_BYTES = 1 << 20


class InstallError(WorkError):
    """LiteRT.js could not be installed."""


class PageServer(ThreadingHTTPServer):
    """A server that limits the number of connections, and reports an unexpected error in one line."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[PageHandler]) -> None:
        name = socket.gethostname().lower()
        self.hosts = {"localhost", address[0].lower(), name, f"{name}.local"}
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread, or close it if there are too many."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread was started
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection in this thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an error of this server; a client that disconnects, or fails the TLS handshake, is none."""
        error = sys.exception()
        if not isinstance(error, OSError):
            print(f"web: unexpected {type(error).__name__}: {shortened(error)}", file=sys.stderr)


class PageHandler(BaseHTTPRequestHandler):
    """Base class of handlers: pages below `/TOKEN/`, isolated from other origins. Subclasses set `token`.

    A request has limits on its time and size, and must name this machine in its Host header: a page of another site
    whose name is resolved to this machine (DNS rebinding) is refused. Addresses are no such names.
    """

    timeout = 30  # of one read or write, s
    protocol_version = "HTTP/1.1"
    token: str
    served = 0

    def handle(self) -> None:
        """Serve the requests of a connection until the client closes it, also without notice."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def handle_one_request(self) -> None:
        """Serve a request, within REQUEST_S even if the client sends or reads byte by byte."""
        timer = threading.Timer(REQUEST_S, self._disconnect)
        timer.daemon = True
        timer.start()
        try:
            super().handle_one_request()
        finally:
            timer.cancel()
        self.served += 1
        self.close_connection = self.close_connection or self.served >= MAX_REQUESTS

    def _disconnect(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def parse_request(self) -> bool:
        """Read the request line and the headers; return False after a reply to one that is refused."""
        if not super().parse_request():
            return False
        length = self.headers.get("Content-Length", "0")
        if not self._names_this_machine():
            self._refuse(421, b"wrong Host header; open the address that edgepose prints")
        elif "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            self._refuse(411, b"give a Content-Length")
        elif int(length[:20]) > (MAX_BODY_BYTES if self.command == "POST" else 0):
            self._refuse(413, b"too large")
        else:
            return True
        return False

    def _refuse(self, status: int, reason: bytes) -> None:
        self.close_connection = True
        self.reply(status, reason, "text/plain")

    def _names_this_machine(self) -> bool:
        try:
            host = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
            return host in getattr(self.server, "hosts", ("localhost",)) or bool(ipaddress.ip_address(host))
        except ValueError:
            return False

    def requested(self) -> str | None:
        """Return the path after the token, or None without the right token."""
        path, start = self.path.split("?")[0], f"/{self.token}/"
        return path[len(start) :] if secrets.compare_digest(path[: len(start)].encode(), start.encode()) else None

    def reply(self, status: int, content: bytes, kind: str, nonce: str = "") -> None:
        """Send a complete response; `nonce` allows the inline styles and scripts of a page."""
        self.send_response(status)
        for key, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers(nonce)}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)

    def reply_page(self, page: Path) -> None:
        """Send an HTML file, in which NONCE is replaced."""
        nonce = secrets.token_urlsafe(12)
        self.reply(200, page.read_text().replace("NONCE", nonce).encode(), "text/html; charset=utf-8", nonce)

    def reply_file(self, path: Path | None) -> None:
        """Send a file, or status 404 for None."""
        if path is None:
            self.reply(404, b"not found", "text/plain")
        else:
            self.reply(200, path.read_bytes(), mimetypes.guess_type(path.name)[0] or "application/octet-stream")

    def log_message(self, format: str, *args: Any) -> None:
        pass


def headers(nonce: str) -> dict[str, str]:
    """Return the headers of every response: cross-origin isolation, and nothing loaded from other hosts."""
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
    """Return a file of LiteRT.js in the folder `modules`; None for any other path."""
    package, _, rest = path.partition("/")
    if package not in PACKAGES or not re.fullmatch(r"(dist|wasm)/[A-Za-z0-9_.-]+\.(js|wasm)", rest):
        return None
    found = modules / PACKAGES[package] / rest
    return found if found.is_file() else None


def version() -> str:
    """Return the version of LiteRT.js in the lock file."""
    lock = json.loads((LITERTJS / "package-lock.json").read_text())
    return str(lock["packages"]["node_modules/@litertjs/core"]["version"])


def installed(progress: Callable[[float, str], None]) -> Path:
    """Return the folder node_modules with LiteRT.js, which is installed on first use.

    Raises:
        InputError: npm is missing.
        InstallError: npm failed.
    """
    folder = default_cache() / f"litertjs-{version()}-{sha256_file(LITERTJS / 'package-lock.json')[:12]}"
    if (folder / "node_modules").is_dir():
        return folder / "node_modules"
    npm = shutil.which("npm")
    if npm is None:
        raise InputError("web: needs npm (Node.js 18 or newer) to install LiteRT.js once; install it (Debian: npm)")
    progress(0.0, f"installing LiteRT.js {version()} (38 MB, once) into {folder} with npm ci")
    with atomic_dir(folder) as made:
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(LITERTJS / name, made / name)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        try:
            done = subprocess.run(
                command, cwd=made, stdin=subprocess.DEVNULL, capture_output=True, timeout=NPM_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise InstallError(f"web: npm ci took longer than {NPM_S:g} s and was stopped; try again") from None
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no output"]
            raise InstallError(f"web: npm ci failed with status {done.returncode}: {lines[0][:200]}")
    return folder / "node_modules"


def reachable(host: str) -> str:
    """Return an address of this machine that other machines can open, if the server listens on all addresses."""
    if host not in ("0.0.0.0", "::"):
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # connecting a datagram socket sends nothing
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def show(address: str, instruction: str = "open this once on the device") -> None:
    """Print an address to standard error, as text and as a QR code."""
    print(f"{instruction}: {address}", file=sys.stderr)
    try:
        import segno
    except ImportError:
        print("run pip install segno to show a QR code here", file=sys.stderr)
        return
    segno.make(address).terminal(sys.stderr, compact=True)
