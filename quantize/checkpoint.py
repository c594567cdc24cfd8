"""Weights and training states in safetensors files, which hold tensors and text only.

The header holds one JSON object, the facts. Those of a checkpoint of `train` and `search` have the keys
    arch        fields of the network (arch.space.Arch)
    trained_on  the training data, see `TrainedOn`; absent from checkpoints of version 0.1
    data        name of the training data, also in version 0.1
and further figures of the run, such as samples, seed and config.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from arch.errors import InputError, describe
from arch.files import write_atomic
from arch.network import PoseNet, build
from arch.space import Arch, make_arch

SIZES = {"input_size", "heatmap_size", "depth_bins"}
RUNNING = ("optimizer.", "average.", "run.")  # prefixes of the tensors that a training state holds beside weights

TRAINED_ON = "trained_on"  # key of the facts


class _Part(BaseModel):
    """Base class: immutable; keys of later versions are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class JointNames(_Part):
    """The skeleton that a network was trained for. All numbers are indices of `joints`.

    joints:     names, in the order of the network's output
    edges:      (parent, child) of every bone
    flip_pairs: (right, left) joints that a mirrored image exchanges; empty if the data names no sides
    root:       joint that errors are relative to, and depths unless `hips` are given
    hips:       joints whose mean depth the depths are relative to
    unscored:   joints that are predicted but excluded from the metrics
    """

    name: str
    joints: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    flip_pairs: tuple[tuple[int, int], ...]
    root: int
    unscored: tuple[int, ...] = ()
    hips: tuple[int, ...] = ()


class TrainedOn(_Part):
    """The data that a checkpoint was trained on: everything that an export needs to open it again.

    data:       specification as given to --data: READER:PATH, synthetic:LEVEL, or several joined by +
    dataset:    every option of the data set, by the keys of explore.data.config.DatasetConfig
    name:       name of the opened data, such as human36m+mpii
    hash:       content hash of its training annotations (explore.data.sample.Dataset.hash)
    skeleton:   joints, bones and left-right pairs
    licence:    licence or terms of the data; empty if unknown
    input_size: side of the network's input, px; the embedded set is rendered for it
    preset:     `ours` or `paper` for `train`; empty for other runs
    """

    data: str
    dataset: dict[str, JsonValue]
    name: str
    hash: str
    skeleton: JointNames
    licence: str = ""
    input_size: int
    preset: str = ""

    @property
    def framing(self) -> str:
        """Framing of the crops, `box` or `roi`, see explore.data.framing; `box` in records without the key."""
        return str(self.dataset.get("framing", "box"))


def read_trained_on(facts: dict[str, Any], where: str | Path) -> TrainedOn | None:
    """Return the training data of a checkpoint from its facts; None if it has no record, as in version 0.1.

    Raises:
        InputError: a record with missing or wrong keys; `where` is the file.
    """
    if TRAINED_ON not in facts:
        return None
    try:
        return TrainedOn.model_validate(facts[TRAINED_ON])
    except ValidationError as error:
        raise InputError(f"{where}: {TRAINED_ON}: {describe(error, TrainedOn)}; train again") from None


def save_tensors(path: str | Path, tensors: dict[str, Tensor], facts: dict[str, object]) -> None:
    """Write tensors, and `facts` as JSON in the header; the file appears complete or not at all."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, save(contiguous, {"facts": json.dumps(facts)}))


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Return the tensors and the facts of a file written by `save_tensors`.

    Raises:
        InputError: the file is missing, damaged, or was not written by this project.
    """
    if not Path(path).is_file():
        inside = sorted(Path(path).glob("*.safetensors"))
        raise InputError(f"{path}: no such checkpoint; {f'give {inside[0]}' if inside else 'check the path'}")
    try:
        with safe_open(str(path), "pt") as file:
            facts = json.loads((file.metadata() or {}).get("facts", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a readable checkpoint ({reason}); train again or use another file") from None
    if not isinstance(facts, dict) or "arch" not in facts:
        raise InputError(f"{path}: arch: missing; use a checkpoint written by `train` or `search`")
    return tensors, facts


def save_network(path: str | Path, net: PoseNet, facts: dict[str, object] | None = None) -> None:
    """Write the weights of a network together with its arch and `facts`."""
    save_tensors(path, net.state_dict(), {"arch": net.arch.model_dump(mode="json"), **(facts or {})})


def load_network(
    path: str | Path, expected: Arch | None = None, any_size: bool = False
) -> tuple[PoseNet, dict[str, object]]:
    """Return the network of a checkpoint, in evaluation mode, and the facts stored with it.

    any_size: take the weights of `expected` at another input size, too

    Raises:
        InputError: not a checkpoint, or the weights of another architecture than `expected`.
    """
    tensors, facts = load_tensors(path)
    arch = make_arch(dict(facts["arch"]), str(path))  # type: ignore[call-overload]
    if any_size and expected is not None and arch.model_dump(exclude=SIZES) == expected.model_dump(exclude=SIZES):
        arch = expected
    if expected is not None and arch.id != expected.id:
        advice = f"use a checkpoint of {expected.name}, or change the network"
        if arch.replace(num_joints=expected.num_joints).id == expected.id:
            advice = f"use data with the {arch.num_joints} joints of the checkpoint"
        raise InputError(f"{path}: arch: {_difference(arch, expected)}; {advice}")
    net = build(arch)
    fill(net, {name: tensor for name, tensor in tensors.items() if not name.startswith(RUNNING)}, str(path))
    return net.eval(), facts


def _difference(stored: Arch, expected: Arch) -> str:
    """Describe how the network of a checkpoint differs from the expected one."""
    there, here = stored.model_dump(mode="json"), expected.model_dump(mode="json")
    keys = [key for key in here if here[key] != there.get(key)]
    fields = ", ".join(f"{key} {there.get(key)} instead of {here[key]}" for key in keys[:3])
    return f"weights of {stored.name}, not of {expected.name} ({fields}{', ...' if len(keys) > 3 else ''})"


def fill(net: PoseNet, state: dict[str, Tensor], where: str) -> None:
    """Copy tensors into `net`.

    Raises:
        InputError: a tensor is missing, left over, of another shape or not finite; names the first one and `where`.
    """
    wanted = net.state_dict()
    for name, tensor in wanted.items():
        if name not in state:
            raise InputError(f"{where}: {name}: missing; the weights are of another architecture than {net.arch.name}")
        if state[name].shape != tensor.shape:
            raise InputError(
                f"{where}: {name}: shape {tuple(state[name].shape)}, but {net.arch.name} needs {tuple(tensor.shape)}; the "
                f"weights are of another architecture"
            )
        if state[name].is_floating_point() and not state[name].isfinite().all():
            raise InputError(f"{where}: {name}: not finite; the training diverged, train again")
    if extra := sorted(state.keys() - wanted.keys()):
        raise InputError(f"{where}: {extra[0]}: not a part of {net.arch.name}; the weights are of another architecture")
    net.load_state_dict(state)
