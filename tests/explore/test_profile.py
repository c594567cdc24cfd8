"""Tables of the command `profile`, and the forms in which they are printed."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from arch import old_names
from arch.cost import cost
from arch.errors import InputError
from arch.search_space import Space
from arch.space import preset
from explore.cli import main
from explore.profile import (
    FORMS,
    ComparedRow,
    Form,
    counter_rows,
    paper_rows,
    render,
    rows,
    sample_rows,
    step_rows,
    study_archs,
)

NO_CONCAT = [("Table 4", "ReLU"), ("Table 4", "PReLU"), ("Table 5", "no concat")]


def row(table: str, name: str) -> ComparedRow:
    return next(one for one in paper_rows() if (one.table, one.row) == (table, name))


def test_number_of_rows_of_each_table() -> None:
    counts = {f"Table {n}": sum(one.table == f"Table {n}" for one in paper_rows()) for n in (2, 3, 4, 5, 6, 10)}
    assert counts == {"Table 2": 11, "Table 3": 4, "Table 4": 2, "Table 5": 3, "Table 6": 6, "Table 10": 5}


def test_table_2_has_the_printed_digits() -> None:
    assert {one.digits for one in paper_rows() if one.table == "Table 2"} == {"equal"}
    assert "guess" in row("Table 2", "GhostNet").remark


def test_the_modified_row_of_table_3_is_not_derived() -> None:
    modified = row("Table 3", "MobileNetV2, modified")
    assert (modified.params, modified.gflops, modified.digits) == (None, None, "")
    assert modified.remark.startswith("not derived")
    assert row("Table 3", "MobileNetV2").digits == "equal"


def test_tables_4_to_6_have_the_printed_digits_except_for_misprints() -> None:
    different = {
        (one.table, one.row): one.digits
        for one in paper_rows()
        if one.table in ("Table 4", "Table 5", "Table 6") and one.digits != "equal"
    }
    assert different == {
        ("Table 4", "ReLU"): "params and FLOPs differ",  # the printed params include the slopes of PReLU
        ("Table 4", "PReLU"): "FLOPs differ",
        ("Table 5", "no concat"): "FLOPs differ",
        ("Table 6", "0.75, 1024"): "params differ",
    }
    assert all(row(*key).remark for key in different)
    assert all(f"{row(*key).gflops:.2f}" == "5.48" for key in NO_CONCAT)
    assert f"{row('Table 6', '0.75, 1024').params:.2f}" == "2.43"


def test_table_10_explains_rows_without_a_network() -> None:
    assert row("Table 10", "L").digits == row("Table 10", "S").digits == "equal"
    assert row("Table 10", "XS").digits == "params differ"
    assert row("Table 10", "XS").params_off == pytest.approx(100 * (0.96 - 1.19784) / 1.19784)
    assert all(row("Table 10", name).params is None for name in ("Moon ResNet-50", "MoVNect"))
    assert all(one.remark for one in paper_rows() if one.digits not in ("equal",))


def test_rows_of_networks() -> None:
    made = rows([preset("paper-S@64"), ("mine", preset("paper-XS"))])
    assert [one.name for one in made] == ["paper-S@64", "mine"]
    assert made[1].params == cost(preset("paper-XS")).params
    assert made[0].input_size == 64


def test_a_sample_has_different_networks() -> None:
    made = sample_rows(Space.named("paper"), 30, seed=1)
    assert len({one.id for one in made}) == 30
    assert made == sample_rows(Space.named("paper"), 30, seed=1)


@pytest.mark.parametrize("form", FORMS)
def test_forms(form: Form) -> None:
    made = rows([preset("paper-L"), preset("paper-XS-relu@128")])
    text = render(made, form)
    if form == "json":
        assert json.loads(text)[0]["macs"] == made[0].macs
    elif form == "csv":
        read = list(csv.DictReader(io.StringIO(text)))
        assert [round(1e6 * float(one["params M"])) for one in read] == [one.params for one in made]
    else:
        assert len(text.splitlines()) == 4
        assert "paper-XS-relu@128" in text and "4.073" in text and "params M" in text and "MACs M" in text
    assert render(paper_rows(), form)


def test_unknown_form() -> None:
    with pytest.raises(InputError, match="form: 'html' is not one of text, csv, json, markdown"):
        render(rows([preset("paper-L")]), "html")  # type: ignore[arg-type]


def test_steps_end_with_totals() -> None:
    arch = preset("paper-XS@64")
    *steps, total = step_rows("XS", arch)
    expected = cost(arch)
    assert (total.network, total.step) == (f"XS ({arch.id})", "total")
    assert (total.params, total.macs) == (expected.params, expected.macs)
    assert (total.memory_float, total.memory_int8) == (
        expected.peak_activation_bytes_float,
        expected.peak_activation_bytes_int8,
    )
    assert [step.step for step in steps] == [node.name for node in arch.plan.nodes]


def test_counts_of_another_tool() -> None:
    made = counter_rows([preset("paper-XS@64")], "ptflops")
    assert {one.difference for one in made} == {"BatchNorm", "activation", "bias", "not counted"}
    assert made[0].operations == made[0].macs + sum(one.amount or 0 for one in made)


def test_command_prints_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "paper-XS@64", "--paper", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found if "id" in one] == ["paper-XS@64"]
    assert {one["table"] for one in found if "table" in one} >= {"Table 2", "Table 10"}
    assert main(["profile", "paper-XS@64", "--describe", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[-1]["step"] == "total"


def test_command_accepts_the_old_option_with_a_notice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "--space", "paper", "--scale", "64", "--sample", "1"]) == 0
    assert "--scale is now called --input-size" in capsys.readouterr().err


def test_networks_of_a_study(tmp_path: Path) -> None:
    import optuna

    space = Space.named("mobile").at(64)
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(storage=storage, study_name="any", directions=["minimize", "minimize"])
    study.enqueue_trial(space.parameters(preset("paper-S-relu@64")), user_attrs={"baseline": "paper-S-relu@64"})
    archs = [space.suggest(study.ask().suggest_categorical) for _ in range(3)]
    study.ask()  # a trial without choices
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"space": "mobile", "input_size": 64, "hash": "x"}))
    made = study_archs(tmp_path)
    assert [arch for _, arch in made] == archs
    assert [name for name, _ in made] == ["paper-S-relu@64", "trial 1", "trial 2"]
    with pytest.raises(InputError, match=r"has no trials\.csv and no config\.yaml; give the folder of a study"):
        study_archs(tmp_path / "nothing")


def test_networks_of_a_study_of_version_0_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its configuration and storage have old names, which are read without a notice."""
    import optuna

    arch = preset("paper-S-relu@64").replace(head="heatmap-2.5d")
    choices = Space.named("mobile").at(64).parameters(arch)
    old = {new: name for name, new in old_names.FIELDS.items()}
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'study.db'}", study_name="any")
    values = {old.get(key, key): "depthmap" if value == "heatmap-2.5d" else value for key, value in choices.items()}
    study.enqueue_trial(values)
    trial = study.ask()
    for key, value in values.items():
        trial.suggest_categorical(key, [value])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"space": "mobile", "scale": 64}))
    assert study_archs(tmp_path) == [("trial 0", arch)]
    assert "note:" not in capsys.readouterr().err


def test_the_papers_tables_need_no_torch() -> None:
    code = "import explore.profile as p, sys; p.render(p.paper_rows()); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
