"""Benchmark `search`: the public tables, the methods, the steps that are resumed, rows and claims."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from arch.errors import InputError, WorkError
from benchmarks import Record, search
from benchmarks.__main__ import main
from benchmarks.search import accel, own_space, sources
from benchmarks.search.methods import METHODS, Method, Setting, name_of, optuna_search
from benchmarks.search.results import lead, method_row, table_claims
from benchmarks.search.tables import TABLES, Table, regrets
from benchmarks.steps import run_steps
from tests.helpers import ROOT, mostly_slow
from tests.helpers.layouts import REAL_DATA

FOLDER = REAL_DATA / "nas_tables"
SIZES = (4, 3, 4, 3)


@pytest.fixture
def real_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    if not FOLDER.is_dir():
        pytest.skip("needs the public tables")
    monkeypatch.setenv("EDGEPOSE_NAS_TABLES", str(FOLDER))


def toy(ordered: bool = True) -> Table:
    """A table in which larger choices are more expensive and more accurate, the more the later the dimension."""
    weights = np.array([1.0, 2.0, 3.0, 4.0])

    def truth(networks: np.ndarray) -> np.ndarray:
        size = networks / (np.array(SIZES) - 1)
        return np.column_stack([50 - 4 * size @ weights, 1 + size @ weights[::-1]])

    def observe(network: tuple[int, ...], seed: int) -> tuple[float, float]:
        error, cost = truth(np.array([network]))[0]
        return float(error), float(cost)

    return Table(SIZES, ordered, truth, observe, lambda network: observe(network, 0)[1], 11.0, 50.0, 30.0)


@pytest.mark.slow
def test_real_tables_have_the_published_values(real_tables: None) -> None:
    macro, pixel3, raspi4 = TABLES["macro"](), TABLES["nb201-pixel3"](), TABLES["nb201-raspi4"]()
    assert macro.truth(np.array([[0, 2, 0, 1, 2, 1, 0, 0]]))[0] == pytest.approx([100 - 89.19667, 47.327744], rel=1e-6)
    seen = {macro.observe((0, 2, 0, 1, 2, 1, 0, 0), seed)[0] for seed in range(30)}
    assert sorted(100 - error for error in seen) == pytest.approx([88.95, 89.17, 89.47])
    assert len(macro.front) == 66 and macro.front[:, 0].min() == pytest.approx(6.87334, abs=1e-4)
    cell = np.array([[2, 3, 1, 3, 1, 1]])  # row 0 of the file
    assert pixel3.truth(cell)[0] == pytest.approx([68.74, 3.60585]) and raspi4.truth(cell)[0, 1] == pytest.approx(
        10.482, abs=1e-3
    )
    assert pixel3.observe((2, 3, 1, 3, 1, 1), 0)[0] == pytest.approx(68.16)
    known = [pixel3.known_cost(network) / pixel3.observe(network, 0)[1] for network in pixel3.random_networks(0, 300)]
    assert np.std(np.log(known)) == pytest.approx(0.05, rel=0.2)


@pytest.mark.slow
def test_surrogate_agrees_with_held_out_networks(real_tables: None) -> None:
    model = accel.surrogate()
    assert model.error_rmse < 0.6 and model.latency_rmse < 0.06  # errors have a standard deviation of 3 points
    record = accel._records()[0]
    names = sorted(record["architecture"])
    choices = {"e": [1, 4, 6], "k": [3, 5], "l": [1, 2, 3], "se": [False, True]}
    network = np.array([[choices[name.split("_")[1]].index(record["architecture"][name]) for name in names]])
    assert model.errors(network)[0] == pytest.approx(100 - record["metrics"]["val_top1"], abs=2)
    assert model.latencies(network)[0] == pytest.approx(record["platform_perf"][accel.DEVICE]["latency_mean"], rel=0.2)


def test_files_are_checked_and_offline_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EDGEPOSE_NAS_TABLES", str(tmp_path / "missing"))
    with pytest.raises(InputError, match="missing: EDGEPOSE_NAS_TABLES: no such folder"):
        sources.source_file("pixel3.pt")
    monkeypatch.setenv("EDGEPOSE_NAS_TABLES", str(tmp_path))
    (tmp_path / "pixel3.pt").write_bytes(b"other")
    with pytest.raises(InputError, match=r"pixel3\.pt: not the pinned file"):
        sources.source_file("pixel3.pt")

    def answers(content: bytes) -> Any:
        return lambda url, timeout: io.BytesIO(content)

    def offline(url: str, timeout: float) -> Any:
        raise sources.URLError("Name or service not known")

    monkeypatch.setattr(sources, "urlopen", offline)
    with pytest.raises(
        WorkError,
        match=r"^https://raw\.githubusercontent\.com/HayeonLee/HELP/45f70eb\S+: Name or .*EDGEPOSE_NAS_TABLES",
    ) as error:
        sources.source_file("raspi4.pt")
    assert "\n" not in str(error.value)
    monkeypatch.setattr(sources, "urlopen", answers(b"<html>login</html>"))
    with pytest.raises(WorkError, match="not the pinned file"):
        sources.source_file("raspi4.pt")
    assert not list((tmp_path / "cache").rglob("raspi4.pt"))
    if FOLDER.is_dir():
        monkeypatch.setattr(sources, "urlopen", answers((FOLDER / "nas-bench-macro_cifar10.json").read_bytes()))
        assert sources.source_file("nas-bench-macro_cifar10.json").parent == tmp_path / "cache" / "nas-tables"


def test_pickles_are_read_without_running_them(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    values = ["|none~0|", 3, 0.25, bytearray(b"12345678"), Harmful()]
    assert sources._literals(pickle.dumps(values, protocol=5))[:3] == ["|none~0|", 3, 0.25]
    assert not (tmp_path / "ran").exists()
    cell = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"
    assert sources._digits(cell) == "401203"


def test_regret_is_that_of_the_networks_that_would_be_exported() -> None:
    table = toy()
    everything = list(np.ndindex(*SIZES))
    assert regrets(table, everything, 0, [len(everything)]) == {"worst": [0.0], "median": [0.0]}
    some = table.random_networks(0, 30)
    found = regrets(table, some, 0, [5, 30])["worst"]
    assert 0 < found[1] < found[0] < 1
    assert regrets(table, [(0, 0, 0, 0)], 0, [1]) == {"worst": [1.0], "median": [1.0]}


@pytest.mark.parametrize("ordered", mostly_slow([True, False], True))
@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.requires])
def test_methods_evaluate_different_networks_and_repeat(name: str, ordered: bool) -> None:
    table, method = toy(ordered), METHODS[name]
    for setting in method.settings[:2]:
        found = method.run(table, 0, 14, **setting.options)
        assert len(set(found)) == len(found) >= 14 and found[:8] == table.random_networks(0, 8)
        assert found[:14] == method.run(table, 0, 14, **setting.options)[:14]


def test_search_goes_on_where_a_sampler_draws_known_networks_only() -> None:
    def sampler(table: Table, seed: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.PartialFixedSampler(
            {name_of(place): 0 for place in range(len(SIZES))}, optuna.samplers.RandomSampler(seed=seed)
        )

    found = optuna_search(toy(), 0, 20, sampler, ordinal=True)
    assert len(set(found)) == 20


def test_interrupted_steps_go_on_and_finished_ones_are_not_repeated(tmp_path: Path) -> None:
    done: list[str] = []

    def step(name: str, fails: bool = False) -> dict[str, Any]:
        if fails:
            raise WorkError("killed")
        done.append(name)
        return {"name": name}

    with pytest.raises(WorkError):
        run_steps(tmp_path, {"a": lambda: step("a"), "b": lambda: step("b", True)}, lambda share: None)
    shares: list[float] = []
    found = run_steps(tmp_path, {"a": lambda: step("a"), "b": lambda: step("b")}, shares.append)
    assert found == {"a": {"name": "a"}, "b": {"name": "b"}} and done == ["a", "b"] and shares[-1] == 1


def rows_of(values: dict[str, list[float]], table: str, stops: tuple[int, ...] = (60, 100)) -> list[dict[str, Any]]:
    """Rows of methods whose regret is the same at all stops and for both reference points."""
    return [
        method_row(
            table, name, "x", stops,
            [{"regrets": {key: [value] * len(stops) for key in ("worst", "median")}, "cpu_s": 1.0} for value in seeds],
        )
        for name, seeds in values.items()
    ]  # fmt: skip


def test_claims_need_an_interval_on_two_benchmarks() -> None:
    ours, close, far = (
        [0.10, 0.11, 0.12, 0.13, 0.12, 0.10],
        [0.16, 0.04, 0.20, 0.09, 0.14, 0.10],
        [0.15, 0.16, 0.18, 0.19, 0.17],
    )
    assert lead(rows_of({"cost-aware": ours, "gp": far, "tpe": [0.4] * 6}, "macro"), "macro", "worst", 60, "cost-aware")[:2] == (
        "gp", pytest.approx((0.05 + 0.05 + 0.06 + 0.06 + 0.05) / 5),
    )  # fmt: skip
    names = ("macro", "accel", "nb201-pixel3", "nb201-raspi4")
    won = {name: {"cost-aware": ours, "tpe": [0.4] * 6, "gp": far} for name in names}
    lost = {**won["accel"], "gp": close}
    passed = [row for name in names for row in rows_of({**won, "nb201-raspi4": lost}[name], name)]
    failed = [row for name in names for row in rows_of({**won, "nb201-raspi4": lost, "macro": lost}[name], name)]
    assert [claim.measured for claim in table_claims(passed)] == ["6 of 6"] * 2 + ["2 of 3 (macro, accel)"] * 4
    assert [claim.passed for claim in table_claims(passed)] == [False] * 2 + [True] * 4  # six seeds are fewer than 17
    assert [claim.measured for claim in table_claims(failed)][2:] == ["1 of 3 (accel)"] * 4
    assert not any(claim.passed for claim in table_claims(failed))
    few = [row for name in names for row in rows_of({**won["macro"], "gp": far[:4]}, name)]
    assert [claim.measured for claim in table_claims(few)][2:] == ["0 of 3"] * 4


def test_run_tunes_resumes_and_writes_page_and_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path))
    monkeypatch.setattr(search, "PLOT", tmp_path / "search.png")
    monkeypatch.setattr(search, "TABLES", dict.fromkeys(TABLES, toy))
    small = {"seeds": 3, "stops": [10, 20, 60, 100], "tuning_seeds": [7], "tuning_stops": [10, 20]}
    monkeypatch.setattr(search, "CONFIG", {**search.CONFIG, **small, "methods": ["cost-aware", "tpe", "random"]})
    methods = {
        "cost-aware": Method(METHODS["evolution"].run, (Setting("a", {"population": 12, "sample": 4}),)),
        "tpe": Method(
            METHODS["evolution"].run, tuple(Setting(f"{n}", {"population": n, "sample": 4}) for n in (12, 20))
        ),
        "random": Method(METHODS["random"].run, (Setting("b"),), seeds=2),
    }
    methods = {name: Method(one.run, one.settings, one.seeds, 100, 1, 20) for name, one in methods.items()}
    monkeypatch.setattr(search, "METHODS", methods)
    compared: dict[str, list[Any]] = {"equal compute": [], "equal samples": []}
    before = [{"part": "own-space", "sampler": "cost-aware", "seed": 0, "comparisons": compared}]
    rows, claims = search.run(lambda share: None, "tables", before)
    assert (tmp_path / "search.png").stat().st_size > 10_000
    assert [row["chosen"] for row in rows if "tuned" in row].count(True) == 1 and len(claims) == 6 + 2
    assert len([row for row in rows if "table" in row]) == 12
    assert {row["method"]: row["seeds"] for row in rows if "table" in row} == {"cost-aware": 3, "tpe": 3, "random": 2}
    text = search.markdown([row for row in rows if row["part"] == "tables"], claims)
    assert "Raspberry Pi 4" in text and "| cost-aware | a | 3 |" in text
    monkeypatch.setattr(search, "regrets", None)  # every step has a result
    assert search.run(lambda share: None, "tables", before)[0] == rows
    monkeypatch.setitem(search.CONFIG, "methods", ["random"])  # the rows of the others are kept
    shuffled = [row | {"seeds": 1} if row.get("method") == "random" else row for row in rows[::-1]]
    kept, kept_claims = search.run(lambda share: None, "tables", shuffled)
    assert sorted(kept, key=str) == sorted(rows, key=str) and kept_claims == claims


def test_own_space_reads_what_the_search_exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    class Done:
        returncode = 0

        def __init__(self, command: list[str], **options: Any) -> None:
            commands.append(command)
            better = 10.0 * ("--sampler=cost-aware" in command)
            row = {"runtime": "litert", "latency_ms": 2.0, "macs": 5_000_000}
            exported = [{**row, "name": "a", "mpjpe_mm": 150.0 - better}, {**row, "name": "paper-S", "mpjpe_mm": 1.0}]
            compared = {"other": {"name": "paper-S"}, "file": {"name": "a"}, "verdict": "at least as accurate"}
            compared |= {"times": 3.0, "low": 1.0 + better, "high": 12.0, "text": "paper-S: a"}
            too_little = {"other": {"name": "paper-L"}, "file": None, "verdict": "learned too little"}
            too_little |= {"times": None, "low": None, "high": None, "text": "paper-L"}
            self.stdout = json.dumps(
                {"exported": [*exported, {**row, "name": "b", "mpjpe_mm": 90.0, "latency_ms": 20.0, "macs": 50_000_000}],
                 "baselines": ["paper-S"], "trials": [{}] * 9, "train_minutes": 14.0, "mean_pose_mm": 250.0,
                 "iso_accuracy": [compared, too_little], "iso_accuracy_at_equal_samples": []}
            )  # fmt: skip

    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path))
    monkeypatch.setattr(own_space.subprocess, "run", Done)
    config = {"samplers": ["cost-aware", "random"], "own_seeds": [0, 1], "budget": "2m", "finished_only": False}
    rows = own_space.own_rows(config, lambda share: None)
    assert len(commands) == 4 and "--budget=2m" in commands[0] and "--cache=none" in commands[0]
    assert [(row["sampler"], row["hypervolume_latency"], row["hypervolume_macs"]) for row in rows[:2]] == [
        ("cost-aware", 110.0, 110.0), ("random", 100.0, 100.0),
    ]  # fmt: skip
    claims = own_space.own_claims(rows)
    assert [claim.measured for claim in claims] == ["2 of 2 seeds, 3.0, 3.0 times", "0 of 2 seeds", "+10", "+10"]
    assert [claim.passed for claim in claims] == [True, False, True, True]
    again = own_space.own_rows({**config, "own_seeds": [1], "samplers": ["random"]}, lambda share: None, rows)
    assert len(commands) == 4 and sorted(again, key=str) == sorted(
        rows, key=str
    )  # finished searches, and those of the record
    Done.returncode = 1
    with pytest.raises(WorkError, match="search with sampler cost-aware, seed 2"):
        own_space.own_rows({**config, "own_seeds": [0, 1, 2]}, lambda share: None)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("budgt=1h", "did you mean 'budget'?"), ("own_seeds=many", "write a value such as [0, 1, 2, 3, 4]")],
)
def test_wrong_settings(setting: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search:own-space", "--set", setting]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: --set") and shown.count("\n") == 1 and expected in shown


def test_the_committed_record_and_its_page_agree() -> None:
    record = Record.model_validate_json((ROOT / "results/bench/search.json").read_bytes())
    rows = [row for row in record.rows if "table" in row]
    assert {(row["table"], row["method"]) for row in rows} >= {
        (table, name) for table in TABLES for name in ("cost-aware", "tpe")
    }
    for row in rows:
        assert all(len(seeds) == row["seeds"] for key in ("worst", "median") for seeds in row[key])
        assert len(row["worst"]) == len(row["median"]) == len(row["stops"])
    assert [claim.model_dump() for claim in table_claims(rows)] == [claim.model_dump() for claim in record.claims][:6]
    assert (ROOT / "results/bench/search.md").read_text() == search.markdown(record.rows, record.claims)


def test_finished_searches_make_a_record_without_running_others(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"x": 1}')
    assert run_steps(tmp_path, {"a": dict, "b": dict}, lambda share: None, finished_only=True) == {"a": {"x": 1}}
    assert not (tmp_path / "b.json").exists()
