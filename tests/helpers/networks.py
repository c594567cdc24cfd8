"""Small networks, images and bundles that tests of several packages use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from arch.heads import HEADS as REGISTRY
from arch.network import PoseNet, build
from arch.space import Arch, preset
from explore.data.skeleton import H36M18
from quantize import bundle, runtimes
from quantize.bundle import Bundle
from quantize.graph import scale_depths
from quantize.manifest import Calibration, Data, Roi, Skeleton
from quantize.recipes import recipe
from quantize.runtimes import Array

HEADS = tuple(REGISTRY)
CHAIN = Skeleton(
    name="chain", joints=tuple(f"j{i}" for i in range(17)), edges=tuple((i, i + 1) for i in range(16)), root=0
)
H36M = Skeleton(name=H36M18.name, joints=H36M18.names, edges=H36M18.edges, root=H36M18.root)
QUICK_EXPORT = [
    "--dataset.train-frames=24",
    "--dataset.test-frames=8",
    "--dataset.val-frames=8",
    "--measure.rounds=3",
    "--measure.calls=3",
    "--measure.max-seconds=0.5",
]


@dataclass(frozen=True)
class Case:
    """A network, its checkpoint, calibration images, unseen images, and the raw output of torch for the latter."""

    arch: Arch
    weights: Path
    images: Array
    unseen: Array
    raw: Array


def small_arch(head: str = "heatmap-2.5d", activation: str = "relu") -> Arch:
    """Return paper-XS at 64 px with one block per stage and a quarter of the width, which converts within seconds."""
    changes = {"width": 0.25, "intermediate_channels": 64, "decoder_width": 32, "depths": (1,) * 7, "num_joints": 17}
    return preset("paper-XS-relu@64").replace(head=head, activation=activation, **changes)


def smooth_images(count: int, size: int, seed: int) -> Array:
    """Return normalised images (count, 3, size, size) whose spectrum is closer to that of photos than noise."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.normal(size=(count, 3, 6, 6)).astype(np.float32))
    fine = torch.from_numpy(rng.normal(size=(count, 3, size, size)).astype(np.float32))
    mixed = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear") * 1.5 + fine * 0.2
    return mixed.clamp(-2.1, 2.6).numpy()


def adapt_batch_norm(net: PoseNet, images: torch.Tensor, passes: int = 30) -> PoseNet:
    """Set the BatchNorm statistics to those of the images, so that signals neither vanish nor explode."""
    net.train()
    with torch.no_grad():
        for _ in range(passes):
            net.forward_heatmaps(images)
    return net.eval()


def settled_net(arch: Arch, images: Array) -> PoseNet:
    """Return a network with the properties of a trained one that are difficult to quantize.

    Some channels are dead, with a bias but without weights; one layer is zero; and the depths of a 2.5D head are small
    compared to its scores.
    """
    net = adapt_batch_norm(build(arch, seed=1), torch.from_numpy(images), 40)
    with torch.no_grad():
        for norm in [part for part in net.modules() if isinstance(part, torch.nn.BatchNorm2d)][1::3]:
            norm.weight[:2] = 0
            norm.bias[:2] = torch.tensor([0.3, -0.3])
        zero = next(part for part in net.steps["inter"].modules() if isinstance(part, torch.nn.BatchNorm2d))
        zero.weight.zero_()
        zero.bias.zero_()
        scale_depths(net, 1 / 16)
    return net


def write_bundle(path: Path, model: Path, runtime: str = "onnxruntime", **changes: Any) -> Bundle:
    """Write a bundle of `model` for `small_arch()`, with `changes` to the arguments of `bundle.write`."""
    given: dict[str, Any] = {
        "arch": small_arch(),
        "recipe": recipe("int8-static"),
        "skeleton": CHAIN,
        "data": Data(name="synthetic", hash="0123456789ab"),
        "calibration": Calibration(count=24, seed=3, hash="ba9876543210"),
        "metrics": {"mpjpe_mm": 101.5},
        "licence": "Apache-2.0",
        "seed": 3,
        "config_hash": "abc",
    }
    return bundle.write(path, model, runtime=runtime, **(given | changes))


def random_bundle(folder: Path, roi: Roi | None = None) -> Bundle:
    """Return an OpenVINO bundle of a small network of random weights with the joints of Human3.6M."""
    changes = {"width": 0.25, "intermediate_channels": 64, "decoder_width": 32, "head": "heatmap-2.5d"}
    arch, name = preset("paper-XS-relu@64").replace(**changes), recipe("float")
    model = runtimes.get("openvino").export(build(arch, 0).eval(), folder, name, None)
    about = {"arch": arch, "recipe": name, "data": Data(name="nothing"), "roi": roi}
    return bundle.write(folder / "bundle", model, runtime="openvino", skeleton=H36M, **about)  # type: ignore[arg-type]
