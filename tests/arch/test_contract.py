"""Properties of all networks, for every encoder, concatenation and head."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arch.decode import decode, decode_tensor, decode_with_confidence
from arch.encoders import ENCODERS
from arch.errors import InputError
from arch.heads import HEADS
from arch.network import PoseNet, average_pool, build
from arch.space import Arch, make_arch, preset
from tests.helpers import mostly_slow

CONCATS = ["none", "skip", "residual"]
SMALL = {
    "input_size": 64, "heatmap_size": 16, "width": 0.25, "intermediate_channels": 32, "decoder_width": 16,
    "depth_bins": 8, "num_joints": 5,
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def small(**values: Any) -> Arch:
    return make_arch(SMALL | {"activation": "leaky_relu"} | values)


def raw_shape(arch: Arch, batch: int) -> tuple[int, ...]:
    return batch, *HEADS[arch.head].raw_shape(arch.head_spec)


def randomise_norms(net: PoseNet) -> PoseNet:
    """The network in evaluation mode with non-trivial BatchNorm statistics, as after training."""
    generator = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            torch.nn.init.uniform_(module.weight, 0.7, 1.3, generator=generator)
    return net.eval()


def image(arch: Arch, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, arch.input_size, arch.input_size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("concat", CONCATS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_build_run_backward_and_reload(encoder: str, concat: str, head: str) -> None:
    arch = small(encoder=encoder, concat=concat, head=head)
    net, x = build(arch, seed=0).train(), image(arch)
    raw = net.forward_heatmaps(x)
    assert raw.shape == raw_shape(arch, 2)
    coordinates = decode_tensor(raw, arch)
    assert coordinates.shape == (2, arch.num_joints, 3)
    coordinates.square().sum().backward()
    without = [
        name
        for name, parameter in net.named_parameters()
        if parameter.grad is None or not parameter.grad.isfinite().all() or not parameter.grad.abs().sum() > 0
    ]
    assert not without

    twin = build(arch, seed=7)
    kept = io.BytesIO()
    torch.save(randomise_norms(net).state_dict(), kept)
    twin.load_state_dict(torch.load(io.BytesIO(kept.getvalue()), weights_only=True))
    with torch.no_grad():
        assert torch.equal(net(x), twin.eval()(x))


@pytest.mark.parametrize("decoder_conv", ["dense", "separable"])
@pytest.mark.parametrize("activation", ["relu", "relu6", "leaky_relu", "prelu", "prelu_shared", "hardswish"])
def test_activations_and_decoder_convolutions(activation: str, decoder_conv: str) -> None:
    arch = small(activation=activation, decoder_conv=decoder_conv)
    with torch.no_grad():
        assert build(arch, seed=0).eval()(image(arch)).isfinite().all()


@pytest.mark.parametrize("upsample", ["half_pixel", "align_corners", "nearest"])
def test_upsampling_modes_differ(upsample: str) -> None:
    arch = small(upsample=upsample, concat="residual")
    with torch.no_grad():
        made = randomise_norms(build(arch, seed=0)).forward_heatmaps(image(arch))
        plain = randomise_norms(build(small(concat="residual", upsample="half_pixel"), seed=0)).forward_heatmaps(
            image(arch)
        )
    assert torch.equal(made, plain) == (upsample == "half_pixel")


@pytest.mark.parametrize("encoder", ["mobilenet_v3", "ghostnet", "resnet18"])
def test_parts_decoder_runs(encoder: str) -> None:
    size = {"input_size": 64, "heatmap_size": 16, "width": 0.25, "intermediate_channels": 0}
    arch = make_arch({"encoder": encoder, "decoder": "parts"} | size)
    with torch.no_grad():
        assert build(arch).eval().forward_heatmaps(image(arch)).shape == raw_shape(arch, 2)


ONNX = [
    small(
        encoder=name, concat=CONCATS[i % 3], head=list(HEADS)[i // 2 % 3], activation="hardswish" if i % 2 else "prelu"
    )
    for i, name in enumerate(ENCODERS)
]


@pytest.mark.parametrize(
    "arch", mostly_slow(ONNX, *ONNX[::4]), ids=lambda arch: f"{arch.encoder}-{arch.concat}-{arch.head}"
)
def test_exports_to_onnx(arch: Arch, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    net, x = randomise_norms(build(arch, seed=0)), image(arch)
    expected = net.forward_heatmaps(x).detach().numpy()
    net.forward = net.forward_heatmaps  # type: ignore[method-assign]
    path = str(tmp_path / "net.onnx")
    torch.onnx.export(net, (x,), path, dynamo=False, opset_version=17)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    made = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    np.testing.assert_allclose(made, expected, rtol=1e-3, atol=1e-4 * float(np.abs(expected).max() + 1))


@pytest.mark.parametrize("head", HEADS)
def test_numpy_and_torch_decode_agree(head: str) -> None:
    arch = small(head=head, heatmap_size=16, depth_bins=12)
    raw = 4 * torch.randn(raw_shape(arch, 3), generator=torch.Generator().manual_seed(2))
    expected = decode_tensor(raw, arch).numpy()
    made, confidence = decode_with_confidence(raw.numpy(), arch)
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-4)
    assert confidence.shape == (3, arch.num_joints)
    assert ((confidence > 0) & (confidence <= 1)).all()


@pytest.mark.parametrize("head", HEADS)
def test_decode_returns_the_centre_of_a_peaks_cell(head: str) -> None:
    arch = small(head=head)
    side, bins, at = arch.heatmap_size, arch.depth_bins, (3, 7, 5)
    raw = torch.zeros(raw_shape(arch, 1))
    if head == "volumetric":
        raw.reshape(1, arch.num_joints, bins, side, side)[:, :, at[2], at[1], at[0]] = 50
    elif head == "heatmap-2.5d":
        raw[:, : arch.num_joints, at[1], at[0]] = 50
        raw[:, arch.num_joints :] = (at[2] + 0.5) / arch.depth_bins - 0.5
    else:
        for axis, start in enumerate((0, 2 * side)):
            raw[:, :, start + 2 * at[axis] : start + 2 * at[axis] + 2] = 50
        raw[:, :, 4 * side + at[2]] = 50
    expected = np.tile(np.array(at, np.float32) + 0.5, (1, arch.num_joints, 1))
    np.testing.assert_allclose(decode_tensor(raw, arch).numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(decode(raw.numpy(), arch), expected, atol=1e-4)


@pytest.mark.parametrize("size", [2, 4, 6, 32])
def test_average_pool_equals_torch(size: int) -> None:
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
    torch.testing.assert_close(average_pool(x), expected)


def test_seed_is_reproducible_and_keeps_torchs_generator() -> None:
    arch = small()
    before = torch.random.get_rng_state()
    first, second = build(arch, seed=5).state_dict(), build(arch, seed=5).state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(
        build(arch, seed=6).state_dict()["steps.stem.0.0.conv.weight"], first["steps.stem.0.0.conv.weight"]
    )


IMPOSSIBLE = {
    "heatmap_size: 48 cells are not a power of two": {"heatmap_size": 48},
    "heatmap_size: 256 cells require an input_size of at least 512 px": {"heatmap_size": 256},
    "require an encoder of stride 128": {"decoder_stages": 5},
    "input_size: 250 px is not a multiple of 32": {"input_size": 250},
    "encoder: 'vgg' is not one of": {"encoder": "vgg"},
    "encoder: 'mobilenet_v22' is not one of .*; did you mean 'mobilenet_v2'?": {"encoder": "mobilenet_v22"},
    "head: 'volumetrik' is not one of .*; did you mean 'volumetric'?": {"head": "volumetrik"},
    r"wdith: unknown key; did you mean 'width'\?; the keys are encoder": {"wdith": 1},
    "heatmap_size: Input should be a valid integer": {"heatmap_size": "64"},
    "encoder: Input should be a valid string": {"encoder": ["mobilenet_v2"]},
    "stem_stride: Input should be -1, 1 or 2": {"stem_stride": 3},
    "depths.*: Input should be a valid integer": {"depths": ["a"] * 7},
    "width: Input should be greater than 0": {"width": 0},
    "decoder_stages: the parts decoder has 3": {"decoder": "parts", "decoder_stages": 2},
    "head: the parts decoder ends in maps": {"decoder": "parts", "head": "simcc"},
    "concat: the parts decoder has only none": {"decoder": "parts", "concat": "residual"},
}


@pytest.mark.parametrize("message", IMPOSSIBLE)
def test_impossible_networks_are_rejected_with_the_reason(message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make_arch(IMPOSSIBLE[message], "arch.yaml")
    assert str(caught.value).startswith("arch.yaml: ")
    assert "\n" not in str(caught.value)


def test_presets_and_scales() -> None:
    assert preset("paper-L@64").model_dump() == preset("paper-L").replace(input_size=64, heatmap_size=16).model_dump()
    assert preset("paper-XS-relu@128").name == "paper-XS-relu@128"
    with pytest.raises(InputError, match=r"arch: 'papr-XS@64' is not a preset; .*; did you mean 'paper-XS'\?"):
        preset("papr-XS@64")
    with pytest.raises(InputError, match="paper-L-tanh: activation"):
        preset("paper-L-tanh")
