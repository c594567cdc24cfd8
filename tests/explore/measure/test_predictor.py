"""The latency predictor: features, accuracy on known latencies, and its file."""

from __future__ import annotations

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
from explore.measure.predictor import KINDS, Predictor, feature_table, fit, score
from explore.measure.sampling import sample_fit_set, sample_test_set
from explore.search.config import SearchConfig
from explore.search.costs import predicted_latency
from quantize.recipes import recipe
from tests.helpers.measure import CONDITIONS, PREDICTOR_SPACE, predictor_rows


@pytest.mark.parametrize("name", ["paper-L-relu", "paper-XS-relu@64"])
def test_features_hold_all_macs(name: str) -> None:
    """Channels are rounded up to vectors and pixels to tiles, so the sum exceeds the exact MACs slightly."""
    arch = preset(name)
    total = sum(value for key, value in features(arch).items() if key.endswith(": macs"))
    assert cost(arch).macs <= total < 1.6 * cost(arch).macs


def test_every_network_of_a_space_has_features() -> None:
    rng = random.Random(1)
    space = Space.named("full").at(64)
    for _ in range(60):
        found = features(space.sample(rng))
        assert all(value >= 0 and np.isfinite(value) for value in found.values()) and found["edge out: elements"] > 0


def test_known_prices_are_recovered_and_macs_are_worse() -> None:
    predictor = fit(predictor_rows(80, 30), CONDITIONS)
    assert predictor.report is not None
    assert predictor.report.predictor.within_5 == 1.0 and predictor.report.predictor.tau > 0.98
    assert predictor.report.macs.within_10 < 0.9
    assert predictor.report.fitted_on == 80 and predictor.report.unseen == 30


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_restored_from_its_file(kind: Any, tmp_path: Path) -> None:
    given = predictor_rows(60, 0)
    archs = [Arch(**{**row["arch"], **_tuples(row["arch"])}) for row in given]
    names = tuple(sorted({name for arch in archs for name in features(arch)}))
    ratios = np.array([row["ratio"] for row in given])
    predictor = KINDS[kind](CONDITIONS, names, feature_table(archs, names), ratios)
    predictor.save(tmp_path / "p.json")
    restored = Predictor.load(tmp_path / "p.json")
    assert restored == predictor and (restored.ratios(archs) == predictor.ratios(archs)).all()
    assert score(restored.ratios(archs), ratios).within_10 > 0.8
    assert restored.ms(archs, 1.0) == pytest.approx(restored.ms(archs) / 0.25)


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) for key, value in values.items() if isinstance(value, list)}


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"version": 2}'])
def test_other_files_are_rejected(content: str, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(content)
    with pytest.raises(InputError, match="not a latency predictor"):
        Predictor.load(path)
    with pytest.raises(InputError, match="No such file"):
        Predictor.load(tmp_path / "q.json")


def test_fit_set_is_spread_and_excludes_the_test_set() -> None:
    chosen = recipe("int8-static")
    tests = sample_test_set(PREDICTOR_SPACE, 64, "litert", chosen, 10, 0)
    assert sample_test_set(PREDICTOR_SPACE, 64, "litert", chosen, 20, 0)[:10] == tests
    learned = sample_fit_set(PREDICTOR_SPACE, 64, "litert", chosen, 50, 0, tests)
    assert len({arch.id for arch in learned}) == 50 and not {a.id for a in learned} & {a.id for a in tests}
    families = [sum(arch.encoder == name for arch in learned) for name in {arch.encoder for arch in learned}]
    assert max(families) - min(families) <= 1
    macs = [cost(arch).macs for arch in learned]
    assert max(macs) / min(macs) > 20


def test_predictor_of_version_0_1_is_read() -> None:
    path = next((Path(__file__).parents[3] / "results" / "predictors").glob("*.json"))
    predictor = Predictor.load(path)
    assert predictor.about.input_size == 64 and predictor.report and predictor.report.predictor.within_5 >= 0.98
    small, large = predictor.ms([preset("paper-XS-relu@64"), preset("paper-L-relu@64")])
    assert small == pytest.approx(predictor.about.reference_ms, rel=0.1) and large > 5 * small


def test_a_predictor_of_another_processor_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    path = next((Path(__file__).parents[3] / "results" / "predictors").glob("local-*.json"))
    about = Predictor.load(path).about
    here = {"processor": about.processor, "instruction_sets": about.instruction_sets}
    monkeypatch.setattr(predicted_latency, "machine", lambda: here)
    assert predicted_latency.predictor_note(SearchConfig(predictor=str(path))) == ""
    assert predicted_latency.predictor_note(SearchConfig()) == ""
    monkeypatch.setattr(predicted_latency, "machine", lambda: here | {"processor": "another"})
    note = predicted_latency.predictor_note(SearchConfig(predictor=str(path)))
    assert f"is that of {about.processor}" in note and "this machine has another" in note
