"""The faster precision of a device, measured once."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from arch.decode import decode_tensor
from arch.errors import InputError
from arch.files import content_hash, write_atomic
from arch.network import build
from arch.space import Arch
from explore.host import default_cache, locked
from explore.train.engine import Engine, Precision
from explore.train.loop import to_input

MIN_SPEEDUP = 1.05  # of bf16; below this it is not worth its rounding
WARM_UP, STEPS, ROUNDS = 5, 10, 3


def with_precision(engine: Engine, precision: Literal["auto", "f32", "bf16"], arch: Arch, batch_size: int) -> Engine:
    """Return `engine` with a precision. auto: bf16 on a GPU that trains `arch` faster with it, f32 otherwise.

    bf16 was slower on every CPU that was measured (`python -m benchmarks loop`), so a CPU always gets f32. All
    processes of a run choose the same.

    Raises:
        InputError: bf16 on a GPU without it.
    """
    supported = engine.device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" and not supported:
        raise InputError(f"--precision bf16: {engine.name} does not support it; use f32, or omit the option")
    if precision == "auto":
        faster = supported and engine.device.type != "cpu" and is_bf16_faster(engine, arch, batch_size)
        precision = "bf16" if engine.all(faster) else "f32"
    return replace(engine, precision=precision)


def is_bf16_faster(engine: Engine, arch: Arch, batch_size: int) -> bool:
    """Return whether training steps in bf16 are at least 5% faster than in f32; the measurement is cached."""
    what = [engine.name, torch.__version__, arch.id, batch_size]
    path = default_cache() / "precision" / f"{content_hash(what)}.json"
    with locked(path.with_suffix(".lock")):
        if not path.exists():
            seconds = step_seconds(engine, arch, batch_size)
            write_atomic(path, json.dumps({"measured": what, "step_seconds": seconds}, indent=1))
        found = json.loads(path.read_text())["step_seconds"]
    return bool(found["f32"] >= MIN_SPEEDUP * found["bf16"])


def step_seconds(engine: Engine, arch: Arch, batch_size: int) -> dict[Precision, float]:
    """Measure the seconds of a forward and backward pass in each precision: the best of three interleaved rounds."""
    net = build(arch, 0).to(engine.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    shape = (batch_size, arch.input_size, arch.input_size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    def run(precision: Precision, steps: int) -> float:
        started = time.perf_counter()
        for _ in range(steps):
            with replace(engine, precision=precision).autocast():
                raw = net.forward_heatmaps(to_input(images, engine.device))
            decode_tensor(raw.float(), arch).sum().backward()  # type: ignore[no-untyped-call]
        float(next(net.parameters()).grad.sum())  # the last gradient of a backward pass; waits for the device
        return (time.perf_counter() - started) / steps

    precisions: tuple[Precision, ...] = ("f32", "bf16")
    for precision in precisions:
        run(precision, WARM_UP)
    rounds = [{precision: run(precision, STEPS) for precision in precisions} for _ in range(ROUNDS)]
    return {precision: min(one[precision] for one in rounds) for precision in precisions}
