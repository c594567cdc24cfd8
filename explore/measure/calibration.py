"""`measure --calibrate`: networks of a space measured on a device, and the predictor that they make."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arch.cost import cost
from arch.errors import InputError
from arch.search_space import Space
from arch.space import Arch
from explore.measure.calibrate_config import CalibrateConfig
from explore.measure.devices import Device, Report, Row, Settings, open_device
from explore.measure.predictor import Predictor, about_of, fit
from explore.measure.probe import Disturbed
from explore.measure.rows import DeviceError, Model, checked
from explore.measure.sampling import design, reference, unseen
from explore.measure.untrained import Job, make_all
from quantize.convert import ConversionError
from quantize.recipes import recipe

BATCH = 8  # networks a call of the device, beside the reference
ATTEMPTS = 6  # at a batch that is disturbed, or on a device that is away
PAUSE_S = 5.0  # before the second attempt; longer before each further one
FAILED = 5  # networks that may fail before the calibration is given up


def calibrate(config: CalibrateConfig, address: str, settings: Settings, report: Report) -> tuple[Path, Predictor]:
    """Measure what was not measured before, fit, and write the predictor; its rows lie beside it as .jsonl.

    Raises:
        InputError, DeviceError, ConversionError: see `measured_rows`.
    """
    device = address.partition("?")[0].replace("://", "-").replace("/", "")
    stem = f"{device}-{config.runtime}-{config.recipe}-{Path(config.space).stem}-{config.scale}-{settings.threads[0]}"
    path = Path(config.out or Path("results", "predictors", f"{stem}.json"))
    rows = measured_rows(config, address, settings, path.with_suffix(".jsonl"), report)
    batches = [row["row"] for row in rows if "row" in row]
    reference_ms = float(np.median([batch["median_ms"] for batch in batches]))
    about = about_of(checked(Row, batches[-1], address), config.space, config.scale, reference_ms)
    predictor = fit(rows, about)
    predictor.save(path)
    return path, predictor


def measured_rows(
    config: CalibrateConfig, address: str, settings: Settings, path: Path, report: Report
) -> list[dict[str, Any]]:
    """A row a network, those that `path` holds from an earlier run as they are, the others measured and added to it.

    Row: `part` (fit or unseen), `arch`, `arch_id`, `macs`, ratio to the reference with its interval, `reference_ms`,
    `settled`, and the `row` of the first network of each batch, which says what it was measured with.

    Raises:
        InputError: a wrong option; `path` holds rows of another calibration.
        DeviceError: the device stayed away or busy; the rows so far are kept.
        ConversionError: too many networks failed.
    """
    device = open_device(address)
    chosen = recipe(config.recipe)
    space = Space.named(config.space).at(config.scale)
    tests = unseen(space, config.scale, config.runtime, chosen, config.unseen, config.seed)
    archs = design(space, config.scale, config.runtime, chosen, config.networks, config.seed, tests) + tests
    random.Random(config.seed).shuffle(archs)  # so that both parts are measured under the same conditions
    done = _read(path, _key(config, device, settings))
    wanted = [arch for arch in archs if arch.id not in {row["arch_id"] for row in done}]
    files = path.with_suffix(".files")  # of networks converted but not measured yet
    needed = [reference(config.scale), *wanted] if wanted else []
    models = _converted(config, needed, files, lambda share, text: report(0.8 * share, text))
    first, others = models[:1], models[1:]
    with open(path, "a", encoding="utf-8") as file:
        for start in range(0, len(others), BATCH):
            batch = others[start : start + BATCH]
            report(0.8 + 0.2 * start / len(others), f"{start} of {len(others)} measured")
            for row in _kept(_measured(device, [*first, *batch], settings), batch):
                file.write(json.dumps(row) + "\n")
                done.append(row)
            file.flush()
            os.fsync(file.fileno())
    shutil.rmtree(files, ignore_errors=True)
    judged = {arch.id for arch in tests}
    return [row | {"part": "unseen" if row["arch_id"] in judged else "fit"} for row in done]


def _converted(config: CalibrateConfig, archs: Sequence[Arch], files: Path, report: Report) -> list[Model]:
    """The model files, those that an earlier run made as they are; one process a core makes the others.

    Raises:
        ConversionError: too many could not be made, or that of the first.
    """
    chosen = recipe(config.recipe)
    jobs = [Job(arch, config.runtime, chosen, files / arch.id) for arch in archs]
    made: list[Model] = []
    failed = 0
    for index, result in enumerate(make_all(jobs, config.workers, files)):
        report(index / len(archs), f"{index} of {len(archs)} converted")
        if isinstance(result, Model):
            made.append(result)
            continue
        failed += 1
        if index == 0 or failed > FAILED:
            raise ConversionError(f"{failed} networks could not be converted; the last: {result}")
    return made


def _key(config: CalibrateConfig, device: Device, settings: Settings) -> dict[str, Any]:
    """What must be the same for rows to be of one calibration."""
    same = {key: getattr(config, key) for key in ("space", "scale", "runtime", "recipe", "seed")}
    return {"device": device.name, "threads": settings.threads[0], "isa": settings.isa, **same}


def _read(path: Path, key: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of an earlier run; the file is made with `key` as its first line when there is none.

    A line that a killed run left half written is cut off.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(key) + "\n")
        return []
    whole = path.read_bytes()
    kept = whole[: whole.rfind(b"\n") + 1]
    try:
        first, *rows = [json.loads(line) for line in kept.splitlines()]
    except ValueError:
        raise InputError(f"{path}: holds no rows of a calibration; give --out another name") from None
    if first != key:
        changed = next(name for name in key if first.get(name) != key[name])
        raise InputError(
            f"{path}: {changed}: the rows were measured with {first.get(changed)}, not {key[changed]}; "
            f"give --out another name"
        )
    if len(kept) < len(whole):
        path.write_bytes(kept)
    return rows


def _measured(device: Device, models: Sequence[Model], settings: Settings) -> list[Row]:
    for attempt in range(ATTEMPTS):
        try:
            return device.measure(models, settings, lambda share, text: None)
        except (DeviceError, Disturbed) as error:
            if attempt == ATTEMPTS - 1:
                raise DeviceError(f"given up after {ATTEMPTS} attempts: {error}; the rows so far are kept") from None
            time.sleep(PAUSE_S * (attempt + 1))
    raise AssertionError("unreachable")


def _kept(rows: Sequence[Row], batch: Sequence[Model]) -> list[dict[str, Any]]:
    """What is kept of each network's row; the first row is the reference's."""
    made = []
    for model, row in zip(batch, rows[1:], strict=True):
        figures = row.model_dump(mode="json", include={"ratio", "ratio_low", "ratio_high", "settled", "cpu_over_wall"})
        known = {"arch_id": model.arch.id, "macs": cost(model.arch).macs, "reference_ms": rows[0].median_ms}
        made.append(known | figures | {"arch": model.arch.model_dump(mode="json")})
    made[0]["row"] = rows[0].model_dump(mode="json")
    return made
