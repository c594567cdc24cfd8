"""Searches on data of other skeletons than Human3.6M's: the space's networks and the paper's get the data's joints."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from arch.errors import InputError
from arch.search_space import Space, make_space
from explore.data.config import DatasetConfig
from explore.evaluation.evaluator import open_evaluators
from explore.report.tables import read_table
from explore.search.config import SearchConfig
from explore.search.storage import fingerprint
from explore.search.study import baselines
from tests.helpers import layouts
from tests.helpers.search import RENDERED, run_command

pytestmark = pytest.mark.timeout(3000)  # busy machines disturb and delay measurements


@pytest.mark.parametrize("name", ["mobile", "paper", "elastic"])
def test_a_space_fits_another_skeleton(name: str) -> None:
    space = Space.named(name).at(64)
    fitted = space.with_num_joints(21)
    assert fitted.num_joints == 21 and space.num_joints == 18 and fitted.with_num_joints(21) is fitted
    arch = fitted.sample(random.Random(0))
    assert arch.num_joints == 21 and arch.replace(num_joints=18) == space.sample(random.Random(0))
    papers = baselines(SearchConfig(), fitted)
    assert bool(papers) == (name != "elastic")  # which has none of the paper's
    assert all(arch.num_joints == 21 and fitted.contains(arch) for arch in papers.values())


def test_joints_as_a_dimension_are_refused() -> None:
    space = make_space({"name": "s", "dimensions": {"num_joints": [17, 18], "width": [0.5, 1.0]}}, "s.yaml")
    with pytest.raises(InputError, match=r"base\.num_joints: is also a dimension"):
        space.with_num_joints(17)


def muco(folder: Path) -> SearchConfig:
    layouts.muco(folder / "muco", 40)
    layouts.mupots(folder / "mupots", 6)
    return SearchConfig(
        results=str(folder),
        data=f"muco:{folder / 'muco'}",
        dataset=DatasetConfig(test_on=f"mupots:{folder / 'mupots'}"),
    )


def test_a_study_keeps_its_joints_and_notices_changed_data(tmp_path: Path) -> None:
    recipe = tmp_path / "own.yaml"
    recipe.write_text("weights: int8\nactivations: int8\ncalibration_images: 8\n")
    config = muco(tmp_path).model_copy(update={"quantization": str(recipe)})
    fingerprint.leave(config)
    assert fingerprint.space_of(config).num_joints == 18
    fingerprint.leave_data(config, open_evaluators(config.data_config, config.processes))
    assert fingerprint.space_of(config).num_joints == 21
    fingerprint.leave(config)
    fingerprint.leave_data(config, open_evaluators(config.data_config, config.processes))
    picture = tmp_path / "muco" / "data" / "augmented_set" / "3.jpg"
    picture.write_bytes(picture.read_bytes() + b"\0")
    recipe.write_text(recipe.read_text().replace("images: 8", "images: 9"))
    said = r"data\.json: changed since the study of muco:.* was created: train: images.*own\.yaml: calibration_images 8, not 9;"
    with pytest.raises(InputError, match=said):
        fingerprint.leave_data(config, open_evaluators(config.data_config, config.processes))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["muco", "custom", "custom and rendered", "mpi_inf_3dhp"])
def test_a_search_on_other_skeletons_ships_their_joints(tmp_path: Path, kind: str) -> None:
    config = muco(tmp_path)
    data, joints = config.data, 21
    options = [f"--dataset.test-on={config.dataset.test_on}"]  # whose 21 joints are those of MPI-INF-3DHP too
    if kind.startswith("custom"):
        layouts.custom(tmp_path / "own", 24)
        data, joints, options = f"custom:{tmp_path / 'own'}", 17, []
    if kind == "custom and rendered":
        data, options = f"{data}+synthetic:full", RENDERED
    if kind == "mpi_inf_3dhp":
        layouts.mpi_inf_3dhp(tmp_path / "mpi", 24)
        data = f"mpi_inf_3dhp:{tmp_path / 'mpi'}"
    options = [*options, f"--data={data}", "--trials=3", "--runtimes=litert", "--finalists=1"]
    done = run_command(tmp_path, *options, timeout=1500)
    assert done.returncode == 0, done.stderr
    rows = [row for row in read_table(tmp_path / "s" / "trials.csv") if row["state"] == "complete"]
    assert len(rows) == 3 and all(float(row["mpjpe_mm"]) > 0 for row in rows)
    manifests = [json.loads(path.read_text()) for path in (tmp_path / "s" / "bundles").rglob("manifest.json")]
    assert manifests
    for manifest in manifests:
        assert manifest["arch"]["num_joints"] == len(manifest["skeleton"]["joints"]) == joints
    assert (tmp_path / "s" / "index.html").is_file()
