"""`measure --calibrate`: networks of a space measured on a device, and the predictor that they make."""

from __future__ import annotations

import json
import os
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from arch.cost import cost
from arch.errors import InputError
from arch.search_space import Space
from arch.space import Arch
from explore.config import Strict
from explore.measure.devices import Device, Report, Row, Settings, open_device
from explore.measure.probe import Disturbed
from explore.measure.rows import DeviceError
from explore.measure.sampling import design, reference, unseen
from explore.measure.untrained import untrained
from quantize.convert import ConversionError, Converter
from quantize.recipes import recipe

BATCH = 8  # networks a call of the device, beside the reference
ATTEMPTS = 6  # at a batch that is disturbed, or on a device that is away
PAUSE_S = 5.0  # before the second attempt; longer before each further one
FAILED = 5  # networks that may fail before the calibration is given up


class CalibrateConfig(Strict):
    """What a calibration is of."""

    space: str = Field("mobile", description="name of a space, or a YAML file")
    scale: int = Field(64, ge=32, description="px of the input")
    runtime: str = Field("litert", description="runtime of the model files")
    recipe: str = Field("int8-static", description="their recipe")
    networks: int = Field(150, ge=20, description="networks to learn from")
    unseen: int = Field(50, ge=5, description="networks that the predictor is judged on and never learns from")
    seed: int = Field(0, ge=0, description="seed of the choice of networks")
    out: str = Field("", description="file of the predictor; empty: results/predictors/ and its name")


class CalibrationFailed(RuntimeError):
    """The device gave too few figures; says why."""


def measured_rows(
    config: CalibrateConfig, address: str, settings: Settings, path: Path, report: Report
) -> list[dict[str, Any]]:
    """A row a network, those that `path` holds from an earlier run as they are, the others measured and added to it.

    Row: `part` (fit or unseen), `arch`, `arch_id`, `macs`, ratio to the reference with its interval, `reference_ms`,
    `settled`, and the `row` of the first network of each batch, which says what it was measured with.

    Raises:
        InputError: a wrong option; `path` holds rows of another calibration.
        CalibrationFailed: the device went away for good, or too many networks failed.
    """
    device = open_device(address)
    chosen = recipe(config.recipe)
    space = Space.named(config.space).at(config.scale)
    tests = unseen(space, config.scale, config.runtime, chosen, config.unseen, config.seed)
    archs = design(space, config.scale, config.runtime, chosen, config.networks, config.seed, tests) + tests
    random.Random(config.seed).shuffle(archs)  # so that both parts are measured under the same conditions
    done = _read(path, _key(config, device, settings))
    wanted = [arch for arch in archs if arch.id not in {row["arch_id"] for row in done}]
    total, failed = len(done) + len(wanted), 0
    with (
        tempfile.TemporaryDirectory() as scratch,
        Converter(path.with_suffix(".log")) as converter,
        open(path, "a", encoding="utf-8") as file,
    ):
        first = untrained(converter, reference(config.scale), config.runtime, chosen, Path(scratch, "reference"))
        for start in range(0, len(wanted), BATCH):
            models, batch = [first], []
            for arch in wanted[start : start + BATCH]:
                report((len(done) + 0.8 * len(batch)) / total, f"converting {arch.name}")
                try:
                    models.append(untrained(converter, arch, config.runtime, chosen, Path(scratch, arch.id)))
                    batch.append(arch)
                except ConversionError as error:
                    failed += 1
                    if failed > FAILED:
                        raise CalibrationFailed(f"{failed} networks could not be converted; the last: {error}") from None
            rows = _measured(device, models, settings, lambda share, text: report(len(done) / total, text))
            for row in _kept(rows, batch):
                file.write(json.dumps(row) + "\n")
                done.append(row)
            file.flush()
            os.fsync(file.fileno())
            for model in models[1:]:
                for part in model.files:
                    part.unlink()
    judged = {arch.id for arch in tests}
    return [row | {"part": "unseen" if row["arch_id"] in judged else "fit"} for row in done]


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


def _measured(device: Device, models: Sequence[Any], settings: Settings, report: Report) -> list[Row]:
    for attempt in range(ATTEMPTS):
        try:
            return device.measure(models, settings, report)
        except (DeviceError, Disturbed) as error:
            if attempt == ATTEMPTS - 1:
                raise CalibrationFailed(f"given up after {ATTEMPTS} attempts: {error}; the rows so far are kept") from None
            time.sleep(PAUSE_S * (attempt + 1))
    raise AssertionError("unreachable")


def _kept(rows: Sequence[Row], batch: Sequence[Arch]) -> list[dict[str, Any]]:
    """What is kept of each network's row; the first row is the reference's."""
    made = []
    for arch, row in zip(batch, rows[1:], strict=True):
        figures = row.model_dump(mode="json", include={"ratio", "ratio_low", "ratio_high", "settled", "cpu_over_wall"})
        known = {"arch_id": arch.id, "macs": cost(arch).macs, "reference_ms": rows[0].median_ms}
        made.append(known | figures | {"arch": arch.model_dump(mode="json")})
    made[0]["row"] = rows[0].model_dump(mode="json")
    return made
