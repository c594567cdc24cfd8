"""What it costs to replace activations that LiteRT cannot run in INT8, and what it gains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from arch.space import named_arch
from explore.bench.trained import trained
from explore.config import SearchConfig
from explore.judge import Judge
from explore.ship import legalise
from explore.ship.files import Workshop
from explore.train.checkpoint import load_network, save_network
from quantize import audit
from quantize.convert import Converter
from quantize.recipes import recipe

ACTIVATION = "relu"


def legalised(
    name: str,
    activation: str,
    samples: int,
    tuning: int,
    judge: Judge,
    folder: Path,
    config: SearchConfig,
    progress: Callable[[float], None],
) -> dict[str, Any]:
    """A row for the network called `name` with `activation`, trained, then legalised to relu on `tuning` samples.

    before_mpjpe_mm, replaced_mpjpe_mm (at once), after_mpjpe_mm of the network; int8_mpjpe_mm of its INT8 LiteRT file;
    latency_ms of that file and float_latency_ms of the float file before, and `refused`, why it could not be INT8.
    """
    arch = named_arch(name).replace(activation=activation)
    start = trained(arch, samples, judge, config.seed, lambda done, total: progress(0.6 * done / total))
    net, _ = load_network(start)
    wanted = legalise.legal_arch(arch, ACTIVATION)
    folder = folder / arch.id
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "legalised.safetensors"
    changed = legalise.replaced(net, wanted)
    if not path.exists():
        tuned = legalise.tuned(
            changed, judge.train, tuning, config.seed, folder, lambda d, t: progress(0.6 + 0.3 * d / t)
        )
        save_network(path, tuned, {})
    legal, _ = load_network(path)
    with Converter(folder / "converter.log") as converter:
        shop = Workshop(folder, judge, converter, config)
        plain = shop.make(arch, start, "litert", recipe("float"), "before-float")
        file = shop.make(wanted, path, "litert", recipe("int8-static"), "after-int8")
        latencies = shop.latencies({"before": plain, "after": file}, "before")
        timed = {key: None if isinstance(latencies, str) else latencies[key].median_ms for key in ("before", "after")}
        return {
            "part": "legalise",
            "network": arch.name if arch.name != arch.id else f"{name}, {activation}",
            "samples": samples,
            "tuning_samples": tuning,
            "refused": "; ".join(audit.reasons(arch, "litert", recipe("int8-static"))),
            "before_mpjpe_mm": shop.torch(net).accuracy.mpjpe,
            "replaced_mpjpe_mm": shop.torch(changed).accuracy.mpjpe,
            "after_mpjpe_mm": shop.torch(legal).accuracy.mpjpe,
            "int8_mpjpe_mm": file.accuracy.mpjpe,
            "float_latency_ms": timed["before"],
            "latency_ms": timed["after"],
        }
