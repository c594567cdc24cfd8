"""The identity of a study: configuration, space and data, written to its folder and compared when it is resumed.

The storage holds configuration and space too, for machines that join.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import optuna
import yaml

from arch.documents import load_written
from arch.errors import InputError
from arch.files import sha256_file, write_atomic
from arch.search_space import Space, make_space
from explore.config import load_yaml, parse
from explore.evaluation.evaluator import Evaluators
from explore.redact import redacted
from explore.search.config import SearchConfig
from explore.search.recipes_of_trial import exported_recipes, searched_recipes
from quantize.environment import machine, versions
from quantize.recipes import RECIPES, recipe

CONFIG, SPACE, FOLDER, MADE_WITH = "config", "space", "folder", "made_with"  # user attributes of the study
MARK = ".study"  # file that identifies the study's folder to workers
DATA, SPACE_FILE = "data.json", "space.yaml"


def space_of(config: SearchConfig) -> Space:
    """Return the study's space with the number of joints of its data.

    It is read from the study's folder if it is there, since the original file may be on another machine.
    """
    path, data = config.folder / SPACE_FILE, config.folder / DATA
    space = (Space.load(path) if path.exists() else Space.named(config.space)).at(config.input_size)
    return space.with_num_joints(load_written(data)["joints"]) if data.exists() else space


def chooses_on_test(config: SearchConfig) -> bool:
    """Return whether version 0.1 created the study, which evaluated candidates on the test part.

    The study goes on like that, because errors on different parts cannot be compared.
    """
    path = config.folder / DATA
    return path.exists() and "validation" not in load_written(path)


def leave_data(config: SearchConfig, parts: Evaluators) -> None:
    """Record the study's data in its folder: joints, annotations, and sizes of the images in bytes.

    With them, the content of other files that results depend on: recipes, the candidates' teacher, the supernet.

    Raises:
        InputError: the study was created with other data or files.
    """
    found = {"train": parts.train, "test": parts.test.data}
    if not chooses_on_test(config):
        found["validation"] = parts.validation.data
    facts: dict[str, Any] = {"joints": len(parts.train.skeleton)}
    facts |= {
        name: {"samples": len(part), "hash": part.hash, "images": part.image_hash} for name, part in found.items()
    }
    files = {*searched_recipes(config), *exported_recipes(config)} - RECIPES.keys()
    facts |= {name: recipe(name).identity for name in files}
    others = {"teacher": config.candidate.teacher, "supernet": config.estimate.supernet}
    facts |= {key: sha256_file(name)[:12] for key, name in others.items() if Path(name).is_file()}
    path = config.folder / DATA
    if path.exists():
        before = json.loads(path.read_text().replace('"pictures"', '"images"'))  # the key of version 0.1
        changed = [f"{key}: {_short(before[key], new)}" for key, new in facts.items() if before.get(key, new) != new]
        if changed:
            raise InputError(
                f"{path}: changed since the study of {config.data} was created: {'; '.join(changed)}; give --study "
                f"another name, or undo the change"
            )
    write_atomic(path, json.dumps(facts, indent=2))


def leave(config: SearchConfig) -> None:
    """Record configuration and space in the study's folder.

    Raises:
        InputError: the folder belongs to a study with others.
    """
    compare_folder(config)
    space = Space.named(config.space).model_dump(mode="json")
    for name, values in ("config", _written(config) | {"hash": config.hash}), ("space", space):
        write_atomic(config.folder / f"{name}.yaml", yaml.safe_dump(values, sort_keys=False))


def compare_folder(config: SearchConfig) -> None:
    """Compare configuration and space with those in the study's folder, if there are any.

    Raises:
        InputError: the folder belongs to a study with others.
    """
    path, kept = config.folder / "config.yaml", config.folder / SPACE_FILE
    if path.exists():
        _compare(load_yaml(path), config, str(path))
    if kept.exists():
        _compare_space(Space.load(kept), config, str(kept))


def carry(config: SearchConfig, study: optuna.Study) -> None:
    """Record the same in the storage.

    Raises:
        InputError: the study in the storage has others, or another folder.
    """
    compare_stored(config, study)
    mark = config.folder / MARK
    if FOLDER not in study.user_attrs:
        write_atomic(mark, uuid.uuid4().hex)
        here = {"mark": mark.read_text(), "results": str(Path(config.results).resolve())}
        study.set_user_attr(FOLDER, here)
    check_folder(config, study)
    study.set_user_attr(CONFIG, _written(config))
    study.set_user_attr(SPACE, Space.named(config.space).model_dump(mode="json"))
    study.set_user_attr(MADE_WITH, {"machine": machine(), "versions": versions()})


def compare_stored(config: SearchConfig, study: optuna.Study) -> None:
    """Compare configuration and space with those in the storage, if there are any.

    Raises:
        InputError: the study in the storage has others.
    """
    where = f"study {config.name} in {redacted(config.storage) or config.folder / 'study.db'}"
    if CONFIG in study.user_attrs:
        _compare(study.user_attrs[CONFIG], config, where)
        _compare_space(make_space(study.user_attrs[SPACE], where), config, where)


def carried(study: optuna.Study) -> SearchConfig:
    """Return the configuration of a study that another machine leads.

    Raises:
        InputError: the study has none.
    """
    if CONFIG not in study.user_attrs:
        raise InputError(f"study {study.study_name}: has no configuration; start it with `search --storage` first")
    return parse(SearchConfig, study.user_attrs[CONFIG], f"study {study.study_name}")


def check_folder(config: SearchConfig, study: optuna.Study) -> None:
    """Check that this machine sees the study's own folder, in which workers continue from each other's files.

    Raises:
        InputError: it sees another folder.
    """
    there = study.user_attrs[FOLDER]
    mark = config.folder / MARK
    if not mark.is_file() or mark.read_text() != there["mark"]:
        raise InputError(
            f"--results {config.results}: not the folder of study {config.name}, which is {there['results']} on the machine "
            "that created it; share that folder and give its path here"
        )


def differences(study: optuna.Study) -> list[str]:
    """Return how this machine differs from the one that created the study, where results may depend on it."""
    there = study.user_attrs.get(MADE_WITH, {})
    here = {"processor": machine()["processor"], **versions()}
    then = {"processor": there.get("machine", {}).get("processor"), **there.get("versions", {})}
    return [f"{key} {here.get(key)}, not {then[key]}" for key in then if here.get(key) != then[key]]


def _written(config: SearchConfig) -> dict[str, Any]:
    """Return the configuration without passwords."""
    return config.model_dump(mode="json") | {"storage": redacted(config.storage)}


def _compare(old: dict[str, Any], config: SearchConfig, where: str) -> None:
    before = parse(SearchConfig, {key: value for key, value in old.items() if key != "hash"}, where)
    was, new = (each.model_dump(mode="json") | each.identity() for each in (before, config))
    keys = before.identity() | config.identity()
    changed = [
        f"{key}: the study was created with {_short(was[key], new[key])}" for key in keys if was[key] != new[key]
    ]
    if changed:
        raise InputError(f"{where}: {'; '.join(changed)}; give --study another name, or the old values")


def _compare_space(old: Space, config: SearchConfig, where: str) -> None:
    new = Space.named(config.space)
    changed = [key for key in Space.model_fields if key != "about" and getattr(old, key) != getattr(new, key)]
    if changed:
        raise InputError(
            f"{where}: space: the file's {', '.join(changed)} changed since; give --study another name, or undo the change"
        )


def _short(old: Any, new: Any) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        return ", ".join(f"{k} {old.get(k)}, not {new.get(k)}" for k in old | new if old.get(k) != new.get(k))
    return f"{old}, not {new}"
