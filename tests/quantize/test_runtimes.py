"""The contract of a runtime: every one, with every head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from arch.cost import cost, step_counts
from arch.decode import without_gain
from arch.errors import InputError
from arch.network import build
from quantize import runtimes
from quantize.convert import Converter
from quantize.graph import inference_module
from quantize.recipes import recipe
from quantize.runtimes import RUNTIMES, Array
from quantize.runtimes.operators import Operator, summarise
from tests.quantize.conftest import HEADS, Case, small_arch

Cases = Callable[[str], Case]
Exported = Callable[[str, str, str], Path]
every_runtime = pytest.mark.parametrize("runtime", RUNTIMES)
every_head = pytest.mark.parametrize("head", HEADS)


def told(runtime: str, path: Path, given: Case) -> Array:
    """What a file says of the unseen pictures, as torch would."""
    session = runtimes.get(runtime).load(path)
    raw = session.run(given.unseen)
    session.close()
    assert raw.dtype == np.float32 and raw.shape == given.raw.shape
    return without_gain(raw, given.arch, runtimes.depth_gain(runtime, given.arch))


def snr(ours: Array, reference: Array) -> float:
    """Signal to noise, dB."""
    return float(10 * np.log10((reference**2).mean() / ((ours - reference) ** 2).mean()))


@every_runtime
@every_head
def test_float_file_is_torch(runtime: str, head: str, case: Cases, exported: Exported) -> None:
    given = case(head)
    ours = told(runtime, exported(runtime, head, "float"), given)
    assert np.abs(ours - given.raw).max() < 1e-4 * np.abs(given.raw).max()


@every_runtime
@every_head
def test_int8_file_is_close(runtime: str, head: str, case: Cases, exported: Exported) -> None:
    given = case(head)
    ours = told(runtime, exported(runtime, head, "int8-static"), given)
    assert snr(ours, given.raw) > 14  # an untrained network suffers more than a trained one
    assert snr(ours[::-1], given.raw) < 6, "a file that ignores its picture would pass this test"


@every_runtime
def test_int8_depths_are_as_fine_as_scores(runtime: str, case: Cases, exported: Exported) -> None:
    given = case("depthmap")
    joints = given.arch.joints
    ours = told(runtime, exported(runtime, "depthmap", "int8-static"), given)
    assert snr(ours[:, joints:], given.raw[:, joints:]) > 14
    assert len(np.unique(ours[:, joints:])) > 64


@every_runtime
def test_int8_file_computes_in_int8(runtime: str, exported: Exported) -> None:
    small, whole = (
        runtimes.get(runtime).inspect(exported(runtime, "depthmap", name)) for name in ("int8-static", "float")
    )
    assert small.int8_share == 1 and whole.int8_share == 0
    assert small.convolutions == whole.convolutions > 20
    assert small.macs == whole.macs == cost(small_arch()).macs
    assert small.bytes < whole.bytes
    assert small.partitions == 1 and small.delegated > 0.9


@every_runtime
def test_no_transpose_between_convolutions(runtime: str, exported: Exported) -> None:
    for name in ("float", "int8-static"):
        assert runtimes.get(runtime).inspect(exported(runtime, "depthmap", name)).transposes == 0


@every_runtime
def test_float_stem_is_float_and_the_rest_is_not(runtime: str, case: Cases, exported: Exported) -> None:
    given = case("depthmap")
    path = exported(runtime, "depthmap", "int8-float-stem")
    audit = runtimes.get(runtime).inspect(path)
    in_stem = sum(tally.macs for tallies, _ in step_counts(given.arch)[:2] for tally in tallies)
    assert audit.macs - audit.int8_macs == in_stem > 0
    assert audit.partitions == 1 and audit.transposes == 0
    assert snr(told(runtime, path, given), given.raw) > 14


@every_runtime
def test_fp16_file_is_half_as_large_and_close(runtime: str, case: Cases, exported: Exported) -> None:
    given = case("depthmap")
    if reasons := runtimes.get(runtime).unsupported(given.arch, recipe("fp16")):
        assert "take the recipe float" in reasons[0]
        return
    small, whole = (exported(runtime, "depthmap", name) for name in ("fp16", "float"))
    sizes = [runtimes.get(runtime).inspect(path).bytes for path in (small, whole)]
    assert sizes[0] < 0.75 * sizes[1]
    assert snr(told(runtime, small, given), given.raw) > 45


def test_transposes_are_counted_between_convolutions_alone() -> None:
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
def test_timed_call_computes(runtime: str, case: Cases, exported: Exported) -> None:
    given = case("depthmap")
    session = runtimes.get(runtime).load(exported(runtime, "depthmap", "float"))
    invoke = session.prepare(given.unseen[:1])
    invoke()
    before = session.run(given.unseen[1:2])
    invoke()
    assert np.array_equal(before, session.run(given.unseen[1:2]))
    session.close()


@every_runtime
def test_results_outlive_the_next_run(runtime: str, case: Cases, exported: Exported) -> None:
    given = case("depthmap")
    session = runtimes.get(runtime).load(exported(runtime, "depthmap", "int8-static"))
    first = session.run(given.unseen[:1])
    kept = first.copy()
    session.run(given.unseen[1:2])
    session.close()
    assert np.array_equal(first, kept)


@every_runtime
def test_same_input_gives_the_same_file(
    runtime: str, case: Cases, exported: Exported, converter: Converter, tmp_path: Path
) -> None:
    given = case("depthmap")
    again = converter.export(
        given.arch, given.weights, runtime, recipe("int8-static"), given.pictures, tmp_path / "again"
    )
    ours = runtimes.get(runtime).load(again).run(given.unseen)
    theirs = runtimes.get(runtime).load(exported(runtime, "depthmap", "int8-static")).run(given.unseen)
    assert np.array_equal(ours, theirs)


def test_export_leaves_net_alone(case: Cases) -> None:
    """Its modules, mode and gradients: training may go on after an export."""
    net = build(case("depthmap").arch).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    inference_module(net)
    assert net.training and all(parameter.requires_grad for parameter in net.parameters())
    assert all((before[name] == value).all() for name, value in net.state_dict().items())


@every_runtime
def test_missing_and_broken_files_are_refused(runtime: str, exported: Exported, tmp_path: Path) -> None:
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
