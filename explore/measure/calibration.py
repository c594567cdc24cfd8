"""`measure --calibrate`: measure networks of a search space on a device, and fit a latency predictor to them."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arch.cost import cost
from arch.errors import InputError
from arch.files import check_output, write_atomic
from arch.search_space import Space
from arch.space import Arch
from explore.measure.config import CalibrateConfig
from explore.measure.devices import Device, Progress, Row, Settings, open_device
from explore.measure.devices.qemu import Qemu, no_latency
from explore.measure.latency import Disturbed, retry_disturbed
from explore.measure.predictor import Conditions, Predictor, fit
from explore.measure.rows import DeviceError, Model, validated
from explore.measure.sampling import reference, sample_fit_set, sample_test_set
from explore.measure.untrained import Conversion, convert_all
from quantize.convert import ConversionError
from quantize.recipes import recipe

BATCH = 8  # networks measured together, beside the reference
ATTEMPTS = 6  # at a batch that is disturbed, or on a device that does not respond
PAUSE_S = 5.0  # before the second attempt; longer before each further one
MAX_FAILURES = 5  # of conversions
MIN_NETWORKS = 20  # to fit on
RENAMED = {"settled": "converged", "scale": "input_size", "recipe": "quantization"}  # keys of version 0.1


def calibrate(config: CalibrateConfig, address: str, settings: Settings, progress: Progress) -> tuple[Path, Predictor]:
    """Measure networks, fit a predictor and write it; return its path, beside which the rows are kept as .jsonl.

    Raises:
        InputError, DeviceError, ConversionError: see `measure_networks`.
    """
    target = address.partition("?")[0].replace("://", "-").replace("/", "")
    files = f"{config.runtime}-{config.quantization}-{Path(config.space).stem}-{config.input_size}"
    path = Path(config.out or Path("results", "predictors", f"{target}-{files}-{settings.threads[0]}.json"))
    check_output(path, "--out", ".json")
    rows = measure_networks(config, address, settings, path.with_suffix(".jsonl"), progress)
    references = [row["row"] for row in rows if "row" in row]
    reference_ms = float(np.median([row["median_ms"] for row in references]))
    last = validated(Row, _rename_keys(references[-1], ("settled",)), address)
    predictor = fit(rows, Conditions.of(last, config.space, config.input_size, reference_ms))
    predictor.save(path)
    return path, predictor


def measure_networks(
    config: CalibrateConfig, address: str, settings: Settings, path: Path, progress: Progress
) -> list[dict[str, Any]]:
    """Return one row per network; rows in `path` are kept, the other networks are measured and appended to it.

    A row has `part` (`fit` or `unseen`), `arch`, `arch_id`, `macs`, the ratio to the reference with its interval,
    `reference_ms` and `converged`. The first row of each batch has the reference's complete `row`.

    Raises:
        InputError: a wrong option; `path` holds rows of another calibration.
        DeviceError: the device failed or stayed busy; the rows so far are kept.
        ConversionError: too many networks failed.
    """
    check_output(path, "--out")
    device = open_device(address)
    if isinstance(device, Qemu):
        raise no_latency(address)
    chosen = recipe(config.quantization)
    space = Space.named(config.space).at(config.input_size)
    common = (space, config.input_size, config.runtime, chosen)
    unseen = sample_test_set(*common, config.unseen, config.seed)
    archs = sample_fit_set(*common, config.networks, config.seed, unseen)
    if len(archs) < MIN_NETWORKS:
        raise InputError(
            f"space: {config.space}: besides {len(unseen)} to test on, {len(archs)} networks can be exported with "
            f"{chosen.name}, but {MIN_NETWORKS} are needed; use a larger space"
        )
    archs += unseen
    random.Random(config.seed).shuffle(archs)  # both parts are measured under the same conditions
    rows = _read_rows(path, _key(config, device, settings))
    known = {row["arch_id"] for row in rows}
    missing = [arch for arch in archs if arch.id not in known]
    files = path.with_suffix(".files")  # converted, but not measured yet
    needed = [reference(config.input_size), *missing] if missing else []
    models = _convert(config, needed, files, lambda share, text: progress(0.8 * share, text))
    first, others = models[:1], models[1:]
    with open(path, "a", encoding="utf-8") as file:
        for start in range(0, len(others), BATCH):
            batch = others[start : start + BATCH]
            progress(0.8 + 0.2 * start / len(others), f"{start} of {len(others)} measured")

            def waiting(attempt: int, attempts: int, share: float = 0.8 + 0.2 * start / len(others)) -> None:
                progress(share, f"waiting for idle cores, attempt {attempt} of {attempts}")

            for row in _batch_rows(_measure(device, [*first, *batch], settings, waiting), batch):
                file.write(json.dumps(row) + "\n")
                rows.append(row)
            file.flush()
            os.fsync(file.fileno())
    shutil.rmtree(files, ignore_errors=True)
    test_ids = {arch.id for arch in unseen}
    return [row | {"part": "unseen" if row["arch_id"] in test_ids else "fit"} for row in rows]


def _convert(config: CalibrateConfig, archs: Sequence[Arch], files: Path, progress: Progress) -> list[Model]:
    """Return the models of all networks that could be converted.

    Raises:
        ConversionError: the first or too many networks failed.
    """
    chosen = recipe(config.quantization)
    conversions = [Conversion(arch, config.runtime, chosen, files / arch.id) for arch in archs]
    models: list[Model] = []
    failed = 0
    for index, result in enumerate(convert_all(conversions, config.workers, files)):
        progress(index / len(archs), f"{index} of {len(archs)} converted")
        if isinstance(result, Model):
            models.append(result)
            continue
        failed += 1
        if index == 0 or failed > MAX_FAILURES:
            raise ConversionError(f"{failed} networks could not be converted; the last: {result}")
    return models


def _key(config: CalibrateConfig, device: Device, settings: Settings) -> dict[str, Any]:
    """Return the settings that all rows of one calibration share."""
    shared = {key: getattr(config, key) for key in ("space", "input_size", "runtime", "quantization", "seed")}
    return {"device": device.name, "threads": settings.threads[0], "isa": settings.isa, **shared}


def _rename_keys(values: dict[str, Any], keys: Sequence[str] = tuple(RENAMED)) -> dict[str, Any]:
    return {RENAMED[key] if key in keys else key: value for key, value in values.items()}


def _read_rows(path: Path, key: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of an earlier run; a missing file is created with `key` as its first line.

    An incomplete last line, which a killed run leaves, is removed.
    """
    if not path.exists():
        write_atomic(path, json.dumps(key) + "\n")
        return []
    content = path.read_bytes()
    complete = content[: content.rfind(b"\n") + 1]
    try:
        first, *rows = [_rename_keys(json.loads(line)) for line in complete.splitlines()]
    except (ValueError, AttributeError):
        raise InputError(f"{path}: not the rows of a calibration; choose another file with --out") from None
    if first != key:
        changed = next(name for name in key if first.get(name) != key[name])
        raise InputError(
            f"{path}: {changed}: the rows were measured with {first.get(changed)}, not {key[changed]}; "
            f"choose another file with --out"
        )
    if len(complete) < len(content):
        os.truncate(path, len(complete))
    return rows


def _measure(
    device: Device, models: Sequence[Model], settings: Settings, waiting: Callable[[int, int], None]
) -> list[Row]:
    try:
        return retry_disturbed(
            lambda: device.measure(models, settings, lambda share, text: None),
            ATTEMPTS,
            PAUSE_S,
            errors=(DeviceError, Disturbed),
            waiting=waiting,
        )
    except (DeviceError, Disturbed) as error:
        raise DeviceError(
            f"{ATTEMPTS} attempts failed: {error}; the rows so far are kept, run the same command again to continue"
        ) from None


def _batch_rows(rows: Sequence[Row], batch: Sequence[Model]) -> list[dict[str, Any]]:
    """Return the rows to store; the first of `rows` is the reference's."""
    kept = []
    for model, row in zip(batch, rows[1:], strict=True):
        measured = row.model_dump(
            mode="json", include={"ratio", "ratio_low", "ratio_high", "converged", "cpu_over_wall"}
        )
        known = {"arch_id": model.arch.id, "macs": cost(model.arch).macs, "reference_ms": rows[0].median_ms}
        kept.append(known | measured | {"arch": model.arch.model_dump(mode="json")})
    kept[0]["row"] = rows[0].model_dump(mode="json")
    return kept
