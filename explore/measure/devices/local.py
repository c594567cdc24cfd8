"""This machine. The models run in child processes, so that a bad one fails its measurement and nothing else."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence

from arch.errors import InputError
from explore.measure import probe
from explore.measure.devices import Report, dialogue
from explore.measure.rows import Machine, Model, Row, Settings, checked


class Local:
    name = "local"

    def describe(self) -> Machine:
        return checked(Machine, probe.machine(), self.name)

    def measure(self, models: Sequence[Model], settings: Settings, report: Report) -> list[Row]:
        check_request(models, settings)
        with tempfile.TemporaryDirectory() as scratch:
            command = [sys.executable, probe.__file__, "serve", scratch]
            result = dialogue.converse(self.name, command, b"", models, settings.for_count(len(models)), True, report)
        return dialogue.rows(self.name, result, models)


def check_request(models: Sequence[Model], settings: Settings) -> None:
    """What the measuring program can never do.

    Raises:
        InputError: a cap on a runtime that has none, or a runtime that it does not know.
    """
    for model in models:
        if model.runtime not in probe.RUNTIMES:
            raise InputError(f"{model.name}: runtime: {model.runtime} is not one of {', '.join(probe.RUNTIMES)}")
        if settings.isa and model.runtime != "openvino":
            raise InputError(
                f"{model.name}: isa: only openvino can be capped (oneDNN); {CAPLESS[model.runtime]}; "
                f"leave --isa away or measure openvino bundles"
            )


CAPLESS = {
    "litert": "XNNPACK picks the best instruction set of the processor and has no switch for it",
    "onnxruntime": "ONNX Runtime's MLAS picks the best instruction set of the processor and has no switch for it",
}


def open(address: str) -> Local:
    if address != "local":
        raise InputError(f"device: '{address}': local takes no more than its name")
    return Local()
