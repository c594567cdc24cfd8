"""Studies as a search leaves them, made in a moment: real networks with made-up figures."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import yaml

from arch.cost import cost
from arch.search_space import Space
from arch.space import Arch, preset
from explore.config import SearchConfig
from explore.report.kept import short_fields
from explore.report.study import FRONT_COLUMNS, TRIAL_COLUMNS

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = ROOT / "results" / "reference"


def _by_latency(bundle: Path) -> float:
    return float(json.loads((bundle / "litert" / "manifest.json").read_text())["metrics"]["latency_ms"])


FAST, MIDDLE, ACCURATE = (path.name for path in sorted((REFERENCE / "bundles").iterdir(), key=_by_latency))


def write_study(folder: Path, count: int, seed: int = 0, names: dict[int, str] | None = None) -> Path:
    """A folder with `count` finished candidates, the paper's three first; `names` replaces those of some trials."""
    rng = random.Random(seed)
    space = Space.named("mobile").at(64)
    archs = {preset(f"paper-{size}-relu@64").id: f"paper-{size}-relu@64" for size in ("L", "S", "XS")}
    networks = {arch_id: preset(name) for arch_id, name in archs.items()}
    while len(networks) < count:
        arch = space.sample(rng)
        networks[arch.id] = arch
    trials = [_trial(number, arch, rng) for number, arch in enumerate(networks.values())]
    for trial in trials:
        trial["name"] = (names or {}).get(trial["trial"], archs.get(trial["arch_id"], trial["arch_id"]))
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "trials.csv", TRIAL_COLUMNS, trials)
    write_csv(folder / "front.csv", FRONT_COLUMNS, [])
    config = SearchConfig(study=folder.name, results=str(folder.parent), trials=count)
    (folder / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json") | {"hash": config.hash}))
    (folder / "page").mkdir(exist_ok=True)
    kept = {
        "networks": {name: short_fields(arch) for name, arch in networks.items()},
        "minutes": {number: round(0.7 * number + 1, 2) for number in range(count)},
        "importances": {"mpjpe_mm": {"width": 0.6, "head": 0.4}, "latency_ms": {"width": 0.7, "inter": 0.3}},
        "mean_pose_mm": 222.4,
    }
    (folder / "page" / "study.json").write_text(json.dumps(kept))
    return folder


def write_csv(path: Path, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _trial(number: int, arch: Arch, rng: random.Random) -> dict[str, Any]:
    """Dearer networks are better and slower, with some luck."""
    spent = cost(arch)
    mm = 260 - 14 * (spent.macs / 1e6) ** 0.33 + rng.gauss(0, 9)
    return {
        "trial": number,
        "state": "complete",
        "arch_id": arch.id,
        "mpjpe_mm": mm,
        "pa_mpjpe_mm": 0.66 * mm,
        "float_mpjpe_mm": mm - 0.4,
        "latency_ms": spent.macs / 1.1e8 * rng.uniform(0.8, 1.5) + 0.03,
        "macs": spent.macs,
        "params": spent.params,
        "bytes": int(spent.weight_bytes_int8 * 1.1),
        "samples": 4000,
        "seed": 0,
        "config_hash": "0" * 12,
        "on_front": False,
    }
