"""Android phones: published output of benchmark_model, a real adb server without a device, and a simulated phone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arch.errors import InputError
from explore.measure.devices import adb, open_device
from explore.measure.rows import DeviceError, Model
from tests.helpers import benchmark_model_output as published
from tests.helpers import free_port
from tests.helpers.measure import ignore_progress, quick

WITHOUT_MEDIAN = "\n".join(line for line in published.LITERT_2025.splitlines() if "count=" not in line)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (published.GPU_2020, adb.Run(119.375, 50, 870.557, 130.565, None, 1.0, 1)),
        (published.CPU_2020, adb.Run(33.2094, 50, 0.855, 49.060, 12.8672, None, None)),
        (published.NNAPI_2022, adb.Run(12.1676, 75, 126.059, 32.942, None, None, 44)),
        (published.PERCENTILES_2025, adb.Run(899.281, 50, 614.333, 905.463, 150.141, None, 1)),
        (published.NNAPI_NOTHING, adb.Run(33.2094, 50, 0.855, 49.060, None, 0.0, 0)),
        (published.AVERAGE_2019, adb.Run(79.7609, 50, 38.467, 83.235, None, None, None)),
        (published.LITERT_2025, adb.Run(0.942, 1054, 5.76, 2.12, 7.07, None, None)),
        (published.LITERT_2025.replace("\n", "\r\n"), adb.Run(0.942, 1054, 5.76, 2.12, 7.07, None, None)),
        (WITHOUT_MEDIAN, adb.Run(0.95, 1054, 5.76, 2.12, 7.07, None, None)),
        (published.LITERT_GPU, adb.Run(0.942, 1054, 5.76, 2.12, 7.07, 0.75, 2)),
        (published.LITERT_PYTHON, adb.Run(0.6, 30, 12.5, 1.75, None, None, None)),
    ],
)
def test_published_output(text: str, expected: adb.Run) -> None:
    found = adb.parse_run(text)
    assert vars(found) == pytest.approx(vars(expected))


@pytest.mark.parametrize(
    ("text", "delegate", "reason"),
    [
        (published.GPU_2020, "GPU", ""),
        (published.NNAPI_2022, "NNAPI", ""),
        (published.LITERT_GPU, "GPU", ""),
        (published.NNAPI_NOTHING, "NNAPI", "the NNAPI delegate runs none of its operators"),
        (published.LITERT_NO_GPU, "GPU", "benchmark_model found no GPU accelerator library on the phone"),
        (published.LITERT_NO_NNAPI, "NNAPI", "this benchmark_model has no option --use_nnapi"),
        (published.LITERT_2025, "GPU", "benchmark_model does not report that the GPU delegate was applied"),
        (published.LITERT_GPU.replace("LITERT_CL", "TfLiteXNNPackDelegate"), "GPU", "the GPU delegate runs none"),
    ],
)
def test_a_run_on_the_cpu_is_no_latency_of_another_delegate(text: str, delegate: str, reason: str) -> None:
    found = adb.why_on_cpu(text, delegate)
    assert found.startswith(reason) and bool(found) == bool(reason)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no output"),
        (
            "STARTING!\nERROR: Could not open '/data/x'.\nFailed to load model /data/x\nBenchmarking failed.\n",
            "Failed to load model /data/x",
        ),
        (
            published.LITERT_2025 + "ERROR: Run failed: unsupported\nERROR: Benchmarking failed.\n",
            "Run failed: unsupported",
        ),
        ("/system/bin/sh: /data/local/tmp/x: not executable: 64-bit ELF file", "not executable"),
        (published.GPU_2020.split("Inference timings")[0], "count=50"),
        (published.LITERT_2025.split("INFO: [./litert/tools/benchmark_litert_model.h")[0], "accelerator could not be"),
    ],
)
def test_output_without_a_result(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        adb.parse_run(text)


@pytest.mark.parametrize("address", ["adb://-s", "adb://a b", "adb:/x", "adb://x?port=1", "adb://x/y"])
def test_invalid_addresses(address: str) -> None:
    with pytest.raises(InputError, match="target: "):
        open_device(address)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A real adb server without devices."""
    client = shutil.which("adb")
    if client is None:
        pytest.skip("no adb here (Debian: adb)")
    port = free_port()
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    monkeypatch.setenv("HOME", str(tmp_path))
    yield client
    subprocess.run([client, "kill-server"], capture_output=True, timeout=20, check=False)


def test_real_server_without_a_device(server: str) -> None:
    with pytest.raises(DeviceError, match="no devices/emulators found"):
        open_device("adb").describe()
    with pytest.raises(DeviceError, match="device 'pixel9' not found"):
        open_device("adb://pixel9").describe()
    with pytest.raises(DeviceError, match="not found"):
        open_device("adb://127.0.0.1:1").describe()


PHONE = '''#!{python}
"""Simulates adb and a phone: files are in a folder, getprop and benchmark_model have recorded output."""
import hashlib, os, re, shutil, sys, time
sys.path.insert(0, {root!r})
from tests.helpers import benchmark_model_output as published
FOLDER = {folder!r}
arguments = sys.argv[1:]
if arguments[:1] == ["-s"]:
    arguments = arguments[2:]
with open(FOLDER + "/log", "a") as log:
    log.write(" ".join(arguments).replace("\\n", ";") + "\\n")
if os.path.exists(FOLDER + "/gone"):
    sys.exit("adb: device 'phone' not found")
if os.path.exists(FOLDER + "/slow"):
    time.sleep(60)
place = lambda path: FOLDER + "/" + os.path.basename(path)
if arguments[0] == "push":
    if os.path.exists(FOLDER + "/full"):
        sys.exit("adb: error: failed to copy: remote couldn't create file: No space left on device")
    shutil.copy(arguments[1], place(arguments[2]))
    sys.exit()
script = arguments[1]
if "getprop" in script:
    print("ro.product.manufacturer=Acme\\nro.product.model=Phone\\nro.soc.model=SM1\\nro.build.version.release=16")
    print("cores=8\\nLinux aarch64\\nMemTotal: 8000000 kB\\nFeatures\\t: fp asimd asimddp i8mm")
elif "scaling_governor" in script:
    print("governor=schedutil\\nkhz=2000000\\ngovernor=schedutil\\nkhz=900000\\ntemperature=31000")
elif script.startswith("sha256sum"):
    path = place(script.split()[1])
    if os.path.exists(path):
        print(hashlib.sha256(open(path, "rb").read()).hexdigest() + "  x")
elif "--graph" in script:
    if "use_gpu" in script:
        sys.stdout.write(published.GPU_2020)
    elif "use_nnapi" in script:
        sys.stdout.write(published.NNAPI_NOTHING)
    else:
        sys.stdout.write(published.PERCENTILES_2025)
'''


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a simulated phone."""
    tools, folder = tmp_path / "tools", tmp_path / "phone"
    tools.mkdir()
    folder.mkdir()
    root = str(Path(__file__).parents[4])
    (tools / "adb").write_text(PHONE.format(python=sys.executable, root=root, folder=str(folder)))
    (tools / "adb").chmod(0o755)
    (folder / "tool").write_bytes(b"benchmark_model")
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    return folder


def test_one_row_per_delegate_and_thread_count(phone: Path, model_of: Callable[[str], Model]) -> None:
    device = open_device(f"adb://phone?benchmark_model={phone}/tool")
    rows = device.measure([model_of("litert")], quick(threads=(1, 4)), ignore_progress)
    assert [(row.delegate, row.threads) for row in rows] == [("XNNPACK", 1), ("XNNPACK", 4), ("GPU", 1)]
    assert rows[0].median_ms == pytest.approx(899.281) and rows[2].median_ms == pytest.approx(119.375)
    assert rows[0].machine.board == "Acme Phone" and rows[0].machine.cores == 8
    assert rows[0].before.governor == "schedutil" and rows[0].before.mhz == (2000, 900)
    assert rows[2].delegated == 1.0 and rows[0].decode_ms is None and rows[0].p90_ms is None
    assert any("no NNAPI latency: the NNAPI delegate runs none of its operators" in note for note in rows[0].notes)
    commands = (phone / "log").read_text().splitlines()
    run = next(line for line in commands if "--use_gpu=true" in line)
    assert "--num_runs=3 --min_secs=0 --warmup_runs=3" in run
    pushed = sum(line.startswith("push") for line in commands)
    device.measure([model_of("litert")], quick(), ignore_progress)
    assert sum(line.startswith("push") for line in (phone / "log").read_text().splitlines()) == pushed == 2


@pytest.mark.parametrize(
    ("fault", "words"),
    [("gone", "device 'phone' not found"), ("full", "No space left on device"), ("slow", "took longer than 1 s")],
)
def test_phone_that_fails(phone: Path, model_of: Callable[[str], Model], fault: str, words: str) -> None:
    (phone / fault).touch()
    with pytest.raises(DeviceError, match=words):
        device = open_device(f"adb://phone?benchmark_model={phone}/tool")
        device.measure([model_of("litert")], quick(timeout_s=1.0 if fault == "slow" else 20.0), ignore_progress)


def test_requirements(phone: Path, model_of: Callable[[str], Model]) -> None:
    for address, model, isa, words in (
        ("adb://phone", "litert", None, "--benchmark-model PATH"),
        (f"adb://phone?benchmark_model={phone}/none", "litert", None, "no such file"),
        (f"adb://phone?benchmark_model={phone}/tool", "openvino", None, "litert bundles only"),
        (f"adb://phone?benchmark_model={phone}/tool", "litert", "avx2", "only openvino can be capped"),
    ):
        with pytest.raises(InputError, match=words):
            open_device(address).measure([model_of(model)], quick(isa=isa), ignore_progress)
