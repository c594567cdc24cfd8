"""Contract of precisions and of the quantizer's options, with files of each runtime that has them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arch.space import preset
from quantize import litert_quantizer, operator_check, runtimes
from quantize.recipes import OPTIONS, recipe
from quantize.runtimes.litert import interpreter
from tests.helpers import mostly_slow
from tests.helpers.networks import HEADS, Case
from tests.helpers.runtimes import every_runtime, run_file, snr

Cases = Callable[[str], Case]
Exported = Callable[..., Path]
HEAD = "heatmap-2.5d"
STATIC = recipe("int8-static")
CHOICES = [
    (runtime, f"{option}={value}")
    for runtime in ("litert", "openvino", "onnxruntime")
    for option, values in runtimes.get(runtime).quantizer_options(STATIC).items()
    for value in values[1:]
]


def snr_of(path: Path, runtime: str, given: Case) -> float:
    """Return the signal-to-noise ratio of a file's output to that of torch, dB."""
    return snr(run_file(runtime, path, given), given.raw)


def weights_and_activations(path: Path) -> tuple[list[Any], list[Any]]:
    """Return the quantization parameters of the weights of convolutions and of all integer activations."""
    plain = interpreter(path, 1, delegate=False)
    tensors = {each["index"]: each["quantization_parameters"] for each in plain.get_tensor_details()}
    operators = plain._get_ops_details()
    weights = [tensors[op["inputs"][1]] for op in operators if "CONV" in op["op_name"]]
    outputs = [tensors[op["outputs"][0]] for op in operators]
    return weights, [each for each in outputs if len(each["scales"])]


@pytest.mark.parametrize("head", mostly_slow(HEADS, HEAD))
def test_weight_only_file_is_small_precise_and_float(head: str, case: Cases, exported: Exported) -> None:
    for runtime in ("litert", "openvino"):
        path = exported(runtime, head, "int8-weights")
        summary = runtimes.get(runtime).inspect(path)
        full = runtimes.get(runtime).inspect(exported(runtime, head, "float"))
        # OpenVINO computes fully connected layers with 8-bit weights in INT8
        dynamic = 0.05 if (runtime, head) == ("openvino", "simcc") else 0
        assert summary.bytes < 0.75 * full.bytes and summary.int8_share <= dynamic and summary.partitions == 1
        assert snr_of(path, runtime, case(head)) > 25


@pytest.mark.parametrize("head", mostly_slow(HEADS, HEAD))
def test_dynamic_file_computes_convolutions_in_int8(head: str, case: Cases, exported: Exported) -> None:
    path = exported("litert", head, "int8-dynamic")
    summary = runtimes.get("litert").inspect(path)
    assert summary.partitions == 1 and not summary.fallbacks
    assert summary.operators["CONV_2D dynamic-int8"] > 10 and summary.operators["DEPTHWISE_CONV_2D float32"] > 5
    assert 0.5 < summary.int8_share < 1
    assert snr_of(path, "litert", case(head)) > 20


@pytest.mark.parametrize("head", mostly_slow(HEADS, HEAD))
def test_w8a16_file_runs_without_the_delegate(head: str, case: Cases, exported: Exported) -> None:
    path = exported("litert", head, "w8a16")
    summary = runtimes.get("litert").inspect(path)
    assert summary.operators["CONV_2D int16"] > 10 and not any(
        name.endswith("_2D float32") for name in summary.operators
    )
    assert summary.delegated < 0.1 and summary.partitions != 1
    assert "XNNPACK has no INT16 kernels" in runtimes.get("litert").failed_checks(case(head).arch, recipe("w8a16"))[0]
    assert snr_of(path, "litert", case(head)) > 24  # that of INT8 weights; 13 if biases of dead channels overflowed
    _, activations = weights_and_activations(path)
    assert all((each["zero_points"] == 0).all() for each in activations)


@pytest.mark.parametrize(("runtime", "option"), CHOICES)
def test_an_option_changes_the_file(runtime: str, option: str, case: Cases, exported: Exported) -> None:
    given, summary = case(HEAD), runtimes.get(runtime).inspect
    path, default = exported(runtime, HEAD, "int8-static", option), exported(runtime, HEAD, "int8-static")
    assert summary(path).int8_share == 1
    # XNNPACK leaves a convolution of this network with scales by OCTAV to another kernel; the certificate would say so
    assert summary(path).partitions == 1 or option == "weight_range=octav"
    ours, theirs = (runtimes.get(runtime).load(file).run(given.unseen) for file in (path, default))
    assert not np.array_equal(ours, theirs)
    assert snr_of(path, runtime, given) > 8


def test_options_of_litert_files(exported: Exported) -> None:
    weights, activations = weights_and_activations(exported("litert", HEAD, "int8-static"))
    assert max(len(each["scales"]) for each in weights) > 1
    assert any((each["zero_points"] != 0).any() for each in activations)
    weights, _ = weights_and_activations(exported("litert", HEAD, "int8-static", "weight_granularity=tensor"))
    assert all(len(each["scales"]) == 1 for each in weights)
    _, activations = weights_and_activations(exported("litert", HEAD, "int8-static", "activation_symmetry=symmetric"))
    assert all((each["zero_points"] == 0).all() for each in activations)


@every_runtime
def test_defaults_are_named_and_impossible_values_rejected(runtime: str) -> None:
    supported = runtimes.get(runtime).quantizer_options(STATIC)
    assert STATIC.options(supported).keys() == set(OPTIONS)
    assert STATIC.options(supported) == {option: values[0] for option, values in supported.items()}
    arch = preset("paper-XS-relu@64")
    impossible = {"litert": "percentile", "openvino": "median", "onnxruntime": "histogram", "executorch": "minmax"}
    wrong = STATIC.model_copy(update={"activation_range": impossible[runtime]})
    (reason,) = operator_check.reasons(arch, runtime, wrong)
    assert (
        f"activation_range: {impossible[runtime]} is not possible in {runtime}; it has {supported[OPTIONS[0]][0]}"
        in reason
    )


def test_options_that_training_ignores_are_rejected() -> None:
    chosen = recipe("int8-qat").model_copy(update={"activation_symmetry": "asymmetric"})
    (reason,) = operator_check.reasons(preset("paper-XS-relu@64"), "openvino", chosen)
    assert "activation_symmetry: asymmetric is not possible in openvino; it has symmetric" in reason


@pytest.mark.parametrize("name", ["int8-weights", "int8-dynamic", "w8a16"])
def test_precisions_without_a_fast_kernel_are_rejected(name: str) -> None:
    arch = preset("paper-XS-relu@64")
    assert not operator_check.reasons(arch, "litert", recipe(name))
    assert "several times slower than float" in operator_check.reasons(arch, "onnxruntime", recipe(name))[0]
    assert bool(operator_check.reasons(arch, "openvino", recipe(name))) is (name != "int8-weights")


def test_the_quantizer_is_found_by_its_new_name_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert litert_quantizer.module("qtyping").__name__.partition(".")[0] in litert_quantizer.PACKAGES
    package = tmp_path / litert_quantizer.PACKAGES[0]
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "only_in_the_new_one.py").write_text("HERE = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert litert_quantizer.module("only_in_the_new_one").HERE
    finally:
        for name in [name for name in sys.modules if name.startswith(litert_quantizer.PACKAGES[0])]:
            del sys.modules[name]
