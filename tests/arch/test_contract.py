"""What every network of the space does, whatever its encoder, concat and head."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arch import decode as numpy_decode
from arch import head as torch_decode
from arch.encoders import ENCODERS
from arch.errors import InputError
from arch.heads import HEADS
from arch.network import PoseNet, average_pool, build
from arch.space import Arch, make_arch, preset

CONCATS = ["none", "skip", "residual"]
SMALL = {"input": 64, "heatmap": 16, "width": 0.25, "inter": 32, "decoder_width": 16, "depth_bins": 8, "joints": 5}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def small(**values: Any) -> Arch:
    return make_arch(SMALL | {"activation": "leaky_relu"} | values)


def raw_shape(arch: Arch, batch: int) -> tuple[int, ...]:
    return batch, *HEADS[arch.head].raw_shape(arch)


def live(net: PoseNet) -> PoseNet:
    """The network in eval mode with BatchNorm statistics of its own, as after training."""
    generator = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            torch.nn.init.uniform_(module.weight, 0.7, 1.3, generator=generator)
    return net.eval()


def image(arch: Arch, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, arch.input, arch.input, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("concat", CONCATS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_builds_runs_learns_and_reloads(encoder: str, concat: str, head: str) -> None:
    arch = small(encoder=encoder, concat=concat, head=head)
    net, x = build(arch, seed=0).train(), image(arch)
    raw = net.forward_heatmaps(x)
    assert raw.shape == raw_shape(arch, 2)
    coordinates = torch_decode.decode(raw, arch)
    assert coordinates.shape == (2, arch.joints, 3)
    coordinates.square().sum().backward()
    without = [
        name
        for name, parameter in net.named_parameters()
        if parameter.grad is None or not parameter.grad.isfinite().all() or not parameter.grad.abs().sum() > 0
    ]
    assert not without

    twin = build(arch, seed=7)
    kept = io.BytesIO()
    torch.save(live(net).state_dict(), kept)
    twin.load_state_dict(torch.load(io.BytesIO(kept.getvalue()), weights_only=True))
    with torch.no_grad():
        assert torch.equal(net(x), twin.eval()(x))


@pytest.mark.parametrize("decoder_conv", ["dense", "separable"])
@pytest.mark.parametrize("activation", ["relu", "relu6", "leaky_relu", "prelu", "prelu_shared", "hardswish"])
def test_every_activation_and_decoder_convolution(activation: str, decoder_conv: str) -> None:
    arch = small(activation=activation, decoder_conv=decoder_conv)
    with torch.no_grad():
        assert build(arch, seed=0).eval()(image(arch)).isfinite().all()


@pytest.mark.parametrize("upsample", ["half_pixel", "align_corners", "nearest"])
def test_every_upsampling_differs(upsample: str) -> None:
    arch = small(upsample=upsample, concat="residual")
    with torch.no_grad():
        made = live(build(arch, seed=0)).forward_heatmaps(image(arch))
        plain = live(build(small(concat="residual", upsample="half_pixel"), seed=0)).forward_heatmaps(image(arch))
    assert torch.equal(made, plain) == (upsample == "half_pixel")


@pytest.mark.parametrize("concat", ["none", "residual"])
@pytest.mark.parametrize("encoder", ["mobilenet_v3", "ghostnet", "resnet18"])
def test_parts_decoder_runs(encoder: str, concat: str) -> None:
    values = {"encoder": encoder, "decoder": "parts", "input": 64, "heatmap": 16, "width": 0.25, "inter": 0}
    if concat != "none":
        with pytest.raises(InputError, match="concat: the parts decoder has only none"):
            make_arch(values | {"concat": concat})
        return
    arch = make_arch(values)
    with torch.no_grad():
        assert build(arch).eval().forward_heatmaps(image(arch)).shape == raw_shape(arch, 2)


ONNX = [
    small(
        encoder=name, concat=CONCATS[i % 3], head=list(HEADS)[i // 2 % 3], activation="hardswish" if i % 2 else "prelu"
    )
    for i, name in enumerate(ENCODERS)
]


@pytest.mark.parametrize("arch", ONNX, ids=lambda arch: f"{arch.encoder}-{arch.concat}-{arch.head}")
def test_scripts_to_onnx(arch: Arch, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    net, x = live(build(arch, seed=0)), image(arch)
    expected = net.forward_heatmaps(x).detach().numpy()
    net.forward = net.forward_heatmaps  # type: ignore[method-assign]
    path = str(tmp_path / "net.onnx")
    torch.onnx.export(net, (x,), path, dynamo=False, opset_version=17)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    made = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    np.testing.assert_allclose(made, expected, rtol=1e-3, atol=1e-4 * float(np.abs(expected).max() + 1))


@pytest.mark.parametrize("head", HEADS)
def test_both_decodes_agree(head: str) -> None:
    arch = small(head=head, heatmap=16, depth_bins=12)
    raw = 4 * torch.randn(raw_shape(arch, 3), generator=torch.Generator().manual_seed(2))
    expected = torch_decode.decode(raw, arch).numpy()
    made, confidence = numpy_decode.decode_with_confidence(raw.numpy(), arch)
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-4)
    assert confidence.shape == (3, arch.joints)
    assert ((confidence > 0) & (confidence <= 1)).all()


@pytest.mark.parametrize("head", HEADS)
def test_decode_finds_a_peak_at_its_cells_centre(head: str) -> None:
    arch = small(head=head)
    side, bins, at = arch.heatmap, arch.depth_bins, (3, 7, 5)
    raw = torch.zeros(raw_shape(arch, 1))
    if head == "volumetric":
        raw.reshape(1, arch.joints, bins, side, side)[:, :, at[2], at[1], at[0]] = 50
    elif head == "depthmap":
        raw[:, : arch.joints, at[1], at[0]] = 50
        raw[:, arch.joints :] = (at[2] + 0.5) / arch.depth_bins - 0.5
    else:
        for axis, start in enumerate((0, 2 * side)):
            raw[:, :, start + 2 * at[axis] : start + 2 * at[axis] + 2] = 50
        raw[:, :, 4 * side + at[2]] = 50
    expected = np.tile(np.array(at, np.float32) + 0.5, (1, arch.joints, 1))
    np.testing.assert_allclose(torch_decode.decode(raw, arch).numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(numpy_decode.decode(raw.numpy(), arch), expected, atol=1e-4)


@pytest.mark.parametrize("size", [2, 4, 6, 32])
def test_average_pool_is_torchs(size: int) -> None:
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
    torch.testing.assert_close(average_pool(x), expected)


def test_a_seed_gives_the_same_network_and_leaves_torch_alone() -> None:
    arch = small()
    before = torch.random.get_rng_state()
    first, second = build(arch, seed=5).state_dict(), build(arch, seed=5).state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(
        build(arch, seed=6).state_dict()["steps.stem.0.0.conv.weight"], first["steps.stem.0.0.conv.weight"]
    )


def test_the_papers_initialisation() -> None:
    arch = small(concat="skip")
    net, plain = build(arch, seed=3, init="paper"), build(arch, seed=3)
    for name, module in net.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            small_weights = float(module.weight.detach().abs().max()) < 0.01
            assert small_weights == (not name.startswith("steps.decoder")), name
    for name, value in net.state_dict().items():
        assert value.shape == plain.state_dict()[name].shape
    assert not net.state_dict()["steps.head.0.0.conv.bias"].any()


IMPOSSIBLE = {
    "heatmap: 48 cells are not a power of two": {"heatmap": 48},
    "heatmap: 256 cells need an input of at least 512 px": {"heatmap": 256},
    "ask for an encoder of stride 128": {"decoder_stages": 5},
    "input: 250 px is not a multiple of 32": {"input": 250},
    "encoder: 'vgg' is not one of": {"encoder": "vgg"},
    "unknown key; the keys are encoder": {"wdith": 1},
    "heatmap: Input should be a valid integer": {"heatmap": "64"},
    "encoder: Input should be a valid string": {"encoder": ["mobilenet_v2"]},
    "early_stride: Input should be -1, 1 or 2": {"early_stride": 3},
    "depths.*: Input should be a valid integer": {"depths": ["a"] * 7},
    "width: Input should be greater than 0": {"width": 0},
    "decoder_stages: the parts decoder has 3": {"decoder": "parts", "decoder_stages": 2},
    "head: the parts decoder ends in maps": {"decoder": "parts", "head": "simcc"},
}


@pytest.mark.parametrize("message", IMPOSSIBLE)
def test_the_impossible_is_refused_with_the_reason(message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make_arch(IMPOSSIBLE[message], "arch.yaml")
    assert str(caught.value).startswith("arch.yaml: ")
    assert "\n" not in str(caught.value)


def test_presets_and_scales() -> None:
    assert preset("paper-L@64").model_dump() == preset("paper-L").replace(input=64, heatmap=16).model_dump()
    assert preset("paper-XS-relu@128").name == "paper-XS-relu@128"
    with pytest.raises(InputError, match="arch: 'paper-M' is not a preset"):
        preset("paper-M")
    with pytest.raises(InputError, match="paper-L-tanh: activation"):
        preset("paper-L-tanh")
