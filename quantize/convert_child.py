"""The child process of `quantize.convert`: a request is a line of JSON, as is its answer; ends with its input."""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import IO, Any

PR_SET_PDEATHSIG = 1


def main(threads: int) -> None:
    """Serve until the parent closes our input or dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    requests, answers = private_pipes()

    import torch

    torch.set_num_threads(threads)
    for line in requests:
        answer = serve(json.loads(line))
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def private_pipes() -> tuple[IO[str], IO[str]]:
    """Our pipes under other numbers, with stdin empty and stdout in the log: what a library prints is no answer."""
    requests = os.fdopen(os.dup(0), "r")
    answers = os.fdopen(os.dup(1), "w")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return requests, answers


def serve(request: dict[str, Any]) -> dict[str, Any]:
    """Export as asked; an exception becomes an answer, its traceback goes to the log."""
    from arch.errors import InputError

    started = time.monotonic()
    gc.disable()  # a seventh of a LiteRT conversion goes into collecting what is not yet garbage
    try:
        model = export(request)
    except InputError as error:
        return {"kind": "input", "error": str(error)}
    except Exception as error:
        traceback.print_exc()
        return {"kind": "failed", "error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    finally:
        gc.enable()
    return {"model": model.name, "seconds": time.monotonic() - started}


def export(request: dict[str, Any]) -> Path:
    import numpy as np

    from arch.network import build
    from arch.space import make_arch
    from quantize.recipes import Recipe
    from quantize.weights import load_weights

    runtime = importlib.import_module(request["module"])
    net = build(make_arch(request["arch"]))
    load_weights(net, Path(request["weights"]))
    pictures = None
    if request["calibration"]:
        pictures = np.load(request["calibration"], allow_pickle=False)
    model: Path = runtime.export(net, Path(request["folder"]), Recipe.model_validate(request["recipe"]), pictures)
    return model


if __name__ == "__main__":
    main(int(sys.argv[1]))
