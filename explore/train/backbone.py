"""An encoder's weights from a file of the user's: of this project, or of anybody's network of the same layers."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from arch.errors import InputError
from arch.network import PoseNet

NESTED = ("state_dict", "model_state_dict", "network", "model", "net")  # keys under which torch files hold weights
PREFIXES = ("module.", "backbone.", "encoder.", "net.")


def load_backbone(net: PoseNet, path: Path) -> int:
    """Fill the encoder of `net`; how many tensors that were. Decoder and head stay as they are.

    Tensors are matched by name (after prefixes such as `module.` and `backbone.`) where the file has all names of the
    encoder; else in order: the file's first tensors must have the shapes of the encoder's, one after the other, what
    follows (a classifier) is left out. Counters of batches are no weights.

    Raises:
        InputError: the file cannot be read, or fits neither way; the line names the first that does not.
    """
    own = {name: tensor for name, tensor in net.state_dict().items() if _of_encoder(name)}
    given = {_bare(name): tensor for name, tensor in _read(path).items() if not name.endswith("num_batches_tracked")}
    if own.keys() <= given.keys():
        chosen = {name: given[name] for name in own}
    else:
        chosen = dict(zip(own, given.values(), strict=False))
        if len(chosen) < len(own):
            missing = next(name for name in own if name not in given)
            raise InputError(
                f"{path}: holds {len(given)} tensors and no {missing}, the encoder of {net.arch.name} has {len(own)}; "
                f"give weights of the same layers"
            )
    for (name, tensor), source in zip(chosen.items(), given, strict=False):
        if tensor.shape != own[name].shape:
            what = name if name in given else f"{source}, in the place of {name},"
            raise InputError(
                f"{path}: {what} is {tuple(tensor.shape)}, {net.arch.name} needs {tuple(own[name].shape)}; give "
                f"weights of the same layers"
            )
    net.load_state_dict(chosen, strict=False)
    return len(chosen)


def _of_encoder(name: str) -> bool:
    step = name.removeprefix("steps.")
    return not step.startswith(("decoder", "head", "inter")) and not name.endswith("num_batches_tracked")


def _bare(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(f"--backbone {path}: no such file; check the path")
    try:
        found: Any = load_file(path)
    except SafetensorError:
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
            raise InputError(
                f"{path}: neither safetensors nor a torch file of plain weights ({str(error).splitlines()[0]}); save "
                f"its state_dict"
            ) from None
    for key in NESTED:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise InputError(f"{path}: holds more than named tensors; save its state_dict")
    return found
