"""Check of model files on emulated processors: their raw outputs beside those of this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from arch.decode import to_crop_mm
from arch.space import Arch
from explore.measure.emulated.cpus import Cpu
from explore.measure.emulated.emulator import Array, Emulator, Job
from quantize import runtimes
from quantize.agreement import Agreement, ToMillimetres, compare

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class CheckedFile:
    """A model to check. files: the first is loaded; inputs: normalised RGB (N, 3, S, S); to_mm: see `compare`"""

    name: str
    runtime: str
    files: tuple[Path, ...]
    arch: Arch
    inputs: Array
    to_mm: ToMillimetres = to_crop_mm

    @property
    def job(self) -> Job:
        return Job(self.name, self.runtime, self.files, self.inputs)


def check(
    emulator: Emulator, cpus: Sequence[Cpu], files: Sequence[CheckedFile], progress: Progress
) -> list[list[Agreement]]:
    """Return the agreements of each file, one for each processor.

    Raises:
        InputError: the set-up lacks a runtime.
        DeviceError: a file failed on an emulated processor.
    """
    for file in files:
        emulator.require(file.runtime)
    references = [_here(file) for file in files]
    found: list[list[Agreement]] = [[] for _ in files]
    for index, cpu in enumerate(cpus):
        progress(index / len(cpus), f"emulated {cpu.title}")
        outputs = emulator.outputs(cpu, [file.job for file in files])
        for agreements, file, raw, reference in zip(found, files, outputs, references, strict=True):
            agreements.append(
                compare(
                    raw,
                    reference,
                    arch=file.arch,
                    runtime=file.runtime,
                    path=file.files[0],
                    cpu=cpu.name,
                    kernels=cpu.kernels,
                    emulator=emulator.name,
                    to_mm=file.to_mm,
                )
            )
    return found


def _here(file: CheckedFile) -> Array:
    """Return the raw outputs on this machine."""
    session = runtimes.get(file.runtime).load(file.files[0], 1)
    try:
        return session.run(file.inputs)
    finally:
        session.close()
