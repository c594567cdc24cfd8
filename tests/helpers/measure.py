"""Shared by the tests of measurement: quick settings, a local SSH server, and rows for latency predictors."""

from __future__ import annotations

import getpass
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arch.search_space import Space
from explore.measure.config import MeasureConfig
from explore.measure.features import features
from explore.measure.predictor import Conditions
from explore.measure.rows import Settings

PREDICTOR_SPACE = Space.named("mobile").at(64)
CONDITIONS = Conditions(
    device="local",
    processor="none",
    instruction_sets=("avx2",),
    runtime="litert",
    runtime_version="1",
    recipe="int8-static",
    threads=1,
    isa=None,
    space="mobile",
    input_size=64,
    reference="paper-XS-relu@64",
    reference_ms=0.25,
)
PRICES = {"dense 1: macs": 2e-8, "depthwise 3 stride 1: macs": 2e-7, "dense 3: macs": 1e-8, "add: elements": 1e-7}


def quick(**changes: object) -> Settings:
    """Return settings of a short measurement that ignores other processes."""
    protocol = MeasureConfig(rounds=3, calls=3, max_seconds=0.3)
    return Settings(**({"protocol": protocol, "timeout_s": 60.0, "min_cpu_share": -9.0} | changes))  # type: ignore[arg-type]


def ignore_progress(share: float, text: str) -> None:
    """Check the arguments of a progress callback."""
    assert 0 <= share <= 1 and "\n" not in text


def predictor_rows(fit: int, unseen: int) -> list[dict[str, Any]]:
    """Return networks whose latency is a weighted sum of features, with noise of 0.1%."""
    rng = random.Random(0)
    rows = []
    for index in range(fit + unseen):
        arch = PREDICTOR_SPACE.sample(rng)
        sums = features(arch)
        ratio = 0.05 + sum(price * sums.get(name, 0) for name, price in PRICES.items())
        ratio *= 1 + 0.001 * rng.uniform(-1, 1)
        part = "fit" if index < fit else "unseen"
        rows.append({"part": part, "arch": arch.model_dump(mode="json"), "ratio": ratio, "converged": True})
    return rows


@dataclass(frozen=True)
class Sshd:
    """A running SSH server with a client configuration of its own, and the folder of its programs' caches."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def cache(self) -> Path:
        return self.folder / "cache" / "edgepose"

    def address(self, *options: str, python: str = sys.executable) -> str:
        query = "&".join([f"config={self.folder / 'client'}", f"python={python}", *options])
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}?{query}"

    def host_key_line(self) -> str:
        kind, key, *_ = (self.folder / "host_key.pub").read_text().split()
        return f"[127.0.0.1]:{self.port} {kind} {key}\n"
