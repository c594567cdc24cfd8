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
from explore.search.latency import ATTEMPTS, reference_file
from explore.search.leases import leased
from explore.search.objectives import latency_key, reference_ms, remote_addresses
from explore.search.predicted_latency import predicted_ratio
from explore.search.results import RemoteLatency
from explore.search.storage import DEVICES, open_storage, storage_url
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
    """Measure a model file on every remote device; return the latencies by address, predicted if the device is busy.

    Raises:
        DeviceError: a device failed repeatedly; the message is the device's own.
    """
    addresses = remote_addresses(config)
    found = {}
    for index, address in enumerate(addresses):
        report(latency_key(address), index, len(addresses))
        try:
            found[address] = measure_on(config, arch, recipe_name, file, address)
        except Disturbed:
            ratio, source = predicted_ratio(config, recipe_name, address)
            ms = ratio(arch) * reference_ms(config, address)
            found[address] = RemoteLatency(latency_ms=ms, ratio=ratio(arch), source=source)
    return found


def measure_on(config: SearchConfig, arch: Arch, recipe_name: str, file: Path, address: str) -> RemoteLatency:
    """Measure a model file on one device.

    Raises:
        DeviceError, Disturbed: the device failed repeatedly.
    """
    row = _measure(config, address, [_reference(config), _model(config, arch, recipe_name, file, arch.name)])[1]
    values = row.model_dump(mode="json", exclude={"machine", "before", "after"})
    return RemoteLatency(latency_ms=row.ratio * reference_ms(config, address), **values)


def _measure(config: SearchConfig, address: str, models: list[Model]) -> list[Row]:
    device, settings = open_device(address), Settings((config.measure.threads,), None, config.measure)

    def once() -> list[Row]:
        with exclusive_device(config, address):
            return device.measure(models, settings, lambda fraction, text: None)

    def undisturbed() -> list[Row]:
        return retry_disturbed(once, ATTEMPTS, PAUSE_S, MAX_PAUSE_S, (Disturbed,))

    return retry_disturbed(undisturbed, DEVICE_ATTEMPTS, PAUSE_S, MAX_PAUSE_S, (DeviceError,))


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
    return _model(
        config, reference(config.input_size), "int8-static", reference_file(config, config.runtime), "reference"
    )
