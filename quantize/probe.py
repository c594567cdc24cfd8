"""Opens a model file of unknown origin in a child process first: what crashes or hangs there does no harm here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from arch.errors import InputError
from arch.heads import HEADS
from arch.space import Arch, make_arch
from quantize import runtimes

PROJECT = Path(__file__).resolve().parent.parent
MEMORY_BYTES = 8 * 2**30
ENDS_WELL = 0
REFUSED = 3


def probe(path: str | Path, runtime: str, size: int, timeout_s: float = 60.0, arch: Arch | None = None) -> None:
    """Load `path` and run it once on an empty picture of `size` px, in a child with limits on time and memory.

    With `arch` its answer must be one that the head of that network decodes.

    Raises:
        InputError: the runtime refuses the file, crashes on it, needs too much, or its answer is not finite.
    """
    module = runtimes.RUNTIMES[runtime]
    command = [sys.executable, "-m", "quantize.probe", module, str(Path(path).absolute()), str(size)]
    if arch is not None:
        command.append(arch.model_dump_json())
    environment = os.environ | {"PYTHONPATH": str(PROJECT) + os.pathsep + os.environ.get("PYTHONPATH", "")}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            env=environment,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{path}: {runtime} did not run it within {timeout_s:g} s; the file is refused") from None
    if done.returncode == ENDS_WELL:
        return
    lines = done.stderr.strip().splitlines()
    if done.returncode < 0:
        reason = f"{runtime} crashed on it with {signal.Signals(-done.returncode).name}"
    elif done.returncode == REFUSED:
        reason = lines[-1] if lines else f"{runtime} refuses it"
    else:
        reason = f"{runtime} failed on it ({lines[-1][:200] if lines else 'without a word'})"
    raise InputError(f"{path}: {reason.removeprefix(f'{Path(path).absolute()}: ')}; the file is refused")


def _raw_shape(values: dict[str, Any]) -> tuple[int, ...]:
    arch = make_arch(values)
    return HEADS[arch.head].raw_shape(arch)


def main(module: str, path: str, size: int, arch: str | None = None) -> int:
    """The child: 0 when the file runs."""
    import importlib
    import json

    import numpy as np

    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        session = importlib.import_module(module).load(Path(path), 1)
    except InputError as error:
        print(error, file=sys.stderr)
        return REFUSED
    raw = session.run(np.zeros((1, 3, size, size), np.float32))
    if not np.isfinite(raw).all():
        print("its answer to an empty picture is not finite", file=sys.stderr)
        return REFUSED
    if arch is not None and raw.shape != (expected := (1, *_raw_shape(json.loads(arch)))):
        print(f"its answer is of shape {raw.shape}, the manifest's network gives {expected}", file=sys.stderr)
        return REFUSED
    return ENDS_WELL


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:]))
