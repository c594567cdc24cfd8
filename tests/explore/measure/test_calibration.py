"""`measure --calibrate` on a device that answers by a formula: rows are kept, a stopped calibration goes on."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

from explore import cli
from explore.measure import calibration
from explore.measure.devices import DEVICES, DeviceError, Machine, Model, Progress, Row, Settings
from explore.measure.features import features
from explore.measure.latency import Disturbed
from explore.measure.untrained import Conversion


class Formula:
    """A device whose latencies are the elements that networks move; `faults` are raised first."""

    name = "formula"
    calls: ClassVar[list[int]] = []  # networks a call
    faults: ClassVar[list[Exception]] = []
    lifetime = 1000  # calls until it goes away for good

    def describe(self) -> Machine:
        return Machine(system="none", processor="formula")

    def measure(self, models: Sequence[Model], settings: Settings, progress: Progress) -> list[Row]:
        if Formula.faults:
            raise Formula.faults.pop(0)
        if len(Formula.calls) >= Formula.lifetime:
            raise DeviceError("formula: went away")
        Formula.calls.append(len(models) - 1)
        ms = [1e-6 * sum(v for k, v in features(m.arch).items() if k.endswith("elements")) for m in models]
        return [_row(model, one, ms[0], settings) for model, one in zip(models, ms, strict=True)]


def _row(model: Model, ms: float, reference_ms: float, settings: Settings) -> Row:
    ratio = ms / reference_ms
    interval = {"low_ms": ms, "high_ms": ms, "ratio_low": ratio, "ratio_high": ratio}
    return Row(
        device="formula",
        machine=Formula().describe(),
        model=model.name,
        reference="paper-XS-relu@64",
        runtime=model.runtime,
        recipe=model.recipe,
        runtime_version="formula 1",
        delegate="none",
        threads=settings.threads[0],
        median_ms=ms,
        ratio=ratio,
        calls=1,
        rounds=1,
        dropped_rounds=0,
        converged=True,
        **interval,
    )


@pytest.fixture
def formula(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The calls of the device, which needs no files, so that nothing is converted."""
    module = ModuleType("formula_device")
    module.open = lambda address: Formula()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "formula_device", module)
    monkeypatch.setitem(DEVICES, "formula", "formula_device")
    monkeypatch.setattr(calibration, "convert_all", _no_files)
    monkeypatch.setattr(calibration, "PAUSE_S", 0.0)
    monkeypatch.setattr(Formula, "calls", [])
    monkeypatch.setattr(Formula, "faults", [])
    monkeypatch.setattr(Formula, "lifetime", 1000)
    return Formula.calls


def _no_files(conversions: Sequence[Conversion], workers: int, logs: Path) -> Iterator[Model]:
    for one in conversions:
        yield Model(one.arch.name, (one.folder / "model.tflite",), one.runtime, one.recipe.name, one.arch)


def calibrate(folder: Path, *options: str) -> int:
    given = ["--networks", "24", "--unseen", "6", "--out", str(folder / "p.json"), "--json"]
    return cli.main(["measure", "--calibrate", "formula", *given, *options])


def test_interrupted_calibration_continues(
    formula: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Formula, "lifetime", 2)
    assert calibrate(tmp_path) == 1
    assert "went away" in capsys.readouterr().err
    path = tmp_path / "p.jsonl"
    assert len(path.read_text().splitlines()) == 1 + 16
    path.write_bytes(path.read_bytes() + b'{"arch_id": "half a')  # killed while it wrote
    monkeypatch.setattr(Formula, "lifetime", 1000)
    assert calibrate(tmp_path) == 0
    found = json.loads(capsys.readouterr().out)
    assert sum(formula) == 30
    assert found["report"]["fitted_on"] == 24 and found["report"]["unseen"] == 6
    assert found["report"]["predictor"]["within_10"] == 1.0
    assert calibrate(tmp_path) == 0 and sum(formula) == 30
    assert calibrate(tmp_path, "--networks", "28") == 0 and sum(formula) > 30


def test_failed_measurements_are_retried(formula: list[int], tmp_path: Path) -> None:
    Formula.faults += [Disturbed("busy"), DeviceError("formula: full")]
    assert calibrate(tmp_path) == 0
    assert sum(formula) == 30


def test_rows_of_another_calibration_are_rejected(
    formula: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(tmp_path) == 0
    assert calibrate(tmp_path, "--threads", "2") == 2
    assert "threads: the rows were measured with 1, not 2; choose another file with --out" in capsys.readouterr().err
    (tmp_path / "p.jsonl").write_text("[1]\n")
    assert calibrate(tmp_path) == 2 and "p.jsonl: not the rows of a calibration" in capsys.readouterr().err


def test_rows_of_version_0_1_are_read(formula: list[int], tmp_path: Path) -> None:
    assert calibrate(tmp_path) == 0
    path = tmp_path / "p.jsonl"
    old = {"converged": "settled", "input_size": "scale", "quantization": "recipe"}
    first, *rows = [
        {old.get(key, key): value for key, value in json.loads(line).items()} for line in path.read_text().splitlines()
    ]
    for row in rows:
        if "row" in row:
            row["row"]["settled"] = row["row"].pop("converged")
    path.write_text("".join(json.dumps(line) + "\n" for line in (first, *rows)))
    assert calibrate(tmp_path) == 0 and sum(formula) == 30


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--networks", "3"], "networks"),
        (["--space", "nowhere"], "space: 'nowhere'"),
        (
            ["--space", "FEW.yaml"],
            "few.yaml: besides 2 to test on, 0 networks can be exported with int8-static, but 20",
        ),
        (["--input-size", "100"], "input_size"),
        (["--quantization", "int3"], "int3"),
        (["--threads", "1,2"], "one number of threads"),
        (["--target", "local"], "creates its own networks"),
    ],
)
def test_wrong_input(
    options: list[str], words: str, formula: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (few := tmp_path / "few.yaml").write_text("base: {activation: relu}\ndimensions: {width: [0.5, 1.0]}\n")
    assert calibrate(tmp_path, *(option.replace("FEW.yaml", str(few)) for option in options)) == 2
    err: Any = capsys.readouterr().err
    assert words in err and err.count("\n") <= 2
