"""Two processes under torchrun train as one does: the same gradients, the same losses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from arch.errors import InputError
from explore.data import open_dataset
from explore.data.synthetic.dataset import SyntheticConfig
from explore.train.engine import processes, start_engine

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "tests.explore.two_processes"


def start(folder: Path, *launcher: str) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", *launcher, SCRIPT, str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_two_processes_are_as_good_as_one(tmp_path: Path) -> None:
    pytest.importorskip("lightning_fabric", reason="several processes need edgepose[distributed]")
    open_dataset("synthetic:easy", "train", SyntheticConfig(size=96, train=64, test=16), cache=tmp_path)
    start(tmp_path)
    start(tmp_path, "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
    one, first, second = (load_file(tmp_path / f"found-{name}.safetensors") for name in ("1-0", "2-0", "2-1"))
    gradients = [name for name in one if name.startswith("gradient.")]
    for name in gradients:
        assert torch.equal(first[name], second[name]), name
    # biases in front of a BatchNorm have no gradient but rounding: compared with the rest as one vector
    alone, together = (torch.cat([found[name].flatten() for name in gradients]) for found in (one, first))
    assert float((alone - together).norm() / alone.norm()) < 2e-3
    assert len(one["losses"]) == 5
    torch.testing.assert_close(first["losses"], one["losses"], rtol=5e-3, atol=0)
    assert len(second["losses"]) == 0  # one process speaks for all


def test_what_is_missing_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert processes() == 1 and start_engine("cpu").world == 1
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="--device cuda: torch finds no GPU"):
            start_engine("cuda")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(InputError, match=r"edgepose\[distributed\]"):
        start_engine("cpu")
