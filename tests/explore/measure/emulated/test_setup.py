"""The set-up of emulated ARM processors: what it needs, what it refuses, and the whole of it from Debian and PyPI."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from arch.errors import InputError, WorkError
from explore.measure.devices import open_device
from explore.measure.emulated import setup
from explore.measure.emulated.cpus import CODE_PATHS, COUNTED, CPUS, cpu, write_cpuinfo
from explore.measure.emulated.emulator import Emulator, Job
from tests.helpers.layouts import REFERENCE_BUNDLE


def test_every_instruction_set_has_a_processor() -> None:
    assert {"cortex-a53", "cortex-a55", "cortex-a72", "cortex-a76", "cortex-a710", "max"} == set(CPUS)
    assert [CPUS[name].kernels for name in CODE_PATHS] == ["NEON", "DOTPROD", "I8MM", "SME"]
    assert "cortex-a76" in COUNTED and all(CPUS[name].cpuinfo for name in COUNTED)


def test_invalid_addresses_name_the_processors() -> None:
    for address in ("qemu", "qemu://", "qemu://cortex-a7", "qemu://cortex-a76?x=1", "qemu://../x"):
        with pytest.raises(InputError, match="cortex-a76"):
            open_device(address)


def test_there_is_no_latency() -> None:
    from explore.measure.rows import Settings

    device = open_device("qemu://cortex-a76")
    with pytest.raises(InputError, match=r"no latency.*instructions@cortex-a76"):
        device.measure([], Settings(), lambda share, text: None)


def test_processor_descriptions(tmp_path: Path) -> None:
    write_cpuinfo(tmp_path / "roots", tmp_path / "root")
    text = (tmp_path / "roots" / "cortex-a76" / "proc" / "cpuinfo").read_text()
    assert text.count("0xd0b") == 2 and "asimddp" in text and "i8mm" not in text
    assert (tmp_path / "roots" / "max" / "usr").is_symlink()


def test_without_a_set_up_the_message_has_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_QEMU", str(tmp_path / "nothing"))
    with pytest.raises(InputError, match=r"nothing: no emulated ARM processors.*measure --setup qemu"):
        open_device("qemu://cortex-a76").describe()
    (tmp_path / "setup.json").write_text("{}")
    with pytest.raises(InputError, match="measure --setup qemu"):
        setup.read_setup(tmp_path)
    (tmp_path / "setup.json").write_text(json.dumps({"version": 99, "packages": {}, "wheels": {}}))
    with pytest.raises(InputError, match="another version"):
        setup.read_setup(tmp_path)


def test_a_runtime_of_another_version_is_refused(tmp_path: Path) -> None:
    found = setup.Setup(packages={}, wheels={"ai-edge-litert": "0.1"}, missing={"openvino": "no wheel"})
    emulator = Emulator(tmp_path, found)
    with pytest.raises(InputError, match=r"the set-up has ai-edge-litert 0\.1.*measure --setup qemu"):
        emulator.require("litert")
    with pytest.raises(InputError, match="openvino: not in the set-up: no wheel"):
        emulator.require("openvino")
    assert found.identity != setup.Setup(packages={"tcc": "1"}, wheels=found.wheels).identity


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(setup, "KEYRING", tmp_path / "key.gpg")
    monkeypatch.setattr(setup.platform, "machine", lambda: "aarch64")
    with pytest.raises(InputError) as caught:
        setup.install(tmp_path / "new", lambda share, text: None)
    message = str(caught.value)
    for part in ("Linux on x86-64", "apt-get", "dpkg-deb", "key.gpg", "debian-archive-keyring"):
        assert part in message
    assert "\n" not in message and not (tmp_path / "new").exists()


def test_a_failed_download_is_one_line_and_keeps_nothing_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(command: list[str], **rest: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 100, "", "E: first\nE: Failed to fetch http://x\n")

    monkeypatch.setattr(setup, "requirements", lambda: [])
    monkeypatch.setattr(setup.subprocess, "run", failing)
    with pytest.raises(WorkError, match=r"Failed to fetch http://x; the same command continues"):
        setup.install(tmp_path, lambda share, text: None)
    assert not (tmp_path / "root").exists() and not (tmp_path / "setup.json").exists()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_set_up_from_nothing(tmp_path: Path) -> None:
    """Download everything, and run a file on two processors; a second call changes nothing."""
    if missing := setup.requirements():
        pytest.skip(f"the set-up is impossible here: {'; '.join(missing)}")
    try:
        emulator = Emulator.set_up(tmp_path / "qemu", lambda share, text: None)
    except WorkError as error:
        pytest.skip(f"Debian or PyPI cannot be reached: {error}")
    before = {path.name: path.stat().st_mtime for path in (tmp_path / "qemu").iterdir()}
    assert setup.install(tmp_path / "qemu", lambda share, text: None) == emulator.setup
    after = {path.name: path.stat().st_mtime for path in (tmp_path / "qemu").iterdir()}
    assert {name for name in before if before[name] == after[name]} >= {"root", "qemu", "qemu10"}
    assert not {"wheels", "apt-arm64", "apt-amd64"} & set(after)
    job = Job("reference", "litert", (REFERENCE_BUNDLE / "model.tflite",), np.zeros((1, 3, 64, 64), np.float32))
    assert np.isfinite(emulator.outputs(cpu("cortex-a710"), [job])[0]).all()
    assert emulator.count(cpu("cortex-a76"), job).kernels["sdot"] > 1000
