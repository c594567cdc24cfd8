"""Bundles on devices: rows of every device that answered, and why the others did not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from arch.errors import InputError
from explore.measure.devices import DeviceError, Report, Row, Settings, open_device
from explore.measure.probe import Disturbed
from explore.measure.rows import from_bundle
from quantize import bundle


@dataclass
class Outcome:
    """`failures` are pairs of device and reason."""

    rows: list[Row] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)


def measure_bundles(
    paths: Sequence[str], against: str | None, addresses: Sequence[str], settings: Settings, report: Report
) -> Outcome:
    """Rows on every device; ratios are to `against`, or to the first of `paths`.

    Raises:
        InputError: no bundle, no device, or a request that a device can never serve.
    """
    chosen = dict.fromkeys(([against] if against else []) + list(paths))
    models = [from_bundle(bundle.load(path)) for path in chosen]
    devices = [open_device(address) for address in dict.fromkeys(addresses)]
    if not devices:
        raise InputError("device: none given; write --device local")
    outcome = Outcome()
    for index, device in enumerate(devices):

        def told(share: float, text: str, index: int = index, name: str = device.name) -> None:
            report((index + share) / len(devices), f"{name} {text}")

        try:
            outcome.rows += device.measure(models, settings, told)
        except (DeviceError, Disturbed) as error:
            outcome.failures.append((device.name, str(error)))
    return outcome
