"""Initial weights of an encoder, from a checkpoint of this project or of any network with the same layers."""

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

STATE_DICT_KEYS = ("state_dict", "model_state_dict", "network", "model", "net")
PREFIXES = ("module.", "backbone.", "encoder.", "net.")


def load_backbone(net: PoseNet, path: Path) -> int:
    """Load the weights of the encoder of `net` and return the number of tensors. Decoder and head do not change.

    If the file has every tensor name of the encoder (after prefixes such as `module.` and `backbone.`), tensors are
    matched by name. Otherwise they are matched in order: the first tensors of the file must have the shapes of the
    encoder's, and further ones, such as a classifier, are ignored. Batch counters of batch norm are not loaded.

    Raises:
        InputError: the file cannot be read, or matches neither way; names the first tensor that does not match.
    """
    own = {name: tensor for name, tensor in net.state_dict().items() if _is_encoder_weight(name)}
    given = {
        _without_prefix(name): tensor
        for name, tensor in _read(path).items()
        if not name.endswith("num_batches_tracked")
    }
    if own.keys() <= given.keys():
        chosen = {name: given[name] for name in own}
    else:
        chosen = dict(zip(own, given.values(), strict=False))
        if len(chosen) < len(own):
            missing = next(name for name in own if name not in given)
            raise InputError(
                f"{path}: {missing}: missing; the file has {len(given)} tensors, the encoder of {net.arch.name} "
                f"{len(own)}; use weights of the same layers"
            )
    for (name, tensor), source in zip(chosen.items(), given, strict=False):
        if tensor.shape != own[name].shape:
            where = name if name in given else f"{source} (in the place of {name})"
            raise InputError(
                f"{path}: {where}: shape {tuple(tensor.shape)}, but {net.arch.name} needs {tuple(own[name].shape)}; use "
                "weights of the same layers"
            )
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise InputError(f"{path}: {name if name in given else source}: not finite; use other weights")
    net.load_state_dict(chosen, strict=False)
    return len(chosen)


def _is_encoder_weight(name: str) -> bool:
    step = name.removeprefix("steps.")
    return not step.startswith(("decoder", "head", "inter")) and not name.endswith("num_batches_tracked")


def _without_prefix(name: str) -> str:
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
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError):  # torch's advice is unsafe
            raise InputError(
                f"{path}: neither safetensors nor a torch file of plain weights; save the state_dict of the network"
            ) from None
    for key in STATE_DICT_KEYS:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise InputError(f"{path}: contains more than a dictionary of tensors; save the state_dict of the network")
    return found
