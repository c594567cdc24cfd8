"""`predict --web`: a page that shows the people before the browser's camera in 3D, live.

The bundle's .tflite and the person detector run in the browser, by LiteRT.js; pictures do not leave it. Browsers give
their camera to localhost and https only: here, or a phone through `adb reverse`, or `--cert`.
"""

from __future__ import annotations

import json
import mimetypes
import re
import secrets
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from arch.errors import InputError
from arch.spec import SIMCC_SPLIT
from explore.data.colours import PEOPLE, limb_colour
from explore.measure.devices import web
from explore.predict import detect
from explore.predict.camera import REFERENCE_SIDE
from explore.progress import Display
from quantize import bundle as bundles
from quantize.bundle import Bundle

PAGE = Path(__file__).with_name("webpage")
OWN = ("page.js", "decode.js", "view.js")
HEADS = ("volumetric", "depthmap", "simcc")  # that decode.js reads


def serve(path: str, listen: str | None, cert: str | None) -> int:
    """Serve until Ctrl-C; says on standard error where.

    Raises:
        InputError: no LiteRT bundle, an address that cannot be listened on, an unusable certificate.
    """
    site = Site(path, listen, cert)
    try:
        site.announce()
        threading.Event().wait()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    finally:
        site.close()
    return 0


class Site:
    """A server in a thread; `address` is what to open."""

    def __init__(self, path: str, listen: str | None, cert: str | None) -> None:
        bundle = bundles.load(path)
        if bundle.manifest.runtime != "litert":
            raise InputError(f"--web {path}: LiteRT.js runs litert bundles, this is one of {bundle.manifest.runtime}")
        if bundle.arch.head not in HEADS:
            raise InputError(
                f"--web {path}: the page cannot read the head {bundle.arch.head}; it reads {', '.join(HEADS)}"
            )
        host, port = _place(listen)
        bundle.verify()
        with Display() as display:
            modules = web.installed(lambda share, text: display.log(text))
        token = secrets.token_urlsafe(16)
        context = _context(cert, host) if cert else None
        try:
            self._server = ThreadingHTTPServer((host, port), _handler(token, bundle, modules))
        except OSError as error:
            raise InputError(f"--listen {host}:{port}: {error.strerror or error}; give another HOST:PORT") from None
        self._server.daemon_threads = True
        if context:
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.bundle, self.loopback, self.safe = bundle, host in ("127.0.0.1", "localhost", "::1"), context is not None
        self.port = int(self._server.server_address[1])
        scheme = "https" if context else "http"
        self.address = f"{scheme}://{web.reachable(host)}:{self.port}/{token}/"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()

    def announce(self) -> None:
        web.show(self.address, "open this in a browser")
        if self.loopback:
            print(
                f"on an Android phone at a cable: adb reverse tcp:{self.port} tcp:{self.port}, and the same address there\n"
                "on any phone of this network:   --listen 0.0.0.0:8443 --cert self, and accept the certificate there",
                file=sys.stderr,
            )
        elif not self.safe:
            print(
                "browsers give their camera to https or localhost only: add --cert self, or use a tunnel",
                file=sys.stderr,
            )
        print("Ctrl-C ends it", file=sys.stderr)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def about(bundle: Bundle) -> dict[str, Any]:
    """What the page needs to know of the bundle and of the detector."""
    manifest = bundle.manifest
    names = manifest.skeleton.joints
    return {
        "title": f"{manifest.arch.name} · {manifest.recipe.name}",
        **manifest.preprocessing.model_dump(),
        **manifest.postprocessing.model_dump(),
        "joints": len(names),
        "simcc_split": SIMCC_SPLIT,
        "reference_mm": REFERENCE_SIDE,
        "edges": [list(edge) for edge in manifest.skeleton.edges],
        "colours": [limb_colour(names[start], names[end]) for start, end in manifest.skeleton.edges],
        "people": list(PEOPLE),
        "detector": {"sure": detect.SURE, "fit": detect.FIT, "same": detect.SAME},
    }


def _place(listen: str | None) -> tuple[str, int]:
    found = re.fullmatch(r"([A-Za-z0-9.-]+):(\d{1,5})", listen or "127.0.0.1:0")
    if not found or int(found[2]) > 65_535:
        raise InputError(f"--listen {listen}: cannot be read; give HOST:PORT, such as 0.0.0.0:8443")
    return found[1], int(found[2])


def _context(cert: str, host: str) -> ssl.SSLContext:
    """For https, with a PEM file of certificate and key; `self`: one made now for this machine, for a week."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if cert != "self":
        try:
            context.load_cert_chain(cert)
        except (OSError, ssl.SSLError) as error:
            raise InputError(f"--cert {cert}: no certificate with its key ({error}); give a PEM file of both") from None
        return context
    openssl = shutil.which("openssl")
    if openssl is None:
        raise InputError("--cert self: needs openssl; install it, or give a PEM file")
    name = web.reachable(host)
    kind = "IP" if re.fullmatch(r"[\d.]+", name) else "DNS"
    with tempfile.TemporaryDirectory() as folder:
        pem, key = Path(folder) / "cert.pem", Path(folder) / "key.pem"
        subprocess.run(
            [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "7",
             "-subj", "/CN=edgepose", "-addext", f"subjectAltName={kind}:{name}", "-keyout", key, "-out", pem],
            check=True, capture_output=True,
        )  # fmt: skip
        context.load_cert_chain(pem, key)
    return context


def _handler(token: str, bundle: Bundle, modules: Path) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 30
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            nonce = secrets.token_urlsafe(12)
            path, start = self.path.split("?")[0], f"/{token}/"
            asked = path[len(start) :] if secrets.compare_digest(path[: len(start)].encode(), start.encode()) else None
            content, kind = b"not found", "text/plain"
            if asked == "":
                content, kind = (
                    (PAGE / "page.html").read_text().replace("NONCE", nonce).encode(),
                    "text/html; charset=utf-8",
                )
            elif asked == "about.json":
                content, kind = json.dumps(about(bundle)).encode(), "application/json"
            elif asked is not None and (found := _file(asked, bundle, modules)):
                content, kind = found.read_bytes(), mimetypes.guess_type(found.name)[0] or "application/octet-stream"
            else:
                asked = None
            self.send_response(404 if asked is None else 200)
            for key, value in web.headers(nonce).items():
                self.send_header(key, value)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


def _file(asked: str, bundle: Bundle, modules: Path) -> Path | None:
    if asked in OWN:
        return PAGE / asked
    return {"model": bundle.model, "person": detect.MODEL}.get(asked) or web.module_file(asked, modules)
