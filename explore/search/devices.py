"""What a search minimises beside the error: latency here or elsewhere, on several devices or within a limit there.

Of `devices: [A, B, C]` each is an objective, except that a further one with a `max_ms` is a constraint instead; the first
with a `max_ms` is both. Latency here is always measured too: it is quick, and it is what networks are compared by. A
device that is away, slow, full or answers nonsense is asked again, then fails that candidate with its own words.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from arch.errors import InputError
from arch.files import write_atomic
from arch.space import Arch
from explore.config import SearchConfig
from explore.measure.devices import Row, Settings, open_device
from explore.measure.predictor import Predictor
from explore.measure.probe import Disturbed
from explore.measure.rows import DeviceError, Model
from explore.measure.sampling import reference
from explore.search.choice import searched
from explore.search.device_lane import alone
from quantize import runtimes
from quantize.recipes import recipe

LOCAL = "local"
ATTEMPTS = 3  # on a device that fails
PATIENCE = 12  # disturbed measurements
PAUSE_S = 5.0  # after the first failure, longer after each further one
MARGIN = 1.1  # a prediction within this factor of a limit is measured, not believed

Tell = Callable[[str, int, int], None]


def limits(config: SearchConfig) -> dict[str, float]:
    """`max_ms` as milliseconds by device.

    Raises:
        InputError: no number, or a device that is not among `devices`.
    """
    found = {}
    for text in config.max_ms:
        device, _, number = text.rpartition("=")
        if device not in config.devices:
            raise InputError(f"max_ms: '{text}': write DEVICE=MS with one of the devices {', '.join(config.devices)}")
        try:
            found[device] = float(number)
        except ValueError:
            found[device] = 0.0
        if not 0 < found[device] < float("inf"):
            raise InputError(f"max_ms: '{text}': {number} are no milliseconds; write {device}=20")
    return found


def further(config: SearchConfig) -> tuple[str, ...]:
    """The devices beside this machine."""
    return tuple(address for address in config.devices if address != LOCAL)


def objectives(config: SearchConfig) -> tuple[str, ...]:
    """Names of what is minimised; columns of trials.csv."""
    first, *others = config.devices
    free = [address for address in others if address not in limits(config)]
    return ("mpjpe_mm", *(column(address) for address in (first, *free)))


def column(address: str) -> str:
    """Of trials.csv and front.csv; options of an address stay out of it."""
    return "latency_ms" if address == LOCAL else f"latency_ms {address.partition('?')[0]}"


def values(config: SearchConfig, result: dict[str, Any]) -> list[float]:
    """What is minimised, of a result of `explore.search.candidate` or a row with its columns."""
    flat = result | columns(result)
    return [float(flat[name]) for name in objectives(config)]


def columns(result: dict[str, Any]) -> dict[str, float]:
    """Milliseconds on the further devices by column."""
    return {column(address): row["latency_ms"] for address, row in result.get("elsewhere", {}).items()}


def constraints(config: SearchConfig, result: dict[str, Any]) -> dict[str, float]:
    """By name how much a result is above each limit; one that is kept is not above zero."""
    flat = result | columns(result)
    return {f"max_ms {device}": float(flat[column(device)]) - most for device, most in limits(config).items()}


def keeps(config: SearchConfig, result: dict[str, Any]) -> bool:
    """Whether a result is within all limits."""
    return all(above <= 0 for above in constraints(config, result).values())


def check(config: SearchConfig) -> None:
    """Refuse devices, limits and a predictor that do not fit the study.

    Raises:
        InputError: one line with the key and the fix.
    """
    if not config.devices or len(set(config.devices)) < len(config.devices):
        raise InputError(f"devices: {', '.join(config.devices) or 'none'}: name one at least, and each once")
    if len({column(address) for address in config.devices}) < len(config.devices):
        raise InputError("devices: two addresses differ in their options alone; keep one")
    for address in config.devices:
        if getattr(open_device(address), "address", "") is None:
            raise InputError(f"devices: {address}: its address must stay; write web://HOST:8000?token=WORD")
    limits(config)
    if not config.predictor:
        return
    about = Predictor.load(config.predictor).about
    if about.device not in {open_device(address).name for address in limits(config)}:
        raise InputError(
            f"predictor: {config.predictor} is of {about.device}, which has no limit; add --max-ms {about.device}=MS"
        )
    names = {recipe(name).name for name in searched(config)}
    if about.recipe not in names:
        raise InputError(f"predictor: {config.predictor} is of recipe {about.recipe}, the study of {', '.join(names)}")
    for key, theirs in (
        ("scale", config.scale),
        ("runtime", config.runtime),
        ("threads", config.measure.threads),
    ):
        if getattr(about, key) != theirs:
            raise InputError(
                f"predictor: {config.predictor} is of {key} {getattr(about, key)}, the study of {theirs}; "
                f"calibrate again with --{key} {theirs}"
            )


def pages(config: SearchConfig) -> list[str]:
    """Addresses that the user must open in a browser and leave open."""
    return [page for address in further(config) if (page := getattr(open_device(address), "address", None))]


def screen(config: SearchConfig, arch: Arch, recipe_name: str) -> str:
    """Why a network is not worth training: the predictor puts it well above a limit. Empty where it is."""
    found = predicted(config, arch)
    if found is None or recipe(recipe_name).name != _predictor(config.predictor).about.recipe:
        return ""
    address = _predicted_device(config)
    most = limits(config)[address]
    return f"predicted {found:.3f} ms on {address}, above max_ms {most:g}" if found > MARGIN * most else ""


def predicted(config: SearchConfig, arch: Arch) -> float | None:
    """What the predictor says of a network's file by the predictor's recipe, in ms; None where there is no predictor."""
    if not config.predictor:
        return None
    return float(_predictor(config.predictor).ms([arch], reference_ms(config, _predicted_device(config)))[0])


def _predicted_device(config: SearchConfig) -> str:
    """Of the devices that have a limit, the one that the predictor is of."""
    device = _predictor(config.predictor).about.device
    return next(address for address in limits(config) if open_device(address).name == device)


@lru_cache(maxsize=4)
def _predictor(path: str) -> Predictor:
    return Predictor.load(path)


def time_reference(config: SearchConfig, report: Tell) -> None:
    """The reference network once on every further device; what candidates take there is a ratio to it.

    Raises:
        DeviceError, Disturbed: a device failed for good.
    """
    path = config.folder / "reference" / "devices.json"
    figures: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    for index, address in enumerate(further(config)):
        if address not in figures:
            report(f"reference on {column(address)}", index, len(config.devices))
            figures[address] = _patiently(config, address, [_reference(config)])[0].model_dump(mode="json")
            write_atomic(path, json.dumps(figures, indent=2))


def elsewhere(
    config: SearchConfig, arch: Arch, recipe_name: str, file: Path, report: Tell
) -> dict[str, dict[str, Any]]:
    """Figures of a candidate's file on each further device, by address.

    Raises:
        DeviceError, Disturbed: a device failed for good; the message has its own words.
    """
    found = {}
    for index, address in enumerate(further(config)):
        report(column(address), index, len(further(config)))
        rows = _patiently(config, address, [_reference(config), _model(config, arch, recipe_name, file, arch.name)])
        row = rows[1].model_dump(mode="json", exclude={"machine", "before", "after"})
        found[address] = {"latency_ms": rows[1].ratio * reference_ms(config, address), **row}
    return found


def _patiently(config: SearchConfig, address: str, models: list[Model]) -> list[Row]:
    """Rows of a device that one process at a time may use."""
    device, failures, disturbed = open_device(address), 0, 0
    settings = Settings((config.measure.threads,), None, config.measure)
    while True:
        try:
            with alone(config, address):
                return device.measure(models, settings, lambda share, text: None)
        except DeviceError:
            failures += 1
            if failures == ATTEMPTS:
                raise
        except Disturbed:
            disturbed += 1
            if disturbed == PATIENCE:
                raise
        time.sleep(PAUSE_S * max(failures, min(disturbed, 3)))


def _model(config: SearchConfig, arch: Arch, recipe_name: str, file: Path, name: str) -> Model:
    files = tuple(file.with_name(part) for part in runtimes.get(config.runtime).FILES)
    return Model(name, files, config.runtime, recipe(recipe_name).name, arch)


def _reference(config: SearchConfig) -> Model:
    file = config.folder / "reference" / config.runtime / runtimes.get(config.runtime).FILES[0]
    return _model(config, reference(config.scale), "int8-static", file, "reference")


def reference_ms(config: SearchConfig, address: str) -> float:
    """What the study's reference network takes on a device."""
    folder = config.folder / "reference"
    if address == LOCAL:
        return float(json.loads((folder / "reference.json").read_text())[config.runtime]["median_ms"])
    return float(json.loads((folder / "devices.json").read_text())[address]["median_ms"])
