"""The command line of `measure`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from explore import cli
from explore.measure.rows import Settings
from quantize import bundle

QUICK = ("--rounds", "3", "--calls", "3", "--max-seconds", "0.3")


@pytest.fixture
def undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure however busy the machine is."""
    original = Settings.for_probe

    def lenient(self: Settings) -> dict[str, Any]:
        request = original(self)
        request["settings"]["min_cpu_share"] = -9.0  # several threads may wait longer than the wall time
        return request

    monkeypatch.setattr(Settings, "for_probe", lenient)


def test_rows_as_json(
    undisturbed: None, bundle_of: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = str(bundle.save_zip(bundle.load(bundle_of("litert")), tmp_path / "b.zip")), str(bundle_of("onnxruntime"))
    assert cli.main(["measure", one, "--baseline", two, "--threads", "1,2", *QUICK, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["model"], row["threads"]) for row in found["rows"]] == [(two, 1), (one, 1), (two, 2), (one, 2)]
    assert {row["reference"] for row in found["rows"]} == {two} and found["failures"] == []


def test_table(undisturbed: None, bundle_of: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["measure", str(bundle_of("litert")), "--threads", "1,2", *QUICK]) == 0
    out = capsys.readouterr().out
    for word in (
        "local: ", "before: ", "after: ", "latency ms", "end to end", "RAM MB", "XNNPACK, 100%", "ai-edge-litert",
        "1 thread(s): ", "2 thread(s): ", "interleaved rounds",
    ):  # fmt: skip
        assert word in out


def test_failed_device_does_not_stop_the_others(
    undisturbed: None, bundle_of: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    targets = ["--target", "ssh://127.0.0.1:1", "--target", "local"]
    assert cli.main(["measure", str(bundle_of("litert")), *targets, *QUICK, "--json"]) == 1
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert [row["device"] for row in found["rows"]] == ["local"]
    assert found["failures"][0]["device"] == "ssh://127.0.0.1:1" and "refused" in captured.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--threads", "0"], "threads: '0'"),
        (["--threads", "1,x"], "threads: '1,x'"),
        (["--isa", "mmx"], "isa: mmx is not one of avx2"),
        (["--isa", "avx2"], "only openvino can be capped"),
        (["--target", "toaster"], "target: toaster: unknown device; the devices are local"),
        (["--timeout", "0"], "timeout: 0"),
        (["--baseline", "nowhere"], "nowhere: not a bundle"),
        (["--rounds", "1"], "rounds"),
    ],
)
def test_wrong_input(
    options: list[str], words: str, bundle_of: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["measure", str(bundle_of("litert")), *options]) == 2
    assert words in capsys.readouterr().err


def test_options_of_version_0_1(
    undisturbed: None, bundle_of: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = str(bundle_of("litert")), str(bundle_of("onnxruntime"))
    old = ["--device", "local", "--against", two, "--limit", "60", "--rounds", "3", "--calls", "3", "--budget", "0.3"]
    assert cli.main(["measure", one, *old, "--width", "0.05", "--json"]) == 0
    captured = capsys.readouterr()
    assert {row["reference"] for row in json.loads(captured.out)["rows"]} == {two}
    for name in ("--target", "--baseline", "--timeout", "--max-seconds", "--ci-width"):
        assert f"is now called {name};" in captured.err
