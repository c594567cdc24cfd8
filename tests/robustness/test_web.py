"""Clients of the web pages that do not behave."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest

from explore import web_server
from explore.measure.rows import Machine, validated
from explore.web_server import PageHandler, PageServer


class Page(PageHandler):
    token = "secret"

    def do_GET(self) -> None:
        self.server.asked.set()  # type: ignore[attr-defined]
        self.server.gone.wait(10)  # type: ignore[attr-defined]
        for _ in range(100):
            self.reply(200, bytes(100_000), "text/plain")


def test_no_traceback_when_a_client_disconnects(capfd: pytest.CaptureFixture[str]) -> None:
    class Server(ThreadingHTTPServer):
        daemon_threads = False  # server_close waits for the handlers
        asked, gone = threading.Event(), threading.Event()

    server = Server(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        with socket.create_connection(server.server_address[:2], timeout=10) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close resets
            client.sendall(b"GET /secret/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert server.asked.wait(10)
        server.gone.set()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert capfd.readouterr().err == ""


class Echo(PageHandler):
    token = "secret"

    def do_GET(self) -> None:
        if self.requested() == "fault":
            raise ZeroDivisionError("a\x1b[31mb")
        self.reply(200, b"page", "text/plain")

    def do_POST(self) -> None:
        self.reply(200, self.rfile.read(int(self.headers.get("Content-Length", "0"))), "text/plain")


@pytest.fixture
def server() -> Iterator[PageServer]:
    server = PageServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def answer(server: PageServer, request: bytes) -> bytes:
    """Return everything that the server sends until it closes the connection."""
    with socket.create_connection(server.server_address[:2], timeout=30) as client:
        parts = []
        with contextlib.suppress(OSError):
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            while part := client.recv(65536):
                parts.append(part)
        return b"".join(parts)


REQUESTS = {  # a request, the status
    b"GET /secret/ HTTP/1.1\r\nHost: localhost:99\r\n\r\n": 200,
    b"GET /secret/ HTTP/1.1\r\nHost: 192.168.7.7:8000\r\n\r\n": 200,
    b"GET /secret/ HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n": 200,
    b"GET /secret/ HTTP/1.1\r\nHost: attacker.example\r\n\r\n": 421,
    b"GET /secret/ HTTP/1.1\r\nHost: localhost.attacker.example\r\n\r\n": 421,
    b"GET /secret/ HTTP/1.1\r\nHost: [::1\r\n\r\n": 421,
    b"GET /secret/ HTTP/1.1\r\n\r\n": 421,
    b"GET /secret/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello": 413,
    b"POST /secret/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello": 200,
    b"POST /secret/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999999999999999\r\n\r\nx": 413,
    b"POST /secret/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\nx": 411,
    b"POST /secret/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: \xb2\r\n\r\nx": 411,
    b"POST /secret/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": 411,
    b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n": 414,
    b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 200 + b"\r\n": 431,
    b"DELETE /secret/ HTTP/1.1\r\nHost: localhost\r\n\r\n": 501,
    b"GET /secret/ HTTP/9.9\r\n\r\n": 505,
    b"\x16\x03\x01\x02\x00\x01\r\n\r\n": 400,
}


def test_requests_that_are_refused(server: PageServer, capfd: pytest.CaptureFixture[str]) -> None:
    for request, status in REQUESTS.items():
        found = answer(server, request)
        assert f" {status} ".encode() in found.split(b"\r\n")[0] or f"Error code: {status}".encode() in found, request
    assert answer(server, b"GET /secret/fault HTTP/1.1\r\nHost: localhost\r\n\r\n") == b""
    assert capfd.readouterr().err == "web: unexpected ZeroDivisionError: a[31mb\n"


def test_limits_of_connections_requests_and_time(server: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "MAX_REQUESTS", 3)
    request = b"GET /secret/ HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert answer(server, request * 5).count(b"200 OK") == 3
    idle = [socket.create_connection(server.server_address[:2], timeout=30) for _ in range(web_server.MAX_CONNECTIONS)]
    deadline = time.monotonic() + 60
    while server._free._value and time.monotonic() < deadline:  # type: ignore[attr-defined]
        time.sleep(0.01)
    assert answer(server, request) == b""
    for client in idle:
        client.close()
    while not (served := answer(server, request)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert b"200 OK" in served
    monkeypatch.setattr(web_server, "REQUEST_S", 0.2)
    with socket.create_connection(server.server_address[:2], timeout=30) as client:
        client.sendall(b"GET /secret/ HTTP/1.1\r\n")  # and nothing more
        assert client.recv(100) == b""


def test_texts_of_devices_have_no_control_characters() -> None:
    machine = validated(
        Machine, {"system": "web", "processor": "A\x1b]0;title\x07B\r\nC", "browser": "x" * 9999}, "web"
    )
    assert machine.processor == "A]0;titleBC" and len(machine.browser or "") == 1000
