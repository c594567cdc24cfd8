"""Finished candidates that studies share: a network that is evaluated in the same way is evaluated only once.

The key is the network's id and a hash of everything else that its result depends on: training, data, recipe, runtime,
latency protocol, seed, versions of the libraries, this machine, and the project's own code. An entry is the candidate's
folder, hard-linked where the file system allows it; files are never changed in place. Figures are JSON and weights are
safetensors, so that nothing in a cache can execute code.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from arch.files import atomic_dir, content_hash, write_atomic
from arch.space import Arch
from explore.evaluation.evaluator import Evaluator
from explore.search.config import SearchConfig
from explore.search.costs.instructions import setup_identity
from explore.search.costs.objectives import addresses, reference_ms
from explore.search.recipes_of_trial import result_file
from explore.search.results import CandidateResult
from explore.search.rungs import rung_weights
from explore.train.distill import open_teacher
from explore.train.engine import find_devices
from quantize.environment import machine, versions
from quantize.recipes import recipe

# Keys of the configuration that decide which candidates are tried, but not their results.
CHOICES = ("space", "sampler", "objectives", "limits", "quantization", "quantizations", "objective", "eta")
RESULT = "result.json"
PACKAGES = ("arch", "quantize", "explore")


def take_result(config: SearchConfig, evaluator: Evaluator, arch: Arch, recipe_name: str) -> CandidateResult | None:
    """Return the result of a candidate from the cache, its files linked into the study; None if it is not there.

    Latencies are converted with this study's reference network. Estimated candidates are never cached, since their
    errors depend on the rest of the study.
    """
    entry = _entry(config, evaluator, arch, recipe_name)
    if entry is None or not (entry / RESULT).is_file():
        return None
    path = result_file(config, arch.id, recipe_name)
    _link_files(entry, path.parent, _candidate_files(entry))
    found = CandidateResult.read(entry / RESULT)
    remote = {
        address: latency.model_copy(update={"latency_ms": latency.ratio * reference_ms(config, address)})
        for address, latency in found.remote.items()
    }
    changes: dict[str, Any] = {"remote": remote, "config_hash": config.hash, "cached": True}
    if found.latency_ms is not None:
        changes["latency_ms"] = found.latency["ratio"] * reference_ms(config)
    result = found.model_copy(update=changes)
    write_atomic(path, result.model_dump_json(indent=2))
    return result


def keep_result(config: SearchConfig, evaluator: Evaluator, arch: Arch, recipe_name: str) -> None:
    """Put a finished candidate into the cache; all of its latencies must be measured."""
    entry, path = _entry(config, evaluator, arch, recipe_name), result_file(config, arch.id, recipe_name)
    if entry is not None:
        with atomic_dir(entry) as new:
            _link_files(path.parent, new, _candidate_files(path.parent))
            _link_files(path.parent, new, [path], RESULT)


def take_rung(config: SearchConfig, evaluator: Evaluator, arch: Arch, index: int) -> None:
    """Link the weights of a candidate at a rung from the cache into the study, if they are there."""
    weights, entry = rung_weights(config, arch, index), _rung_entry(config, evaluator, arch, index)
    if entry is not None and entry.is_dir() and not weights.with_suffix(".json").exists():
        _link_files(entry, weights.parent, [entry / weights.name, entry / weights.with_suffix(".json").name])


def keep_rung(config: SearchConfig, evaluator: Evaluator, arch: Arch, index: int) -> None:
    """Put the weights of a candidate at a rung into the cache."""
    weights, entry = rung_weights(config, arch, index), _rung_entry(config, evaluator, arch, index)
    if entry is not None:
        with atomic_dir(entry) as new:
            _link_files(weights.parent, new, [weights, weights.with_suffix(".json")])


def _entry(config: SearchConfig, evaluator: Evaluator, arch: Arch, recipe_name: str) -> Path | None:
    if config.cache == "none" or config.estimator != "full":
        return None
    folder = Path(config.cache) if config.cache else Path(config.results) / ".cache"
    return folder / key(config, recipe_name, f"{evaluator.train.hash} {evaluator.data.hash}") / arch.id


def _rung_entry(config: SearchConfig, evaluator: Evaluator, arch: Arch, index: int) -> Path | None:
    entry = _entry(config, evaluator, arch, "float")
    return entry.with_name(f"{arch.id}-{rung_weights(config, arch, index).stem}") if entry is not None else None


def key(config: SearchConfig, recipe_name: str, data_hash: str) -> str:
    """Return the hash of everything that a candidate's result depends on besides its network."""
    settings = {name: value for name, value in config.identity().items() if name not in CHOICES}
    device = find_devices(config.device)[0].type
    return content_hash(
        settings
        | ({} if device == "cpu" else {"device": device})
        | ({"teacher": open_teacher(config.candidate.teacher, None).fingerprint} if config.candidate.teacher else {})
        | {"recipe": recipe(recipe_name).identity, "runtime": config.runtime}
        | {"devices": sorted(addresses(config))}
        | setup_identity(config)
        | {"data_hash": data_hash, "versions": versions(), "machine": machine(), "code": code_hash()},
        digits=24,
    )


@functools.cache
def code_hash() -> str:
    """Return the hash of the project's own sources."""
    root = Path(__file__).resolve().parents[3]
    digest = hashlib.sha256()
    for path in sorted(path for package in PACKAGES for path in (root / package).rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _candidate_files(folder: Path) -> list[Path]:
    """Return the finished files of a candidate besides its results; links are left out, and what is being written."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    finished = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    return [path for path in finished if not path.name.startswith("result") and not path.match("state*.safetensors")]


def _link_files(source: Path, target: Path, files: Iterable[Path], name: str = "") -> None:
    """Link `files` of `source` to the same places in `target`, or to `name`; existing files stay."""
    for path in files:
        link = target / (name or path.relative_to(source))
        link.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, link)
        except FileExistsError:
            continue
        except OSError:  # another file system, or one without hard links
            write_atomic(link, path.read_bytes())
