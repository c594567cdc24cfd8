"""Data sets: readers, the embedded synthetic set, skeletons, crops and validation. Start at `open_dataset`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arch.errors import InputError, did_you_mean
from explore.data.config import Human36MOptions
from explore.host import default_cache

if TYPE_CHECKING:
    from explore.data.sample import Dataset

SYNTHETIC_LEVELS = ("easy", "full")

__all__ = [
    "SYNTHETIC_LEVELS",
    "Human36MOptions",
    "evaluated_set",
    "open_dataset",
    "parse_data",
    "parse_weights",
]


def open_dataset(
    spec: str,
    split: str,
    options: Any = None,
    *,
    cache: Path | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    framing: str = "box",
) -> Dataset:
    """Open one split of a data set: `train`, `test`, or `validation` of the embedded set.

    spec: READER:PATH, `synthetic:LEVEL`, `synthetic:PATH` of a rendered set, or several joined by +
        (`human36m:PATH+mpii:PATH`, `custom:PATH*0.5+synthetic:full*0.5`), whose training splits are mixed
        (explore.data.mix); the test split is the first set's
    options: of the first reader (such as Human36MOptions), or a SyntheticConfig with the same level; or a function that
        returns the options of each data set
    cache, workers, progress: of the synthetic set, which is rendered on first use
    framing: `box` or `roi`, how images are cropped (explore.data.framing)

    Raises:
        InputError: a specification or files that cannot be used.
    """
    from explore.data.mix import mix
    from explore.data.readers import load_function
    from explore.data.skeleton import BLAZEPOSE33

    def open_one(part: str, options: Any, first: Dataset | None) -> Dataset:
        kind, _, place = part.partition(":")
        if kind != "synthetic":
            return load_function(kind)(Path(place).expanduser(), split, options)
        from explore.data.synthetic import dataset as synthetic
        from explore.data.synthetic.config import SyntheticConfig

        skeleton = (options and options.skeleton) or (first.skeleton.name if first else "")
        if place not in SYNTHETIC_LEVELS:
            return synthetic.load(Path(place).expanduser(), split, options.val_frames if options else None, skeleton)
        config = options or SyntheticConfig.model_validate({"level": place})
        if skeleton == BLAZEPOSE33.name:
            config = config.model_copy(update={"skeleton": skeleton})
        if config.level != place:
            raise InputError(f"data synthetic:{place} and the configured level {config.level} differ; give the same")
        render = synthetic.render_validation if split == "validation" else synthetic.render_dataset
        root = cache or default_cache()
        render(root, config, workers, progress)
        return synthetic.load(root / config.name, split, config.val_frames, skeleton)

    specs, weights = parse_data(spec), parse_weights(spec)
    if split != "train":
        specs, weights = specs[:1], ()
    options_of = options if callable(options) else {specs[0]: options}.get
    found: list[Dataset] = []
    for part in specs:
        found.append(open_one(part, options_of(part), found[0] if found else None))
    return mix(found, weights).framed(framing)


def parse_weights(spec: str) -> tuple[float, ...]:
    """Return the weights of the data sets that `spec` joins, such as `custom:PATH*0.7+synthetic:full*0.3`; empty: none.

    Raises:
        InputError: some data sets have a weight and others have not, or a weight is not positive.
    """
    found = [_WEIGHT.search(part) for part in _split(spec)]
    if not any(found):
        return ()
    weights = tuple(float(match[1]) if match else 0.0 for match in found)
    if min(weights) <= 0:
        raise InputError(
            f"data {spec!r}: a data set has no weight, or the weight 0; give each data set a weight above 0, such as "
            f"{parse_data(spec)[0]}*0.5, or none"
        )
    return weights if len(weights) > 1 else ()


_WEIGHT = re.compile(r"\*([0-9]*\.?[0-9]+)$")


def _split(spec: str) -> list[str]:
    return re.split(r"\+(?=\w+:)", spec)


def evaluated_set(spec: str) -> str:
    """Return the data set of a mix that is evaluated: the first; an empty string if `spec` is one data set."""
    parts = _split(spec)
    return _WEIGHT.sub("", parts[0]) if len(parts) > 1 else ""


def join(*specs: str) -> str:
    """Return the mix of several data sets or mixes. Weights are left out, because they are shares of one mix."""
    return "+".join(dict.fromkeys(_WEIGHT.sub("", part) for spec in specs for part in _split(spec)))


def parse_data(spec: str) -> list[str]:
    """Return the data sets that `spec` joins, each as READER:PATH or synthetic:LEVEL, without weights.

    Raises:
        InputError: an unknown reader or level, or a folder that does not exist.
    """
    from explore.data.readers import READERS

    parts = [_WEIGHT.sub("", part) for part in _split(spec)]
    for part in parts:
        kind, _, rest = part.partition(":")
        rendered = kind == "synthetic" and (rest in SYNTHETIC_LEVELS or _is_rendered_set(rest))
        if not rest or (kind not in READERS and not rendered):
            close = did_you_mean(rest, SYNTHETIC_LEVELS) if kind == "synthetic" else did_you_mean(kind, READERS)
            known = [*(f"{name}:PATH" for name in READERS), *(f"synthetic:{level}" for level in SYNTHETIC_LEVELS)]
            raise InputError(
                f"data {part!r} is unknown{close}; give one of {', '.join(known)}, or several joined by + (with weights: "
                "A*0.5+B*0.5)"
            )
    for kind, _, rest in (part.partition(":") for part in parts):
        if kind in READERS and not (path := Path(rest).expanduser()).exists():
            raise InputError(f"data {kind}: {path}: no such folder; give the folder that holds the {kind} data")
    return parts


def _is_rendered_set(path: str) -> bool:
    return (Path(path).expanduser() / "dataset.json").is_file()
