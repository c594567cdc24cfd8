"""The registry of devices: the scheme of an address and the module that knows it, imported when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Protocol, cast
from urllib.parse import parse_qsl

from arch.errors import InputError
from explore.measure.rows import DeviceError, Machine, Model, Row, Settings

__all__ = [
    "DEVICES",
    "Device",
    "DeviceError",
    "Machine",
    "Model",
    "Report",
    "Row",
    "Settings",
    "open_device",
    "options",
]

DEVICES: dict[str, str] = {
    "local": "explore.measure.devices.local",
    "ssh": "explore.measure.devices.ssh",
    "adb": "explore.measure.devices.adb",
    "web": "explore.measure.devices.web",
}
Report = Callable[[float, str], None]  # told the share done and what is being done


class Device(Protocol):
    """Something that models can be timed on.

    Every method ends within a time limit. A device that is away, slow or full, or that answers nonsense, raises
    `DeviceError` with its own words; a busy one `Disturbed`; a request that it can never serve `InputError`.
    """

    name: str

    def describe(self) -> Machine:
        """What the device is, told by itself."""
        ...

    def measure(self, models: Sequence[Model], settings: Settings, report: Report) -> list[Row]:
        """A row a model and thread count, timed in turns; ratios are to the first model at the same thread count."""
        ...


def open_device(address: str) -> Device:
    """The device of an address: a scheme alone (`local`), or scheme://the rest. It is not contacted yet.

    Raises:
        InputError: no such device, or an address that its scheme cannot have.
    """
    scheme = address.partition("?")[0].partition("://")[0]
    if scheme not in DEVICES:
        raise InputError(f"device: '{address}' is not one of {', '.join(DEVICES)}; see measure --help")
    return cast(Device, importlib.import_module(DEVICES[scheme]).open(address))


def options(address: str, query: str, known: tuple[str, ...]) -> dict[str, str]:
    """The `key=value&key=value` that follow an address.

    Raises:
        InputError: a key that is not `known`.
    """
    given = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := sorted(set(given) - set(known)):
        raise InputError(f"device: '{address}': {unknown[0]}: unknown option; there are {', '.join(known)}")
    return given
