"""Small searches, run as a user runs them: a space of 16 networks, 40 rendered frames, seconds of training."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import yaml

from tests.helpers import ROOT

TINY_SPACE = {
    "name": "tiny",
    "base": {
        "input_size": 256, "num_joints": 18, "stem_stride": 2, "heatmap_size": 32, "depths": [1] * 7, "decoder_width": 32,
    },
    "dimensions": {
        "encoder": ["mobilehumanpose", "mobilenet_v2"],
        "width": [0.25, 0.5],
        "intermediate_channels": [128, 256],
        "activation": ["relu"],
        "head": ["volumetric", "heatmap-2.5d"],
    },
}  # fmt: skip
QUICK = [
    "--candidate.samples=32", "--final.samples=32", "--finalists=2", "--measure.rounds=3", "--measure.calls=5",
    "--measure.max-seconds=1", "--measure.ci-width=1", "--runtimes=litert,openvino", "--workers=2", "--study=s",
]  # fmt: skip
RENDERED = ["--dataset.train-frames=40", "--dataset.test-frames=12", "--dataset.val-frames=12"]


def command(folder: Path, *options: str, quick: bool = True) -> list[str]:
    """Return the command of a search in the tiny space, whose study is `folder`/s. quick: with the options QUICK"""
    space = folder / "tiny.yaml"
    space.write_text(yaml.safe_dump(TINY_SPACE))
    given = ["--results=.", f"--space={space}", *(QUICK if quick else ("--study=s",)), *options]
    return [sys.executable, str(ROOT / "explore.py"), "search", *given]


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {"EDGEPOSE_CACHE": str(folder / "cache")}


def run_command(
    folder: Path, *options: str, timeout: float = 400, quick: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run the search of `command` in `folder`."""
    return subprocess.run(
        command(folder, *options, quick=quick),
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{folder / 's' / 'study.db'}")
    return study.get_trials()


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep `count` cores busy."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()
