"""The registry of devices: the scheme of an address, and the module that is imported for it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Protocol, cast
from urllib.parse import parse_qsl

from arch.errors import InputError, did_you_mean
from explore.measure.rows import DeviceError, Machine, Model, Row, Settings

__all__ = [
    "DEVICES", "Device", "DeviceError", "Machine", "Model", "Progress", "Row", "Settings", "open_device", "options",
    "require_litert",
]  # fmt: skip

DEVICES: dict[str, str] = {
    "local": "explore.measure.devices.local",
    "ssh": "explore.measure.devices.ssh",
    "adb": "explore.measure.devices.adb",
    "web": "explore.measure.devices.web",
    "qemu": "explore.measure.devices.qemu",
}
Progress = Callable[[float, str], None]  # called with the fraction done and a description


class Device(Protocol):
    """A device that can time models.

    Every method ends within a time limit and raises `DeviceError` if the device does not respond, is too slow or full,
    or sends an invalid reply, `Disturbed` if it is busy, and `InputError` for a request that it does not support.
    """

    name: str

    def describe(self) -> Machine:
        """Return the device's own description."""
        ...

    def measure(self, models: Sequence[Model], settings: Settings, progress: Progress) -> list[Row]:
        """Return a row per thread count and model; ratios are to the first model at the same thread count."""
        ...


def open_device(address: str) -> Device:
    """Return the device of an address, `SCHEME` or `SCHEME://REST`, without contacting it.

    Raises:
        InputError: an unknown scheme, or an address that the scheme does not allow.
    """
    scheme = address.partition("?")[0].partition("://")[0]
    if scheme not in DEVICES:
        known = ", ".join(DEVICES)
        raise InputError(f"target: {address}: unknown device{did_you_mean(scheme, DEVICES)}; the devices are {known}")
    return cast(Device, importlib.import_module(DEVICES[scheme]).open(address))


def require_litert(device: str, program: str, models: Sequence[Model], settings: Settings) -> None:
    """Reject requests to a device whose `program` runs LiteRT models only.

    Raises:
        InputError: a model of another runtime, or a cap on the instruction set.
    """
    for model in models:
        if model.runtime != "litert":
            raise InputError(f"{model.name}: {device}: {program} runs litert bundles only")
    if settings.isa:
        raise InputError(f"isa: {device}: only openvino can be capped, which {program} does not run; omit --isa")


def options(address: str, query: str, known: tuple[str, ...]) -> dict[str, str]:
    """Return the options `key=value&key=value` that follow an address.

    Raises:
        InputError: an unknown key.
    """
    given = dict(parse_qsl(query.replace("+", "%2B"), keep_blank_values=True))
    if unknown := sorted(set(given) - set(known)):
        hint = did_you_mean(unknown[0], known)
        raise InputError(f"target: {address}: {unknown[0]}: unknown option{hint}; the options are {', '.join(known)}")
    return given
