"""Finished candidates that studies share: one network, judged the same way on the same machine, is evaluated once.

The key is the network's canonical id and a hash of all that its result depends on: training, data, recipe, runtime,
latency protocol, seed, the versions of the libraries, this machine, and the project's own code. An entry is the
candidate's folder, linked where the file system allows it; files are never changed in place, so a link is as good as a
copy. Figures are JSON and weights are safetensors: nothing in a cache can run.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arch.files import atomic_dir, content_hash, write_atomic
from arch.space import Arch
from explore.config import SearchConfig
from explore.judge import Judge
from explore.search import devices
from explore.search.choice import result_file
from explore.search.rungs import at_rung
from quantize.environment import machine, versions
from quantize.recipes import recipe

CHOOSING = (
    "space",
    "sampler",
    "max_cost",
    "recipe",
    "recipes",
    "objective",
    "eta",
)  # say what is tried, not how it fares
RESULT = "result.json"
ROOMS = ("arch", "quantize", "explore")


def folder_of(config: SearchConfig) -> Path | None:
    """The cache of a study; None where there is none."""
    if config.cache == "none":
        return None
    return Path(config.cache) if config.cache else Path(config.results) / ".cache"


def key(config: SearchConfig, recipe_name: str, data_hash: str) -> str:
    """Hash of all that a candidate's result depends on besides its network."""
    judged = {name: value for name, value in config.identity().items() if name not in CHOOSING}
    return content_hash(
        judged
        | {"recipe": recipe(recipe_name).model_dump(mode="json"), "runtime": config.runtime}
        | {"data_hash": data_hash, "versions": versions(), "machine": machine(), "code": code_hash()},
        digits=24,
    )


@functools.cache
def code_hash() -> str:
    """Hash of the project's own sources."""
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for path in sorted(path for room in ROOMS for path in (root / room).rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def through(
    config: SearchConfig, judge: Judge, arch: Arch, recipe_name: str, evaluate: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """The result of a candidate: from the cache where it is there, else from `evaluate`, then left in the cache."""
    cache = folder_of(config)
    path = result_file(config, arch.id, recipe_name)
    if cache is None or path.exists() or config.estimator != "full":  # others depend on what the study knows
        return evaluate()
    entry = cache / key(config, recipe_name, f"{judge.train.hash} {judge.test.hash}") / arch.id
    if (entry / RESULT).is_file():
        link_files(entry, path.parent, _parts(entry))
        return _as_own(config, entry / RESULT, path)
    result = evaluate()
    with atomic_dir(entry) as made:
        link_files(path.parent, made, _parts(path.parent))
        link_files(path.parent, made, [path], RESULT)
    return result


def trained(config: SearchConfig, judge: Judge, arch: Arch, rung: int, train: Callable[[], float]) -> float:
    """A candidate's error at a rung of its training, in mm; its weights come from the cache where they are there."""
    cache = folder_of(config)
    weights = at_rung(config, config.folder / "candidates" / arch.id, rung)
    files = [weights, weights.with_suffix(".json")]
    if cache is None or files[1].exists():
        return train()
    entry = cache / key(config, "float", f"{judge.train.hash} {judge.test.hash}") / f"{arch.id}-{weights.stem}"
    if entry.is_dir():
        link_files(entry, weights.parent, [entry / path.name for path in files])
        return train()
    mm = train()
    with atomic_dir(entry) as made:
        link_files(weights.parent, made, files)
    return mm


def _parts(folder: Path) -> list[Path]:
    """Files of a candidate beside its figures: finished ones, which no link leads out to."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    return [p for p in found if not p.name.startswith((".", "result")) and p.name != "state.safetensors"]


def _as_own(config: SearchConfig, found: Path, path: Path) -> dict[str, Any]:
    """A result from another study as this one's: its latency told by this study's reference network."""
    result: dict[str, Any] = json.loads(found.read_text())
    result["latency_ms"] = result["latency"]["ratio"] * devices.reference_ms(config, devices.LOCAL)
    for address, row in result.get("elsewhere", {}).items():
        row["latency_ms"] = row["ratio"] * devices.reference_ms(config, address)
    result |= {"config_hash": config.hash, "cached": True}
    write_atomic(path, json.dumps(result, indent=2))
    return result


def link_files(source: Path, target: Path, files: list[Path], name: str = "") -> None:
    """The `files` of `source` in the same places of `target`, or called `name`; one that is there already stays."""
    for path in files:
        there = target / (name or path.relative_to(source))
        there.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, there)
        except FileExistsError:
            continue
        except OSError:  # another file system, or one that cannot link
            write_atomic(there, path.read_bytes())
