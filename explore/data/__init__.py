"""Data sets. A reader is a function (root, split, options, name, faults) -> Dataset; adding one costs a file and a
line here. What happens to bad input, one rule for all of them, stands in explore.data.faults.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arch.errors import InputError
from explore.data import custom, human36m, mpi_inf_3dhp, mpii, mscoco, muco, mupots
from explore.data.human36m import Human36MOptions
from explore.data.mix import mix, to_skeleton
from explore.data.sample import Dataset, Sample
from explore.data.skeleton import COCO17, COCO19, H36M17, H36M18, MPII16, MUCO21, Skeleton

READERS: dict[str, Callable[..., Dataset]] = {
    "human36m": human36m.load,
    "mpii": mpii.load,
    "mscoco": mscoco.load,
    "muco": muco.load,
    "mupots": mupots.load,
    "mpi_inf_3dhp": mpi_inf_3dhp.load,
    "custom": custom.load,
}
SYNTHETIC_LEVELS = ("easy", "full")

__all__ = [
    "COCO17", "COCO19", "H36M17", "H36M18", "MPII16", "MUCO21", "READERS", "Dataset", "Human36MOptions", "Sample",
    "Skeleton", "check_data", "mix", "open_dataset", "to_skeleton",
]  # fmt: skip


def open_dataset(
    spec: str,
    split: str,
    options: Any = None,
    *,
    cache: Path | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Open one split (`train` or `test`) of `READER:PATH`, `synthetic:LEVEL` or `synthetic:PATH` of a rendered set.

    Several joined by + (`human36m:PATH+mpii:PATH`) train as one mix (explore.data.mix); their test part is the first
    one's.

    options: those of the first reader (Human36MOptions), or a SyntheticConfig whose level must be LEVEL.
    cache, workers, progress: of the synthetic set, which is rendered on its first use.
    Raises InputError for a specification or files that cannot be used.
    """
    specs = check_data(spec)
    parts = []
    for index, part in enumerate(specs if split == "train" else specs[:1]):
        parts.append(_open(part, split, None if index else options, cache, workers, progress))
    return mix(parts)


def check_data(spec: str) -> list[str]:
    """The data sets that `spec` joins, each READER:PATH or synthetic:LEVEL.

    Raises:
        InputError: a reader that is not known, or a path where nothing is.
    """
    parts = re.split(r"\+(?=\w+:)", spec)
    for part in parts:
        kind, _, rest = part.partition(":")
        rendered = kind == "synthetic" and (rest in SYNTHETIC_LEVELS or _is_rendered(rest))
        if not rest or (kind not in READERS and not rendered):
            known = [*(f"{name}:PATH" for name in READERS), *(f"synthetic:{level}" for level in SYNTHETIC_LEVELS)]
            raise InputError(f"data {part!r} is unknown: give one of {', '.join(known)}, or several joined by +")
    for kind, _, rest in (part.partition(":") for part in parts):
        if kind in READERS and not Path(rest).expanduser().exists():
            raise InputError(f"data {kind}: {rest}: no such folder; give the folder that holds the {kind} data")
    return parts


def _is_rendered(path: str) -> bool:
    return (Path(path).expanduser() / "dataset.json").is_file()


def _open(
    spec: str,
    split: str,
    options: Any,
    cache: Path | None,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> Dataset:
    kind, _, rest = spec.partition(":")
    if kind == "synthetic" and rest not in SYNTHETIC_LEVELS:
        from explore.data.synthetic import dataset as synthetic

        return synthetic.load(Path(rest).expanduser(), split)
    if kind == "synthetic":
        return _synthetic(rest, split, options, cache, workers, progress)
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
