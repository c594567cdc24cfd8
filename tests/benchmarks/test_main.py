"""Command line, records and page of the benchmarks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from arch.errors import InputError
from benchmarks import BENCHES, Record, profile
from benchmarks.__main__ import main
from benchmarks.records_page import write_bench_page

RECORDS = Path(__file__).resolve().parents[2] / "results" / "bench"


def test_benchmark_writes_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "NETWORKS", 40)
    monkeypatch.setattr(profile, "COUNTED", 1)
    assert main(["profile", "--out", str(tmp_path), "--json"]) == 0
    record = json.loads((tmp_path / "profile.json").read_text())
    assert {"bench", "when", "machine", "versions", "config_hash", "rows", "claims"} <= record.keys()
    passed = {claim["name"]: claim["passed"] for claim in record["claims"]}
    assert passed["differences from torch, fvcore and ptflops explained"]
    assert passed["rows of Table 2 equal in both printed digits"]
    speeds = {row["engine"]: row["networks_per_s"] for row in record["rows"] if row["space"] == "mobile"}
    assert speeds["closed form"] > 5 * speeds["fvcore"]
    assert (tmp_path / "index.html").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["profil"], "did you mean 'profile'?"),
        (["scale:speedups"], "did you mean 'speedup'?"),
        (["profile:x"], "profile has none"),
        (["--pages"], "did you mean '--page'?"),
        (["--page", "--out", "nowhere"], "nowhere: no records found"),
    ],
)
def test_wrong_input(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ") and shown.count("\n") == 1 and expected in shown


def test_help_names_all_benchmarks(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert "usage: python -m benchmarks [options] [NAME ...]" in shown and all(name in shown for name in BENCHES)


@pytest.mark.parametrize("path", sorted(RECORDS.glob("*.json")), ids=lambda path: path.stem)
def test_committed_records_can_be_read(path: Path) -> None:
    record = Record.model_validate_json(path.read_bytes())
    assert record.bench == path.stem and record.claims and all(claim.target for claim in record.claims)


def test_page_of_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record: dict[str, Any] = json.loads((RECORDS / "profile.json").read_text())
    old = {"name": "<script>x</script>", "asked": "1", "measured": "2", "holds": False}
    new = {"name": "y", "target": "3", "measured": "4", "passed": True}
    record["claims"] = [old, new]
    (tmp_path / "profile.json").write_text(json.dumps(record))
    assert main(["--page", "--out", str(tmp_path)]) == 0
    assert re.search(r"<script>x</script> +1 +2 +FAIL", capsys.readouterr().out)
    text = (tmp_path / "index.html").read_text()
    assert "<script" not in text and "&lt;script&gt;" in text
    assert "1 of 2 claims pass" in text and '<td class="fail">fail</td>' in text
    for part in (record["when"], record["machine"]["processor"], record["versions"]["openvino"]):
        assert part in text
    (tmp_path / "profile.json").write_text("{}")
    with pytest.raises(InputError, match=r"profile\.json: bench: .*run this benchmark again"):
        write_bench_page(tmp_path)
