"""What a study is: its configuration, space and data, left in its folder, and checked on return.

Its storage carries configuration and space too, for machines that join.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import optuna
import yaml

from arch.errors import InputError
from arch.files import write_atomic
from arch.search_space import Space
from explore.config import SearchConfig, load_yaml, parse
from explore.judge import Judge
from explore.redact import redacted
from quantize.environment import machine, versions

CONFIG, SPACE, FOLDER, MADE_WITH = "config", "space", "folder", "made_with"  # user attributes of the study
MARK = ".study"  # file by which a worker knows that it sees the study's own folder
DATA = "data.json"


def space_of(config: SearchConfig) -> Space:
    """The study's space: as left in its folder, for the file that was given may be on another machine.

    Its networks have the joints of the study's data.
    """
    kept, data = config.folder / "space.yaml", config.folder / DATA
    space = (Space.load(kept) if kept.exists() else Space.named(config.space)).at(config.scale)
    return space.fit(json.loads(data.read_text())["joints"]) if data.exists() else space


def leave_data(config: SearchConfig, judge: Judge) -> None:
    """Leave in the study's folder which data it learns from: joints, annotations, sizes of the pictures in bytes.

    Raises:
        InputError: the study was made with others.
    """
    parts = {"train": judge.train, "test": judge.test}
    facts: dict[str, Any] = {"joints": len(judge.train.skeleton)}
    facts |= {
        name: {"samples": len(part), "hash": part.hash, "pictures": part.picture_hash()} for name, part in parts.items()
    }
    path = config.folder / DATA
    if path.exists():
        before = json.loads(path.read_text())
        changed = [f"{key}: {_short(before.get(key), new)}" for key, new in facts.items() if before.get(key) != new]
        if changed:
            raise InputError(
                f"{path}: data {config.data} changed since the study was made: {'; '.join(changed)}; give --study "
                f"another name, or restore the data"
            )
    write_atomic(path, json.dumps(facts, indent=2))


def leave(config: SearchConfig) -> None:
    """Leave configuration and space in the study's folder.

    Raises:
        InputError: the folder was made with others.
    """
    path = config.folder / "config.yaml"
    if path.exists():
        _compare(load_yaml(path), config, str(path))
    space = Space.named(config.space).model_dump(mode="json")
    kept = config.folder / "space.yaml"
    if kept.exists():
        _compare_space(load_yaml(kept), space, str(kept))
    values = _written(config) | {"hash": config.hash}
    write_atomic(path, yaml.safe_dump(values, sort_keys=False))
    write_atomic(kept, yaml.safe_dump(space, sort_keys=False))


def carry(config: SearchConfig, study: optuna.Study) -> None:
    """Leave the same in the storage.

    Raises:
        InputError: the study in the storage was made with others, or in another folder.
    """
    where = f"study {config.name} in {redacted(config.storage) or config.folder / 'study.db'}"
    space = Space.named(config.space).model_dump(mode="json")
    attrs = study.user_attrs
    if CONFIG in attrs:
        _compare(attrs[CONFIG], config, where)
        _compare_space(attrs[SPACE], space, where)
    mark = config.folder / MARK
    if FOLDER not in attrs:
        write_atomic(mark, uuid.uuid4().hex)
        here = {"mark": mark.read_text(), "results": str(Path(config.results).resolve())}
        study.set_user_attr(FOLDER, here)
    check_folder(config, study)
    study.set_user_attr(CONFIG, _written(config))
    study.set_user_attr(SPACE, space)
    study.set_user_attr(MADE_WITH, {"machine": machine(), "versions": versions()})


def carried(study: optuna.Study) -> SearchConfig:
    """The configuration of a study that another machine leads.

    Raises:
        InputError: the study carries none.
    """
    if CONFIG not in study.user_attrs:
        raise InputError(f"study {study.study_name}: carries no configuration; start it with `search --storage` first")
    return parse(SearchConfig, study.user_attrs[CONFIG], f"study {study.study_name}")


def check_folder(config: SearchConfig, study: optuna.Study) -> None:
    """Workers share the study's folder, for they go on from each other's files.

    Raises:
        InputError: this machine sees another folder.
    """
    there = study.user_attrs[FOLDER]
    mark = config.folder / MARK
    if not mark.is_file() or mark.read_text() != there["mark"]:
        raise InputError(
            f"--results {config.results}: is not where study {config.name} keeps its files, which is "
            f"{there['results']} of the machine that made it; share that folder and give its path here"
        )


def differences(study: optuna.Study) -> list[str]:
    """How this machine differs from the one that made the study, where results may depend on it."""
    there = study.user_attrs.get(MADE_WITH, {})
    here = {"processor": machine()["processor"], **versions()}
    then = {"processor": there.get("machine", {}).get("processor"), **there.get("versions", {})}
    return [f"{key} {here.get(key)}, not {then[key]}" for key in then if here.get(key) != then[key]]


def _written(config: SearchConfig) -> dict[str, Any]:
    """The configuration without passwords."""
    return config.model_dump(mode="json") | {"storage": redacted(config.storage)}


def _compare(old: dict[str, Any], config: SearchConfig, where: str) -> None:
    before = parse(SearchConfig, {key: value for key, value in old.items() if key != "hash"}, where)
    was, new = before.model_dump(mode="json"), config.model_dump(mode="json")
    keys = before.identity() | config.identity()
    changed = [f"{key}: the study was made with {_short(was[key], new[key])}" for key in keys if was[key] != new[key]]
    if changed:
        raise InputError(f"{where}: {'; '.join(changed)}; give --study another name, or the old values")


def _compare_space(old: Any, new: dict[str, Any], where: str) -> None:
    changed = [key for key in new if old.get(key) != new[key]]
    if changed:
        raise InputError(
            f"{where}: space: the file's {', '.join(changed)} changed since; give --study another name, or undo the change"
        )


def _short(old: Any, new: Any) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        return ", ".join(f"{k} {old.get(k)}, not {new[k]}" for k in new if old.get(k) != new[k])
    return f"{old}, not {new}"
