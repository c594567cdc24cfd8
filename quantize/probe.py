"""Test run of a model file of unknown origin in a child process, which may crash or hang without harm."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np

from arch.errors import InputError
from arch.heads import HEADS
from arch.space import Arch
from quantize import child_process, runtimes

MEMORY_BYTES = 8 * 2**30
OK = 0
REJECTED = 3


def probe(path: str | Path, runtime: str, arch: Arch, timeout_s: float = 60.0) -> None:
    """Load the model file of a network and run it on a black image in a child with limits on time and memory.

    Raises:
        InputError: the runtime rejects the file, crashes or needs too much memory, or the output is not finite or has
            another shape than the head of the network decodes.
    """
    absolute = Path(path).absolute()
    raw_shape = (1, *HEADS[arch.head].raw_shape(arch.head_spec))
    arguments = (runtimes.RUNTIMES[runtime], str(absolute), str(arch.input_size), *map(str, raw_shape))
    try:
        done = child_process.run_module("quantize.probe", *arguments, timeout_s=timeout_s)
    except subprocess.TimeoutExpired:
        raise InputError(f"{path}: rejected: {runtime} did not run it within {timeout_s:g} s") from None
    if done.returncode == OK:
        return
    reason = child_process.failure(done).removeprefix(f"{absolute}: ")
    if done.returncode != REJECTED:
        reason = f"{runtime} {reason}" if done.returncode < 0 else f"{runtime} failed ({reason})"
    raise InputError(f"{path}: rejected: {reason}")


def main(module: str, path: str, size: int, raw_shape: tuple[int, ...]) -> int:
    """Run the model in this process, the child, and return the exit status."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        session = importlib.import_module(module).load(Path(path), 1)
    except InputError as error:
        print(error, file=sys.stderr)
        return REJECTED
    raw = session.run(np.zeros((1, 3, size, size), np.float32))
    if not np.isfinite(raw).all():
        print("its output for a black image is not finite", file=sys.stderr)
        return REJECTED
    if raw.shape != raw_shape:
        print(f"its output has shape {raw.shape}, the network in the manifest {raw_shape}", file=sys.stderr)
        return REJECTED
    return OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), tuple(map(int, sys.argv[4:]))))
