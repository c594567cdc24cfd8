"""Fine-tuning before export: after a replacement of activations, and with simulated INT8 arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import torch

from arch.errors import InputError, did_you_mean
from arch.fields import Activation
from arch.network import PoseNet, build
from arch.space import Arch
from explore.data.augment import AUGMENTS
from explore.data.batches import batch_at
from explore.data.sample import Dataset
from explore.train.config import TrainConfig
from explore.train.loop import CPU, Diverged, joint_count, to_input, train
from explore.train.loss import pose_loss
from quantize import qat
from quantize.checkpoint import fill, save_network
from quantize.recipes import Recipe
from quantize.runtimes import Array

ACTIVATION_RATE = 2e-3
QAT_RATE, QAT_BATCH, QAT_HEATMAP_LOSS = 2e-4, 8, 0.05

Progress = Callable[[int, int], None]


def with_activation(arch: Arch, activation: str) -> Arch:
    """Return the arch with another activation.

    Raises:
        InputError: no such activation, or the one that the arch has already.
    """
    known = get_args(Activation)
    if activation not in known:
        hint = did_you_mean(activation, known)
        raise InputError(f"replace-activations: '{activation}' is not one of {', '.join(known)}{hint}")
    if activation == arch.activation:
        raise InputError(f"replace-activations: the network has {activation} already; leave the option out")
    return arch.replace(activation=activation)


def copy_weights(net: PoseNet, arch: Arch) -> PoseNet:
    """Return a network of `arch`, which differs from that of `net` in its activations, with the weights of `net`.

    The slopes of PReLU are dropped; new ones have their initial value.
    """
    copied = build(arch, 0)
    own, given = copied.state_dict(), net.state_dict()
    kept = {name: given[name] for name in own if name in given and given[name].shape == own[name].shape}
    fill(copied, own | kept, "replace-activations")
    return copied.eval()


def finetune(net: PoseNet, data: Dataset, samples: int, seed: int, folder: Path, progress: Progress) -> PoseNet:
    """Return `net` after further training on `samples` samples; temporary files go to `folder`.

    Raises:
        Diverged: the loss is not finite.
    """
    start = folder / "replaced.safetensors"
    save_network(start, net)
    config = TrainConfig(samples=samples, learning_rate=ACTIVATION_RATE)
    return train(net.arch, data, config, seed, folder / "finetune.state", start, progress=progress).net


def finetune_int8(
    net: PoseNet, data: Dataset, recipe: Recipe, calibration: Array, seed: int, progress: Progress
) -> Any:
    """Train the module of `quantize.qat.prepare` on `recipe.qat_samples` samples, with a cosine learning rate.

    Raises:
        InputError: no C++ compiler.
        Diverged: the loss or a gradient is not finite.
    """
    arch = net.arch
    module = qat.prepare(net, calibration, recipe.float_steps(arch)).train()
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, QAT_RATE, weight_decay=0.0)
    steps = math.ceil(recipe.qat_samples / QAT_BATCH)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = QAT_RATE * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        batch = batch_at(data, step, QAT_BATCH, arch.input_size, AUGMENTS["none"], seed)
        target, visible = torch.from_numpy(batch.target), torch.from_numpy(batch.vis)
        raw = module(to_input(batch.images))
        depth, negative = torch.from_numpy(batch.depth_weight), torch.from_numpy(batch.negative)
        loss = pose_loss(raw, target, visible, arch, QAT_HEATMAP_LOSS, depth, joint_count(batch, CPU), negative)
        where = f"not finite at step {step + 1} of {steps}; train the network longer"
        if not math.isfinite(float(loss.detach())):
            raise Diverged(f"{recipe.name}: loss {where}")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if not math.isfinite(float(torch.nn.utils.clip_grad_norm_(parameters, 1.0))):
            raise Diverged(f"{recipe.name}: gradient {where}")
        optimizer.step()
        progress(step + 1, steps)
    return module.eval()
