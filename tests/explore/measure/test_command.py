"""The command line of `measure`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from explore import cli
from explore.measure.rows import Settings

QUICK = ("--rounds", "3", "--calls", "3", "--budget", "0.3")


@pytest.fixture
def undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processes do not matter."""
    original = Settings.for_probe

    def lenient(self: Settings) -> dict[str, Any]:
        made = original(self)
        made["rules"]["quiet"] = -9.0  # waiting may add up to more than the time, over several threads
        return made

    monkeypatch.setattr(Settings, "for_probe", lenient)


def test_rows_as_json(undisturbed: None, bundle_of: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    one, two = str(bundle_of("litert")), str(bundle_of("onnxruntime"))
    assert cli.main(["measure", one, "--against", two, "--threads", "1,2", *QUICK, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["model"], row["threads"]) for row in found["rows"]] == [(two, 1), (one, 1), (two, 2), (one, 2)]
    assert {row["reference"] for row in found["rows"]} == {two} and found["failures"] == []


def test_a_table(undisturbed: None, bundle_of: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["measure", str(bundle_of("litert")), *QUICK]) == 0
    out = capsys.readouterr().out
    for word in (
        "local: ",
        "before: ",
        "after: ",
        "network ms",
        "end to end",
        "XNNPACK, 100%",
        "ai-edge-litert",
        "rounds",
    ):
        assert word in out


def test_a_device_that_fails_does_not_take_the_others_with_it(
    undisturbed: None, bundle_of: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    devices = ["--device", "ssh://127.0.0.1:1", "--device", "local"]
    assert cli.main(["measure", str(bundle_of("litert")), *devices, *QUICK, "--json"]) == 1
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert [row["device"] for row in found["rows"]] == ["local"]
    assert found["failures"][0]["device"] == "ssh://127.0.0.1:1" and "refused" in captured.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--threads", "0"], "threads: '0'"),
        (["--threads", "1,x"], "threads: '1,x'"),
        (["--isa", "mmx"], "isa: 'mmx' is not one of avx2"),
        (["--isa", "avx2"], "only openvino can be capped"),
        (["--device", "toaster"], "device: 'toaster' is not one of local"),
        (["--limit", "0"], "limit: 0"),
        (["--against", "nowhere"], "nowhere: is no bundle"),
        (["--rounds", "1"], "rounds"),
    ],
)
def test_wrong_input(
    options: list[str], words: str, bundle_of: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["measure", str(bundle_of("litert")), *options]) == 2
    assert words in capsys.readouterr().err
