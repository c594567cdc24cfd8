"""Training in several processes: two processes under torchrun compute the gradients and losses of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from arch.errors import InputError
from explore.train.engine import start_engine, world_size
from tests.helpers import ROOT
from tests.helpers.training import rendered_evaluator

SCRIPT = "tests.helpers.two_processes"


def start(folder: Path, *launcher: str) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", *launcher, SCRIPT, str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_two_processes_compute_the_gradients_and_losses_of_one(tmp_path: Path) -> None:
    pytest.importorskip("lightning_fabric", reason="several processes need edgepose[distributed]")
    rendered_evaluator(tmp_path)
    start(tmp_path)
    start(tmp_path, "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
    one, first, second = (load_file(tmp_path / f"found-{name}.safetensors") for name in ("1-0", "2-0", "2-1"))
    gradients = [name for name in one if name.startswith("gradient.")]
    for name in gradients:
        assert torch.equal(first[name], second[name]), name
    # biases before a batch norm have only rounding errors as gradients, so all gradients are compared as one vector;
    # those of float32 differ by 0.2 to 1% from those of float64, because the last batch norms see 8 values a channel
    single, distributed = (torch.cat([found[name].flatten() for name in gradients]) for found in (one, first))
    assert float((single - distributed).norm() / single.norm()) < 2e-2
    assert len(one["losses"]) == 5
    torch.testing.assert_close(first["losses"], one["losses"], rtol=5e-3, atol=0)
    assert len(second["losses"]) == 0  # only the main process reports
    # a fault in the last process only is noticed and undone by all
    assert [int(found["skipped"]) for found in (one, first, second)] == [2, 2, 2]
    for name in (name for name in one if name.startswith("weights.")):
        assert torch.equal(first[name], second[name]) and first[name].isfinite().all(), name


def test_a_missing_gpu_or_package_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert world_size() == 1 and start_engine("cpu").world_size == 1
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="--device cuda: torch finds no GPU"):
            start_engine("cuda")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(InputError, match=r"edgepose\[distributed\]"):
        start_engine("cpu")
