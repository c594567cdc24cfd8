"""Error and latency after replacing activations that LiteRT cannot run in INT8."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from arch.space import named_arch
from benchmarks.trained import trained
from explore.evaluation.evaluator import Evaluator
from explore.export import finetune
from explore.export.exporter import Exporter
from explore.search.config import SearchConfig
from quantize import operator_check
from quantize.checkpoint import load_network, save_network
from quantize.convert import Converter
from quantize.recipes import recipe

ACTIVATION = "relu"


def replace_and_measure(
    name: str,
    activation: str,
    samples: int,
    tuning: int,
    evaluator: Evaluator,
    folder: Path,
    config: SearchConfig,
    progress: Callable[[float], None],
) -> dict[str, Any]:
    """Train `name` with `activation` on `samples` samples, replace it by relu, fine-tune on `tuning` samples.

    The row has before_mpjpe_mm, replaced_mpjpe_mm (before fine-tuning) and after_mpjpe_mm of the network,
    int8_mpjpe_mm and latency_ms of its INT8 LiteRT file, float_latency_ms of the original float file, and `refused`,
    the reason why the original network cannot be exported as INT8.
    """
    arch = named_arch(name).replace(activation=activation)
    start = trained(arch, samples, evaluator, config.seed, lambda done, total: progress(0.6 * done / total))
    net, _ = load_network(start)
    wanted = finetune.with_activation(arch, ACTIVATION)
    folder = folder / arch.id
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "replace_and_measure.safetensors"
    changed = finetune.copy_weights(net, wanted)
    if not path.exists():
        tuned = finetune.finetune(
            changed, evaluator.train, tuning, config.seed, folder, lambda d, t: progress(0.6 + 0.3 * d / t)
        )
        save_network(path, tuned, {})
    legal, _ = load_network(path)
    with Converter(folder / "converter.log") as converter:
        exporter = Exporter(folder, evaluator, converter, config.export_config)
        plain = exporter.export(arch, start, "litert", recipe("float"), "before-float")
        file = exporter.export(wanted, path, "litert", recipe("int8-static"), "after-int8")
        latencies = exporter.measure_latency({"before": plain, "after": file}, "before")
        timed = {key: None if isinstance(latencies, str) else latencies[key].median_ms for key in ("before", "after")}
        return {
            "part": "legalise",
            "network": arch.name if arch.name != arch.id else f"{name}, {activation}",
            "samples": samples,
            "tuning_samples": tuning,
            "refused": "; ".join(operator_check.reasons(arch, "litert", recipe("int8-static"))),
            "before_mpjpe_mm": exporter.evaluate_torch(net).accuracy.mpjpe,
            "replaced_mpjpe_mm": exporter.evaluate_torch(changed).accuracy.mpjpe,
            "after_mpjpe_mm": exporter.evaluate_torch(legal).accuracy.mpjpe,
            "int8_mpjpe_mm": file.accuracy.mpjpe,
            "float_latency_ms": timed["before"],
            "latency_ms": timed["after"],
        }
