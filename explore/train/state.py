"""State of a training run, saved to a file from which a stopped run resumes with identical results."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from arch.errors import InputError
from arch.files import content_hash
from arch.network import PoseNet, build
from explore.train.config import TrainConfig
from explore.train.identity import RunIdentity
from quantize.checkpoint import RUNNING, fill, load_tensors, save_tensors


class WeightAverage:
    """Exponential moving average of every floating-point tensor of a network, batch-norm statistics included.

    The decay is smaller in the first steps, so that the initial weights lose their influence soon.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: t.detach().clone() for name, t in net.state_dict().items() if t.is_floating_point()}

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        """Include the network after step `step`, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        state = net.state_dict()
        torch._foreach_lerp_(list(self.tensors.values()), [state[name] for name in self.tensors], 1 - decay)

    @torch.no_grad()
    def copy_to(self, net: nn.Module) -> None:
        state: dict[str, Tensor] = net.state_dict()
        for name, tensor in self.tensors.items():
            state[name].copy_(tensor)


class LastFiniteWeights:
    """Copy of a network's tensors, batch-norm statistics included, to undo a step that leaves non-finite values."""

    def __init__(self, net: nn.Module) -> None:
        self.tensors: list[Tensor] = list(net.state_dict().values())  # they share memory with the network
        self.copies = [tensor.clone() for tensor in self.tensors]

    def are_finite(self) -> bool:
        """Return whether all values of the network and their squares are finite."""
        floats = [tensor for tensor in self.tensors if tensor.is_floating_point()]
        return bool(torch.nn.utils.get_total_norm(floats).isfinite())

    def keep(self) -> None:
        torch._foreach_copy_(self.copies, self.tensors)

    def put_back(self) -> None:
        torch._foreach_copy_(self.tensors, self.copies)


def parameter_groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return optimizer groups in which weight decay applies to weights of convolutions and linear layers only.

    Biases, batch-norm parameters and PReLU slopes, the parameters of one dimension, have none.
    """
    parameters = list(net.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


class TrainingState:
    """Network, optimizer, weight average and counters of a run.

    Args:
        net: the network in training, on its device.
        identity: what the result depends on; only a state of the same identity can be restored.
        history: (step, MPJPE in mm) of the evaluations so far; `restore` replaces its content.

    Attributes:
        step, steps: completed steps, and steps of the whole run.
        skipped_steps: steps without a finite loss, gradient and weights; skipped_in_a_row: those since the last good
            one.
        losses: losses of the last tenth of the run.
        errors: messages about images that could not be used, as an ordered set.
    """

    def __init__(
        self, net: PoseNet, config: TrainConfig, identity: RunIdentity, history: list[tuple[int, float]]
    ) -> None:
        self.net, self.identity, self.history = net, identity, history
        self.optimizer: torch.optim.Optimizer
        if config.optimizer == "adam":
            self.optimizer = torch.optim.Adam(net.parameters(), config.learning_rate)
        else:
            self.optimizer = torch.optim.AdamW(parameter_groups(net, config.weight_decay), config.learning_rate)
        self.average = WeightAverage(net, config.ema_decay) if config.ema_decay else None
        self.steps = math.ceil(config.samples / config.batch_size)
        self.step = self.skipped_steps = self.skipped_in_a_row = 0
        self.losses: deque[float] = deque(maxlen=max(1, self.steps // 10))
        self.errors: dict[str, None] = {}
        self._start_clocks(0.0, 0.0)

    def _start_clocks(self, seconds: float, cpu_seconds: float) -> None:
        self._start, self._cpu_start = time.monotonic() - seconds, time.process_time() - cpu_seconds

    def elapsed(self) -> tuple[float, float]:
        """Return wall-clock and process CPU time in seconds, earlier parts of a resumed run included."""
        return time.monotonic() - self._start, time.process_time() - self._cpu_start

    def final_network(self) -> PoseNet:
        """Return the network that the run would return if it ended now: a copy on the CPU, in evaluation mode."""
        copy = build(self.net.arch, 0)
        copy.load_state_dict(self.net.state_dict())
        if self.average:
            self.average.copy_to(copy)
        return copy.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload, no-any-return]

    def save(self, path: Path) -> None:
        tensors = dict(self.net.state_dict())
        for index, parameter in enumerate(self.net.parameters()):
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer.{index}.{key}"] = torch.as_tensor(value)
        if self.average:
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.tensors.items()}
        tensors["run.losses"] = torch.tensor(self.losses, dtype=torch.float64)
        facts: dict[str, Any] = {
            "arch": self.net.arch.model_dump(mode="json"),
            "step": self.step,
            "skipped": self.skipped_steps,
            "skipped_in_a_row": self.skipped_in_a_row,
            "identity": self.identity.values,
            "run": content_hash(self.identity.values),  # another hash than version 0.1 expects, which rejects the state
            "evaluated": self.history,
            "faults": list(self.errors),
        }
        facts["seconds"], facts["cpu_seconds"] = self.elapsed()
        save_tensors(path, tensors, facts)

    def restore(self, path: Path) -> None:
        """Continue from a saved state.

        The optimizer's moments are stored by parameter, so that states of version 0.1, which had one parameter group
        and another learning rate during warm-up, can be continued; a note says so.

        Raises:
            InputError: the file is damaged, or the state of another network or run.
        """
        tensors, loaded = load_tensors(path)
        facts: dict[str, Any] = loaded
        if not {"run", "step", "skipped", "seconds", "cpu_seconds"} <= facts.keys() or "run.losses" not in tensors:
            raise InputError(f"{path}: not a training state; give another --out, or delete the file to start again")
        self.identity.check(facts, path)
        fill(self.net, {name: t for name, t in tensors.items() if not name.startswith(RUNNING)}, str(path))
        for index, parameter in enumerate(self.net.parameters()):
            prefix = f"optimizer.{index}."
            self.optimizer.state[parameter] = {
                key.removeprefix(prefix): value if key.endswith(".step") else value.to(parameter.device)
                for key, value in tensors.items()
                if key.startswith(prefix)
            }
        if self.average:
            for name, tensor in self.average.tensors.items():
                if f"average.{name}" not in tensors:
                    raise InputError(f"{path}: average.{name}: missing; delete the file to start again")
                tensor.copy_(tensors[f"average.{name}"])
        self.losses.extend(tensors["run.losses"].tolist())
        self.history[:] = [(int(step), float(mm)) for step, mm in facts.get("evaluated", [])]
        self.errors.update(dict.fromkeys(facts.get("faults", [])))
        self.step, self.skipped_steps = int(facts["step"]), int(facts["skipped"])
        self.skipped_in_a_row = int(facts.get("skipped_in_a_row", 0))
        self._start_clocks(float(facts["seconds"]), float(facts["cpu_seconds"]))
        if "identity" not in facts:
            print(
                f"note: {path}: state of version 0.1; from step {self.step + 1} on, the warm-up starts above 0 and biases "
                "and BatchNorm have no weight decay",
                file=sys.stderr,
            )
