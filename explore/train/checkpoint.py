"""Weights and training states as safetensors: tensors and strings only, written whole."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from arch.errors import InputError
from arch.files import write_atomic
from arch.network import PoseNet, build
from arch.space import Arch, make_arch
from quantize.weights import fill

RUNNING = ("optimizer.", "average.", "run.")  # what a running state holds beside weights


def save_tensors(path: str | Path, tensors: dict[str, Tensor], facts: dict[str, object]) -> None:
    """Tensors with facts (JSON-able) beside them in one file."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, save(whole, {"facts": json.dumps(facts)}))


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Tensors and facts of a file written by `save_tensors`.

    Raises:
        InputError: the file is missing, broken, or not of this project.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such checkpoint; check the path")
    try:
        with safe_open(str(path), "pt") as file:
            facts = json.loads((file.metadata() or {}).get("facts", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise InputError(f"{path}: not a readable checkpoint ({error}); train again or take another") from None
    if not isinstance(facts, dict) or "arch" not in facts:
        raise InputError(f"{path}: holds no arch; only checkpoints written by `train` or `search` can be read")
    return tensors, facts


def save_network(path: str | Path, net: PoseNet, facts: dict[str, object]) -> None:
    """Weights of a network with its arch."""
    save_tensors(path, net.state_dict(), {"arch": net.arch.model_dump(mode="json"), **facts})


def load_network(path: str | Path, expected: Arch | None = None) -> tuple[PoseNet, dict[str, object]]:
    """The network of a checkpoint, in evaluation mode, and the facts stored with it.

    Raises:
        InputError: not a checkpoint, or of another architecture than `expected`.
    """
    tensors, facts = load_tensors(path)
    arch = make_arch(dict(facts["arch"]), str(path))  # type: ignore[call-overload]
    if expected is not None and arch.id != expected.id:
        raise InputError(f"{path}: arch: holds {arch.name}, not {expected.name}; take that network's own checkpoint")
    net = build(arch)
    fill(net, {name: t for name, t in tensors.items() if not name.startswith(RUNNING)}, str(path))
    return net.eval(), facts
