"""Contract of runtimes, tested for each of them with each head."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from arch.cost import cost, step_counts
from arch.errors import InputError
from arch.network import build
from quantize import runtimes
from quantize.checkpoint import save_network
from quantize.convert import Converter
from quantize.graph import inference_module
from quantize.recipes import recipe
from quantize.runtimes.operators import Operator, summarise
from tests.helpers.networks import HEADS, Case, settled_net, small_arch, smooth_images
from tests.helpers.runtimes import every_runtime, run_file, snr

Cases = Callable[[str], Case]
Exported = Callable[[str, str, str], Path]
every_head = pytest.mark.parametrize("head", HEADS)


@every_runtime
@every_head
def test_float_file_matches_torch(runtime: str, head: str, case: Cases, exported: Exported) -> None:
    given = case(head)
    ours = run_file(runtime, exported(runtime, head, "float"), given)
    assert np.abs(ours - given.raw).max() < 1e-4 * np.abs(given.raw).max()


@every_runtime
@every_head
def test_int8_file_is_close(runtime: str, head: str, case: Cases, exported: Exported) -> None:
    given = case(head)
    ours = run_file(runtime, exported(runtime, head, "int8-static"), given)
    assert snr(ours, given.raw) > 14  # untrained networks are more sensitive than trained ones
    assert snr(ours[::-1], given.raw) < 6, "the output does not depend on the image"


@every_runtime
def test_int8_depths_are_as_precise_as_scores(runtime: str, case: Cases, exported: Exported) -> None:
    given = case("heatmap-2.5d")
    joints = given.arch.num_joints
    ours = run_file(runtime, exported(runtime, "heatmap-2.5d", "int8-static"), given)
    assert snr(ours[:, joints:], given.raw[:, joints:]) > 14
    assert len(np.unique(ours[:, joints:])) > 64


@every_runtime
def test_int8_file_computes_in_int8(runtime: str, exported: Exported) -> None:
    small, full = (
        runtimes.get(runtime).inspect(exported(runtime, "heatmap-2.5d", name)) for name in ("int8-static", "float")
    )
    assert small.int8_share == 1 and full.int8_share == 0
    assert small.convolutions == full.convolutions > 20
    assert small.macs == full.macs == cost(small_arch()).macs
    assert small.bytes < full.bytes
    assert small.partitions == 1 and small.delegated > 0.9


@every_runtime
@every_head
def test_no_transpose_between_convolutions_besides_that_of_simcc(runtime: str, head: str, exported: Exported) -> None:
    for name in ("float", "int8-static"):
        found = runtimes.get(runtime).inspect(exported(runtime, head, name)).transposes
        assert found == (head == "simcc" and runtime == "litert")


def test_networks_whose_int8_pooling_splits_a_litert_file_are_known_before_the_export(
    converter: Converter, tmp_path: Path
) -> None:
    skip = small_arch()
    residual = skip.replace(concat="residual", depths=None)
    for name, is_split in (("int8-static", True), ("float", False)):
        images = smooth_images(24, residual.input_size, 0)
        weights = tmp_path / "weights.safetensors"
        save_network(weights, settled_net(residual, images))
        chosen = recipe(name)
        path = converter.export(residual, weights, "litert", chosen, images if chosen.int8 else None, tmp_path / name)
        summary, expected = runtimes.get("litert").inspect(path), runtimes.get("litert").failed_checks(residual, chosen)
        assert (summary.partitions > 1) is is_split and bool(expected) is is_split
        assert summary.fallbacks.get("AVERAGE_POOL_2D int8", 0) == (5 if is_split else 0)
        assert is_split or not summary.fallbacks
        assert not expected or "5 INT8 average poolings" in expected[0]
    assert not runtimes.get("litert").failed_checks(skip, recipe("int8-static"))
    assert not runtimes.get("openvino").failed_checks(residual, recipe("int8-static"))


@every_runtime
def test_only_the_float_stem_stays_in_float(runtime: str, case: Cases, exported: Exported) -> None:
    given = case("heatmap-2.5d")
    path = exported(runtime, "heatmap-2.5d", "int8-float-stem")
    summary = runtimes.get(runtime).inspect(path)
    in_stem = sum(tally.macs for tallies, _ in step_counts(given.arch)[:2] for tally in tallies)
    assert summary.macs - summary.int8_macs == in_stem > 0
    assert summary.partitions == 1 and summary.transposes == 0
    assert snr(run_file(runtime, path, given), given.raw) > 14


@every_runtime
def test_fp16_file_is_small_and_precise(runtime: str, case: Cases, exported: Exported) -> None:
    given = case("heatmap-2.5d")
    if reasons := runtimes.get(runtime).unsupported(given.arch, recipe("fp16")):
        assert "; use " in reasons[0] and "float" in reasons[0].split("; use ")[1]
        return
    small, full = (exported(runtime, "heatmap-2.5d", name) for name in ("fp16", "float"))
    sizes = [runtimes.get(runtime).inspect(path).bytes for path in (small, full)]
    assert sizes[0] < 0.75 * sizes[1]
    assert snr(run_file(runtime, small, given), given.raw) > 45


def test_only_transposes_between_convolutions_are_counted() -> None:
    chain = [
        Operator("TRANSPOSE", "float32", ("image",), ("a",)),
        Operator("CONV", "int8", ("a",), ("b",), macs=6),
        Operator("TRANSPOSE", "int8", ("b",), ("c",)),
        Operator("RELU", "int8", ("c",), ("d",)),
        Operator("CONV", "float32", ("d",), ("e",), macs=2),
        Operator("TRANSPOSE", "float32", ("e",), ("out",)),
    ]
    found = summarise(chain, 10)
    assert (found.transposes, found.convolutions, found.int8_convolutions) == (1, 2, 1)
    assert found.int8_share == 0.75 and found.operators["TRANSPOSE float32"] == 2


@every_runtime
def test_timed_call_does_not_change_results(runtime: str, case: Cases, exported: Exported) -> None:
    given = case("heatmap-2.5d")
    session = runtimes.get(runtime).load(exported(runtime, "heatmap-2.5d", "float"))
    invoke = session.prepare(given.unseen[:1])
    invoke()
    before = session.run(given.unseen[1:2])
    invoke()
    assert np.array_equal(before, session.run(given.unseen[1:2]))
    session.close()


@every_runtime
def test_timed_call_outlives_its_session(runtime: str, case: Cases, exported: Exported) -> None:
    given = case("heatmap-2.5d")
    invoke = runtimes.get(runtime).load(exported(runtime, "heatmap-2.5d", "float")).prepare(given.unseen[:1])
    gc.collect()
    invoke()


@every_runtime
def test_results_outlive_the_next_run(runtime: str, case: Cases, exported: Exported) -> None:
    given = case("heatmap-2.5d")
    session = runtimes.get(runtime).load(exported(runtime, "heatmap-2.5d", "int8-static"))
    first = session.run(given.unseen[:1])
    kept = first.copy()
    session.run(given.unseen[1:2])
    session.close()
    assert np.array_equal(first, kept)


@every_runtime
def test_same_input_gives_the_same_file(
    runtime: str, case: Cases, exported: Exported, converter: Converter, tmp_path: Path
) -> None:
    given = case("heatmap-2.5d")
    again = converter.export(
        given.arch, given.weights, runtime, recipe("int8-static"), given.images, tmp_path / "again"
    )
    ours = runtimes.get(runtime).load(again).run(given.unseen)
    theirs = runtimes.get(runtime).load(exported(runtime, "heatmap-2.5d", "int8-static")).run(given.unseen)
    assert np.array_equal(ours, theirs)


def test_export_does_not_change_the_network(case: Cases) -> None:
    """Training can continue after an export."""
    net = build(case("heatmap-2.5d").arch).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    inference_module(net)
    assert net.training and all(parameter.requires_grad for parameter in net.parameters())
    assert all((before[name] == value).all() for name, value in net.state_dict().items())


@every_runtime
def test_missing_and_broken_files_are_rejected(runtime: str, exported: Exported, tmp_path: Path) -> None:
    names = runtimes.get(runtime).FILES
    with pytest.raises(InputError, match="cannot load"):
        runtimes.get(runtime).load(tmp_path / names[0])
    for name in names:
        (tmp_path / name).write_bytes(b"no model at all")
    with pytest.raises(InputError, match="cannot load"):
        runtimes.get(runtime).load(tmp_path / names[0])


def test_unknown_runtime() -> None:
    with pytest.raises(InputError, match="runtime: 'tensorrt' is not one of litert"):
        runtimes.get("tensorrt")
