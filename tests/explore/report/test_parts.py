"""What the page is made of, and the same in small for the terminal and the benches."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from arch.cost import cost
from arch.errors import InputError
from arch.search_space import Space
from arch.space import make_arch, preset
from explore.config import DatasetConfig, SearchConfig
from explore.judge import Judge
from explore.progress import Display
from explore.report.bench_page import write_bench_page
from explore.report.glance import Glance, sparkline
from explore.report.kept import keep, load_kept, short_fields
from explore.report.live import live_page
from explore.report.people import keep_people, load_people
from explore.report.refresh import bundles_of, refresh
from explore.search import workload
from explore.search.dataset import is_at_hand, open_judge
from explore.search.front import hypervolume, volumes
from explore.search.study import baselines, open_study
from quantize.bundle import load
from tests.explore.report.studies import REFERENCE, ROOT


def test_volumes_are_those_of_all_points_so_far() -> None:
    rng = np.random.default_rng(0)
    points = [
        (float(mm), float(ms)) for mm, ms in zip(rng.uniform(100, 240, 60), rng.uniform(0.05, 3, 60), strict=True)
    ]
    grown = volumes(points, 220.0)
    slowest = np.log10(max(ms for _, ms in points)) + 1e-6
    for count in (1, 7, 60):
        some = np.array([(np.log10(ms), mm) for mm, ms in points[:count]])
        assert grown[count - 1] == pytest.approx(hypervolume(some, np.array([slowest, 220.0])))
    assert grown == sorted(grown) and volumes([], 220.0) == []


def test_a_glance() -> None:
    glance = Glance(220.0)
    assert glance.line == ""
    for mm, ms in ((200.0, 1.0), (180.0, 2.0), (210.0, 1.5), (150.0, 2.5)):
        glance.add(mm, ms)
    assert glance.line.startswith("front 3 of 4: 150.0 mm in 2.5 ms to 200.0 mm in 1 ms  ")
    assert glance.line.endswith("█") and len(sparkline([float(i) for i in range(1000)])) == 24
    assert sparkline([]) == sparkline([0.0]) == ""


def test_the_glance_goes_with_plain_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explore.progress.PLAIN_SECONDS", -1.0)
    with Display() as display:
        display.stage("candidates, 4")
        display.glance("front 1 of 1: 150.0 mm in 2.5 ms")
        display.update(0.25)
    said = capsys.readouterr().err.splitlines()
    assert (
        said[0] == "candidates, 4" and said[1].startswith("candidates, 4 25%") and said[2].strip().startswith("front 1")
    )


def test_time_left_counts_work() -> None:
    """With the paper's three done first, most of 20 trials' work is done though few of the trials are."""
    config = SearchConfig(trials=20)
    space = Space.named("mobile").at(64)
    papers = baselines(config, space)
    work = workload.candidates(config, space, papers, [])
    assert work.share({}) == 0.0
    begun = work.share({"paper-L-relu@64": 0.5})
    assert begun > 0.05
    for name in papers:
        work.finish(name)
    assert work.share({}) > 0.25
    for number in range(17):
        before = work.share({})
        work.finish(str(number), workload.candidate_work(config, 2e7))
        assert work.share({}) > before
    assert work.share({}) == 1.0
    resumed = workload.candidates(config, space, papers, [(name, cost(arch).macs) for name, arch in papers.items()])
    assert 0.25 < resumed.share({}) < 1.0
    chosen = [preset("paper-L-relu@64"), preset("paper-XS-relu@64")]
    assert workload.finalists(config, chosen, chosen[:1]).share({}) > 0.6


def test_short_fields_give_the_network_back() -> None:
    space = Space.named("full").at(64)
    for seed in range(20):
        arch = space.sample(random.Random(seed))
        assert make_arch(json.loads(json.dumps(short_fields(arch)))) == arch


def test_people_have_the_errors_that_the_judge_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path))
    config = SearchConfig(dataset=DatasetConfig(train=4, test=6), workers=1)
    assert not is_at_hand(config)
    judge = open_judge(config)
    assert is_at_hand(config)
    bundles = bundles_of(config, REFERENCE)
    assert len(bundles) == 3
    (tmp_path / "study" / "bundles").parent.mkdir()
    (tmp_path / "study" / "bundles").symlink_to(REFERENCE / "bundles")
    made = keep_people(tmp_path / "study", judge, bundles[:1])
    assert made == load_people(tmp_path / "study") and len(made.people) == 6
    bundle = load(REFERENCE / bundles[0])
    session = bundle.session()
    coords, _ = bundle.run_crops(judge.evaluation.images, session)
    session.close()
    errors = [answer.error_mm for answer in made.answers[bundles[0]]]
    assert np.mean(errors) == pytest.approx(judge.score(coords).mpjpe, abs=0.1)
    for person in made.people:
        px = np.array(person.px)
        assert ((px > -0.2) & (px < 1.2)).all() and person.mm[0] == [0.0, 0.0, 0.0]
    cam = judge.test.joints_cam.copy()
    cam[:, [3, 17]] = np.nan  # a set that annotates fewer joints than the network answers
    fewer = keep_people(tmp_path / "study", Judge(judge.train, replace(judge.test, joints_cam=cam), 64), bundles[:1])
    assert len(fewer.people) == 6 and len(fewer.joints) == len(fewer.people[0].mm) == 16
    assert fewer == load_people(tmp_path / "study") and "R_Ankle" not in fewer.joints
    bones = [(fewer.joints[start], fewer.joints[end]) for start, end in fewer.edges]
    assert ("R_Hip", "R_Knee") in bones and set(bones) < {(made.joints[a], made.joints[b]) for a, b in made.edges}


def make_storage(folder: Path, count: int) -> SearchConfig:
    """A study whose storage has `count` finished trials, without a network in it."""
    config = SearchConfig(study=folder.name, results=str(folder.parent))
    folder.mkdir()
    (folder / "config.yaml").write_text(json.dumps(config.model_dump(mode="json")))
    study = open_study(config)
    for number in range(count):
        trial = study.ask({"width": optuna.distributions.CategoricalDistribution([0.25, 0.5, 1.0])})
        mm, ms = 200 - 50 * trial.params["width"] + number / 10, 0.1 + trial.params["width"]
        trial.set_user_attr("arch", f"{number:010x}")
        trial.set_user_attr("result", {"mpjpe_mm": mm, "latency_ms": ms, "macs": 10**7, "samples": 4000})
        study.tell(trial, [mm, ms])
    return config


def test_a_page_that_lives_and_ends(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    config = make_storage(folder, 12)
    said: list[str] = []
    with live_page(config, 222.0, said.append):
        deadline = time.monotonic() + 60
        while not (folder / "index.html").is_file() and time.monotonic() < deadline:
            time.sleep(0.05)
        live = (folder / "index.html").read_bytes()
    assert said == [] and live != (folder / "index.html").read_bytes()
    kept = load_kept(folder)
    assert kept.mean_pose_mm == 222.0 and len(kept.minutes) == 12
    assert set(kept.importances) == {"mpjpe_mm", "latency_ms"} and set(kept.importances["mpjpe_mm"]) == {"width"}
    keep(folder, open_study(config))
    assert load_kept(folder).mean_pose_mm == 222.0, "what only the search knew stays"

    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    (moved / "trials.csv").unlink()
    refresh(moved)
    assert len((moved / "trials.csv").read_text().splitlines()) == 13
    (moved / "study.db").write_text("no storage")
    with pytest.raises(InputError, match=r"study\.db: cannot be opened"):
        refresh(moved)


def test_a_search_goes_on_without_its_page(tmp_path: Path) -> None:
    config = make_storage(tmp_path / "s", 2)
    (tmp_path / "s" / "page").write_text("in the way")
    said: list[str] = []
    with live_page(config, 222.0, said.append):
        pass
    assert said and "index.html is not written" in said[-1] and "\n" not in said[-1]


def test_bench_records_as_a_page(tmp_path: Path) -> None:
    record: dict[str, Any] = json.loads((ROOT / "results" / "bench" / "profile.json").read_text())
    record["claims"].append({"name": "<script>x</script>", "asked": "1", "measured": "2", "holds": False})
    (tmp_path / "profile.json").write_text(json.dumps(record))
    text = write_bench_page(tmp_path).read_text()
    assert "<script" not in text and "&lt;script&gt;" in text and "falls short" in text
    holding = sum(claim["holds"] for claim in record["claims"])
    assert f"{holding} of {len(record['claims'])} hold" in re.sub(r"\s+", " ", text)
    for part in (record["when"], record["machine"]["processor"], record["versions"]["openvino"]):
        assert part in text
    call = [sys.executable, "explore.py", "bench", "--page", "--out"]
    done = subprocess.run([*call, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "index.html" in done.stdout
    (tmp_path / "empty").mkdir()
    done = subprocess.run([*call, str(tmp_path / "empty")], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    (tmp_path / "profile.json").write_text("{}")
    with pytest.raises(InputError, match=r"profile\.json: bench"):
        write_bench_page(tmp_path)
