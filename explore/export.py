"""A checkpoint to bundles: every runtime's file judged and timed beside its float file, certified, then written."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from arch.errors import InputError
from arch.network import PoseNet
from arch.space import Arch
from explore.config import SearchConfig
from explore.measure.protocol import Latency
from explore.progress import Display
from explore.search.dataset import open_judge
from explore.ship import islands, legalise, qat, tensorflow
from explore.ship.bundles import ship
from explore.ship.certified import certified, simulated_costs
from explore.ship.files import MadeFile, Workshop
from explore.train.checkpoint import load_network, save_network
from quantize import audit
from quantize import qat as training
from quantize.convert import Converter
from quantize.recipes import Recipe, recipe


@dataclass(frozen=True)
class ExportOptions:
    """Beside the configuration: `gates` keeps files that miss one from being written, `max_drop_mm` is for MPJPE."""

    gates: bool = True
    zip: bool = False
    legalise: str | None = None
    legalise_samples: int = 4000
    max_drop_mm: float | None = None
    verify: str | None = None  # tensorflow
    saved_model: bool = False


DEFAULTS = ExportOptions()


def export_bundles(
    checkpoint: Path, out: Path, config: SearchConfig, display: Display, options: ExportOptions = DEFAULTS
) -> list[dict[str, Any]]:
    """Write `out/RUNTIME` (or .zip) for each runtime of `config`; returns a row a file.

    A row's `bundle` is None where a gate failed and `options.gates` is set: nothing was written then.

    Raises:
        InputError: no checkpoint, or a network that cannot ship by the recipe.
        ConversionError: a converter failed, or `max_drop_mm` cannot be kept.
        Diverged: fine-tuning failed.
    """
    net, _ = load_network(checkpoint)
    chosen = recipe(config.recipe)
    arch = legalise.legal_arch(net.arch, options.legalise) if options.legalise else net.arch
    _check(arch, config.runtimes, chosen, options)
    config = config.model_copy(update={"scale": arch.input})
    display.stage("data")
    judge = open_judge(config, lambda done, total: display.update(done / max(1, total)))
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, Converter(out / "converter.log") as converter:
        workshop = Workshop(Path(scratch), judge, converter, config)
        about: dict[str, Any] = {}
        if options.legalise:
            net, about["legalised"] = _legalised(workshop, net, arch, options, display)
            save_network(out / "legalised.safetensors", net, {"data": judge.train.name, **about})
        display.stage(f"export {arch.name}")
        weights = workshop.folder / "weights.safetensors"
        save_network(weights, net, {})
        whole = workshop.torch(net)
        costs = simulated_costs(workshop, net) if chosen.int8 else {}
        make = maker(workshop, net, weights, chosen, display)
        floats, files = {}, {}
        for index, runtime in enumerate(config.runtimes):
            display.update(2 * index / (2 * len(config.runtimes) + 1), f"{runtime} float")
            floats[runtime] = workshop.make(arch, weights, runtime, recipe("float"), f"{runtime}-float")
            display.update((2 * index + 1) / (2 * len(config.runtimes) + 1), f"{runtime} {chosen.name}")
            if chosen == recipe("float"):
                files[runtime] = floats[runtime]
            elif options.max_drop_mm is None:
                files[runtime] = make(runtime, ())
            else:
                left = [step for step in costs if step not in chosen.float_steps(arch)]
                most = whole.accuracy.mpjpe + options.max_drop_mm
                files[runtime], _ = islands.fit(left, partial(make, runtime), most, options.max_drop_mm)
        display.stage("latency")
        latencies = workshop.latencies(_named(floats, files), f"{config.runtimes[0]} float")
        rows = []
        for runtime in config.runtimes:
            row = certified(arch, whole, files[runtime], floats[runtime], costs) | about
            row |= _latency(files[runtime], latencies)
            if options.verify and runtime == "litert":
                row["tensorflow"] = tensorflow.verified(workshop, _distinct(floats[runtime], files[runtime]), arch)
            written = None
            if row["gates_hold"] or not options.gates:
                written = str(ship(workshop, arch, files[runtime], row, out / runtime, options.zip))
            rows.append(row | {"bundle": written})
        if options.saved_model:
            display.stage("SavedModel")
            rows[0]["saved_model"] = tensorflow.saved_model(workshop, net, whole, out / "saved_model")
    return rows


def _check(arch: Arch, runtimes: tuple[str, ...], chosen: Recipe, options: ExportOptions) -> None:
    """Everything that can be refused before work begins."""
    for runtime in runtimes:
        audit.check(arch, runtime, chosen)
    if chosen.qat_samples:
        training.check()
    if options.verify or options.saved_model:
        tensorflow.check(options.verify, runtimes)
    if options.max_drop_mm is None:
        return
    if options.max_drop_mm <= 0:
        raise InputError(f"max-drop: {options.max_drop_mm:g} mm is no budget; give a number above 0")
    if not chosen.int8 or chosen.qat_samples:
        raise InputError(f"max-drop: has no use with the recipe {chosen.name}; take int8-static or int8-float-stem")


def _legalised(
    workshop: Workshop, net: PoseNet, arch: Arch, options: ExportOptions, display: Display
) -> tuple[PoseNet, dict[str, Any]]:
    """The network with other activations, fine-tuned, and what that cost."""
    display.stage(f"legalise {net.arch.activation} to {arch.activation}")
    before = workshop.torch(net).accuracy.mpjpe
    changed = legalise.replaced(net, arch)
    at_once = workshop.torch(changed).accuracy.mpjpe
    tuned = legalise.tuned(
        changed,
        workshop.judge.train,
        options.legalise_samples,
        workshop.config.seed,
        workshop.folder,
        lambda done, total: display.update(done / total),
    )
    return tuned, {
        "from": net.arch.activation,
        "to": arch.activation,
        "samples": options.legalise_samples,
        "before_mpjpe_mm": before,
        "replaced_mpjpe_mm": at_once,
        "after_mpjpe_mm": workshop.torch(tuned).accuracy.mpjpe,
    }


def maker(
    workshop: Workshop, net: PoseNet, weights: Path, chosen: Recipe, display: Display
) -> Callable[[str, tuple[str, ...]], MadeFile]:
    """A function that makes a runtime's file by `chosen` with more steps in float; QAT happens once, at the first."""
    arch = net.arch
    trained: dict[str, Any] = {}

    def make(runtime: str, steps: tuple[str, ...]) -> MadeFile:
        given = chosen.with_islands(steps)
        key = f"{runtime}-{chosen.name}-{len(steps)}"
        if not chosen.qat_samples:
            return workshop.make(arch, weights, runtime, given, key)
        made_of = workshop.made_of(weights, chosen)
        if kept := workshop.kept(runtime, chosen, key, made_of):
            return kept
        started = time.monotonic()
        if not trained:
            display.stage(f"training for {chosen.name}")
            module = qat.finetune(
                net,
                workshop.judge.train,
                chosen,
                workshop.pictures(chosen),
                workshop.config.seed,
                lambda done, total: display.update(done / total),
            )
            path = workshop.folder / f"{chosen.name}.safetensors"
            save_network(path, training.folded_back(module, net), {})
            trained.update(module=module, weights=path)
            display.stage(f"export {arch.name}")
        if runtime == "openvino":
            model = training.save_openvino(trained["module"], arch.input, workshop.folder / key)
        else:
            model = workshop.exported(arch, trained["weights"], runtime, chosen.after_training, key)
        return workshop.judged(arch, runtime, chosen, model, time.monotonic() - started, made_of)

    return make


def _distinct(plain: MadeFile, file: MadeFile) -> list[MadeFile]:
    return [plain] if file is plain else [plain, file]


def _named(floats: dict[str, MadeFile], files: dict[str, MadeFile]) -> dict[str, MadeFile]:
    """By runtime and recipe, each once."""
    return {f"{file.runtime} {file.recipe.name}": file for file in (*floats.values(), *files.values())}


def _latency(file: MadeFile, latencies: dict[str, Latency] | str) -> dict[str, Any]:
    """Of the file and its float file; the reason where it could not be measured."""
    if isinstance(latencies, str):
        return {"latency_ms": None, "latency": latencies, "float_latency_ms": None}
    own, other = latencies[f"{file.runtime} {file.recipe.name}"], latencies[f"{file.runtime} float"]
    return {"latency_ms": own.median_ms, "latency": own.as_dict(), "float_latency_ms": other.median_ms}
