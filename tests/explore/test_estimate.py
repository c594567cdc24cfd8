"""Estimators and the supernet's training: on the smallest data that shows what each is for."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from arch.cost import cost
from arch.elastic import SuperNet, inherit
from arch.errors import InputError
from arch.network import build
from arch.search_space import Space, make_space
from arch.space import Arch
from explore.bench.estimators import estimates, ranking, reference
from explore.cli import main
from explore.commands import train_supernet
from explore.commands.search import retrain
from explore.config import DatasetConfig, EstimateConfig, SearchConfig, TrainConfig
from explore.data import open_dataset
from explore.data.synthetic.dataset import SyntheticConfig
from explore.estimate import ESTIMATORS, Finished, Setup, make
from explore.estimate.predictor import fit, leave_one_out, may_move_front
from explore.judge import Judge
from explore.search.estimated import SHIPPED, with_supernet
from explore.train import loop
from explore.train.checkpoint import load_tensors, save_network
from explore.train.loop import Diverged, predict, train
from explore.train.supernet import Sandwich, calibration, load_supernet, ready, save_supernet

ROOT = Path(__file__).resolve().parents[2]
SPACE = {
    "name": "little",
    "base": {
        "encoder": "mobilenet_v2", "early_stride": 2, "input": 64, "heatmap": 8, "joints": 18, "concat": "skip",
        "decoder_conv": "separable", "activation": "relu", "depths": [1, 1, 1, 1, 1, 1, 1],
    },
    "dimensions": {"width": [0.125, 0.25, 0.5], "inter": [16, 32, 64], "decoder_width": [16, 32]},
}  # fmt: skip
FULL = TrainConfig(samples=64, augment="none")


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    torch.set_num_threads(1)
    config = SyntheticConfig(level="easy", size=96, train=48, test=16)
    cache = tmp_path_factory.mktemp("cache")
    parts = [open_dataset("synthetic:easy", split, config, cache=cache) for split in ("train", "test")]
    return Judge(parts[0], parts[1], 64)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Space:
    return make_space(SPACE, "little")


@pytest.fixture(scope="module")
def supernet(judge: Judge, space: Space, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint trained for 320 samples."""
    path = tmp_path_factory.mktemp("supernet") / "super.safetensors"
    made = SuperNet(space, 0)
    config = TrainConfig(samples=320, rate=5e-3, augment="none")
    result = train(
        made.largest, judge.train, config, 0, path.with_suffix(".state"), objective=Sandwich(made, config, 0, 1)
    )
    save_supernet(path, result.net, space, {})
    return path


def some(space: Space, count: int) -> list[Arch]:
    rng, found = random.Random(0), {}
    while len(found) < count:
        arch = space.sample(rng)
        found[arch.id] = arch
    return list(found.values())


def mm(judge: Judge, net: torch.nn.Module) -> float:
    return judge.score(predict(net, judge.evaluation.images)).mpjpe  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_answers_and_says_what_it_cost(
    name: str, judge: Judge, space: Space, supernet: Path, tmp_path: Path
) -> None:
    archs = some(space, 9)
    finished = []
    for index, arch in enumerate(archs[:8]):
        path = tmp_path / f"{arch.id}.safetensors"
        save_network(path, build(arch, 0), {})
        finished.append(Finished(arch, 150.0 - index, path))
    options = EstimateConfig(samples=16, supernet=str(supernet), space=str(_file(tmp_path)))
    told: list[int] = []
    setup = Setup(judge, FULL, options, 0, lambda: finished, progress=lambda done, total: told.append(total))
    found = make(name, setup).estimate(archs[8], tmp_path / "study" / archs[8].id)
    assert math.isfinite(found.mm) and found.noise_mm > 0 and found.cpu_seconds > 0
    if found.weights is not None:
        from explore.train.checkpoint import load_network

        net, _ = load_network(found.weights, archs[8])
        assert mm(judge, net) == pytest.approx(found.mm, abs=0.01)
    samples = {"full": 64, "short": 16, "inherit": 16}.get(name)
    assert samples is None or set(told) == {samples}


def _file(folder: Path) -> Path:
    path = folder / "little.yaml"
    path.write_text(json.dumps(SPACE))
    return path


def test_subnets_of_a_trained_supernet_beat_untrained_ones(judge: Judge, space: Space, supernet: Path) -> None:
    whole, _ = load_supernet(supernet, space)
    made = SuperNet(space, 0)
    batches = calibration(judge, 64)
    for arch in (made.smallest, space.sample(random.Random(5)), made.largest):
        assert mm(judge, ready(whole, arch, batches)) < 0.8 * mm(judge, ready(made.whole, arch, batches))


def test_a_stopped_supernet_goes_on_to_the_same_weights(
    judge: Judge, space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(samples=64, augment="light")

    def run(state: str, stop_at: int = 0) -> dict[str, torch.Tensor]:
        made = SuperNet(space, 0)

        def progress(done: int, total: int) -> None:
            if done == stop_at:
                raise KeyboardInterrupt

        objective = Sandwich(made, config, 3)
        result = train(
            made.largest, judge.train, config, 3, tmp_path / state, progress=progress, objective=objective
        )  # fmt: skip
        return result.net.state_dict()

    whole = run("whole")
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        run("part", 40)
    assert (tmp_path / "part").exists()
    for (name, a), b in zip(whole.items(), run("part").values(), strict=True):
        assert torch.equal(a, b), name
    changed = Sandwich(SuperNet(space, 0), config, 3, subnets=1)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        run("other", 40)
    with pytest.raises(InputError, match="of another run"):
        train(SuperNet(space, 0).largest, judge.train, config, 3, tmp_path / "other", objective=changed)


class Faulty:
    """The plain loss, which is no number in some steps."""

    def __init__(self, config: TrainConfig, bad: set[int]) -> None:
        self.plain, self.bad, self.identity = loop.PoseObjective(config), bad, "faulty"

    def __call__(self, net: loop.PoseNet, batch: loop.Batch, step: int, engine: loop.Engine) -> torch.Tensor:
        if step in self.bad:
            for module in net.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.running_mean.fill_(math.nan)
            return next(net.parameters()).sum() * math.nan
        return self.plain(net, batch, step, engine)


def test_steps_without_a_number_are_skipped_counted_and_leave_no_trace(
    judge: Judge, space: Space, tmp_path: Path
) -> None:
    arch = some(space, 1)[0]
    config = TrainConfig(samples=160, augment="none")
    result = train(arch, judge.train, config, 0, tmp_path / "a", objective=Faulty(config, {3, 9}))
    assert result.skipped_steps == 2
    assert all(tensor.isfinite().all() for tensor in result.net.state_dict().values())
    with pytest.raises(Diverged, match="last good weights"):
        train(arch, judge.train, config, 0, tmp_path / "b", objective=Faulty(config, set(range(4, 20))))
    good = train(arch, judge.train, config.model_copy(update={"samples": 32}), 0, tmp_path / "c")
    kept, _ = load_tensors(tmp_path / "b")
    assert all(kept[name].isfinite().all() for name in good.net.state_dict())
    assert int(kept["steps.stem.0.0.norm.num_batches_tracked"]) == 4


def test_a_checkpoint_of_another_space_is_refused_with_the_difference(
    judge: Judge, space: Space, supernet: Path, tmp_path: Path
) -> None:
    wider = make_space(SPACE | {"dimensions": SPACE["dimensions"] | {"inter": [16, 32, 128]}}, "little")  # type: ignore[operator]
    with pytest.raises(InputError, match=r"dimensions\.inter is 16, 32, 64 there, 16, 32, 128 here") as caught:
        load_supernet(supernet, wider)
    assert "\n" not in str(caught.value) and str(supernet) in str(caught.value)
    other = make_space(SPACE | {"base": SPACE["base"] | {"concat": "none"}}, "little")  # type: ignore[operator]
    with pytest.raises(InputError, match=r"base\.concat is skip there, none here"):
        load_supernet(supernet, other)
    save_network(tmp_path / "one.safetensors", build(some(space, 1)[0], 0), {})
    with pytest.raises(InputError, match="no supernet"):
        load_supernet(tmp_path / "one.safetensors", space)


def test_inheritance_keeps_what_two_networks_share(space: Space) -> None:
    small, large = SuperNet(space, 0).smallest, SuperNet(space, 0).largest
    donor = build(large, 5).eval()
    child = inherit(donor, small, 0)
    whole = inherit(donor, large, 1).state_dict()
    assert all(torch.equal(tensor, whole[name]) for name, tensor in donor.state_dict().items())
    weight, theirs = (net.steps["inter"][0][0].conv.weight for net in (child, donor))
    assert torch.equal(weight, theirs[: weight.shape[0], : weight.shape[1]])
    grown = inherit(child, large, 0)
    back = inherit(grown, small, 1)
    assert all(torch.equal(a, b) for a, b in zip(back.state_dict().values(), child.state_dict().values(), strict=True))


def test_predictor_learns_and_knows_what_it_does_not_know(space: Space) -> None:
    archs = some(space, 14)
    truth = np.array([200 - 12 * math.log2(cost(arch).macs / 1e5) + 3 * (arch.inter == 16) for arch in archs])
    left_out = leave_one_out(archs, list(truth))
    assert ranking.tau(left_out, truth) > 0.7
    model = fit(archs[:13], list(truth[:13]))
    near = model.predict([archs[0]])[1][0]
    far = model.predict([archs[0].replace(width=2.0, inter=1024)])[1][0]
    assert near < far


def test_training_is_spent_where_the_front_may_move(space: Space, tmp_path: Path) -> None:
    cheap, dear = sorted((SuperNet(space, 0).smallest, SuperNet(space, 0).largest), key=lambda a: cost(a).macs)
    finished = [Finished(cheap, 100.0, tmp_path)]
    assert not may_move_front(dear, 110.0, 5.0, 1.0, finished)
    assert may_move_front(dear, 104.0, 5.0, 1.0, finished)
    assert may_move_front(cheap, 110.0, 5.0, 1.0, [Finished(dear, 100.0, tmp_path)])


def test_tau_is_scipys_and_bins_leave_only_their_own_pairs() -> None:
    from scipy.stats import kendalltau

    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, 20).astype(float), rng.integers(0, 9, 20).astype(float)
    assert ranking.tau(a, b) == pytest.approx(kendalltau(a, b).statistic)
    bins = [0] * 3 + [1] * 3
    order = np.array([1.0, 2, 3, 7, 8, 9])
    shuffled = np.array([7.0, 8, 9, 3, 2, 1])
    assert ranking.tau(order, shuffled, bins) == 0.0
    assert ranking.tau(order, order[::-1].copy(), bins) == -1.0
    assert ranking.regret(shuffled, order, bins) == pytest.approx(1.0)
    assert ranking.seed_deviation(np.array([1.0, 3.0]), np.array([3.0, 1.0])) == pytest.approx(math.sqrt(2))
    assert ranking.ceiling(order, 0.0) == 1.0 and ranking.ceiling(order, 5.0) < 0.8


def test_training_a_supernet_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "super.safetensors"
    call = ["train", "--supernet", str(_file(tmp_path)), "--samples=32", "--dataset.train=24", "--dataset.test=8"]
    assert main([*call, "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["subnets"]) == 5 and found["samples"] == 32 and out.is_file()
    assert not out.with_suffix(".state").exists()
    assert main(["train", "--supernet", "mobile", "--samples=32"]) == 2
    line = capsys.readouterr().err.strip()
    assert "dimensions.encoder" in line and "\n" not in line
    assert main(["train", "--supernet", "elastic", "--epochs=2"]) == 2
    assert "--epochs" in capsys.readouterr().err
    search = ["search", "--estimator=supernet", f"--results={tmp_path}", "--study=s", f"--estimate.supernet={out}"]
    assert main([*search, "--space=elastic"]) == 2
    assert "another space" in capsys.readouterr().err and not (tmp_path / "s" / "candidates").exists()


def test_a_search_takes_a_shipped_supernet_that_fits_or_trains_its_own(
    judge: Judge, space: Space, supernet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = SearchConfig(space=str(_file(tmp_path)), estimator="supernet", study="s")
    with pytest.raises(InputError, match=r"none given.*--retrain"):
        with_supernet(config, retrain=False)
    whole, _ = load_supernet(supernet, space)
    save_supernet(tmp_path / SHIPPED / "little.safetensors", whole, space, {"data": "synthetic-full"})
    with pytest.raises(InputError, match=r"little\.safetensors: trained on synthetic-full") as caught:
        with_supernet(config, retrain=False)
    assert "\n" not in str(caught.value)
    save_supernet(tmp_path / SHIPPED / "little.safetensors", whole, space, {"data": "synthetic-easy"})
    assert with_supernet(config, retrain=False).estimate.supernet == str(SHIPPED / "little.safetensors")
    with pytest.raises(InputError, match="made for another space"):
        with_supernet(config.model_copy(update={"scale": 128}), retrain=False)
    assert with_supernet(SearchConfig(), retrain=False) == SearchConfig()
    for useless in (SearchConfig(), with_supernet(config, retrain=False)):
        with pytest.raises(InputError, match="--retrain has no use"):
            with_supernet(useless, retrain=True)

    own = with_supernet(config, retrain=True)
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(train_supernet.BASE, "samples", 32)
    small = own.model_copy(update={"dataset": DatasetConfig(train=24, test=8)})
    retrain(small)
    made = config.folder / "supernet.safetensors"
    assert own.estimate.supernet == str(made) and json.loads(made.with_suffix(".json").read_text())["samples"] == 32
    load_supernet(made, space)
    monkeypatch.setitem(train_supernet.BASE, "samples", 64)
    retrain(small)
    assert json.loads(made.with_suffix(".json").read_text())["samples"] == 32  # a search that goes on keeps it


def test_the_recorded_reference_is_still_that_of_the_code() -> None:
    """Rows of other networks could not be compared with a new estimator's; those that are missing are made one day."""
    recorded = reference.read_rows(ROOT / reference.ROWS)
    ids = {arch.id for arch in reference.networks()}
    assert len(ids) == 24 and recorded and {row["arch_id"] for row in recorded} <= ids
    rows = reference.read_rows(ROOT / estimates.ROWS)
    assert {row["arch_id"] for row in rows} <= ids


def test_the_project_ships_a_supernet_of_elastic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = with_supernet(SearchConfig(space="elastic", estimator="supernet"), retrain=False)
    path, space = Path(config.estimate.supernet), Space.named("elastic").at(64)
    assert path.stat().st_size < 20e6
    _, facts = load_supernet(path, space)
    assert facts["samples"] >= 64000 and facts["skipped_steps"] == 0
