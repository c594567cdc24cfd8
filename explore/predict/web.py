"""`predict --web`: serve a page that predicts 3D poses live from a browser's camera.

The bundle's .tflite file and the person detector run in the browser, with LiteRT.js; images do not leave it. Browsers
allow the camera on localhost and https only; a phone needs `adb reverse` or `--cert`.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from arch.errors import InputError, shortened
from explore import web_server
from explore.data.colours import PEOPLE
from explore.predict import detector, tracker
from explore.predict.pipeline import name_of
from explore.predict.view3d import line_colours, lines_of
from explore.progress import Display
from explore.web_server import PageHandler, PageServer
from quantize import bundle as bundles
from quantize import sdk
from quantize.bundle import Bundle

PAGE = Path(__file__).with_name("webpage")
SCRIPTS = ("page.js", "detector.js", "view.js")


def serve(path: str, listen: str | None, cert: str | None, smooth: bool = True) -> int:
    """Serve the page until Ctrl-C and print its address on standard error.

    Raises:
        InputError: not a LiteRT bundle, an address that cannot be used, or an unusable certificate.
    """
    site = Site(path, listen, cert, smooth)
    try:
        site.announce()
        threading.Event().wait()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    finally:
        site.close()
    return 0


class Site:
    """The server, running in a thread. `address` is the URL of the page."""

    def __init__(self, path: str, listen: str | None, cert: str | None, smooth: bool = True) -> None:
        bundle = bundles.load(path)
        check_bundle(bundle, path)
        host, port = _parse_listen(listen)
        context = _ssl_context(cert, host) if cert else None
        bundle.verify()
        with Display() as display:
            modules = web_server.installed(lambda _, text: display.log(text))
        token = secrets.token_urlsafe(16)
        try:
            self._server = PageServer((host, port), _handler(token, bundle, page_config(bundle, smooth), modules))
        except OSError as error:
            raise InputError(f"--listen {host}:{port}: {error.strerror or error}; give another HOST:PORT") from None
        if context:
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.bundle, self.https, self.loopback = bundle, bool(context), host in ("127.0.0.1", "localhost")
        self.port = int(self._server.server_address[1])
        self.address = f"{'https' if context else 'http'}://{web_server.reachable(host)}:{self.port}/{token}/"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()

    def announce(self) -> None:
        """Print the address and the ways to reach it from a phone, on standard error."""
        web_server.show(self.address, "open this address in a browser")
        lines = ["press Ctrl-C to stop"]
        if self.loopback:
            lines = [
                f"Android phone with a cable:  run adb reverse tcp:{self.port} tcp:{self.port}, open the same address",
                "any phone in this network:   add --listen 0.0.0.0:8443 --cert self, accept the certificate",
                *lines,
            ]
        elif not self.https:
            lines = ["browsers allow the camera on https or localhost only; add --cert self, or use a tunnel", *lines]
        print("\n".join(lines), file=sys.stderr)

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def check_bundle(bundle: Bundle, path: str | Path) -> None:
    """Raise an InputError unless LiteRT.js runs the bundle. path: as the user gave it."""
    if bundle.manifest.runtime != "litert":
        raise InputError(f"--web {path}: a bundle of {bundle.manifest.runtime}; LiteRT.js needs one of litert")
    if bundle.manifest.recipe.input_dtype != "float32":
        raise InputError(f"--web {path}: its input is uint8, the page sends float32; export it without --input-dtype")


def page_config(bundle: Bundle, smooth: bool = True) -> dict[str, Any]:
    """Return the values of bundle, detector and tracker that the page needs. smooth: initially, see `smoothing`."""
    manifest = bundle.manifest
    return {
        "title": f"{name_of(bundle)} · {manifest.recipe.name}",
        **manifest.preprocessing.model_dump(),
        **manifest.postprocessing.model_dump(),
        "joints": len(manifest.skeleton.joints),
        "smooth": smooth,
        "edges": [list(line) for line in lines_of(manifest.skeleton)],
        "colours": line_colours(manifest.skeleton),
        "people": list(PEOPLE),
        "detector": {
            "min_score": detector.MIN_SCORE,
            "box_scale": detector.BOX_SCALE,
            "same_person_iou": detector.SAME_PERSON_IOU,
            "same_hips": detector.SAME_HIPS,
        },
        "tracker": {
            "duplicate_iou": tracker.DUPLICATE_IOU,
            "redetect_below": tracker.REDETECT_BELOW,
            "mean_weight": tracker.MEAN_WEIGHT,
        },
    }


def _parse_listen(listen: str | None) -> tuple[str, int]:
    found = re.fullmatch(r"([A-Za-z0-9.-]+):(\d{1,5})", listen or "127.0.0.1:0")
    if not found or int(found[2]) > 65_535:
        raise InputError(f"--listen {listen}: not an address; give HOST:PORT, such as 0.0.0.0:8443")
    return found[1], int(found[2])


def _ssl_context(cert: str, host: str) -> ssl.SSLContext:
    """Load a PEM file of certificate and key; `self` creates a self-signed one, valid for a week."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if cert != "self":
        try:
            context.load_cert_chain(cert)
        except (OSError, ssl.SSLError) as error:
            raise InputError(f"--cert {cert}: no certificate and key ({error}); give a PEM file of both") from None
        return context
    openssl = shutil.which("openssl")
    if openssl is None:
        raise InputError("--cert self: openssl is missing; install it, or give a PEM file")
    name = web_server.reachable(host)
    kind = "IP" if re.fullmatch(r"[\d.]+", name) else "DNS"
    with tempfile.TemporaryDirectory() as folder:
        pem, key = Path(folder) / "cert.pem", Path(folder) / "key.pem"
        done = subprocess.run(
            [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "7",
             "-subj", "/CN=edgepose", "-addext", f"subjectAltName={kind}:{name}", "-keyout", key, "-out", pem],
            check=False, capture_output=True, text=True, errors="replace",
        )  # fmt: skip
        if done.returncode:
            raise InputError(f"--cert self: openssl failed ({shortened(done.stderr, 200)}); give a PEM file")
        context.load_cert_chain(pem, key)
    return context


def _handler(secret: str, bundle: Bundle, config: dict[str, Any], modules: Path) -> type[PageHandler]:
    class Handler(PageHandler):
        token = secret

        def do_GET(self) -> None:
            name = self.requested()
            if name == "":
                self.reply_page(PAGE / "page.html")
            elif name == "config.json":
                self.reply(200, json.dumps(config).encode(), "application/json")
            else:
                self.reply_file(_find_file(name or "", bundle, modules))

    return Handler


def _find_file(name: str, bundle: Bundle, modules: Path) -> Path | None:
    if name in SCRIPTS:
        return PAGE / name
    if name == "decoder.js":
        return sdk.path("javascript")
    return {"model": bundle.model, "person": detector.MODEL}.get(name) or web_server.module_file(name, modules)
