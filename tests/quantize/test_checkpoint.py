"""Checkpoints: written, read, and rejected."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from arch.errors import InputError
from arch.network import build
from quantize.checkpoint import load_network, save_network
from tests.helpers.training import tiny_arch


def test_checkpoints_of_other_networks_and_damaged_files_are_rejected(tmp_path: Path) -> None:
    net = build(tiny_arch(), 0)
    save_network(tmp_path / "net.safetensors", net, {})
    loaded, _ = load_network(tmp_path / "net.safetensors", net.arch)
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(loaded(x), net.eval()(x))
    with pytest.raises(InputError, match="arch"):
        load_network(tmp_path / "net.safetensors", tiny_arch(intermediate_channels=128))
    with pytest.raises(
        InputError, match=r"num_joints 18 instead of 33.*; use data with the 18 joints of the checkpoint"
    ):
        load_network(tmp_path / "net.safetensors", tiny_arch(num_joints=33))
    content = (tmp_path / "net.safetensors").read_bytes()
    (tmp_path / "half.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"half\.safetensors"):
        load_network(tmp_path / "half.safetensors")
    with pytest.raises(InputError, match="no such checkpoint"):
        load_network(tmp_path / "none.safetensors")
    with pytest.raises(InputError, match=r"no such checkpoint; give .*half\.safetensors"):
        load_network(tmp_path)
