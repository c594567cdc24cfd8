"""Encoder weights from files: by name, by order, and rejected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from arch.errors import InputError
from arch.network import build
from explore.train.backbone import load_backbone
from tests.helpers.training import tiny_arch


def encoder_weights(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {k: v for k, v in net.state_dict().items() if k.startswith(("steps.stem", "steps.stage"))}


@pytest.mark.parametrize("written", ["safetensors", "torch", "foreign names"])
def test_a_backbone_fills_only_the_encoder(tmp_path: Path, written: str) -> None:
    source, net = build(tiny_arch(), 1), build(tiny_arch(), 2)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    weights, path = encoder_weights(source), tmp_path / "backbone"
    if written == "safetensors":
        save_file(weights, path)
    elif written == "torch":
        torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in weights.items()}}, path)
    else:
        without_counters = [t for k, t in weights.items() if not k.endswith("num_batches_tracked")]
        torch.save({f"features.{i}": t for i, t in enumerate(without_counters)} | {"fc": torch.ones(3)}, path)
    assert load_backbone(net, path) > 20
    for name, tensor in net.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        wanted = weights[name] if name in weights else before[name]
        assert torch.equal(tensor, wanted), name


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_bytes(b"garbage" * 20), "neither safetensors nor a torch file"),
        (lambda path: torch.save(build(tiny_arch(), 0), path), "neither safetensors nor a torch file"),  # a pickle
        (
            lambda path: save_file(encoder_weights(build(tiny_arch(width=0.5), 0)), path),
            r"steps\.stem.*: shape .*needs",
        ),
        (lambda path: save_file({"a": torch.ones(1)}, path), r"steps\.stem.*: missing; the file has 1 tensors"),
        (lambda path: torch.save({"epoch": 3, "optimizer": {}}, path), "more than a dictionary of tensors"),
    ],
)
def test_unsuitable_backbones_are_rejected_in_one_line(
    write: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    write(tmp_path / "b")
    with pytest.raises(InputError, match=message) as caught:
        load_backbone(build(tiny_arch(), 0), tmp_path / "b")
    assert "\n" not in str(caught.value)
