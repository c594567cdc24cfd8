"""Runs model files on an emulated processor."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arch.errors import InputError
from explore.measure.emulated.cpus import Cpu
from explore.measure.emulated.setup import (
    COMMAND,
    WHEELS,
    Report,
    Setup,
    counter,
    default_folder,
    install,
    loader,
    read_setup,
    wanted_wheels,
)
from explore.measure.probe import program
from explore.measure.rows import DeviceError
from quantize.child_process import die_with_parent

Array = NDArray[np.float32]
CALLS = 2  # counted inferences
START_S, IMAGE_S, MAX_S = 300.0, 60.0, 3600.0  # time limits; on an idle machine, a start takes 3 s, an inference 0.3 s
PATH_LENGTH = 120  # of the folder that the guest runs in
LINK = "q"  # in that folder, to the set-up
MODULES = {"litert": "ai_edge_litert.interpreter", "onnxruntime": "onnxruntime", "openvino": "openvino"}


@dataclass(frozen=True)
class Job:
    """A model to run.

    files: the first is loaded
    inputs: normalised RGB (N, 3, S, S)
    plain: with LiteRT's own kernels, without XNNPACK
    """

    name: str
    runtime: str
    files: tuple[Path, ...]
    inputs: Array
    plain: bool = False


@dataclass(frozen=True)
class Count:
    """Instructions of one inference: in total, and of kernels by mnemonic (smlal, sdot, smmla, smopa, fmla)."""

    total: int
    kernels: dict[str, int]


@dataclass(frozen=True)
class Emulator:
    """A set-up that is complete."""

    folder: Path
    setup: Setup

    @staticmethod
    def open(folder: Path | None = None) -> Emulator:
        """Return the set-up of a folder, by default that of EDGEPOSE_QEMU or of the caches.

        Raises:
            InputError: there is none; the message has the command that creates it.
        """
        folder = (folder or default_folder()).absolute()
        return Emulator(folder, read_setup(folder))

    @staticmethod
    def set_up(folder: Path, report: Report) -> Emulator:
        """Set up a folder and try it, or continue a set-up; see `explore.measure.emulated.setup.install`."""
        emulator = Emulator(folder.absolute(), install(folder, report))
        report(0.95, "trying it")
        emulator.warm_up()
        counter(emulator.folder)
        return emulator

    @property
    def name(self) -> str:
        """Name and version of the emulator that runs the checks."""
        version = self.setup.packages["qemu-user (backports)"].partition(":")[2].partition("+")[0]
        return f"QEMU {version}"

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the emulators, of the emulated system and of the runtimes."""
        return self.setup.packages | self.setup.wheels

    def require(self, runtime: str) -> None:
        """Check that the set-up has a runtime in the version of this machine.

        Raises:
            InputError: it does not.
        """
        if reason := self.setup.missing.get(runtime):
            raise InputError(f"qemu: {runtime}: not in the set-up: {reason}")
        package = WHEELS.get(runtime, "")
        there, here = self.setup.wheels.get(package), wanted_wheels().get(package)
        if there is None or there != here:
            raise InputError(
                f"qemu: {runtime}: the set-up has {package} {there}, this machine {here}; renew it with {COMMAND}"
            )

    def outputs(self, cpu: Cpu, jobs: Sequence[Job], variant: str = "", old: bool = False) -> list[Array]:
        """Return the raw outputs (N, ...) of each job, in the layout of `quantize.runtimes.protocol.Session.run`.

        variant: appended to the emulator's name of the processor, such as ",sme=off"
        old: run in QEMU 7.2, as for counts

        Raises:
            DeviceError: a file failed; one line with its name.
        """
        with self._scratch() as scratch:
            return self._run(
                cpu.name + variant, jobs, scratch, 0, self._old(cpu, scratch) if old else self._new(scratch)
            )

    def count(self, cpu: Cpu, job: Job, variant: str = "") -> Count:
        """Count the instructions of one inference, after one for each of the job's inputs and a further one.

        The count includes the call from Python, about 0.01 M instructions. It does not depend on other processes: for
        LiteRT it is the same in every run, for ONNX Runtime within 0.01%.

        Raises:
            DeviceError: see `outputs`.
        """
        with self._scratch() as scratch:
            marks = scratch / "marks"
            plugin = ["-plugin", f"{counter(self.folder)},out={marks}"]
            self._run(cpu.name + variant, [job], scratch, CALLS, [*self._old(cpu, scratch), *plugin])
            lines = marks.read_text().splitlines()
        if len(lines) != 2:
            raise DeviceError(
                f"qemu://{cpu.name}: {job.name}: the plug-in wrote {len(lines)} counts, not 2; run it again"
            )
        first, last = map(json.loads, lines)
        found = {name: (last[name] - first[name]) // CALLS for name in first if name != "mark"}
        return Count(found.pop("total"), {name: number for name, number in found.items() if number})

    def warm_up(self) -> None:
        """Run Python and import the runtimes, which checks the set-up and stores Python's bytecode in it.

        Raises:
            DeviceError: it failed.
        """
        modules = ["numpy", *(MODULES[runtime] for runtime, name in WHEELS.items() if name in self.setup.wheels)]
        code = f"import {', '.join(modules)}; print('{{\"finished\": true}}')"
        with self._scratch() as scratch:
            python = str(scratch / LINK / "root/usr/bin/python3.11")
            environment = _environment(scratch)
            del environment["PYTHONDONTWRITEBYTECODE"]
            _finished("qemu", [*self._new(scratch), "-cpu", "max", python, "-c", code], environment, 0, [], scratch)

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """Yield a folder whose path has always the same length, with a link to the set-up.

        The lengths of paths change where memory is allocated, which changes counts by 0.01%.
        """
        with tempfile.TemporaryDirectory() as base:
            padding = PATH_LENGTH - len(base) - 1
            if padding < 1:
                raise InputError(
                    f"{base}: a path of more than {PATH_LENGTH - 2} characters; set TMPDIR to a shorter one"
                )
            folder = Path(base, "x" * padding)
            folder.mkdir()
            (folder / LINK).symlink_to(self.folder)
            yield folder

    def _new(self, scratch: Path) -> list[str]:
        return [str(self.folder / "qemu10/qemu-aarch64"), "-L", str(scratch / LINK / "root")]

    def _old(self, cpu: Cpu, scratch: Path) -> list[str]:
        qemu = self.folder / "qemu"
        return [*loader(qemu), str(qemu / "usr/bin/qemu-aarch64"), "-L", str(scratch / LINK / "roots" / cpu.name)]

    def _run(self, cpu: str, jobs: Sequence[Job], scratch: Path, calls: int, emulator: list[str]) -> list[Array]:
        request = []
        for index, job in enumerate(jobs):
            self.require(job.runtime)
            np.save(scratch / f"inputs-{index}.npy", np.ascontiguousarray(job.inputs, np.float32))
            model = scratch / f"model-{index}"
            model.mkdir()
            for path in job.files:
                shutil.copyfile(path, model / path.name)
            files = {name: f"{name}-{index}.npy" for name in ("inputs", "outputs")}
            about = {"runtime": job.runtime, "path": f"{model.name}/{job.files[0].name}", "plain": job.plain}
            request.append(files | about | {"calls": calls})
        (scratch / "request.json").write_text(json.dumps({"jobs": request}))
        (scratch / "probe.py").write_bytes(program())
        guest = resources.files(__package__).joinpath("guest.py").read_text()
        (scratch / "guest.py").write_text(guest)
        # The address space and the random numbers of the guest are the same in every run.
        command = [*emulator, "-R", "64G", "-seed", "0", "-cpu", cpu, str(scratch / LINK / "root/usr/bin/python3.11")]
        images = sum(len(job.inputs) for job in jobs)
        command += ["guest.py", "request.json"]
        _finished(f"qemu://{cpu}", command, _environment(scratch), images, jobs, scratch)
        return [np.load(scratch / f"outputs-{index}.npy", allow_pickle=False) for index in range(len(jobs))]


def _environment(scratch: Path) -> dict[str, str]:
    """Return the environment of the guest. Nothing of this machine's own reaches it, so that counts are the same."""
    return {
        "PYTHONPATH": str(scratch / LINK / "site"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "OPENBLAS_NUM_THREADS": "1",
        "LC_ALL": "C.UTF-8",
        "HOME": str(scratch),
    }


def _finished(
    device: str, command: list[str], environment: dict[str, str], images: int, jobs: Sequence[Job], folder: Path
) -> None:
    """Run the guest in a folder.

    Raises:
        DeviceError: it failed, with the name of the file and the last line of the message.
    """
    limit_s = min(MAX_S, START_S + IMAGE_S * (images + len(jobs)))
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=folder,
        start_new_session=True,
        preexec_fn=die_with_parent,
        text=True,
        errors="replace",
    )
    try:
        out, errors = child.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        raise DeviceError(f"{device}: stopped after {limit_s:.0f} s; give fewer files") from None
    except BaseException:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        raise
    progress = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    if child.returncode == 0 and progress and "finished" in progress[-1]:
        return
    started = [line["started"] for line in progress if "started" in line]
    name = jobs[started[-1]].name if started else "start of Python"
    lines = [line for line in errors.splitlines() if line.strip()]
    reason = lines[-1] if lines else ""
    if child.returncode < 0:
        reason = f"ended by {signal.Signals(-child.returncode).name}. {reason}".strip()
    raise DeviceError(f"{device}: {name}: {' '.join(reason.split())[:300]}")
