"""Data sets. A reader is a function (root, split, options) -> Dataset; adding one costs a file and a line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from arch.errors import InputError
from explore.data import human36m
from explore.data.human36m import Human36MOptions
from explore.data.sample import Dataset, Sample
from explore.data.skeleton import H36M17, H36M18, Skeleton

READERS: dict[str, Callable[[Path, str, Any], Dataset]] = {
    "human36m": human36m.load,
}
SYNTHETIC_LEVELS = ("easy", "full")

__all__ = ["H36M17", "H36M18", "READERS", "Dataset", "Human36MOptions", "Sample", "Skeleton", "open_dataset"]


def open_dataset(
    spec: str,
    split: str,
    options: Any = None,
    *,
    cache: Path | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Open one split (`train` or `test`) of `READER:PATH` or `synthetic:LEVEL`.

    options: the reader's own (Human36MOptions), or a SyntheticConfig whose level must be LEVEL.
    cache, workers, progress: of the synthetic set, which is rendered on its first use.
    Raises InputError for a specification or files that cannot be used.
    """
    kind, colon, rest = spec.partition(":")
    known = [*(f"{name}:PATH" for name in READERS), *(f"synthetic:{level}" for level in SYNTHETIC_LEVELS)]
    if kind == "synthetic" and rest in SYNTHETIC_LEVELS:
        return _synthetic(rest, split, options, cache, workers, progress)
    if kind not in READERS or not colon or not rest:
        raise InputError(f"data {spec!r} is unknown: give one of {', '.join(known)}")
    return READERS[kind](Path(rest).expanduser(), split, options)


def _synthetic(
    level: str,
    split: str,
    config: Any,
    cache: Path | None,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> Dataset:
    from explore.data.synthetic import dataset as synthetic

    config = config or synthetic.SyntheticConfig.model_validate({"level": level})
    if config.level != level:
        raise InputError(f"data synthetic:{level} and the configured level {config.level} differ; give the same")
    folder = synthetic.render_dataset(cache or synthetic.default_cache(), config, workers, progress)
    return synthetic.load(folder, split)
