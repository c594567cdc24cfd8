"""Training of supernets by the sandwich rule (Yu et al. 2019), their checkpoints, and their subnets.

A run trains the largest network of a space with `SandwichObjective` in the ordinary training loop.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from arch.cost import cost
from arch.elastic import SuperNet, extract, recalibrate
from arch.errors import InputError
from arch.files import write_atomic
from arch.network import PoseNet
from arch.search_space import Dimension, Space, make_space
from arch.space import Arch
from explore.data.batches import Batch
from explore.data.config import DataConfig
from explore.data.sample import training_notes
from explore.evaluation.evaluator import Evaluator, open_evaluators
from explore.progress import Display
from explore.train.config import TrainConfig
from explore.train.engine import Engine
from explore.train.loop import CPU, batch_loss, predict, to_input, train
from explore.train.monitor import TrainingMonitor, run_facts
from explore.train.provenance import trained_on
from quantize.checkpoint import load_network, save_network

CALIBRATION_IMAGES, CALIBRATION_BATCH, CALIBRATION_SEED = 512, 64, 7
SUBNETS = 2  # random subnets per step
EVALUATED_SUBNETS = 3  # random subnets evaluated after training, besides the smallest and the largest


@dataclass(frozen=True)
class SandwichObjective:
    """Loss of a step: the mean over the largest, the smallest and `subnets` random networks of the space.

    The random networks depend only on seed and step, so that a resumed run draws the same ones.
    """

    supernet: SuperNet
    config: TrainConfig
    seed: int
    subnets: int = SUBNETS

    @property
    def identity(self) -> Any:
        return [self.supernet.space.model_dump(mode="json", include={"base", "dimensions"}), self.subnets]

    def draw(self, step: int) -> list[Arch]:
        """Return the networks of a step."""
        rng = random.Random(f"{self.seed} {step}")
        chosen = [self.supernet.space.sample(rng) for _ in range(self.subnets)]
        return [self.supernet.largest, self.supernet.smallest, *chosen]

    def __call__(self, net: PoseNet, batch: Batch, step: int, engine: Engine = CPU) -> Tensor:
        x = to_input(batch.images, engine.device)
        self.supernet.net = net
        losses = []
        for arch in self.draw(step):
            with engine.autocast():
                raw = self.supernet.forward_heatmaps(x, arch)
            losses.append(batch_loss(raw.float(), arch, batch, self.config, engine))
        return torch.stack(losses).mean()


def train_supernet(
    space: Space,
    data: DataConfig,
    config: TrainConfig,
    seed: int,
    out: Path,
    display: Display,
    subnets: int = SUBNETS,
    init_from: Path | None = None,
    workers: int = 0,
    processes: int = 1,
    engine: Engine = CPU,
) -> dict[str, Any]:
    """Train the supernet of `space`, or resume an earlier call, and write its checkpoint to `out`.

    Returns the facts written to `out` with the suffix .json, the errors of some subnets on the validation part among
    them.

    workers: processes that load batches
    processes: processes that render the embedded set on its first use

    Raises:
        InputError: no supernet can hold the space, or as `explore.train.loop.train`.
    """
    supernet = SuperNet(space, seed)
    with display:
        display.stage("data")
        parts = open_evaluators(data, processes, lambda done, total: display.update(done / max(1, total)))
        evaluator = parts.validation  # a search chooses among the subnets by their errors on it
        for line in training_notes(evaluator.train, evaluator.data):
            display.log(line)
        if space.num_joints != len(evaluator.train.skeleton):
            space = space.with_num_joints(len(evaluator.train.skeleton))
            supernet = SuperNet(space, seed)
        display.stage(f"training the supernet of {space.name}")
        monitor = TrainingMonitor(evaluator, display)
        result = train(
            supernet.largest,
            evaluator.train,
            config,
            seed,
            out.with_suffix(".state"),
            init_from,
            progress=monitor.progress,
            workers=workers,
            on_loss=monitor.on_loss,
            engine=engine,
            objective=SandwichObjective(supernet, config, seed, subnets),
        )
        display.stage("evaluating subnets")
        batches = calibration_batches(evaluator, device=engine.device)
        rng = random.Random(seed)
        chosen = [supernet.smallest, *(space.sample(rng) for _ in range(EVALUATED_SUBNETS)), supernet.largest]
        rows: list[dict[str, Any]] = []
        for index, arch in enumerate(chosen):
            net = recalibrated(result.net, arch, batches)
            accuracy = evaluator.evaluate(predict(net, evaluator.evaluation.images, device=engine.device))
            rows.append({"arch_id": arch.id, "macs": cost(arch).macs, "mpjpe_mm": accuracy.mpjpe})
            display.update((index + 1) / len(chosen))
    facts = run_facts(evaluator, result, config, seed) | {
        "name": f"supernet of {space.name}",
        "cpu_seconds": round(result.cpu_seconds, 1),
        "trained_with": engine.name,
        "subnets_a_step": subnets,
        "subnets": rows,
    }
    save_supernet(out, result.net, space, facts | trained_on(evaluator))
    write_atomic(out.with_suffix(".json"), json.dumps(facts, indent=1))
    out.with_suffix(".state").unlink(missing_ok=True)
    return facts


def save_supernet(path: Path, net: PoseNet, space: Space, facts: dict[str, Any]) -> None:
    """Write the weights of a supernet's largest network together with the space."""
    save_network(path, net, {"space": space.model_dump(mode="json"), **facts})


def load_supernet(path: str | Path, space: Space) -> tuple[PoseNet, dict[str, Any]]:
    """Return the largest network of a supernet's checkpoint and the facts stored with it.

    The number of joints follows from the data and may differ from that of `space`.

    Raises:
        InputError: not a supernet's checkpoint, or one of another space; names the first difference.
    """
    net, facts = load_network(path)
    if "space" not in facts:
        raise InputError(f"{path}: a single network, no supernet; make one with train --supernet {space.name}")
    stored = make_space(dict(facts["space"]), str(path))  # type: ignore[call-overload]
    difference = first_difference(stored, space.with_num_joints(stored.num_joints))
    if difference:
        raise InputError(
            f"{path}: made for another space: {difference}; train a supernet for this space, or search that space"
        )
    return net, facts


def first_difference(stored: Space, wanted: Space) -> str:
    """Describe the first difference between two spaces; return an empty string if there is none."""
    for key in dict.fromkeys((*stored.base, *wanted.base)):
        if stored.base.get(key) != wanted.base.get(key):
            return f"base.{key} is {stored.base.get(key)} there, {wanted.base.get(key)} here"
    for key in dict.fromkeys((*stored.dimensions, *wanted.dimensions)):
        there, here = stored.dimensions.get(key), wanted.dimensions.get(key)
        if there != here:
            return f"dimensions.{key} is {_values(there)} there, {_values(here)} here"
    return ""


def _values(dimension: Dimension | None) -> str:
    if dimension is None:
        return "absent"
    return ", ".join(map(str, dimension.values)) + (" with conditions" if dimension.when else "")


def calibration_batches(
    evaluator: Evaluator, images: int = CALIBRATION_IMAGES, device: torch.device = CPU.device
) -> list[Tensor]:
    """Return batches of unaugmented training crops for `recalibrated`; every call returns the same crops."""
    crops = evaluator.calibration(images, CALIBRATION_SEED)
    return [to_input(crops[begin : begin + CALIBRATION_BATCH], device) for begin in range(0, images, CALIBRATION_BATCH)]


def recalibrated(supernet: PoseNet, arch: Arch, batches: list[Tensor]) -> PoseNet:
    """Return the subnet `arch` of a supernet with batch-norm statistics computed from `batches`, on their device."""
    return recalibrate(extract(supernet, arch).to(batches[0].device), batches)
