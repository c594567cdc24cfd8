"""The supernet that a study's estimator takes weights from."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from arch.errors import InputError
from arch.search_space import Space
from explore.estimate.supernet import open_supernet
from explore.search.config import SearchConfig

BUILTIN = Path(str(resources.files("explore.estimate"))) / "supernets"  # a checkpoint for each space and input size


def with_supernet(config: SearchConfig, train_new: bool) -> SearchConfig:
    """Return the configuration with the path of its supernet: the given one, the study's own, or a built-in one.

    train_new: the study's own will be trained if there is none

    Raises:
        InputError: there is none, or `train_new` has no use.
    """
    given = config.estimate.supernet
    if config.estimator != "supernet" or given:
        if train_new:
            why = f"estimate.supernet: {given} is given" if given else f"estimator: {config.estimator} uses no supernet"
            raise InputError(f"{why}; leave --train-supernet out")
        return _with_path(config, supernet_file(config))
    own = config.folder / "supernet.safetensors"
    return _with_path(config, str(own if train_new or own.exists() else builtin_supernet(config)))


def supernet_file(config: SearchConfig) -> str:
    """Return the given file of the supernet; where it is missing, that of its name in the study or among the built-in ones.

    Another machine may have the study's folder and this program at other places.
    """
    given = Path(config.estimate.supernet)
    places = (given, config.folder / given.name, BUILTIN / given.name)
    return next((str(place) for place in places if place.is_file()), config.estimate.supernet)


def _with_path(config: SearchConfig, path: str) -> SearchConfig:
    return config.model_copy(update={"estimate": config.estimate.model_copy(update={"supernet": path})})


def builtin_supernet(config: SearchConfig) -> Path:
    """Return the built-in supernet of a study's space, input size and data.

    Raises:
        InputError: none of these.
    """
    from explore.train.supernet import load_supernet

    space, reasons = Space.named(config.space).at(config.input_size), []
    for path in sorted(BUILTIN.glob("*.safetensors")):
        try:
            _, facts = load_supernet(path, space)
        except InputError as error:
            reasons.append(str(error))
            continue
        if facts["data"] == config.data.replace(":", "-"):
            return path
        reasons.append(f"{path}: trained on {facts['data']}")
    why = reasons[0].split("; ")[0] if len(reasons) == 1 else "none of the built-in ones fits this study"
    raise InputError(
        f"estimate.supernet: none given, and {why}; give --train-supernet, or the file of "
        f"train --supernet {config.space}"
    )


def check_supernet(config: SearchConfig, space: Space) -> None:
    """Check that the study's supernet fits its space.

    Raises:
        InputError: no supernet, or one of another space.
    """
    if config.estimator == "supernet":
        open_supernet(config.estimate.supernet, space)
