"""The live page as static files: a folder with page, model, detector and LiteRT.js that any web server can serve.

The page runs LiteRT.js on one thread and therefore needs no cross-origin isolation. Browsers allow the camera on https
and localhost only.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from arch.errors import InputError
from arch.files import atomic_dir, check_output_folder
from explore import web_server
from explore.predict import detector, web
from explore.progress import Display
from quantize import sdk
from quantize.bundle import Bundle

WASM = ("litert_wasm_internal", "litert_wasm_compat_internal")  # for one thread: with relaxed SIMD, and without
MODULES = (
    "core/dist/index.js",
    "wasm-utils/dist/index.js",
    *(f"core/wasm/{name}.{suffix}" for name in WASM for suffix in ("js", "wasm")),
)
OWN = ("index.html", "config.json", "decoder.js")  # by which a folder that may be replaced is recognised


def check(folder: Path, display: Display) -> Path:
    """Check the output folder before work, and return the folder of LiteRT.js, which is installed on first use.

    Raises:
        InputError: the folder cannot be written, or contains something else; or npm is missing.
        InstallError: LiteRT.js could not be installed.
    """
    check_output_folder(folder, "web")
    if folder.resolve() == Path.cwd():
        raise InputError(f"web: {folder}: the current folder cannot be replaced; give another one")
    if folder.is_dir() and any(folder.iterdir()) and not all((folder / name).is_file() for name in OWN):
        raise InputError(f"web: {folder}: contains other files, which would be replaced; give a new folder")
    return web_server.installed(lambda _, text: display.log(text))


def write_page(bundle: Bundle, path: str | Path, folder: Path, display: Display) -> None:
    """Write the page of a LiteRT bundle.

    path: of the bundle as the user gave it, for messages

    Raises:
        InputError: LiteRT.js does not run the bundle, or see `check`.
        InstallError: see `check`.
    """
    web.check_bundle(bundle, path)
    modules = check(folder, display)
    with atomic_dir(folder) as made:
        page = (web.PAGE / "page.html").read_text(encoding="utf-8").replace(' nonce="NONCE"', "")
        (made / "index.html").write_text(page, encoding="utf-8")
        (made / "config.json").write_text(json.dumps(web.page_config(bundle)), encoding="utf-8")
        sources = {name: web.PAGE / name for name in web.SCRIPTS} | {"decoder.js": sdk.path("javascript")}
        sources |= {"model": bundle.model, "person": detector.MODEL}
        for name in MODULES:
            found = web_server.module_file(name, modules)
            if found is None:
                raise InputError(f"web: {modules}: LiteRT.js has no {name}; delete this folder and repeat")
            sources[name] = found
        for name, source in sources.items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, made / name)
