"""Distillation: training on a teacher's coordinates and marginals besides the ground truth (Hinton et al. 2015)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arch.decode import decode_with_marginals, unscale_depths
from arch.errors import InputError
from arch.files import sha256_file
from arch.space import Arch
from explore.data.augment import AUGMENTS
from explore.data.batches import Batch, batch_at
from explore.data.sample import Dataset
from explore.train.config import TrainConfig
from explore.train.engine import Engine
from explore.train.identity import DIGITS
from explore.train.loop import CPU, Objective, PoseObjective, batch_loss, joint_count, to_input
from explore.train.loss import as_fractions
from quantize import bundle as bundles
from quantize.checkpoint import load_network, read_trained_on

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Teacher:
    """A trained network, or the file of a bundle in its runtime.

    path: as given
    fingerprint: SHA-256 of the checkpoint, or of the bundle's model file
    joints, root: names of its joints in order, and of its root; empty for checkpoints of version 0.1
    framing: of its crops, `box` or `roi` (explore.data.framing)
    heatmaps: returns the raw output (B, *raw_shape) for crops (B, S, S, 3) of its input size
    """

    path: str
    fingerprint: str
    arch: Arch
    joints: tuple[str, ...]
    root: str
    framing: str
    heatmaps: Callable[[Images], Tensor]

    @property
    def label(self) -> str:
        """Network and hash, for records."""
        return f"{self.arch.name} {self.fingerprint[:DIGITS]}"


def open_teacher(path: str, data: Dataset | None, engine: Engine = CPU) -> Teacher:
    """Open a checkpoint, or a bundle (a folder or a .zip), as the teacher of networks that are trained on `data`.

    data: None before the data is opened; the skeletons are then not compared

    Raises:
        InputError: not readable, or its joints are not those of `data`; one line that names the first difference.
    """
    place = Path(path)
    if not place.exists():
        raise InputError(f"teacher: {path}: no such file; give a checkpoint or a bundle")
    is_bundle = place.is_dir() or place.suffix == ".zip"
    changed = 0.0 if is_bundle else place.stat().st_mtime
    teacher = (_open_bundle if is_bundle else _open_checkpoint)(path, engine, changed)
    if data is not None:
        _check_skeleton(teacher, data)
    return teacher


@lru_cache(maxsize=2)  # a worker trains many networks with one teacher
def _open_checkpoint(path: str, engine: Engine, changed: float) -> Teacher:
    net, facts = load_network(path)
    net.to(engine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    record = read_trained_on(facts, path)
    skeleton = record.skeleton if record else None

    @torch.no_grad()
    def heatmaps(images: Images) -> Tensor:
        with engine.autocast():
            return net.forward_heatmaps(to_input(images, engine.device)).float()

    joints, root = (skeleton.joints, skeleton.joints[skeleton.root]) if skeleton else ((), "")
    return Teacher(path, sha256_file(path), net.arch, joints, root, record.framing if record else "box", heatmaps)


@lru_cache(maxsize=2)
def _open_bundle(path: str, engine: Engine, changed: float) -> Teacher:
    bundle = bundles.load(path).verify()
    session, skeleton = bundle.session(), bundle.manifest.skeleton
    depth_scale = bundle.manifest.postprocessing.depth_scale

    def heatmaps(images: Images) -> Tensor:
        raw = unscale_depths(session.run(bundle.normalise(images)), bundle.arch, depth_scale)
        return torch.from_numpy(np.ascontiguousarray(raw)).to(engine.device)

    fingerprint = bundle.manifest.files[0].sha256
    root, framing = skeleton.joints[skeleton.root], bundle.manifest.preprocessing.framing
    return Teacher(path, fingerprint, bundle.arch, skeleton.joints, root, framing, heatmaps)


def _check_skeleton(teacher: Teacher, data: Dataset) -> None:
    if teacher.framing != data.framing:
        raise InputError(
            f"teacher: {teacher.path}: trained with framing {teacher.framing}, but the data has {data.framing}; give a "
            "teacher with the same framing"
        )
    names, root = tuple(data.skeleton.names), data.skeleton.names[data.skeleton.root]
    if teacher.arch.num_joints != len(names):
        different = f"{teacher.arch.num_joints} joints, but {data.name} has {len(names)}"
    elif teacher.joints and teacher.joints != names:
        index = next(i for i, pair in enumerate(zip(teacher.joints, names, strict=True)) if pair[0] != pair[1])
        different = f"joint {index + 1} is {teacher.joints[index]}, but {names[index]} in {data.name}"
    elif teacher.root and teacher.root != root:
        different = f"depths are relative to {teacher.root}, but to {root} in {data.name}"
    else:
        return
    raise InputError(
        f"teacher: {teacher.path}: another skeleton: {different}; give a teacher trained on the same joints"
    )


@dataclass(frozen=True)
class DistillationObjective:
    """The pose loss, plus `config.teacher_weight` times that of the teacher's predictions for the same crops."""

    config: TrainConfig
    teacher: Teacher
    data: Dataset
    seed: int

    @property
    def identity(self) -> Any:
        return {"teacher": self.teacher.fingerprint[:DIGITS], "teacher_weight": self.config.teacher_weight}

    def __call__(self, net: Any, batch: Batch, step: int, engine: Engine = CPU) -> Tensor:
        with engine.autocast():
            raw = net.forward_heatmaps(to_input(batch.images, engine.device))
        loss = batch_loss(raw.float(), net.arch, batch, self.config, engine)
        taught = self.teacher.heatmaps(self.teacher_images(batch, step, engine.shard))
        visible = torch.from_numpy(batch.vis).to(engine.device)
        weight, joints = self.config.heatmap_loss, joint_count(batch, engine)
        more = distillation_loss(raw.float(), net.arch, taught, self.teacher.arch, visible, weight, joints)
        return loss + self.config.teacher_weight * more

    def teacher_images(self, batch: Batch, step: int, shard: tuple[int, int]) -> Images:
        """Return the crops of the batch at the teacher's input size: the same regions and flips.

        Colours and noise may differ, because random erasing draws as many random numbers as it covers pixels.
        """
        size, config = self.teacher.arch.input_size, self.config
        if size == batch.images.shape[1]:
            return batch.images
        return batch_at(self.data, step, config.batch_size, size, AUGMENTS[config.augment], self.seed, shard).images


def make_objective(
    config: TrainConfig, data: Dataset, seed: int, engine: Engine = CPU, teacher: Teacher | None = None
) -> Objective:
    """Return the objective of a run: the pose loss, with distillation if there is a teacher.

    teacher: instead of the one that `config.teacher` names

    Raises:
        InputError: as `open_teacher`.
    """
    if teacher is None and config.teacher:
        teacher = open_teacher(config.teacher, data, engine)
    return PoseObjective(config) if teacher is None else DistillationObjective(config, teacher, data, seed)


def distillation_loss(
    raw: Tensor,
    arch: Arch,
    teacher_raw: Tensor,
    teacher_arch: Arch,
    visible: Tensor,
    heatmap_weight: float,
    num_visible: Tensor,
) -> Tensor:
    """Return the loss of a batch against a teacher's predictions, a scalar: `pose_loss` with the teacher's coordinates
    and marginals in place of the ground truth.

    The teacher also gives depths for samples without a known one. Heatmaps of different sizes are compared at the
    student's.

    Args:
        raw, teacher_raw: outputs of `PoseNet.forward_heatmaps`, each of its own arch.
        visible: (B, J) weight of each joint.
        heatmap_weight: weight of the cross entropy of the marginals.
        num_visible: scalar number of joints to divide the sum by.
    """
    coordinates, marginals = decode_with_marginals(raw, arch)
    taught, taught_marginals = decode_with_marginals(teacher_raw, teacher_arch)
    distance = (as_fractions(coordinates, arch) - as_fractions(taught, teacher_arch)).abs().sum(2)
    loss = (distance * visible).sum() / (3 * num_visible)
    for marginal, wanted in zip(marginals, taught_marginals, strict=True):
        if marginal is None or wanted is None or not heatmap_weight:
            continue
        entropy = -(resample(wanted, marginal.shape[2]) * (marginal + 1e-6).log()).sum(2)
        loss = loss + heatmap_weight * (entropy * visible).sum() / num_visible
    return loss


def resample(marginal: Tensor, cells: int) -> Tensor:
    """Return distributions (B, J, n) over [0, 1] with another number of cells: their integrals over these cells."""
    given = marginal.shape[2]
    if given == cells:
        return marginal
    old, new = torch.arange(given, dtype=torch.float64) / given, torch.arange(cells, dtype=torch.float64) / cells
    low, high = torch.maximum(old[:, None], new), torch.minimum(old[:, None] + 1 / given, new + 1 / cells)
    share = ((high - low).clamp(min=0) * given).to(marginal.dtype).to(marginal.device)
    return marginal @ share
