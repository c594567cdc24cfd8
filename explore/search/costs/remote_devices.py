"""Latency of candidates on remote devices, each of which one process at a time may use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna

from arch.documents import load_written
from arch.errors import InputError
from arch.files import content_hash, write_atomic
from arch.space import Arch
from explore.host import host_folder, locked
from explore.measure.devices import DeviceError, Model, Row, Settings, open_device
from explore.measure.latency import Disturbed, retry_disturbed
from explore.measure.sampling import reference
from explore.search.config import SearchConfig
from explore.search.context import Report
from explore.search.costs.latency import ATTEMPTS, reference_file
from explore.search.costs.objectives import latency_key, reference_ms, remote_addresses
from explore.search.costs.predicted_latency import predicted_ratio
from explore.search.results import RemoteLatency
from explore.search.storage.backends import DEVICES, open_storage, storage_url
from explore.search.workers.leases import leased
from quantize import runtimes
from quantize.recipes import recipe

DEVICE_ATTEMPTS = 3
PAUSE_S, MAX_PAUSE_S = 5.0, 15.0


def check_devices(config: SearchConfig) -> None:
    """Check that every remote device of a search responds.

    Raises:
        InputError: a device does not, or its page cannot be served here.
    """
    for address in remote_addresses(config):
        try:
            open_device(address).describe()
        except DeviceError as error:
            raise InputError(f"objectives: {error}; correct the address, or make the device available") from None


def measure_remote_references(config: SearchConfig, report: Report) -> None:
    """Measure the reference network once on every remote device; latencies of candidates are ratios to it.

    Raises:
        DeviceError, Disturbed: a device failed repeatedly.
    """
    path = config.folder / "reference" / "devices.json"
    figures: dict[str, dict[str, Any]] = load_written(path) if path.exists() else {}
    for index, address in enumerate(remote_addresses(config)):
        if address not in figures:
            report(f"reference on {latency_key(address)}", index, len(remote_addresses(config)))
            figures[address] = _measure(config, address, [_reference(config)])[0].model_dump(mode="json")
            write_atomic(path, json.dumps(figures, indent=2))


def measure_remote(
    config: SearchConfig, arch: Arch, recipe_name: str, file: Path, report: Report
) -> dict[str, RemoteLatency]:
    """Measure a model file on every remote device; return the latencies by address.

    They are predicted where the device is busy or away. A device is away if it does not measure the reference network
    either. Its error is kept in a mark; further files are tried once each, until one is measured.

    Raises:
        DeviceError: a device failed repeatedly with this file only; the message is the device's own.
    """
    addresses = remote_addresses(config)
    found = {}
    for index, address in enumerate(addresses):
        report(latency_key(address), index, len(addresses))
        mark = _away_mark(config, address)
        was_away = mark.exists()
        try:
            attempts = 1 if was_away else DEVICE_ATTEMPTS
            found[address] = measure_on(config, arch, recipe_name, file, address, attempts)
            mark.unlink(missing_ok=True)
        except (Disturbed, DeviceError) as error:
            if isinstance(error, DeviceError):
                if not was_away and _measures_reference(config, address):
                    raise
                write_atomic(mark, str(error))
            ratio, source = predicted_ratio(config, recipe_name, address)
            ms = ratio(arch) * reference_ms(config, address)
            found[address] = RemoteLatency(latency_ms=ms, ratio=ratio(arch), source=source)
    return found


def away_devices(config: SearchConfig) -> list[str]:
    """Return the errors of the devices that are away."""
    return [mark.read_text() for mark in sorted((config.folder / "locks").glob("away-*"))]


def _away_mark(config: SearchConfig, address: str) -> Path:
    return config.folder / "locks" / f"away-{content_hash(address)}"


def _measures_reference(config: SearchConfig, address: str) -> bool:
    try:
        _measure(config, address, [_reference(config)], attempts=1)
    except DeviceError:
        return False
    except Disturbed:
        return True
    return True


def measure_on(
    config: SearchConfig, arch: Arch, recipe_name: str, file: Path, address: str, attempts: int = DEVICE_ATTEMPTS
) -> RemoteLatency:
    """Measure a model file on one device.

    Raises:
        DeviceError, Disturbed: the device failed repeatedly.
    """
    models = [_reference(config), _model(config, arch, recipe_name, file, arch.name)]
    row = _measure(config, address, models, attempts)[1]
    values = row.model_dump(mode="json", exclude={"machine", "before", "after"})
    return RemoteLatency(latency_ms=row.ratio * reference_ms(config, address), **values)


def _measure(config: SearchConfig, address: str, models: list[Model], attempts: int = DEVICE_ATTEMPTS) -> list[Row]:
    device, settings = open_device(address), Settings((config.measure.threads,), None, config.measure)

    def once() -> list[Row]:
        with exclusive_device(config, address):
            return device.measure(models, settings, lambda fraction, text: None)

    def undisturbed() -> list[Row]:
        return retry_disturbed(once, ATTEMPTS, PAUSE_S, MAX_PAUSE_S, (Disturbed,))

    return retry_disturbed(undisturbed, attempts, PAUSE_S, MAX_PAUSE_S, (DeviceError,))


@contextmanager
def exclusive_device(config: SearchConfig, address: str) -> Iterator[None]:
    """Wait for a device and hold it, whatever options its address has.

    Searches that share a storage agree by a lease there, searches of this machine by a file lock.
    """
    device = address.partition("?")[0]
    with locked(host_folder() / f"device-{content_hash(device)}.lock"):
        study = optuna.create_study(storage=open_storage(storage_url(config)), study_name=DEVICES, load_if_exists=True)
        with leased(study, device, config.lease):
            yield


def _model(config: SearchConfig, arch: Arch, recipe_name: str, file: Path, name: str) -> Model:
    files = tuple(file.with_name(part) for part in runtimes.get(config.runtime).FILES)
    return Model(name, files, config.runtime, recipe(recipe_name).name, arch)


def _reference(config: SearchConfig) -> Model:
    return _model(config, reference(config.input_size), "int8-static", reference_file(config), "reference")
