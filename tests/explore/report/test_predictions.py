"""Predictions on test people, which the page shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from explore.data.config import DatasetConfig
from explore.evaluation.evaluator import Evaluator, is_rendered, open_evaluator
from explore.report.predictions import bundles_of, load_predictions, write_predictions
from explore.search.config import SearchConfig
from quantize.bundle import load
from tests.helpers.studies import REFERENCE


def test_errors_are_those_of_the_evaluator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path))
    config = SearchConfig(dataset=DatasetConfig(train_frames=4, test_frames=6), workers=1)
    assert not is_rendered(config.data_config)
    evaluator = open_evaluator(config.data_config, config.processes)
    assert is_rendered(config.data_config)
    bundles = bundles_of(config, REFERENCE)
    assert len(bundles) == 3
    study = tmp_path / "study"
    study.mkdir()
    (study / "bundles").symlink_to(REFERENCE / "bundles")
    written = write_predictions(study, evaluator, bundles[:1])
    assert written == load_predictions(study) and len(written.people) == 6
    bundle = load(REFERENCE / bundles[0])
    session = bundle.session()
    coords, _ = bundle.run_crops(evaluator.evaluation.images, session)
    session.close()
    errors = [prediction.error_mm for prediction in written.predictions[bundles[0]]]
    assert np.mean(errors) == pytest.approx(evaluator.evaluate(coords).mpjpe, abs=0.1)
    for person in written.people:
        px = np.array(person.px)
        assert ((px > -0.2) & (px < 1.2)).all() and person.mm[0] == [0.0, 0.0, 0.0]
    cam = evaluator.data.joints_cam.copy()
    cam[:, [3, 17]] = np.nan  # a data set that annotates fewer joints than the network predicts
    fewer = write_predictions(
        study, Evaluator(evaluator.train, replace(evaluator.data, joints_cam=cam), 64), bundles[:1]
    )
    assert len(fewer.people) == 6 and len(fewer.joints) == len(fewer.people[0].mm) == 16
    assert fewer == load_predictions(study) and "R_Ankle" not in fewer.joints
    bones = [(fewer.joints[start], fewer.joints[end]) for start, end in fewer.edges]
    assert ("R_Hip", "R_Knee") in bones
    assert set(bones) < {(written.joints[a], written.joints[b]) for a, b in written.edges}
