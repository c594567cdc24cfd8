"""The training loop. A run is a function of arch, data, configuration and seed, and goes on where it was stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arch.decode import MEAN, STD, to_normalised
from arch.network import PoseNet, build
from arch.space import Arch
from explore.config import TrainConfig
from explore.data.crop import AUGMENTS, batch_at
from explore.data.sample import Dataset
from explore.train.checkpoint import load_state, load_tensors, save_network, save_tensors
from explore.train.loss import pose_loss

CHECKPOINT_SECONDS = 20.0


class Diverged(RuntimeError):
    """The loss is no number for too many steps."""


@dataclass(frozen=True)
class TrainResult:
    """What a run gave: the network in evaluation mode, samples seen, seconds and the mean loss of its last tenth."""

    net: PoseNet
    samples: int
    seconds: float
    loss: float
    skipped_steps: int


def to_input(images: NDArray[np.uint8]) -> Tensor:
    """(B, S, S, 3) RGB bytes to the network's normalised input (B, 3, S, S), channels last in memory."""
    x = torch.from_numpy(np.ascontiguousarray(images)).float()
    x = (x / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    return x.permute(0, 3, 1, 2)


def learning_rate(config: TrainConfig, progress: float) -> float:
    """Rate at a share `progress` of the run: linear rise, then a cosine to a hundredth."""
    rise = min(1.0, progress / config.warmup) if config.warmup else 1.0
    return config.rate * rise * (0.99 * (0.5 + 0.5 * math.cos(math.pi * progress)) + 0.01)


def train(
    arch: Arch,
    data: Dataset,
    config: TrainConfig,
    seed: int,
    state: Path,
    start: Path | None = None,
    step_context: Callable[[], AbstractContextManager[None]] = nullcontext,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TrainResult:
    """Train the network of `arch` on `data`.

    Args:
        state: file for the running state; a run that finds one made by the same call goes on from it.
        start: weights to start from; random ones from `seed` where there are none.
        step_context: entered around every step, so that a measurement can hold training still.
        progress: told samples seen and samples in all.

    Raises:
        Diverged: the loss was not finite in more than one step in ten.
        InputError: `state` or `start` is of another network.
    """
    net = build(arch, seed)
    if start is not None:
        tensors, _ = load_tensors(start)
        load_state(net, tensors, str(start))
    net = net.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(net.parameters(), config.rate, weight_decay=config.weight_decay)
    steps = math.ceil(config.samples / config.batch)
    step, seconds, skipped = 0, 0.0, 0
    losses: list[float] = []
    if state.exists():
        step, seconds, skipped = _resume(state, net, optimizer)
    clock = saved = time.monotonic()
    while step < steps:
        with step_context():
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step / steps)
            batch = batch_at(data, step, config.batch, arch.input, AUGMENTS[config.augment], seed)
            raw = net.forward_heatmaps(to_input(batch.images))
            target, visible = torch.from_numpy(batch.target), torch.from_numpy(batch.vis)
            depth = torch.from_numpy(batch.has_depth)
            loss = pose_loss(raw, target, visible, arch, config.heatmap_loss, depth)
            value = float(loss.detach())
            if math.isfinite(value):
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimizer.step()
                losses.append(value)
            else:
                skipped += 1
                if skipped > max(3, steps // 10):
                    raise Diverged(f"loss was not finite in {skipped} of {step + 1} steps; lower the rate")
        step += 1
        progress(min(step * config.batch, config.samples), config.samples)
        if time.monotonic() - saved > CHECKPOINT_SECONDS and step < steps:
            saved = time.monotonic()
            _save(state, net, optimizer, step, seconds + saved - clock, skipped)
    net.eval()
    last = losses[-max(1, steps // 10) :]
    return TrainResult(
        net,
        steps * config.batch,
        seconds + time.monotonic() - clock,
        float(np.mean(last)) if last else math.nan,
        skipped,
    )


def _save(state: Path, net: PoseNet, optimizer: torch.optim.Optimizer, step: int, seconds: float, skipped: int) -> None:
    tensors = dict(net.state_dict())
    for index, parameter in enumerate(net.parameters()):
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{index}.{key}"] = torch.as_tensor(value)
    facts = {"arch": net.arch.model_dump(mode="json"), "step": step, "seconds": seconds, "skipped": skipped}
    save_tensors(state, tensors, facts)


def _resume(state: Path, net: PoseNet, optimizer: torch.optim.Optimizer) -> tuple[int, float, int]:
    tensors, facts = load_tensors(state)
    load_state(net, {k: v for k, v in tensors.items() if not k.startswith("optimizer.")}, str(state))
    for index, parameter in enumerate(net.parameters()):
        prefix = f"optimizer.{index}."
        found = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        optimizer.state[parameter] = found
    return int(facts["step"]), float(facts["seconds"]), int(facts["skipped"])  # type: ignore[call-overload, arg-type]


@torch.inference_mode()
def predict(net: PoseNet, crops: NDArray[np.uint8], batch: int = 50) -> NDArray[np.float32]:
    """(N, S, S, 3) crops to coordinates (N, J, 3) as shares of the crop's side and of the depth range."""
    net.eval()
    parts = [net(to_input(crops[i : i + batch])).numpy() for i in range(0, len(crops), batch)]
    return to_normalised(np.concatenate(parts), net.arch)


__all__ = ["Diverged", "TrainResult", "predict", "save_network", "train"]
