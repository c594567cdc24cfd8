"""The command line as a stranger meets it: help, errors, tables, the bench's record."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from explore.bench import profile as bench_profile
from explore.cli import main
from explore.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "explore.py"), *arguments], capture_output=True, text=True, timeout=120
    )


def test_without_a_command_all_are_listed_and_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from explore.cli import main; main([]); "
        "print([m for m in ('torch', 'openvino', 'nncf', 'optuna', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert all(name in done.stdout for name in COMMANDS)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([name, "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert f"example: python explore.py {name}" in shown
    assert "--json" in shown


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["serch"], "search"),
        (["profile"], "--paper"),
        (["profile", "paper-M"], "paper-L"),
        (["profile", "--space", "huge"], "mobile"),
        (["predict", "photo.jpg"], "--model"),
        (["bench", "speed"], "profile"),
        (["train", "--arch", "paper-L@100"], "100"),
        (["export", "nothing.safetensors"], "nothing.safetensors"),
        (["measure", "nothing"], "nothing"),
    ],
)
def test_wrong_input_is_one_line_and_status_two(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    shown = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(shown) == 1 and word in shown[0]


def test_paper_tables_as_json() -> None:
    done = run("profile", "--paper", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    large = next(row for row in rows if row["table"] == "Table 6" and row["row"].endswith("(L)"))
    assert large["digits"] == "equal"
    assert round(large["params"], 2) == 4.07 and round(large["gflops"], 2) == 5.49


def test_bench_leaves_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_profile, "NETWORKS", 40)
    monkeypatch.setattr(bench_profile, "OPINIONS", 1)
    assert main(["bench", "profile", "--out", str(tmp_path), "--json"]) == 0
    record = json.loads((tmp_path / "profile.json").read_text())
    assert {"bench", "when", "machine", "versions", "config_hash", "rows", "claims"} <= record.keys()
    held = {claim["name"]: claim["holds"] for claim in record["claims"]}
    assert held["counts of torch, fvcore, ptflops explained"]
    assert held["rows of Table 2 equal to both printed digits"]
    speeds = {row["engine"]: row["networks_per_s"] for row in record["rows"] if row["space"] == "mobile"}
    assert speeds["closed form"] > 20 * speeds["fvcore"]
