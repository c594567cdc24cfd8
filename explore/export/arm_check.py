"""`export --check arm`: raw outputs of exported files on emulated ARM processors, one for each kind of INT8 kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arch.space import Arch
from explore.data.crop import to_camera
from explore.export.exporter import ExportedModel, Exporter, normalise
from explore.measure.emulated.check import CheckedFile, check
from explore.measure.emulated.cpus import CODE_PATHS, CPUS
from explore.measure.emulated.emulator import Emulator
from quantize import runtimes
from quantize.runtimes import Array

IMAGES = 8  # of the evaluated part


def check_setup(names: Sequence[str]) -> None:
    """Check that emulated processors are set up and have the runtimes.

    Raises:
        InputError: they are not; the message has the command that sets them up.
    """
    emulator = Emulator.open()
    for runtime in names:
        emulator.require(runtime)


def agreements(
    exporter: Exporter, arch: Arch, files: Mapping[str, ExportedModel], progress: Callable[[float, str], None]
) -> dict[str, list[dict[str, Any]]]:
    """Return the agreements of each runtime's file, as dicts of `quantize.agreement.Agreement`.

    Raises:
        DeviceError: a file failed on an emulated processor.
    """
    evaluation = exporter.evaluator.evaluation
    images = evaluation.images[:IMAGES]

    def to_mm(joints: Array) -> NDArray[np.float64]:
        first = (part[: len(joints)] for part in (evaluation.f, evaluation.c, evaluation.root_depth))
        return to_camera(joints, evaluation.matrix[: len(joints)], evaluation.size, *first)

    checked = [
        CheckedFile(
            f"{runtime} {file.recipe.name}",
            runtime,
            tuple(file.model.with_name(name) for name in runtimes.get(runtime).FILES),
            arch,
            normalise(images),
            to_mm,
        )
        for runtime, file in files.items()
    ]
    found = check(Emulator.open(), [CPUS[name] for name in CODE_PATHS], checked, progress)
    return {runtime: [one.model_dump(mode="json") for one in own] for runtime, own in zip(files, found, strict=True)}
