"""A runtime for tests that fails in the way that the recipe's name gives."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from arch.network import PoseNet
from arch.space import Arch
from quantize.recipes import Recipe

FILES = ("model.fault",)


def unsupported(arch: Arch, recipe: Recipe) -> list[str]:
    return ["faults: rejected before conversion"] if recipe.name == "unsupported" else []


def export(net: PoseNet, folder: Path, recipe: Recipe, calibration: Any) -> Path:
    path = folder / FILES[0]
    path.write_bytes(str(os.getpid()).encode())
    match recipe.name:
        case "abort":
            print("about to abort", flush=True)
            os.abort()
        case "exit":
            os._exit(7)
        case "hang":
            print("about to hang", flush=True)
            helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            (Path(os.environ["FAULTS_NOTES"]) / "helper").write_text(str(helper.pid))
            time.sleep(600)
        case "raise":
            raise ValueError("operator aten::nonsense is not supported")
        case "verbose":
            for line in range(20_000):
                print(f"line {line}: long output of a converter")
            os.system("echo output of a program it started; echo standard error >&2")
        case "nothing":
            path.unlink()
        case "reads-input":
            path.write_text("read: " + sys.stdin.read())
    return path


def load(path: Path, threads: int = 1) -> Any:
    raise NotImplementedError


def inspect(path: Path) -> Any:
    raise NotImplementedError
