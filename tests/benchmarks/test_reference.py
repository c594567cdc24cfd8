"""Benchmark `reference`: training that goes on over many runs, and claims about networks of equal error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arch.space import named_arch
from benchmarks import reference
from benchmarks.reference import Trained
from explore.data.config import DataConfig
from explore.evaluation.evaluator import open_evaluators

TINY: dict[str, Any] = {
    "data": "synthetic:easy", "dataset": {"train_frames": 24, "val_frames": 4, "test_frames": 6}, "samples": 64,
    "batch_size": 8, "precision": "f32", "device": "cpu", "paper": ["paper-XS-relu"], "seeds": [0, 1],
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(reference, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(reference, "CONFIG", reference.CONFIG | TINY)
    return tmp_path / "records"


def trained(network: str, seed: int, frames: np.ndarray, **changes: Any) -> Trained:
    values: dict[str, Any] = {
        "network": network, "arch": named_arch(f"{network if 'paper' in network else 'paper-XS-relu'}@64"), "seed": seed,
        "samples": 64, "mpjpe_mm": frames.mean(), "pa_mpjpe_mm": 80.0, "float_mm": 100.0,
        "mean_pose_mm": 300.0, "curve": [(32, 120.0), (64, 100.0)], "train_minutes": 1.0, "trained_with": "cpu f32",
        "machine": "x", "settings": reference.settings(), "data_hash": "a", "test_hash": "b", "frames_mm": frames.tolist(),
    }  # fmt: skip
    return Trained(**values | changes)


def test_finished_networks_are_not_trained_again(folder: Path) -> None:
    runs = [run for run in reference.planned() if run.name == "paper-XS-relu"]
    assert [run.seed for run in runs] == [0, 1] and reference.planned()[0].name == "paper-XS-relu"
    shares: list[float] = []
    reference.train_missing(runs[:1], shares.append)
    assert shares == sorted(shares)
    written = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    reference.train_missing(runs, lambda share: None)
    assert len(list(folder.iterdir())) == 2 and all(path.stat().st_mtime_ns == at for path, at in written.items())
    first, second = reference.stored()["paper-XS-relu"]
    assert first.seed == 0 and second.seed == 1 and first.frames_mm != second.frames_mm
    assert np.mean(first.frames_mm) == pytest.approx(first.mpjpe_mm, abs=0.05)
    assert [samples for samples, _ in first.curve][-1] == 64
    data = DataConfig(data=TINY["data"], dataset=TINY["dataset"], input_size=64)
    parts = open_evaluators(data, 1)
    assert (first.data_hash, first.test_hash) == (parts.train.hash, parts.test.data.hash)


def test_results_of_other_settings_are_left_out(folder: Path) -> None:
    folder.mkdir()
    for seed, hashed in ((0, reference.settings()), (1, "other")):
        one = trained("paper-XS-relu", seed, np.full(20, 100.0), settings=hashed)
        (folder / f"{seed}.json").write_text(one.model_dump_json())
    assert [one.seed for one in reference.stored()["paper-XS-relu"]] == [0]


def test_networks_are_compared_on_common_seeds_and_frames(folder: Path) -> None:
    reference.CONFIG["paper"] = ["paper-L-relu", "paper-XS-relu"]
    noise = np.random.default_rng(0).normal(0, 30, 400)
    results = {
        "paper-L-relu": [trained("paper-L-relu", 0, 100 + noise)],
        "paper-XS-relu": [trained("paper-XS-relu", 0, 120 + noise)],
        "a": [trained("a", 0, 99 + noise), trained("a", 1, 140 + noise)],  # seed 1 has no counterpart
        "b": [trained("b", 0, 125 + noise)],
    }
    latencies = {
        name: {"ms": ms, "low_ms": ms, "high_ms": ms, "instructions": 1e6}
        for name, ms in {"paper-L-relu": 3.0, "paper-XS-relu": 0.3, "a": 0.5, "b": 0.1}.items()
    }
    of_l, of_xs = reference.claims(results, latencies)
    assert of_l.passed and of_l.low == pytest.approx(6.0) and "difference -1.0 mm, -1.0 to -1.0" in of_l.measured
    assert not of_xs.passed and "difference -21.0 mm" in of_xs.measured  # as accurate, but slower than twice the speed
    row = reference.row_of("a", results["a"], latencies["a"])
    assert row["by_seed_mm"] == pytest.approx([99, 140], abs=5) and row["last_gain_mm"] == 20.0
    page = reference.markdown([row], [of_l, of_xs])
    assert "| a | " in page and "FAIL" in page and "last 17%" in page
