"""Fine-tuning a network that simulates INT8, a short run from trained weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from arch.network import PoseNet
from explore.data.crop import AUGMENTS, batch_at
from explore.data.sample import Dataset
from explore.train.loop import Diverged, to_input
from explore.train.loss import pose_loss
from quantize import qat
from quantize.recipes import Recipe
from quantize.runtimes import Array

BATCH = 8
RATE = 2e-4
HEATMAP_LOSS = 0.05


def finetune(
    net: PoseNet, data: Dataset, recipe: Recipe, pictures: Array, seed: int, progress: Callable[[int, int], None]
) -> Any:
    """The trained module of `quantize.qat.prepare` after `recipe.qat_samples` samples, cosine rate, no augmentation.

    Raises:
        InputError: no compiler.
        Diverged: the loss is no number.
    """
    arch = net.arch
    module = qat.prepare(net, pictures, recipe.float_steps(arch)).train()
    parameters = qat.parameters(module)
    optimizer = torch.optim.AdamW(parameters, RATE, weight_decay=0.0)
    steps = math.ceil(recipe.qat_samples / BATCH)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        batch = batch_at(data, step, BATCH, arch.input, AUGMENTS["none"], seed)
        target, visible = torch.from_numpy(batch.target), torch.from_numpy(batch.vis)
        raw = module(to_input(batch.images))
        loss = pose_loss(raw, target, visible, arch, HEATMAP_LOSS, torch.from_numpy(batch.has_depth))
        if not math.isfinite(float(loss.detach())):
            raise Diverged(f"{recipe.name}: the loss is not finite at step {step + 1} of {steps}; train the net longer")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        progress(step + 1, steps)
    return module.eval()
