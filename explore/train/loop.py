"""The training loop, and inference in batches.

The result of a run depends only on the architecture, the data, the configuration and the seed. A run saves its state
from time to time; started again, it resumes from there with identical results.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arch.decode import IMAGENET_MEAN, IMAGENET_STD, to_normalised
from arch.errors import InputError, WorkError
from arch.network import PoseNet, build
from arch.space import Arch
from explore.data.augment import AUGMENTS
from explore.data.batches import Batch
from explore.data.sample import Dataset
from explore.data.sample_errors import max_skipped
from explore.evaluation.evaluator import Evaluator
from explore.host import keep_freed_memory
from explore.train.backbone import load_backbone
from explore.train.config import TrainConfig
from explore.train.engine import Engine
from explore.train.identity import run_identity
from explore.train.loader import load_batches
from explore.train.loss import pose_loss
from explore.train.provenance import trained_on
from explore.train.state import LastFiniteWeights, TrainingState
from quantize.checkpoint import load_network, save_network

CHECKPOINT_SECONDS = 20.0
CPU = Engine()
MILESTONES = (17 / 25, 21 / 25)  # of the run; Section 4.2 of the paper: epochs 17 and 21 of 25
MAX_SKIPPED_IN_A_ROW = 10


class Diverged(WorkError):
    """Too many steps had no finite loss or gradient."""


@dataclass(frozen=True)
class TrainResult:
    """Result of a training run.

    net:         the trained network on the CPU, in evaluation mode
    samples:     training samples seen
    seconds:     wall-clock time, earlier parts of a resumed run included
    loss:        mean loss of the last tenth of the run
    cpu_seconds: CPU time of this process, without that of worker processes
    errors:      one message for each image that could not be used and was skipped
    """

    net: PoseNet
    samples: int
    seconds: float
    loss: float
    skipped_steps: int
    cpu_seconds: float
    errors: tuple[str, ...] = ()


class Objective(Protocol):
    """The loss of a training step. A state is restored only if its objective had the same `identity`, a JSON value."""

    @property
    def identity(self) -> Any: ...

    def __call__(self, net: Any, batch: Batch, step: int, engine: Engine) -> Tensor:
        """Return the loss; `net` is the result of `Engine.setup`."""
        ...


@dataclass(frozen=True)
class PoseObjective:
    """The pose loss of the network itself."""

    config: TrainConfig
    identity: Any = None

    def __call__(self, net: Any, batch: Batch, step: int, engine: Engine = CPU) -> Tensor:
        with engine.autocast():
            raw = net.forward_heatmaps(to_input(batch.images, engine.device))
        return batch_loss(raw.float(), net.arch, batch, self.config, engine)


def batch_loss(raw: Tensor, arch: Arch, batch: Batch, config: TrainConfig, engine: Engine = CPU) -> Tensor:
    """Return `pose_loss` for the raw output of this process's part of a batch, normalised over the whole batch."""
    target, visible, depth, negative = (
        torch.from_numpy(part).to(engine.device)
        for part in (batch.target, batch.vis, batch.depth_weight, batch.negative)
    )
    return pose_loss(raw, target, visible, arch, config.heatmap_loss, depth, joint_count(batch, engine), negative)


def joint_count(batch: Batch, engine: Engine) -> Tensor:
    """Return the joints that losses are means over: the visible ones, and all of images without people.

    It is the mean over the processes.
    """
    count = float(batch.vis.sum()) + float(batch.negative.sum()) * batch.vis.shape[1]
    return engine.mean(torch.tensor(count, device=engine.device)).clamp(min=1 / engine.world_size)


def to_input(images: NDArray[np.uint8], device: torch.device = CPU.device) -> Tensor:
    """Normalise (B, S, S, 3) RGB bytes to the input (B, 3, S, S) on `device`, in channels-last memory format."""
    count, height, width, channels = images.shape
    std = torch.tensor(IMAGENET_STD, dtype=torch.float64)
    scale, bias = 1 / (255 * std), -torch.tensor(IMAGENET_MEAN, dtype=torch.float64) / std
    # broadcasting over whole rows is eight times as fast as over the three channels
    rows = torch.from_numpy(np.ascontiguousarray(images)).to(device).view(count, height, width * channels).float()
    rows.mul_(scale.float().repeat(width).to(device)).add_(bias.float().repeat(width).to(device))
    return rows.view(count, height, width, channels).permute(0, 3, 1, 2)


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """Return the learning rate of step `step` of `steps`, counted from 0. It is never 0.

    A linear warm-up times a cosine over the whole run, from `config.learning_rate` down to 1% of it, or the paper's two
    steps.
    """
    progress = step / steps
    warmup = min(1.0, (step + 1) / (config.warmup * steps)) if config.warmup else 1.0
    if config.schedule == "steps":
        return config.learning_rate * warmup * 0.1 ** sum(progress >= milestone for milestone in MILESTONES)
    return config.learning_rate * warmup * (0.99 * (0.5 + 0.5 * math.cos(math.pi * progress)) + 0.01)


def train(
    arch: Arch,
    data: Dataset,
    config: TrainConfig,
    seed: int,
    state_file: Path,
    init_from: Path | None = None,
    step_context: Callable[[], AbstractContextManager[None]] = nullcontext,
    progress: Callable[[int, int], None] = lambda done, total: None,
    workers: int = 0,
    on_loss: Callable[[int, float], None] = lambda step, loss: None,
    backbone: Path | None = None,
    engine: Engine = CPU,
    evaluate: Callable[[PoseNet, int], None] = lambda net, step: None,
    evaluations: int = 0,
    objective: Objective | None = None,
    history: list[tuple[int, float]] | None = None,
    identity: dict[str, Any] | None = None,
) -> TrainResult:
    """Train the network of `arch` on `data`.

    A step without a finite loss, gradient and weights is skipped and counted; it changes neither weights nor batch-norm
    statistics. Only the main process calls `on_loss`, `progress` and `evaluate` and writes `state_file`.

    Args:
        state_file: where the state is saved every 20 s. If the file exists, the run resumes from it. It is not deleted.
        init_from: checkpoint with the initial weights, of the same network at any input size. Default: random weights
            from `seed`.
        step_context: entered around every step, so that a latency measurement can pause training.
        progress: called after each step with the samples seen and the samples in all.
        workers: number of processes that load batches ahead; it does not change the batches.
        on_loss: called after each step with its number, from 1, and its loss.
        backbone: weights of the encoder only, see `explore.train.backbone`.
        engine: device, precision and processes.
        evaluate: called with the network as it would be if the run ended now, and the step.
        evaluations: number of evaluations, evenly spread over the run. The last one, at the end, is left to the caller.
            With `init_from`, one more precedes the first step.
        objective: the loss. Default: the pose loss of the network itself; see also `explore.train.distill`.
        history: (step, MPJPE in mm) of the evaluations. `evaluate` appends to it; a resumed run restores it.
        identity: what `evaluate` and the caller depend on, such as the test data; added to that of the run.

    Raises:
        Diverged: a tenth of the steps, or MAX_SKIPPED_IN_A_ROW in a row, were skipped; `state_file` has the last finite
            weights.
        InputError: `init_from` belongs to another network, `state_file` to a run of another identity (see
            `explore.train.identity`), or more images are unusable than `explore.data.sample_errors` allows.
    """
    keep_freed_memory()
    if config.batch_size < 2 * engine.world_size:
        raise InputError(
            f"batch_size: {config.batch_size} for {engine.world_size} processes; batch normalisation needs at least two "
            "samples in each"
        )
    if arch.num_joints != len(data.skeleton):
        raise InputError(
            f"arch {arch.name}: num_joints: {arch.num_joints}, but data {data.name} has {len(data.skeleton)} joints; "
            "make them equal"
        )
    net = build(arch, seed) if init_from is None else load_network(init_from, arch, any_size=True)[0]
    if backbone is not None:
        load_backbone(net, backbone)
    net = net.to(engine.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    objective = objective or PoseObjective(config)
    run = run_identity(
        arch, data, config, seed, engine.precision, init_from, backbone, objective.identity, identity or {}
    )
    state = TrainingState(net, config, run, [] if history is None else history)
    if state_file.exists():
        state.restore(state_file)
    engine.barrier()  # every process has read the state before the main process overwrites it
    steps, saved = state.steps, time.monotonic()
    evaluation_steps = {steps * index // evaluations for index in range(1, evaluations)}
    module = engine.setup(net)
    weights = LastFiniteWeights(net)
    augment, todo = AUGMENTS[config.augment], range(state.step, steps)
    batches = load_batches(data, todo, config.batch_size, arch.input_size, augment, seed, workers, engine.shard)
    if init_from is not None and evaluations and not state.step and engine.is_main_process:
        evaluate(state.final_network(), 0)
    while state.step < steps:
        with step_context():
            batch = next(batches)
            _add_errors(state.errors, batch.errors, data)
            for group in state.optimizer.param_groups:
                group["lr"] = learning_rate(config, state.step, steps)
            loss = objective(module, batch, state.step, engine)
            value = float(engine.mean(loss))
            if math.isfinite(value) and _update(state, weights, loss, config, engine):
                weights.keep()
                if state.average:
                    state.average.update(net, state.step)
                state.losses.append(value)
                state.skipped_in_a_row = 0
            else:
                weights.put_back()
                state.skipped_steps += 1
                state.skipped_in_a_row += 1
                _check_skipped(state, state_file, engine)
        state.step += 1
        if engine.is_main_process:
            on_loss(state.step, value)
            progress(min(state.step * config.batch_size, config.samples), config.samples)
            if state.step in evaluation_steps:
                evaluate(state.final_network(), state.step)
            if time.monotonic() - saved > CHECKPOINT_SECONDS and state.step < steps:
                saved = time.monotonic()
                state.save(state_file)
    seconds, cpu_seconds = state.elapsed()
    loss_mean = float(np.mean(state.losses)) if state.losses else math.nan
    samples, skipped, errors = steps * config.batch_size, state.skipped_steps, tuple(state.errors)
    return TrainResult(state.final_network(), samples, seconds, loss_mean, skipped, cpu_seconds, errors)


def _update(
    state: TrainingState, weights: LastFiniteWeights, loss: Tensor, config: TrainConfig, engine: Engine
) -> bool:
    """Do one optimizer step. Return False if it has to be undone: a gradient or a value of the network is not finite.

    The square of the gradient's norm must be finite, too, because Adam squares gradients. All processes return the
    same.
    """
    parameters = list(state.net.parameters())
    state.optimizer.zero_grad()
    engine.backward(loss)
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if not engine.all(bool(norm.square().isfinite())):
        return False
    if config.grad_clip:
        torch.nn.utils.clip_grads_with_norm_(parameters, config.grad_clip, norm)
    state.optimizer.step()
    return engine.all(weights.are_finite())


def _check_skipped(state: TrainingState, state_file: Path, engine: Engine) -> None:
    """Save the state and raise Diverged if too many steps were skipped, or all of a short run."""
    done = state.step + 1
    too_many = state.skipped_steps > max(3, state.steps // 10) or state.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW
    if not too_many and state.skipped_steps < state.steps:
        return
    if engine.is_main_process:
        state.save(state_file)
    raise Diverged(
        f"{state_file}: loss or gradient not finite in {state.skipped_steps} of {done} steps, "
        f"{state.skipped_in_a_row} of them in a row; lower the learning rate and delete the file, which has the last "
        "finite weights"
    )


def _add_errors(errors: dict[str, None], new: tuple[str, ...], data: Dataset) -> None:
    """Add messages about skipped images, each once; raise InputError if there are too many."""
    errors.update(dict.fromkeys(new))
    if new and len(errors) > max_skipped(len(data)):
        more = f" (and {len(errors) - 1} more of {len(data)} samples so far)" if len(errors) > 1 else ""
        raise InputError(f"{next(iter(errors))}{more}; data check lists all")


@torch.inference_mode()
def predict(
    net: PoseNet,
    crops: NDArray[np.uint8],
    batch_size: int = 50,
    flip_order: NDArray[np.int_] | None = None,
    device: torch.device | None = None,
    step_context: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> NDArray[np.float32]:
    """Predict coordinates (N, J, 3), fractions of the crop's side and of the depth range, of (N, S, S, 3) crops.

    flip_order: joint order of the mirrored skeleton; if given, average with the prediction for the mirrored crop (the
        paper's flip test).
    device: where to compute. Default: where the network is.
    step_context: entered around each batch, so that a latency measurement can pause the prediction.
    """
    device = device or next(net.parameters()).device
    net.eval().to(device)
    parts = []
    for start in range(0, len(crops), batch_size):
        with step_context():
            parts.append(net(to_input(crops[start : start + batch_size], device)).cpu().numpy())
    found = to_normalised(np.concatenate(parts), net.arch)
    if flip_order is None:
        return found
    flipped = np.ascontiguousarray(crops[:, :, ::-1])
    mirrored = predict(net, flipped, batch_size, None, device, step_context)[:, flip_order]
    mirrored[..., 0] = 1 - mirrored[..., 0]
    return ((found + mirrored) / 2).astype(np.float32)


@dataclass(frozen=True)
class FloatResult:
    """Error of a trained float network on the evaluated part.

    mpjpe_mm: MPJPE in mm
    seconds: wall-clock time of the training
    cpu_seconds: CPU time of training and evaluation
    """

    mpjpe_mm: float
    seconds: float
    cpu_seconds: float


def train_and_evaluate(
    arch: Arch,
    evaluator: Evaluator,
    config: TrainConfig,
    seed: int,
    weights: Path,
    init_from: Path | None = None,
    step_context: Callable[[], AbstractContextManager[None]] = nullcontext,
    progress: Callable[[int, int], None] = lambda done, total: None,
    engine: Engine = CPU,
    objective: Objective | None = None,
) -> FloatResult:
    """Train `arch`, evaluate it and write its checkpoint to `weights`; resume from the state file beside it.

    Raises:
        Diverged, InputError: as `train`.
    """
    state_file = engine.state_file(weights.with_suffix(".state"))
    result = train(
        arch,
        evaluator.train,
        config,
        seed,
        state_file,
        init_from,
        step_context,
        progress,
        engine=engine,
        objective=objective,
    )
    images = evaluator.evaluation.images  # decoded once for all networks, therefore not counted
    started = time.process_time()
    mm = evaluator.evaluate(predict(result.net, images, device=engine.device, step_context=step_context)).mpjpe
    evaluation_seconds = time.process_time() - started
    facts = {"data": evaluator.train.name, "samples": result.samples, "float_mpjpe_mm": mm}
    if objective is not None and objective.identity:
        facts["objective"] = objective.identity  # the hash of a teacher
    save_network(weights, result.net, facts | trained_on(evaluator))
    state_file.unlink(missing_ok=True)
    return FloatResult(mm, result.seconds, result.cpu_seconds + evaluation_seconds)
