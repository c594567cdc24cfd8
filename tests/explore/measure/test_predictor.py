"""The predictor: its features, what it recovers, its file."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arch.cost import cost
from arch.errors import InputError
from arch.search_space import Space
from arch.space import Arch, preset
from explore.measure.features import features
from explore.measure.predictor import KINDS, About, Predictor, _table, fit, score
from explore.measure.sampling import design, unseen
from quantize.recipes import recipe

SPACE = Space.named("mobile").at(64)
ABOUT = About(
    device="local",
    processor="none",
    instruction_sets=("avx2",),
    runtime="litert",
    runtime_version="1",
    recipe="int8-static",
    threads=1,
    isa=None,
    space="mobile",
    scale=64,
    reference="paper-XS-relu@64",
    reference_ms=0.25,
)
PRICES = {"dense 1: macs": 2e-8, "depthwise 3 stride 1: macs": 2e-7, "dense 3: macs": 1e-8, "add: elements": 1e-7}


def rows(fitted: int, others: int) -> list[dict[str, Any]]:
    """Networks whose latency is a sum of prices, a tenth of an odd percent off."""
    rng = random.Random(0)
    made = []
    for index in range(fitted + others):
        arch = SPACE.sample(rng)
        sums = features(arch)
        ratio = 0.05 + sum(price * sums.get(name, 0) for name, price in PRICES.items())
        part = "fit" if index < fitted else "unseen"
        ratio *= 1 + 0.001 * rng.uniform(-1, 1)
        made.append({"part": part, "arch": arch.model_dump(mode="json"), "ratio": ratio, "settled": True})
    return made


@pytest.mark.parametrize("name", ["paper-L-relu", "paper-XS-relu@64"])
def test_features_hold_all_macs(name: str) -> None:
    """Channels are rounded up to whole vectors and pixels to tiles, so a little more than the closed form counts."""
    arch = preset(name)
    total = sum(value for key, value in features(arch).items() if key.endswith(": macs"))
    assert cost(arch).macs <= total < 1.6 * cost(arch).macs


def test_every_network_of_a_space_has_features() -> None:
    rng = random.Random(1)
    space = Space.named("full").at(64)
    for _ in range(60):
        found = features(space.sample(rng))
        assert all(value >= 0 and np.isfinite(value) for value in found.values()) and found["edge out: elements"] > 0


def test_known_prices_are_found_and_macs_alone_are_worse() -> None:
    made = fit(rows(80, 30), ABOUT)
    assert made.report is not None
    assert made.report.predictor.within_5 == 1.0 and made.report.predictor.tau > 0.98
    assert made.report.macs.within_10 < 0.9
    assert made.report.fitted_on == 80 and made.report.unseen == 30


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_survives_its_file(kind: Any, tmp_path: Path) -> None:
    given = rows(60, 0)
    archs = [Arch(**{**row["arch"], **_tuples(row["arch"])}) for row in given]
    names = tuple(sorted({name for arch in archs for name in features(arch)}))
    ratios = np.array([row["ratio"] for row in given])
    made = KINDS[kind](ABOUT, names, _table(archs, names), ratios)
    made.save(tmp_path / "p.json")
    again = Predictor.load(tmp_path / "p.json")
    assert again == made and (again.ratios(archs) == made.ratios(archs)).all()
    assert score(again.ratios(archs), ratios).within_10 > 0.8
    assert again.ms(archs, 1.0) == pytest.approx(again.ms(archs) / 0.25)


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) for key, value in values.items() if isinstance(value, list)}


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"version": 2}'])
def test_other_files_are_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(content)
    with pytest.raises(InputError, match="is no predictor"):
        Predictor.load(path)
    with pytest.raises(InputError, match="No such file"):
        Predictor.load(tmp_path / "q.json")


def test_the_file_is_plain_json(tmp_path: Path) -> None:
    fit(rows(40, 10), ABOUT).save(tmp_path / "p.json")
    assert json.loads((tmp_path / "p.json").read_text())["about"]["device"] == "local"


def test_the_sample_is_spread_and_keeps_the_unseen_apart() -> None:
    chosen = recipe("int8-static")
    tests = unseen(SPACE, 64, "litert", chosen, 10, 0)
    assert unseen(SPACE, 64, "litert", chosen, 20, 0)[:10] == tests
    learned = design(SPACE, 64, "litert", chosen, 50, 0, tests)
    assert len({arch.id for arch in learned}) == 50 and not {a.id for a in learned} & {a.id for a in tests}
    families = [sum(arch.encoder == name for arch in learned) for name in {arch.encoder for arch in learned}]
    assert max(families) - min(families) <= 1
    macs = [cost(arch).macs for arch in learned]
    assert max(macs) / min(macs) > 20
