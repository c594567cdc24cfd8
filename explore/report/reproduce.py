"""The commands that make a row of a study again, as text with places for the network: {ARCH}, {NET}; {RUNTIME}, {RECIPE}."""

from __future__ import annotations

import shlex
from typing import Any

from explore.config import DatasetConfig, SearchConfig, TrainConfig

PROGRAM = "python explore.py"


def commands(config: dict[str, Any], study: str) -> dict[str, str]:
    """Shell lines by kind of row. A study's network is trained alone as it was there; `all` is the whole study."""
    data = _options("data", config.get("data"), SearchConfig)
    for key, value in _part(config, "dataset").items():
        data += _options(key, value, DatasetConfig, "dataset.")
    seed = _options("seed", config.get("seed"), SearchConfig)
    first, second = _training(config, "candidate"), _training(config, "final")
    runtime = shlex.quote(str(config.get("runtime", "litert")))
    train = f"{PROGRAM} train --arch {{ARCH}}{data}{seed}{first} --out {{NET}}.safetensors"
    longer = f"{PROGRAM} train --arch {{ARCH}}{data}{seed}{second} --start {{NET}}.safetensors --out {{NET}}-final.safetensors"

    def export_and_measure(net: str, runtime: str) -> str:
        made = f"{PROGRAM} export {net}.safetensors{data}{seed} --recipe {{RECIPE}} --no-gates --runtimes {runtime}"
        return f"{made}\n{PROGRAM} measure {net}/{runtime}"

    return {
        "candidate": f"{train}\n{export_and_measure('{NET}', runtime)}",
        "shipped": f"{train}\n{longer}\n{export_and_measure('{NET}-final', '{RUNTIME}')}",
        "reference": f"{PROGRAM} measure {{BUNDLE}}",
        "all": f"{PROGRAM} search --config {shlex.quote(study + '/config.yaml')} --study again",
    }


def _training(config: dict[str, Any], key: str) -> str:
    """Options of `train` where the study's differ from its defaults."""
    return "".join(_options(name, value, TrainConfig) for name, value in _part(config, key).items())


def _part(config: dict[str, Any], key: str) -> dict[str, Any]:
    part = config.get(key)
    return part if isinstance(part, dict) else {}


def _options(key: str, value: Any, model: type[Any], prefix: str = "") -> str:
    field = model.model_fields.get(key)
    if field is None or value is None or value == field.default:
        return ""
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return f" --{prefix}{key} {shlex.quote(text)}"
