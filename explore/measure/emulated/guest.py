"""The program that runs on an emulated processor: `guest.py REQUEST.json`.

It needs numpy, a runtime, and the measuring program (`explore.measure.probe`) beside it as probe.py. The request lists
model files, their inputs and the number of counted calls. Results are written to the request's folder.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import probe  # type: ignore[import-not-found, unused-ignore]

FIRST_MARK = 1 << 24  # above the numbers of processes, so that the call itself does nothing
WARM_UP = 1  # calls, after which a runtime has prepared everything


def main(path: str) -> None:
    request = json.loads(Path(path).read_text())
    for index, job in enumerate(request["jobs"]):
        print(json.dumps({"started": index}), flush=True)
        model = load(job)
        inputs = np.load(job["inputs"])
        outputs = []
        for image in inputs:
            model.put(image[None])
            model.run()
            outputs.append(model.take())
        np.save(job["outputs"], np.concatenate(outputs))
        if job["calls"]:
            count(model, index, job["calls"])
    print(json.dumps({"finished": True, "machine": os.uname().machine}), flush=True)


def load(job: dict[str, Any]) -> Any:
    """Return a model of a runtime; `plain`: LiteRT's own kernels, without XNNPACK."""
    if not job["plain"]:
        return probe.RUNTIMES[job["runtime"]](job["path"], 1)
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    known = probe.litert_interpreter
    probe.litert_interpreter = lambda: (functools.partial(Interpreter, experimental_op_resolver_type=kind), "")
    try:
        return probe.LiteRT(job["path"], 1)
    finally:
        probe.litert_interpreter = known


def count(model: Any, index: int, calls: int) -> None:
    """Mark the beginning and the end of `calls` inferences for counter.c, with two numbers for each model."""
    run = model.run
    for _ in range(WARM_UP):
        run()
    mark(2 * index)
    for _ in range(calls):
        run()
    mark(2 * index + 1)


def mark(number: int) -> None:
    with contextlib.suppress(OSError):
        os.getpriority(os.PRIO_PGRP, FIRST_MARK + number)


if __name__ == "__main__":
    main(sys.argv[1])
