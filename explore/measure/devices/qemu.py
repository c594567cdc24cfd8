"""`qemu://cortex-a76`: an ARM processor emulated on this machine, for outputs of model files and never for latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from arch.errors import InputError
from explore.measure.devices import Progress
from explore.measure.emulated.check import CheckedFile, check
from explore.measure.emulated.cpus import COUNTED, CPUS, Cpu, cpu
from explore.measure.emulated.emulator import Emulator
from explore.measure.rows import Machine, Model, Row, Settings
from quantize.agreement import Agreement


@dataclass(frozen=True)
class Qemu:
    name: str
    cpu: Cpu

    def describe(self) -> Machine:
        """Return the description of the emulated machine.

        Raises:
            InputError: no set-up; the message has the command that creates it.
        """
        emulator = Emulator.open()
        python = emulator.setup.packages["arm64 python3.11-minimal"].partition("-")[0]
        return Machine(
            system=f"Linux aarch64, emulated by {emulator.name}",
            processor=f"{self.cpu.title} (emulated)",
            instruction_sets=(self.cpu.kernels,),
            python=python,
        )

    def measure(self, models: Sequence[Model], settings: Settings, progress: Progress) -> list[Row]:
        """Raise an InputError: the time of an emulated inference says nothing about the processor."""
        raise no_latency(self.name)

    def agreements(self, files: Sequence[CheckedFile], progress: Progress) -> list[Agreement]:
        """Return the agreement of each file's raw outputs with those on this machine.

        Raises:
            InputError: no set-up, or one without the file's runtime.
            DeviceError: a file failed.
        """
        return [one for (one,) in check(Emulator.open(), [self.cpu], files, progress)]


def no_latency(address: str) -> InputError:
    """Return the error of a request for the latency of an emulated processor."""
    return InputError(
        f"target: {address}: an emulated processor has no latency; measure BUNDLE --target {address} compares outputs, and "
        f"search --objectives mpjpe,instructions@{COUNTED[-1]} counts instructions"
    )


def open(address: str) -> Qemu:
    """Return the device of `qemu://CPU`.

    Raises:
        InputError: another address, or an unknown processor.
    """
    _, separator, name = address.partition("://")
    if not separator or "?" in name:
        raise InputError(f"target: {address}: invalid address; write qemu://CPU; the processors are {', '.join(CPUS)}")
    return Qemu(address.rstrip("/"), cpu(name.rstrip("/")))
