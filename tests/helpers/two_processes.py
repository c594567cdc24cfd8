"""Script of `test_engine`, started by torchrun: write each process's gradients and losses of a few steps to a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from arch.network import build
from explore.data.augment import AUGMENTS
from explore.data.batches import batch_at
from explore.train.config import TrainConfig
from explore.train.engine import start_engine
from explore.train.loop import PoseObjective, train
from tests.helpers.training import FaultyObjective, rendered_evaluator, tiny_arch


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    engine = start_engine("cpu")
    data = rendered_evaluator(folder).train
    arch, config = tiny_arch(), TrainConfig(samples=40, optimizer="adam", augment="paper", ema_decay=0.9)
    net = build(arch, 0).train()
    module = engine.setup(net)
    batch = batch_at(data, 0, config.batch_size, arch.input_size, AUGMENTS["paper"], 0, engine.shard)
    engine.backward(PoseObjective(config)(module, batch, 0, engine))
    found = {f"gradient.{name}": parameter.grad.clone() for name, parameter in net.named_parameters()}

    losses: list[float] = []
    state_file = folder / f"state-{engine.world_size}"
    train(arch, data, config, 0, state_file, engine=engine, on_loss=lambda step, loss: losses.append(loss))
    found["losses"] = torch.tensor(losses)
    faulty = FaultyObjective(config, bad_loss={3}, bad_gradient={1}, rank=engine.world_size - 1)
    made = train(arch, data, config, 0, folder / f"faulty-{engine.world_size}", engine=engine, objective=faulty)
    found["skipped"] = torch.tensor(made.skipped_steps)
    found |= {f"weights.{name}": tensor.contiguous() for name, tensor in made.net.state_dict().items()}
    save_file(found, folder / f"found-{engine.world_size}-{os.environ.get('RANK', '0')}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
