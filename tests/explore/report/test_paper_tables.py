"""The paper's tables as printed, and own results as rows."""

from __future__ import annotations

import json

import pytest

from arch.errors import InputError
from explore.cli import main
from explore.report.paper_tables import ACTIONS, TABLE_7, TABLE_8, TABLE_9, TABLES, own_row, render

RESULT = {
    "name": "paper-S", "test": "human36m", "protocol": 2, "params": 2_240_000, "mpjpe_mm": 60.0, "rigid_mpjpe_mm": 41.0,
    "per_action_mm": {action: 50.0 + index for index, action in enumerate(ACTIONS)},
    "rigid_per_action_mm": {action: 30.0 + index for index, action in enumerate(ACTIONS)},
}  # fmt: skip


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_rows_are_complete_and_their_means_are_near_the_printed_ones(table):
    for row in table.rows:
        assert len(row.values) == len(table.columns)
        mean = sum(value for value in row.values if value is not None) / len(row.values)
        assert mean == pytest.approx(row.average, abs=1.6 if table is not TABLE_9 else 0.25), row.method


def test_rows_of_paper_l():
    large = {table.name: table.rows[-1] for table in TABLES}
    assert (large["Table 7"].average, large["Table 8"].average, large["Table 9"].average) == (35.2, 51.4, 79.6)
    assert large["Table 8"].values[ACTIONS.index("SittingDown")] == 70.2
    assert all(row.params == 4.07 for row in (large["Table 7"], large["Table 8"]))


@pytest.mark.parametrize(
    ("protocol", "table", "average", "first"), [(1, TABLE_7, 41.0, 30.0), (2, TABLE_8, 60.0, 50.0)]
)
def test_protocols_go_to_their_tables(protocol, table, average, first):
    found, row = own_row(RESULT | {"protocol": protocol})
    assert found is table and row.average == average and row.values[0] == first and row.params == 2.24
    _, part = own_row(RESULT | {"per_action_mm": {"Walking": 40.0}, "rigid_per_action_mm": {"Walking": 40.0}})
    assert part.values.count(None) == 14


def test_own_errors_have_their_interval():
    interval = {"value": 60.0, "low": 57.3, "high": 63.1, "unit": "clip", "units": 236}
    table, row = own_row(RESULT | {"mpjpe_interval": interval})
    assert "60.0 (57.3 to 63.1)" in render(table, [row]) and "over 236 clips" in render(table, [row])
    table, row = own_row(RESULT)
    assert "intervals are not available" in render(table, [row]), "version 0.1"


def test_sequences_go_to_table_9():
    scores = {f"TS{n}": {"pck_rel": 0.8, "auc": 0.4} for n in range(1, 20)} | {"TS20": {"pck_rel": 0.6, "auc": 0.3}}
    table, row = own_row(RESULT | {"test": "mupots", "sequences": scores})
    assert table is TABLE_9 and row.values[0] == pytest.approx(80) and row.average == pytest.approx(79)


def test_other_sets_have_no_table():
    with pytest.raises(InputError, match="no table of the paper is for synthetic-easy"):
        own_row(RESULT | {"test": "synthetic-easy"})
    with pytest.raises(InputError, match="sequences: empty"):
        own_row(RESULT | {"test": "mupots"})
    with pytest.raises(InputError, match="protocol: none, because subjects or steps were chosen"):
        own_row(RESULT | {"protocol": None})


def test_the_command(tmp_path, capsys):
    paths = []
    for protocol in (2, 1):
        paths.append(str(tmp_path / f"{protocol}.json"))
        (tmp_path / f"{protocol}.json").write_text(json.dumps(RESULT | {"protocol": protocol}))
    assert main(["report", "--tables", *paths]) == 0
    said = capsys.readouterr().out
    assert said.index("Table 7") < said.index("Table 8") and said.count("paper-S *") == 2
    assert said.count("aligned by rotation and translation, without scale") == 1, "in Table 7"
    lines = [line for line in said.splitlines() if line.startswith(("Methods", "Ours-L", "paper-S"))]
    assert len({len(line) for line in lines[:3]}) == 1  # columns stand under each other
    assert main(["report", "--tables", paths[0], "--markdown"]) == 0
    assert "| paper-S * | 50.0 |" in capsys.readouterr().out
    assert main(["report", "--tables", paths[0], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["own"][0]["average"] == 60.0


@pytest.mark.parametrize(
    ("text", "said"), [("{", "not valid JSON"), ("[]", "missing"), ('{"name": "x"}', "mpjpe_mm: missing")]
)
def test_other_files_are_rejected(tmp_path, capsys, text, said):
    path = tmp_path / "a.json"
    path.write_text(text)
    assert main(["report", "--tables", str(path)]) == 2
    assert said in capsys.readouterr().err
    assert main(["report", "--tables", str(tmp_path / "none.json")]) == 2
    assert "no such file" in capsys.readouterr().err
