"""Candidates of a search that estimates: the estimator's weights and figures in place of those of full training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arch.errors import InputError
from arch.files import write_atomic
from arch.network import build
from arch.search_space import Space
from arch.space import Arch, make_arch
from explore.config import SearchConfig
from explore.estimate import Estimator, Finished, Setup, make
from explore.estimate.supernet import open_supernet
from explore.train.checkpoint import save_network

if TYPE_CHECKING:
    from explore.search.candidate import Bench

SHIPPED = Path("results/supernets")  # what the project trained, a checkpoint a space and scale


def estimated(bench: Bench, arch: Arch, folder: Path) -> dict[str, Any]:
    """Estimate unless done; weights in `weights.safetensors`, random ones where the estimator has none.

    Their file is exported, judged and timed like any other: what the search sees is the error of the INT8 file.
    """
    if (folder / "trained.json").exists():
        return json.loads((folder / "trained.json").read_text())  # type: ignore[no-any-return]
    found = bench.estimator.estimate(arch, folder)
    weights = folder / "weights.safetensors"
    if found.weights is None:
        save_network(weights, build(arch, bench.config.seed).eval(), {"untrained": True})
    elif found.weights != weights:
        shutil.copyfile(found.weights, weights)
    facts = {
        "estimator": bench.config.estimator,
        "in_full": found.in_full,
        "float_mpjpe_mm": found.mm,
        "noise_mm": found.noise_mm,
        "cpu_s": round(found.cpu_seconds, 2),
        "measured": found.weights is not None,
    }
    write_atomic(folder / "trained.json", json.dumps(facts, indent=2))
    return facts


def unmeasured(trained: dict[str, Any]) -> dict[str, Any]:
    """What replaces the figures of a file with random weights: the prediction, and no figure for what it lacks."""
    if trained.get("measured", True):
        return {}
    return {"mpjpe_mm": trained["float_mpjpe_mm"], "pa_mpjpe_mm": None}


def full_weights(bench: Bench, arch: Arch) -> Path:
    """A candidate's weights after full training.

    What an estimator did not train, or is compared with and was no candidate, is trained now, from the start.
    """
    from explore.search.training import train_fully

    config = bench.config
    folder = config.folder / "candidates" / arch.id
    trained = folder / "trained.json"
    if not trained.exists() or not json.loads(trained.read_text()).get("in_full", True):
        folder = config.folder / "finalists" / arch.id / "from-start"
        train_fully(bench, arch, config.candidate, folder)
    return folder / "weights.safetensors"


def finished(config: SearchConfig) -> list[Finished]:
    """The candidates that were trained in full, by the error of their INT8 files."""
    found: dict[str, Finished] = {}
    for path in sorted((config.folder / "candidates").glob("*/result*.json")):  # by each recipe; the first counts
        result = json.loads(path.read_text())
        if result.get("in_full", True):
            arch = make_arch(result["arch"], str(path))
            made = Finished(arch, float(result["mpjpe_mm"]), path.with_name("weights.safetensors"))
            found.setdefault(arch.id, made)
    return list(found.values())


def open_estimator(bench: Bench) -> Estimator:
    """The estimator of a study."""
    config = bench.config
    setup = Setup(
        judge=bench.judge,
        training=config.candidate,
        options=config.estimate.model_copy(update={"space": config.space}),
        seed=config.seed,
        finished=lambda: finished(config),
        step_context=bench.lane.work,
        progress=lambda done, total: bench.report("train", done, total),
    )
    return make(config.estimator, setup)


def with_supernet(config: SearchConfig, retrain: bool) -> SearchConfig:
    """The configuration that names its supernet: the one given, one of the study's own, or one that the project ships.

    Raises:
        InputError: there is none, or `retrain` has no use.
    """
    given = config.estimate.supernet
    if config.estimator != "supernet" or given:
        if retrain:
            why = f"estimate.supernet: {given} is given" if given else "--estimator: is not supernet"
            raise InputError(f"{why}, so that --retrain has no use; leave one out")
        return config
    path = config.folder / "supernet.safetensors" if retrain else shipped_supernet(config)
    return config.model_copy(update={"estimate": config.estimate.model_copy(update={"supernet": str(path)})})


def shipped_supernet(config: SearchConfig) -> Path:
    """The project's own supernet of a study's space, scale and data.

    Raises:
        InputError: none of these.
    """
    from explore.train.supernet import load_supernet

    space, reasons = Space.named(config.space).at(config.scale), []
    for path in sorted(SHIPPED.glob("*.safetensors")):
        try:
            _, facts = load_supernet(path, space)
        except InputError as error:
            reasons.append(str(error))
            continue
        if facts["data"] == config.data.replace(":", "-"):
            return path
        reasons.append(f"{path}: trained on {facts['data']}")
    why = reasons[0].split("; ")[0] if len(reasons) == 1 else f"none in {SHIPPED} fits this study"
    raise InputError(
        f"estimate.supernet: none given, and {why}; give --retrain, or the file of train --supernet {config.space}"
    )


def check(config: SearchConfig, space: Space) -> None:
    """Refuse a supernet that does not fit before any time is spent.

    Raises:
        InputError: none given, or one of another space.
    """
    if config.estimator == "supernet":
        open_supernet(config.estimate.supernet, space)
