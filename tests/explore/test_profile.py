"""The tables of `profile`: the paper's rows beside ours, and every form they are printed in."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from arch.cost import cost
from arch.errors import InputError
from arch.search_space import Space
from arch.space import preset
from explore.profile import (
    ComparedRow,
    opinion_rows,
    paper_rows,
    render,
    rows,
    sample_rows,
    study_archs,
)

NO_CONCAT = [("Table 4", "ReLU"), ("Table 4", "PReLU"), ("Table 5", "no concat")]


def row(table: str, name: str) -> ComparedRow:
    return next(one for one in paper_rows() if (one.table, one.row) == (table, name))


def test_every_row_of_the_paper_is_there() -> None:
    counts = {f"Table {n}": sum(one.table == f"Table {n}" for one in paper_rows()) for n in (2, 3, 4, 5, 6, 10)}
    assert counts == {"Table 2": 11, "Table 3": 4, "Table 4": 2, "Table 5": 3, "Table 6": 6, "Table 10": 5}


def test_every_row_of_table_2_has_the_printed_digits() -> None:
    assert {one.digits for one in paper_rows() if one.table == "Table 2"} == {"equal"}
    assert "guess" in row("Table 2", "GhostNet").remark


def test_the_modified_row_of_table_3_is_not_derived() -> None:
    modified = row("Table 3", "MobileNetV2, modified")
    assert (modified.params, modified.gflops, modified.digits) == (None, None, "")
    assert modified.remark.startswith("not derived")
    assert row("Table 3", "MobileNetV2").digits == "equal"


def test_tables_4_to_6_have_the_printed_digits_but_for_what_is_misprinted() -> None:
    different = {
        (one.table, one.row): one.digits
        for one in paper_rows()
        if one.table in ("Table 4", "Table 5", "Table 6") and one.digits != "equal"
    }
    assert different == {
        ("Table 4", "ReLU"): "params and FLOPs differ",  # the params printed are those with PReLU's slopes
        ("Table 4", "PReLU"): "FLOPs differ",
        ("Table 5", "no concat"): "FLOPs differ",
        ("Table 6", "0.75, 1024"): "params differ",
    }
    assert all(row(*key).remark for key in different)
    assert all(f"{row(*key).gflops:.2f}" == "5.48" for key in NO_CONCAT)
    assert f"{row('Table 6', '0.75, 1024').params:.2f}" == "2.43"


def test_table_10_tells_what_is_not_ours() -> None:
    assert row("Table 10", "L").digits == row("Table 10", "S").digits == "equal"
    assert row("Table 10", "XS").digits == "params differ"
    assert row("Table 10", "XS").params_off == pytest.approx(100 * (0.96 - 1.19784) / 1.19784)
    assert all(row("Table 10", name).params is None for name in ("Moon ResNet-50", "MoVNect"))
    assert all(one.remark for one in paper_rows() if one.digits not in ("equal",))


def test_rows_of_networks() -> None:
    made = rows([preset("paper-S@64"), ("mine", preset("paper-XS"))])
    assert [one.name for one in made] == ["paper-S@64", "mine"]
    assert made[1].params == cost(preset("paper-XS")).params
    assert made[0].input == 64


def test_a_sample_is_different_networks_of_the_space() -> None:
    made = sample_rows(Space.named("paper"), 30, seed=1)
    assert len({one.id for one in made}) == 30
    assert made == sample_rows(Space.named("paper"), 30, seed=1)


@pytest.mark.parametrize("form", ["text", "csv", "json", "markdown"])
def test_forms(form: str) -> None:
    made = rows([preset("paper-L"), preset("paper-XS-relu@128")])
    text = render(made, form)  # type: ignore[arg-type]
    if form == "json":
        assert json.loads(text)[0]["macs"] == made[0].macs
    elif form == "csv":
        read = list(csv.DictReader(io.StringIO(text)))
        assert [int(one["params"]) for one in read] == [one.params for one in made]
    else:
        assert len(text.splitlines()) == 4
        assert "paper-XS-relu@128" in text and "4,073,248" in text
    assert render(paper_rows(), form)  # type: ignore[arg-type]


def test_an_unknown_form() -> None:
    with pytest.raises(InputError, match="form: 'html' is not one of text, csv, json, markdown"):
        render(rows([preset("paper-L")]), "html")  # type: ignore[arg-type]


def test_opinions_are_rows_too() -> None:
    made = opinion_rows([preset("paper-XS@64")], "ptflops")
    assert {one.what for one in made} == {"BatchNorm", "activation", "bias", "not counted"}
    assert made[0].operations == made[0].macs + sum(one.amount or 0 for one in made)


def test_every_trial_of_a_study(tmp_path: Path) -> None:
    import optuna

    space = Space.named("mobile").at(64)
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(storage=storage, study_name="any", directions=["minimize", "minimize"])
    study.enqueue_trial(space.parameters(preset("paper-S-relu@64")), user_attrs={"baseline": "paper-S-relu@64"})
    archs = [space.suggest(study.ask().suggest_categorical) for _ in range(3)]
    study.ask()  # nothing chosen yet
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"space": "mobile", "scale": 64, "hash": "x"}))
    made = study_archs(tmp_path)
    assert [arch for _, arch in made] == archs
    assert [name for name, _ in made] == ["paper-S-relu@64", "trial 1", "trial 2"]
    with pytest.raises(InputError, match=r"has no config\.yaml; give the folder that a search left"):
        study_archs(tmp_path / "nothing")


def test_the_paper_is_profiled_without_torch() -> None:
    code = "import explore.profile as p, sys; p.render(p.paper_rows()); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
