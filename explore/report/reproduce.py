"""Shell commands that reproduce a row of a study.

Placeholders: {ARCH}, {NET}, {RUNTIME}, {RECIPE}, {BUNDLE}, and {MORE} for samples beyond `common_samples`.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection
from typing import Any

from explore.config import part_of
from explore.data.config import DatasetConfig
from explore.search.config import SearchConfig
from explore.train.config import STUDY, TrainConfig

PROGRAM = "python explore.py"


def commands(settings: dict[str, Any], study: str) -> dict[str, str]:
    """Return shell lines by kind of row, and the whole study's as `all`."""
    data = _options("data", settings.get("data"), SearchConfig)
    for key, value in _section(settings, "dataset").items():
        data += _options(key, value, DatasetConfig, "dataset.", ("train_frames",))
    seed = _options("seed", settings.get("seed"), SearchConfig)
    candidate, final, longer = (
        "".join(
            _options(key, value, TrainConfig, always=("augment",))
            for key, value in _section(settings, section).items()
            if key != left_out
        )
        for section, left_out in (("candidate", ""), ("final", ""), ("final", "samples"))
    )
    train = f"{PROGRAM} train --arch {{ARCH}}{data}{seed}{candidate} --out {{NET}}.safetensors"
    train_on = f"{PROGRAM} train --arch {{ARCH}}{data}{seed}{final} --init-from {{NET}}.safetensors --out {{NET}}-final.safetensors"

    def export_and_measure(net: str, runtime: str) -> str:
        export = (
            f"{PROGRAM} export {net}.safetensors{data}{seed} --quantization {{RECIPE}} --force --runtimes {runtime}"
        )
        return f"{export}\n{PROGRAM} measure {net}/{runtime}"

    common = sum(int(_section(settings, section).get("samples", 0)) for section in ("candidate", "final"))
    train_longer = (
        f"{PROGRAM} train --arch {{ARCH}}{data}{seed}{longer} --samples {{MORE}} --init-from "
        "{NET}-final.safetensors --out {NET}-longer.safetensors"
    )
    return {
        "candidate": f"{train}\n{export_and_measure('{NET}', shlex.quote(str(settings.get('runtime', 'litert'))))}",
        "exported": f"{train}\n{train_on}\n{export_and_measure('{NET}-final', '{RUNTIME}')}",
        "longer": f"{train}\n{train_on}\n{train_longer}\n{export_and_measure('{NET}-longer', '{RUNTIME}')}",
        "common_samples": str(common),
        "reference": f"{PROGRAM} measure {{BUNDLE}}",
        "all": f"{PROGRAM} search --config {shlex.quote(study + '/config.yaml')} --study again",
    }


def search_options(settings: dict[str, Any], without: Collection[str]) -> str:
    """Return all options of a search that differ from the defaults, but those of the keys `without`."""
    found = ""
    for key, value in settings.items():
        field = SearchConfig.model_fields.get(key)
        if field is None or key in without:
            continue
        if (part := part_of(field)) is None:
            found += _options(key, value, SearchConfig)
            continue
        for name, own in value.items():
            if f"{key}.{name}" == "final.teacher" and own == STUDY:
                found += f" --final.teacher {STUDY}"
            elif f"{key}.{name}" not in without:
                found += _options(name, own, part, f"{key}.")
    return found.strip()


def _section(settings: dict[str, Any], key: str) -> dict[str, Any]:
    section = settings.get(key)
    return section if isinstance(section, dict) else {}


def _options(key: str, value: Any, model: type[Any], prefix: str = "", always: Collection[str] = ()) -> str:
    """Return an option, or an empty string where the value is the default. always: keys that `train` chooses by itself"""
    field = model.model_fields.get(key)
    if field is None or value is None:
        return ""
    if key not in always and (tuple(value) if isinstance(value, list) else value) == field.get_default():
        return ""
    if (key, value) == ("teacher", STUDY):
        value = "TEACHER.safetensors"  # the weights of the study's most accurate candidate
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return f" --{prefix}{key.replace('_', '-')} {shlex.quote(text)}"
