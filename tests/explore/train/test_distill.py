"""Distillation: the loss, teachers of other sizes and formats, and teachers that are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from arch.decode import decode_tensor
from arch.errors import InputError
from arch.files import sha256_file
from arch.network import build
from explore.data.augment import AUGMENTS
from explore.data.batches import batch_at
from explore.estimate import EstimatorContext
from explore.estimate.config import EstimateConfig
from explore.evaluation.evaluator import Evaluator
from explore.train import loop
from explore.train.config import CandidateConfig, FinalConfig, TrainConfig
from explore.train.distill import DistillationObjective, distillation_loss, make_objective, open_teacher, resample
from explore.train.loop import predict, train
from quantize.checkpoint import TRAINED_ON, load_network, save_network
from quantize.convert import Converter
from quantize.manifest import Skeleton
from quantize.recipes import recipe
from tests.helpers.networks import write_bundle
from tests.helpers.training import tiny_arch


def checkpoint(path: Path, seed: int = 5, **changes: object) -> str:
    save_network(path, build(tiny_arch(**changes), seed))
    return str(path)


@pytest.mark.parametrize("cells", [4, 8, 12, 16, 48])
def test_resampled_distributions_keep_their_sum_and_their_mean(cells: int) -> None:
    smooth = torch.softmax(-((torch.arange(16) - torch.tensor([[5.0], [9.5]])) ** 2) / 8, 1)[None]
    found = resample(smooth, cells)
    assert found.shape == (1, 2, cells)
    torch.testing.assert_close(found.sum(2), torch.ones(1, 2))
    means = [part @ ((torch.arange(part.shape[2]) + 0.5) / part.shape[2]) for part in (smooth, found)]
    torch.testing.assert_close(means[1], means[0], atol=0.01, rtol=0)


@pytest.mark.parametrize("head", ["volumetric", "heatmap-2.5d", "simcc"])
def test_the_loss_is_smallest_for_the_predictions_of_the_teacher(head: str) -> None:
    arch, taught_arch = tiny_arch(head=head), tiny_arch(head=head)
    shape = (3, *build(arch, 0).eval().forward_heatmaps(torch.zeros(1, 3, 64, 64)).shape[1:])
    taught = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    visible = torch.ones(3, arch.num_joints)

    def loss(raw: torch.Tensor, heatmap_weight: float) -> torch.Tensor:
        return distillation_loss(raw, arch, taught, taught_arch, visible, heatmap_weight, visible.sum())

    assert float(loss(taught, 0.0)) == 0
    raw = taught.clone().requires_grad_()
    loss(raw, 1.0).backward()
    assert raw.grad is not None and float(raw.grad.abs().max()) < 1e-4  # cross entropy, smallest at equal marginals
    assert float(loss(taught + 1e-1 * torch.randn(shape), 1.0)) > float(loss(taught, 1.0))


def test_joints_without_weight_do_not_count_and_samples_without_depth_get_one() -> None:
    arch = tiny_arch()
    raw, taught = (torch.randn(2, arch.num_joints * arch.depth_bins, 8, 8) for _ in range(2))
    raw.requires_grad_()
    visible = torch.ones(2, arch.num_joints)
    visible[1] = 0
    distillation_loss(raw, arch, taught, arch, visible, 0.05, visible.sum()).backward()
    assert raw.grad is not None and (raw.grad[1] == 0).all() and (raw.grad[0] != 0).any()
    z = decode_tensor(raw, arch)[0, 3, 2]
    (gradient,) = torch.autograd.grad(z, raw)
    assert float((gradient * raw.grad).sum()) != 0  # the step changes the depth


def test_a_student_comes_closer_to_its_teacher(evaluator: Evaluator, tmp_path: Path) -> None:
    teacher, images = checkpoint(tmp_path / "teacher.safetensors"), evaluator.evaluation.images
    wanted = predict(build(tiny_arch(), 5), images)
    distances = []
    for config in (TrainConfig(samples=160), TrainConfig(samples=160, teacher=teacher, teacher_weight=20.0)):
        objective = make_objective(config, evaluator.train, 0)
        state = tmp_path / f"{len(distances)}.state"
        found = train(tiny_arch(), evaluator.train, config, 0, state, objective=objective).net
        distances.append(float(np.abs(predict(found, images) - wanted).mean()))
    assert distances[1] < 0.5 * distances[0]


def test_the_state_of_a_run_with_another_teacher_is_rejected(
    evaluator: Evaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    path = tmp_path / "teacher.safetensors"
    config = TrainConfig(samples=16, teacher=checkpoint(path))

    def run(config: TrainConfig) -> None:
        objective = make_objective(config, evaluator.train, 0)
        train(tiny_arch(), evaluator.train, config, 0, tmp_path / "state", objective=objective)

    run(config)
    run(config)
    for other in (config.model_copy(update={"teacher_weight": 0.5}), config.model_copy(update={"teacher": ""})):
        with pytest.raises(InputError, match="state of another run: objective"):
            run(other)
    checkpoint(path, seed=6)  # the same name, other weights
    with pytest.raises(InputError, match=r"objective\.teacher"):
        run(config)


def test_candidates_of_every_estimator_learn_from_the_teacher_and_record_it(
    evaluator: Evaluator, tmp_path: Path
) -> None:
    teacher = checkpoint(tmp_path / "teacher.safetensors")
    config = CandidateConfig(samples=16, teacher=teacher)
    EstimatorContext(evaluator, config, EstimateConfig(), 0).train(tiny_arch(), tmp_path / "net.safetensors", 16)
    _, facts = load_network(tmp_path / "net.safetensors")
    assert facts["objective"] == {"teacher": sha256_file(teacher)[:12], "teacher_weight": 1.0}


@pytest.mark.parametrize("augment", ["none", "light"])
def test_a_teacher_of_another_size_sees_the_same_region(evaluator: Evaluator, tmp_path: Path, augment: str) -> None:
    data = evaluator.train
    config = TrainConfig(samples=16, augment=augment, teacher=checkpoint(tmp_path / "t.safetensors", input_size=128))
    objective = make_objective(config, data, 3)
    assert isinstance(objective, DistillationObjective)
    batch = batch_at(data, 4, config.batch_size, 64, AUGMENTS[augment], 3)
    larger = objective.teacher_images(batch, 4, (0, 1))
    assert larger.shape == (8, 128, 128, 3)
    for image, large in zip(batch.images, larger, strict=True):
        difference = np.abs(cv2.resize(large, (64, 64), interpolation=cv2.INTER_AREA).astype(float) - image)
        assert difference.mean() < 4 < np.abs(np.roll(image, 8, 1).astype(float) - image).mean()
    # heatmaps of both sizes can be compared
    loss = objective(build(tiny_arch(), 0), batch, 4)
    assert loss.isfinite()


def test_the_file_of_a_bundle_teaches_what_its_network_does(evaluator: Evaluator, tmp_path: Path) -> None:
    data, arch = evaluator.train, tiny_arch(head="heatmap-2.5d")
    weights = Path(checkpoint(tmp_path / "t.safetensors", head="heatmap-2.5d"))
    with Converter(tmp_path / "log") as converter:
        model = converter.export(arch, weights, "onnxruntime", recipe("float"), None, tmp_path / "model", 120)
    edges = tuple((int(a), int(b)) for a, b in data.skeleton.edges)
    skeleton = Skeleton(name="x", joints=data.skeleton.names, edges=edges, root=data.skeleton.root)
    write_bundle(tmp_path / "b", model, arch=arch, recipe=recipe("float"), skeleton=skeleton, calibration=None)
    bundle, network = (open_teacher(str(path), data) for path in (tmp_path / "b", weights))
    images = evaluator.evaluation.images[:8]
    torch.testing.assert_close(bundle.heatmaps(images), network.heatmaps(images), rtol=1e-3, atol=1e-3)
    assert bundle.arch == network.arch and bundle.fingerprint != network.fingerprint


def test_teachers_with_another_skeleton_or_unreadable_are_refused_in_one_line(
    evaluator: Evaluator, tmp_path: Path
) -> None:
    data, path = evaluator.train, tmp_path / "t.safetensors"
    joints = list(data.skeleton.names)
    record = {
        "data": "x", "dataset": {}, "name": "x", "hash": "0", "input_size": 64,
        "skeleton": {"name": "x", "joints": joints, "edges": [], "flip_pairs": [], "root": data.skeleton.root},
    }  # fmt: skip
    net = build(tiny_arch(), 0)
    save_network(path, net, {TRAINED_ON: record})
    assert open_teacher(str(path), data).joints == tuple(joints)
    swapped = [joints[1], joints[0], *joints[2:]]
    for found, message in (
        ({"joints": swapped}, f"joint 1 is {joints[1]}, but {joints[0]} in synthetic-easy"),
        ({"root": data.skeleton.root + 1}, "depths are relative to"),
    ):
        save_network(path, net, {TRAINED_ON: record | {"skeleton": record["skeleton"] | found}})  # type: ignore[operator]
        with pytest.raises(InputError, match=rf"^teacher: {path}: another skeleton: {message}[^\n]*$"):
            open_teacher(str(path), data)
    with pytest.raises(InputError, match=r"another skeleton: 17 joints, but synthetic-easy has 18"):
        open_teacher(checkpoint(tmp_path / "few.safetensors", num_joints=17), data)
    with pytest.raises(InputError, match=r"^teacher: [^\n]*no such file"):
        open_teacher(str(tmp_path / "missing"), data)
    with pytest.raises(InputError, match="bundle"):
        open_teacher(str(tmp_path), data)
    smaller = replace(data, skeleton=replace(data.skeleton, names=data.skeleton.names[:17]))
    with pytest.raises(InputError, match="18 joints, but"):
        open_teacher(checkpoint(tmp_path / "t.safetensors"), smaller)


def test_only_finalists_can_learn_from_the_study() -> None:
    assert FinalConfig(teacher="study").teacher == "study"
    with pytest.raises(ValueError, match="possible for the finalists of a search only"):
        TrainConfig(teacher="study")
