"""Run by test_distributed under torchrun: one process's gradients and losses of a few steps, to a file a process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from explore.config import TrainConfig
from explore.data import open_dataset
from explore.data.crop import AUGMENTS, batch_at
from explore.data.synthetic.dataset import SyntheticConfig
from explore.train.engine import start_engine
from explore.train.loop import to_input, train
from explore.train.loss import pose_loss
from tests.explore.test_train import small


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    engine = start_engine("cpu")
    data = open_dataset("synthetic:easy", "train", SyntheticConfig(size=96, train=64, test=16), cache=folder)

    from arch.network import build

    arch = small()
    net = build(arch, 0).train()
    computing = engine.setup(net)
    batch = batch_at(data, 0, 8, arch.input, AUGMENTS["paper"], 0, engine.share)
    visible = torch.from_numpy(batch.vis)
    seen = engine.mean(visible.sum())
    raw = computing.forward_heatmaps(to_input(batch.images))
    loss = pose_loss(raw, torch.from_numpy(batch.target), visible, arch, 0.05, None, seen)
    engine.backward(loss)
    found = {f"gradient.{name}": parameter.grad.clone() for name, parameter in net.named_parameters()}

    losses: list[float] = []
    config = TrainConfig(samples=40, batch=8, optimizer="adam", augment="paper", ema=0.9)
    state = folder / f"state-{engine.world}"
    train(arch, data, config, 0, state, engine=engine, told_loss=lambda step, value: losses.append(value))
    found["losses"] = torch.tensor(losses)
    save_file(found, folder / f"found-{engine.world}-{os.environ.get('RANK', '0')}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
