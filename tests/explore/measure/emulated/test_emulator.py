"""Files on emulated processors: equal outputs on every code path, exact counts, and failures in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from arch.errors import InputError
from explore.measure.emulated.check import CheckedFile, check
from explore.measure.emulated.cpus import CPUS, cpu
from explore.measure.emulated.emulator import Emulator, Job
from explore.measure.rows import DeviceError
from quantize import bundle
from tests.helpers.emulated import emulated
from tests.helpers.layouts import REFERENCE_BUNDLE

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    return emulated()


@pytest.fixture(scope="module")
def checked() -> CheckedFile:
    found = bundle.load(REFERENCE_BUNDLE)
    crops = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    return CheckedFile("reference", "litert", (found.model,), found.arch, found.normalise(crops))


@pytest.mark.slow
def test_outputs_are_identical_on_the_code_paths(emulator: Emulator, checked: CheckedFile) -> None:
    cpus = [CPUS[name] for name in ("cortex-a53", "max")]
    (found,) = check(emulator, cpus, [checked], lambda share, text: None)
    assert [one.cpu for one in found] == ["cortex-a53", "max"]
    for one in found:
        assert one.is_identical and one.max_mm == 0.0 and one.images == 2 and one.emulator.startswith("QEMU 10")
    assert found[0].digest == found[1].digest


@pytest.mark.slow
def test_other_kernels_are_found_to_differ(emulator: Emulator, checked: CheckedFile) -> None:
    job = Job("plain", "litert", checked.files, checked.inputs, plain=True)
    plain = emulator.outputs(CPUS["cortex-a76"], [job, checked.job])
    assert plain[0].shape == plain[1].shape and not np.array_equal(*plain)


def test_counts_are_exact_whatever_the_file_is_called(
    emulator: Emulator, checked: CheckedFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = emulator.count(CPUS["cortex-a76"], checked.job)
    elsewhere = tmp_path / "a folder of a rather long name" / "other.tflite"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(checked.files[0].read_bytes())
    monkeypatch.setenv("SOME_VARIABLE_OF_THIS_PROCESS", "x" * 999)
    monkeypatch.chdir(tmp_path)
    second = emulator.count(CPUS["cortex-a76"], Job("other", "litert", (elsewhere,), checked.inputs))
    assert first == second and first.kernels["sdot"] > 1000 and first.total > 3 * first.kernels["sdot"] / 2


def test_a_broken_file_fails_with_one_line(emulator: Emulator, tmp_path: Path) -> None:
    path = tmp_path / "broken.tflite"
    path.write_bytes(b"no model at all")
    job = Job("broken", "litert", (path,), np.zeros((1, 3, 64, 64), np.float32))
    with pytest.raises(DeviceError) as caught:
        emulator.outputs(CPUS["cortex-a76"], [job])
    assert str(caught.value).startswith("qemu://cortex-a76: broken: ") and "\n" not in str(caught.value)


def test_measure_prints_the_agreement(emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    from explore.cli import main

    assert main(["measure", str(REFERENCE_BUNDLE), "--target", "qemu://cortex-a76", "--json"]) == 0
    reply = json.loads(capsys.readouterr().out)
    assert reply["rows"] == [] and reply["failures"] == []
    (agreement,) = reply["agreements"]
    assert (
        agreement["equal"] == 1.0 and agreement["kernels"] == "DOTPROD" and agreement["model"] == str(REFERENCE_BUNDLE)
    )


def test_calibration_needs_a_latency(capsys: pytest.CaptureFixture[str]) -> None:
    from explore.cli import main

    assert main(["measure", "--calibrate", "qemu://cortex-a76"]) == 2
    assert "no latency" in capsys.readouterr().err


def test_set_up_takes_no_bundles(capsys: pytest.CaptureFixture[str]) -> None:
    from explore.cli import main

    assert main(["measure", "--setup", "qemu", str(REFERENCE_BUNDLE)]) == 2
    assert "give no bundles" in capsys.readouterr().err


def test_unknown_processor_is_input_error() -> None:
    with pytest.raises(InputError, match="did you mean 'cortex-a76'"):
        cpu("cortex-a67")
