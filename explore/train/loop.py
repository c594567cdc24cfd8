"""The training loop. A run is a function of arch, data, configuration and seed, and goes on where it was stopped."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arch.decode import MEAN, STD, to_normalised
from arch.errors import InputError
from arch.files import content_hash, sha256_file
from arch.network import PoseNet, build
from arch.space import Arch
from explore.config import TrainConfig
from explore.data.crop import AUGMENTS, Batch
from explore.data.faults import FAULTY
from explore.data.sample import Dataset
from explore.train.average import Average
from explore.train.backbone import load_backbone
from explore.train.checkpoint import RUNNING, load_tensors, save_network, save_tensors
from explore.train.engine import Engine
from explore.train.loader import load_batches
from explore.train.loss import pose_loss
from quantize.weights import fill

CHECKPOINT_SECONDS = 20.0
CPU = Engine()
STEPS = (17 / 25, 21 / 25)  # of the run (Section 4.2 of the paper: at the 17th and 21st of 25 epochs)


@dataclass(frozen=True)
class Spent:
    """Seconds on the wall's clock and of this process's computing."""

    seconds: float
    cpu_seconds: float


class Clock:
    """Counts on from what earlier parts of a run spent."""

    def __init__(self, before: Spent) -> None:
        self.start = Spent(time.monotonic() - before.seconds, time.process_time() - before.cpu_seconds)

    def spent(self) -> Spent:
        return Spent(time.monotonic() - self.start.seconds, time.process_time() - self.start.cpu_seconds)


class Diverged(RuntimeError):
    """The loss is no number for too many steps."""


@dataclass(frozen=True)
class TrainResult:
    """What a run gave: the network in evaluation mode, samples seen, seconds and the mean loss of its last tenth.

    cpu_seconds: what this process computed for it, worker processes left out.
    faults: a line for every picture that could not be used and was passed over.
    """

    net: PoseNet
    samples: int
    seconds: float
    loss: float
    skipped_steps: int
    cpu_seconds: float
    faults: tuple[str, ...] = ()


class Objective(Protocol):
    """The loss of a step; `identity` tells it from others in a run's state, empty for the plain one."""

    @property
    def identity(self) -> Any: ...

    def __call__(self, net: Any, batch: Batch, step: int, engine: Engine) -> Tensor:
        """`net`: what `Engine.setup` made of the network."""
        ...


@dataclass(frozen=True)
class PoseObjective:
    """The pose loss of the network itself."""

    config: TrainConfig
    identity: Any = None

    def __call__(self, net: Any, batch: Batch, step: int, engine: Engine = CPU) -> Tensor:
        with engine.autocast():
            raw = net.forward_heatmaps(to_input(batch.images).to(engine.device))
        return batch_loss(raw.float(), net.arch, batch, self.config, engine)


def batch_loss(raw: Tensor, arch: Arch, batch: Batch, config: TrainConfig, engine: Engine = CPU) -> Tensor:
    """`pose_loss` of a network's raw output on this process's share of a batch."""
    target, visible, depth = (
        torch.from_numpy(part).to(engine.device) for part in (batch.target, batch.vis, batch.has_depth)
    )
    seen = engine.mean(visible.sum()).clamp(min=1 / engine.world)
    return pose_loss(raw, target, visible, arch, config.heatmap_loss, depth, seen)


def to_input(images: NDArray[np.uint8]) -> Tensor:
    """(B, S, S, 3) RGB bytes to the network's normalised input (B, 3, S, S), channels last in memory."""
    count, height, width, channels = images.shape
    std = torch.tensor(STD, dtype=torch.float64)
    scale, bias = 1 / (255 * std), -torch.tensor(MEAN, dtype=torch.float64) / std
    # a whole row at a time: eight times faster than over the three channels
    rows = torch.from_numpy(np.ascontiguousarray(images)).view(count, height, width * channels).float()
    rows.mul_(scale.float().repeat(width)).add_(bias.float().repeat(width))
    return rows.view(count, height, width, channels).permute(0, 3, 1, 2)


def learning_rate(config: TrainConfig, progress: float) -> float:
    """Rate at a share `progress` of the run: linear rise, then a cosine to a hundredth, or the paper's two steps."""
    rise = min(1.0, progress / config.warmup) if config.warmup else 1.0
    if config.schedule == "steps":
        return config.rate * rise * 0.1 ** sum(progress >= step for step in STEPS)
    return config.rate * rise * (0.99 * (0.5 + 0.5 * math.cos(math.pi * progress)) + 0.01)


def _optimizer(net: PoseNet, config: TrainConfig) -> torch.optim.Optimizer:
    if config.optimizer == "adam":
        return torch.optim.Adam(net.parameters(), config.rate)
    return torch.optim.AdamW(net.parameters(), config.rate, weight_decay=config.weight_decay)


def train(
    arch: Arch,
    data: Dataset,
    config: TrainConfig,
    seed: int,
    state: Path,
    start: Path | None = None,
    step_context: Callable[[], AbstractContextManager[None]] = nullcontext,
    progress: Callable[[int, int], None] = lambda done, total: None,
    workers: int = 0,
    told_loss: Callable[[int, float], None] = lambda step, loss: None,
    backbone: Path | None = None,
    engine: Engine = CPU,
    evaluate: Callable[[PoseNet, int], None] = lambda net, step: None,
    evaluations: int = 0,
    objective: Objective | None = None,
    evaluated: list[tuple[int, float]] | None = None,
) -> TrainResult:
    """Train the network of `arch` on `data`.

    Args:
        state: file for the running state; a run that finds one made by the same call goes on from it.
        start: weights to start from; random ones from `seed` where there are none.
        step_context: entered around every step, so that a measurement can hold training still.
        progress: told samples seen and samples in all.
        workers: processes that load batches ahead; the batches are the same with any number.
        told_loss: told the step and its loss.
        backbone: weights for the encoder alone (explore.train.backbone).
        engine: device, precision and processes; in all but the first process nothing is told or evaluated.
        evaluate: given the network as it would be if the run ended here, and the step.
        evaluations: how often, evenly over the run, the last time before its end.
        objective: what is learned, where it is not the pose of this network alone.
        evaluated: what `evaluate` has found, (step, mm), and adds to; a run that goes on gets its earlier ones back.

    A step whose loss is not finite is skipped and leaves no trace, in batch statistics either.

    Raises:
        Diverged: the loss was not finite in more than one step in ten; `state` has the last good weights.
        InputError: `state` or `start` is of another network, `state` of another run (its data, configuration or
            seed), or more pictures are faulty than explore.data.faults allows.
    """
    if config.batch < engine.world:
        raise InputError(f"batch: {config.batch} samples for {engine.world} processes; give each at least one")
    if arch.joints != len(data.skeleton):
        raise InputError(
            f"arch {arch.name}: joints: {arch.joints}, data {data.name} has {len(data.skeleton)}; make them equal"
        )
    net = build(arch, seed)
    if start is not None:
        tensors, _ = load_tensors(start)
        fill(net, tensors, str(start))
    if backbone is not None:
        load_backbone(net, backbone)
    net = net.to(engine.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = _optimizer(net, config)
    average = Average(net, config.ema) if config.ema else None
    steps = math.ceil(config.samples / config.batch)
    tail = max(1, steps // 10)
    step, skipped, before = 0, 0, Spent(0.0, 0.0)
    losses: deque[float] = deque(maxlen=tail)
    faults: dict[str, None] = {}
    learned: Objective = objective or PoseObjective(config)
    run = _run_hash(data, config, seed, engine, backbone, learned)
    found = evaluated if evaluated is not None else []
    if state.exists():
        step, skipped, before = _resume(state, net, optimizer, average, losses, run, found, faults)
    statistics = [buffer for buffer in net.buffers() if buffer.is_floating_point()]
    good = [buffer.clone() for buffer in statistics]
    engine.wait()  # all have read the state before the first writes a new one
    told = engine.rank == 0
    due = {steps * turn // evaluations for turn in range(1, evaluations)}
    computing = engine.setup(net)
    clock, saved = Clock(before), time.monotonic()
    batches = load_batches(
        data, range(step, steps), config.batch, arch.input, AUGMENTS[config.augment], seed, workers, engine.share
    )

    def save() -> None:
        spent = clock.spent()
        facts = {"step": step, "skipped": skipped, "run": run, "evaluated": found, "faults": list(faults)}
        _save(state, net, optimizer, average, losses, facts | asdict(spent))

    while step < steps:
        with step_context():
            batch = next(batches)
            _judge_faults(faults, batch.faults, data)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step / steps)
            loss = learned(computing, batch, step, engine)
            value = float(engine.mean(loss))
            if math.isfinite(value):
                optimizer.zero_grad()
                engine.backward(loss)
                if config.clip:
                    torch.nn.utils.clip_grad_norm_(net.parameters(), config.clip)
                optimizer.step()
                if average:
                    average.update(net, step)
                losses.append(value)
                torch._foreach_copy_(good, statistics)
            else:
                torch._foreach_copy_(statistics, good)
                skipped += 1
                if skipped > max(3, steps // 10):
                    if told:
                        save()
                    raise Diverged(
                        f"loss was not finite in {skipped} of {step + 1} steps; lower the rate and delete {state}, "
                        "which has the last good weights"
                    )
        step += 1
        if told:
            told_loss(step, value)
            progress(min(step * config.batch, config.samples), config.samples)
            if step in due:
                evaluate(_finished(net, average), step)
            if time.monotonic() - saved > CHECKPOINT_SECONDS and step < steps:
                saved = time.monotonic()
                save()
    spent = clock.spent()
    return TrainResult(
        _finished(net, average),
        steps * config.batch,
        spent.seconds,
        float(np.mean(losses)) if losses else math.nan,
        skipped,
        spent.cpu_seconds,
        tuple(faults),
    )


def _finished(net: PoseNet, average: Average | None) -> PoseNet:
    """The network that a run would end with now: a copy on the CPU, averaged where asked, in evaluation mode."""
    copy = build(net.arch, 0)
    copy.load_state_dict(net.state_dict())
    if average:
        average.copy_to(copy)
    return copy.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def _run_hash(
    data: Dataset, config: TrainConfig, seed: int, engine: Engine, backbone: Path | None, objective: Objective
) -> str:
    """Everything that the result depends on, pictures by their sizes in bytes; the number of processes is none of it."""
    facts = {
        "data": data.hash,
        "pictures": data.picture_hash(),
        "config": config.model_dump(mode="json"),
        "seed": seed,
        "precision": engine.precision,
        "backbone": sha256_file(backbone) if backbone else "",
        "objective": objective.identity,
    }
    return content_hash(facts)


def _judge_faults(faults: dict[str, None], new: tuple[str, ...], data: Dataset) -> None:
    """Count pictures that were passed over, each once."""
    faults.update(dict.fromkeys(new))
    if new and len(faults) > FAULTY * len(data):
        more = f" (and {len(faults) - 1} more of {len(data)} samples so far)" if len(faults) > 1 else ""
        raise InputError(f"{next(iter(faults))}{more}; data check lists all")


def _save(
    state: Path,
    net: PoseNet,
    optimizer: torch.optim.Optimizer,
    average: Average | None,
    losses: deque[float],
    facts: dict[str, object],
) -> None:
    tensors = dict(net.state_dict())
    for index, parameter in enumerate(net.parameters()):
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{index}.{key}"] = torch.as_tensor(value)
    if average:
        tensors |= {f"average.{name}": tensor for name, tensor in average.tensors.items()}
    tensors["run.losses"] = torch.tensor(losses, dtype=torch.float64)
    save_tensors(state, tensors, {"arch": net.arch.model_dump(mode="json"), **facts})


def _resume(
    state: Path,
    net: PoseNet,
    optimizer: torch.optim.Optimizer,
    average: Average | None,
    losses: deque[float],
    run: str,
    evaluated: list[tuple[int, float]],
    faults: dict[str, None],
) -> tuple[int, int, Spent]:
    """Step, skipped steps and what was spent; all else is put in its place."""
    tensors, facts = load_tensors(state)
    if facts.get("run", run) != run:
        raise InputError(
            f"{state}: of another run: its data, configuration or seed differ; undo the change, or delete the file"
        )
    fill(net, {k: v for k, v in tensors.items() if not k.startswith(RUNNING)}, str(state))
    losses.extend(tensors["run.losses"].tolist())
    for index, parameter in enumerate(net.parameters()):
        prefix = f"optimizer.{index}."
        found = {
            key.removeprefix(prefix): value if key.endswith(".step") else value.to(parameter.device)
            for key, value in tensors.items()
            if key.startswith(prefix)
        }
        optimizer.state[parameter] = found
    if average:
        for name, tensor in average.tensors.items():
            tensor.copy_(tensors[f"average.{name}"])
    evaluated[:] = [(int(at), float(mm)) for at, mm in facts.get("evaluated", [])]  # type: ignore[attr-defined]
    faults.update(dict.fromkeys(facts.get("faults", [])))  # type: ignore[call-overload]
    number = {key: float(facts[key]) for key in ("step", "skipped", "seconds", "cpu_seconds")}  # type: ignore[arg-type]
    return int(number["step"]), int(number["skipped"]), Spent(number["seconds"], number["cpu_seconds"])


@torch.inference_mode()
def predict(
    net: PoseNet,
    crops: NDArray[np.uint8],
    batch: int = 50,
    flip_order: NDArray[np.int_] | None = None,
    device: torch.device | None = None,
) -> NDArray[np.float32]:
    """(N, S, S, 3) crops to coordinates (N, J, 3) as shares of the crop's side and of the depth range.

    flip_order: of the skeleton; the mean with the mirrored crop's answer is given (the paper's flip test).
    device: where to compute; where the network is if left out.
    """
    place = device or next(net.parameters()).device
    net.eval().to(place)
    parts = [net(to_input(crops[i : i + batch]).to(place)).cpu().numpy() for i in range(0, len(crops), batch)]
    found = to_normalised(np.concatenate(parts), net.arch)
    if flip_order is None:
        return found
    mirrored = predict(net, np.ascontiguousarray(crops[:, :, ::-1]), batch, None, place)[:, flip_order]
    mirrored[..., 0] = 1 - mirrored[..., 0]
    return ((found + mirrored) / 2).astype(np.float32)


__all__ = ["Diverged", "TrainResult", "predict", "save_network", "train"]
