"""The child process of `quantize.convert`: reads requests and writes answers as lines of JSON until its input ends."""

from __future__ import annotations

import gc
import importlib
import json
import os
import traceback
from pathlib import Path
from typing import IO, Any

from quantize.child_process import die_with_parent


def main() -> None:
    """Serve requests until the parent closes the pipe or dies."""
    die_with_parent()
    requests, answers = private_pipes()

    import torch

    torch.set_num_threads(1)
    for line in requests:
        answer = serve(json.loads(line))
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def private_pipes() -> tuple[IO[str], IO[str]]:
    """Move the pipes to other descriptors, because libraries print to stdout; stdout goes to the log instead."""
    requests = os.fdopen(os.dup(0), "r")
    answers = os.fdopen(os.dup(1), "w")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return requests, answers


def serve(request: dict[str, Any]) -> dict[str, Any]:
    """Export a network; an exception is returned as an answer, and its traceback goes to the log."""
    from arch.errors import InputError, shortened

    gc.disable()  # garbage collection takes a seventh of a LiteRT conversion
    try:
        model = export(request)
    except InputError as error:
        return {"input_error": str(error)}
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {shortened(error, 300)}"}
    finally:
        gc.enable()
    return {"model": model.name}


def export(request: dict[str, Any]) -> Path:
    """Convert the network or MediaPipe tail of a request; return the model file."""
    import numpy as np

    from arch.space import make_arch
    from quantize.checkpoint import load_network
    from quantize.recipes import Recipe

    if "body" in request:
        from quantize import task_tail

        arch, body = make_arch(request["arch"]), task_tail.Body.model_validate(request["body"])
        return task_tail.export(arch, body, request["depth_scale"], Path(request["folder"]))
    runtime = importlib.import_module(request["module"])
    net, _ = load_network(request["weights"], make_arch(request["arch"]))
    images = np.load(request["calibration"], allow_pickle=False) if request["calibration"] else None
    model: Path = runtime.export(net, Path(request["folder"]), Recipe.model_validate(request["recipe"]), images)
    return model


if __name__ == "__main__":
    main()
