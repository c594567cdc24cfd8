"""`local`: this machine. Models run in child processes, so that a model that crashes fails only its measurement."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from arch.errors import InputError
from explore.measure.devices import Progress
from explore.measure.devices.probe_client import parse_rows, run_here
from explore.measure.probe.machine import describe_machine
from explore.measure.probe.runtimes import RUNTIMES
from explore.measure.rows import Machine, Model, Row, Settings, validated


class Local:
    name = "local"

    def describe(self) -> Machine:
        return validated(Machine, describe_machine(), self.name)

    def measure(self, models: Sequence[Model], settings: Settings, progress: Progress) -> list[Row]:
        check_request(models, settings)
        result = run_here(self.name, sys.executable, models, settings.for_count(len(models)), progress)
        return parse_rows(self.name, result, models)


def check_request(models: Sequence[Model], settings: Settings) -> None:
    """Reject requests that the measuring program does not support.

    Raises:
        InputError: an unknown runtime, or a cap on the instruction set of a runtime without one.
    """
    for model in models:
        if model.runtime not in RUNTIMES:
            raise InputError(f"{model.name}: runtime: {model.runtime} is not one of {', '.join(RUNTIMES)}")
        if settings.isa and model.runtime != "openvino":
            library = {"litert": "XNNPACK", "onnxruntime": "MLAS", "executorch": "XNNPACK"}[model.runtime]
            raise InputError(
                f"{model.name}: isa: only openvino can be capped, {library} always uses the best instruction set of the "
                f"processor; omit --isa, or measure openvino bundles"
            )


def open(address: str) -> Local:
    if address != "local":
        raise InputError(f"target: {address}: local has no options; write local")
    return Local()
