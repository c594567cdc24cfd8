"""The contract of devices, tested on those that are available here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from arch.errors import InputError
from explore.measure.devices import DEVICES, Device, open_device, probe_client
from explore.measure.rows import DeviceError, Model
from tests.helpers import mostly_slow
from tests.helpers.measure import Sshd, ignore_progress, quick

KINDS = ("local", "ssh")


@pytest.fixture(params=KINDS)
def device(request: pytest.FixtureRequest) -> Device:
    if request.param == "ssh":
        sshd: Sshd = request.getfixturevalue("sshd")
        return open_device(sshd.address())
    return open_device(request.param)


def test_describes_itself(device: Device) -> None:
    about = device.describe()
    assert about.processor and about.system
    assert about.cores is None or about.cores >= 1


def test_one_row_per_model_and_thread_count(device: Device, model_of: Callable[[str], Model]) -> None:
    models = [model_of(name) for name in ("litert", "openvino", "onnxruntime")]
    rows = device.measure(models, quick(threads=(1, 2)), ignore_progress)
    assert [(row.model, row.threads) for row in rows] == [(model.name, n) for n in (1, 2) for model in models]
    for row in rows:
        assert row.device == device.name and row.reference == models[0].name
        assert row.rounds >= 3 and row.calls == 3 * row.rounds
        assert row.low_ms <= row.high_ms and row.ratio_low <= row.ratio <= row.ratio_high
        assert row.decode_ms and row.end_to_end_ms and row.end_to_end_ms > row.decode_ms
        assert row.load_ms and row.first_ms and row.peak_mb and row.cpu_over_wall
        assert row.delegated == 1.0 and any(char.isdigit() for char in row.runtime_version)
    assert rows[0].ratio == rows[3].ratio == 1.0
    assert rows[0].recipe == "int8-static" and rows[1].instruction_sets_used


@pytest.mark.parametrize("device", mostly_slow(KINDS, "local"), indirect=True)
def test_broken_file_fails_with_one_line(device: Device, model_of: Callable[[str], Model], tmp_path: Path) -> None:
    good = model_of("litert")
    content = bytearray(good.files[0].read_bytes())
    for start in range(64, len(content), 97):
        content[start] ^= 0xFF
    for index, bad in enumerate((b"", b"no model", bytes(content), bytes(content[: len(content) // 2]))):
        path = tmp_path / f"{index}.tflite"
        path.write_bytes(bad)
        with pytest.raises(DeviceError) as caught:
            device.measure([good, dataclasses.replace(good, name="broken", files=(path,))], quick(), ignore_progress)
        assert str(caught.value).startswith(f"{device.name}: broken: ") and "\n" not in str(caught.value)


def test_slow_device_is_stopped(
    device: Device, model_of: Callable[[str], Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_client, "GRACE_S", 60.0)  # so that the program on the device reports the timeout
    with pytest.raises(DeviceError, match=r"stopped after 0\.05 s"):
        device.measure([model_of("openvino")], quick(timeout_s=0.05), ignore_progress)


@pytest.mark.parametrize("device", mostly_slow(KINDS, "local"), indirect=True)
def test_caps_on_instruction_sets(device: Device, model_of: Callable[[str], Model]) -> None:
    with pytest.raises(InputError, match="XNNPACK always uses"):
        device.measure([model_of("litert")], quick(isa="avx2"), ignore_progress)
    if not {"avx2", "avx512f"} <= set(device.describe().instruction_sets):
        pytest.skip("this processor has no AVX-512 to be capped")
    row = device.measure([model_of("openvino")], quick(isa="avx2"), ignore_progress)[0]
    assert row.isa == "avx2" and row.instruction_sets_used == ("avx2",)
    if "amx_int8" not in device.describe().instruction_sets:
        with pytest.raises(DeviceError, match="has no amx"):
            device.measure([model_of("openvino")], quick(isa="amx"), ignore_progress)


def test_invalid_addresses() -> None:
    assert set(KINDS) <= set(DEVICES)
    for address in (
        "", "toaster", "local://x", "ssh://", "ssh://-oProxyCommand=x", "ssh://a@-b", "ssh://h/path", "ssh://h?x=1",
    ):  # fmt: skip
        with pytest.raises(InputError, match="target: "):
            open_device(address)
