"""Weights of a network, from and to safetensors."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from arch.errors import InputError
from arch.files import write_atomic
from arch.network import PoseNet


def load_weights(net: PoseNet, path: Path) -> None:
    """Fill `net` from a safetensors file.

    Raises:
        InputError: the file cannot be read, or holds the weights of another architecture.
    """
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read as safetensors: {' '.join(str(error).split())}") from None
    fill(net, state, str(path))


def fill(net: PoseNet, state: dict[str, Tensor], where: str) -> None:
    """Copy tensors into `net`; the first that is missing, left over or of another shape is named.

    Raises:
        InputError: `state` is of another architecture.
    """
    wanted = net.state_dict()
    for name, tensor in wanted.items():
        if name not in state:
            raise InputError(
                f"{where}: holds no {name}; these are weights of another architecture than {net.arch.name}"
            )
        if state[name].shape != tensor.shape:
            raise InputError(
                f"{where}: {name} is {tuple(state[name].shape)}, {net.arch.name} needs {tuple(tensor.shape)}; these are "
                f"weights of another architecture"
            )
    extra = state.keys() - wanted.keys()
    if extra:
        raise InputError(f"{where}: {sorted(extra)[0]} is no part of {net.arch.name}; weights of another architecture")
    net.load_state_dict(state)


def save_weights(net: PoseNet, path: Path, about: dict[str, str] | None = None) -> None:
    """Write the weights of `net`, on the CPU and contiguous, with a few words about them in the file's header."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    write_atomic(path, save(state, about))
