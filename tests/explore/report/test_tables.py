"""Tables: one header for each column, and files of version 0.1."""

from __future__ import annotations

import csv
import random
from dataclasses import replace
from pathlib import Path

import pytest

from arch.errors import InputError
from arch.search_space import Space
from arch.space import make_arch
from explore.report.columns import COLUMNS, EXPORTED_KEYS, TRIAL_KEYS, key_of
from explore.report.readme import readme
from explore.report.snapshot import Snapshot, load_snapshot, save_snapshot, short_fields
from explore.report.study_folder import read_summary
from explore.report.summary import Summary
from explore.report.tables import FRONT, TRIALS, front_table, read_rows, read_table, write_tables
from tests.helpers.studies import REFERENCE

# Of version 0.1; the latency column of a remote device and the checks have since changed their headers.
OLD_TRIALS = """\
trial,state,rung,name,arch_id,recipe,mpjpe_mm,pa_mpjpe_mm,float_mpjpe_mm,latency_ms,latency_ms web,macs,params,bytes,samples,seed,config_hash,on_front,reason
0,complete,measured,paper-L-relu@64,8d1ae06cec,int8-static,156.07,101.8,155.73,2.38,7.5,273341952,3832032,4489648,4000,0,b2686fcbaa69,True,
1,pruned,cost,ab,ab,int8-static,,,,,,,,,,0,b2686fcbaa69,,"too large, by far"
"""
OLD_FRONT = """\
name,arch_id,runtime,recipe,mpjpe_mm,pa_mpjpe_mm,float_mpjpe_mm,latency_ms,ratio_low,ratio_high,float_latency_ms,macs,params,bytes,samples,network,seed,config_hash,on_front,gates_failed,bundle
278b17e2d3,278b17e2d3,litert,int8-static,172.5,111.4,171.8,0.055,0.212,0.213,0.12,4188224,308684,506416,10000,some words,0,b2686fcbaa69,True,size,bundles/278b17e2d3/litert
"""


@pytest.fixture
def summary(tmp_path: Path) -> Summary:
    return replace(read_summary(REFERENCE), folder=tmp_path)


def test_headers_name_the_units_and_lead_back_to_the_keys() -> None:
    headers = {key: column.header for key, column in COLUMNS.items()}
    assert len(set(headers.values())) == len(headers)
    assert {headers[key] for key in ("mpjpe_mm", "pa_mpjpe_mm", "latency_ms", "macs", "params", "bytes")} == {
        "MPJPE mm", "PA-MPJPE mm", "latency ms", "MACs M", "params M", "size MB",
    }  # fmt: skip
    assert all(key_of(header) == key and key_of(key) == key for key, header in headers.items())
    assert all(column.tooltip for column in COLUMNS.values())


def test_tables_are_read_as_they_were_written(summary: Summary) -> None:
    trials = [replace(row, remote={"latency_ms web://a:1": 3.5}) for row in summary.trials]
    summary = replace(summary, trials=tuple(trials))
    write_tables(summary)
    assert next(csv.DictReader((summary.folder / TRIALS).open()))["latency on web://a:1 ms"] == "3.5"
    assert next(csv.DictReader((summary.folder / FRONT).open()))["MACs M"] == "4.188224"
    for name, keys, rows in ((TRIALS, TRIAL_KEYS, summary.trials), (FRONT, EXPORTED_KEYS, summary.exported)):
        for line, row in zip(read_table(summary.folder / name), rows, strict=True):
            for key in {*keys, *row.remote} - {"seed", "config_hash", "reason"}:
                value = row.get(key)
                assert line[key] == ("" if value != value else str(value)), key
    found, exported = read_rows(summary.folder, "litert")
    assert [row.get("latency_ms web://a:1") for row in found] == [3.5] * len(trials)
    assert [row.macs for row in exported] == [row.macs for row in summary.exported]


def test_tables_of_version_0_1_are_read(tmp_path: Path) -> None:
    (tmp_path / TRIALS).write_text(OLD_TRIALS)
    (tmp_path / FRONT).write_text(OLD_FRONT)
    (first, second), (file,) = read_rows(tmp_path)
    assert (first.stage, first.macs, first.latency_ms, first.on_front) == ("measured", 273341952, 2.38, True)
    assert first.remote == {"latency_ms web": 7.5}
    assert (second.state, second.reason) == ("pruned", "too large, by far") and second.macs != second.macs
    assert (file.checks_failed, file.bytes, file.float_latency_ms) == ("size", 506416, 0.12)


def test_broken_tables_are_named(tmp_path: Path) -> None:
    (tmp_path / TRIALS).write_bytes(b"trial\n\xff")
    with pytest.raises(InputError, match=r"trials\.csv: not a CSV table"):
        read_table(tmp_path / TRIALS)
    for text in ("many", "inf", "nan"):
        (tmp_path / TRIALS).write_text(f"trial,MACs M\n0,{text}\n")
        with pytest.raises(InputError, match=rf"trials\.csv: MACs M: '{text}' is not a number"):
            read_table(tmp_path / TRIALS)


def test_front_table_shows_the_recipe_if_there_are_several(summary: Summary) -> None:
    header, *rows = front_table(summary.exported, "litert")
    assert len(rows) == 11 and "quantization" not in header and "MPJPE mm" in header
    changed = (replace(summary.exported[0], recipe="float"), *summary.exported[1:])
    header, *rows = front_table(changed, "litert")
    assert "float" in rows[0] and header[1] == "quantization"


def test_readme_contains_the_tables_and_the_comparison(summary: Summary) -> None:
    text = readme(summary)
    assert "| name | MPJPE mm | PA-MPJPE mm |" in text and "222.4 mm" in text
    for found in summary.iso_accuracy:
        assert found.text in text
    passed = replace(summary, exported=tuple(replace(row, checks_failed="") for row in summary.exported))
    assert "all of its checks passed" in readme(passed)


def test_findings_compare_candidates_with_baselines(summary: Summary) -> None:
    assert [line.partition(",")[0] for line in summary.findings] == [
        f"paper-{size}-relu@64" for size in ("L", "S", "XS")
    ]
    assert "no candidate has a lower error and lower latency" in summary.findings[0]
    assert "a lower error by point estimate (not tested): 3;" in summary.findings[2]


def test_snapshots_contain_whole_networks(tmp_path: Path) -> None:
    space = Space.named("full").at(64)
    archs = [space.sample(random.Random(seed)) for seed in range(20)]
    snapshot = Snapshot(networks={arch.id: arch for arch in archs}, mean_pose_mm=1.5)
    save_snapshot(tmp_path, snapshot)
    assert load_snapshot(tmp_path) == snapshot
    assert all(make_arch(short_fields(arch)) == arch for arch in archs)
