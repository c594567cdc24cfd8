"""Delegate reports: planted faults are found with their reason, and files without a fault have none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from arch.errors import InputError
from quantize.delegates import DelegateReport, reports
from quantize.delegates.rules import GPU, MEDIATEK, QUALCOMM
from quantize.runtimes.operators import Operator, float_fallbacks
from tests.helpers import ROOT
from tests.helpers.tflite import IMAGE, TfliteFile

Write = Callable[[TfliteFile, Any], int]
BUNDLED = sorted((ROOT / "results").rglob("litert/model.tflite"))


class Case(NamedTuple):
    """A pair of files that differ in one value.

    write: appends operators and returns the output, given that value
    delegates: those that find the fault; the others find none, unless `elsewhere`
    """

    name: str
    delegates: str
    reason: str
    write: Write
    fault: Any
    clean: Any
    elsewhere: bool = False


def one(kind: str, shape: tuple[int, ...] = IMAGE, **given: Any) -> Write:
    """An operator with one input whose arguments the value changes."""
    return lambda file, value: file.add(kind, [file.input()], shape, **given | value)


def conv(file: TfliteFile, x: int, **given: Any) -> int:
    weights = file.constant((4, 1, 1, 4), given.get("weights", "float32"), scales=given.get("by_channel", 0))
    options = {"": "Conv2DOptions", "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    out = {name: value for name, value in given.items() if name not in ("weights", "by_channel")}
    return file.add("CONV_2D", [x, weights], options=options, **out)


def int8_image(file: TfliteFile) -> int:
    return file.add("QUANTIZE", [file.input()], dtype="int8", scales=1)


def _kind(file: TfliteFile, kind: str) -> int:
    return file.add(kind, [file.input()])


def _five(file: TfliteFile, shape: tuple[int, ...]) -> int:
    return file.add("TANH", [file.input(shape)], shape)


def _dynamic(file: TfliteFile, dynamic: bool) -> int:
    return conv(file, file.input(dynamic=dynamic), dynamic=dynamic)


def _run_time_size(file: TfliteFile, constant: bool) -> int:
    sizes = file.constant((2,), "int32") if constant else file.input((2,), "int32")
    return file.add("RESIZE_BILINEAR", [file.input(), sizes], options={"": "ResizeBilinearOptions"})


def _type(file: TfliteFile, dtype: str) -> int:
    return file.add("RESHAPE", [file.input(IMAGE, dtype), file.constant((2,), "int32")], (1, 256), dtype)


def _concat_twice(file: TfliteFile, twice: bool) -> int:
    x = file.input()
    y = x if twice else file.input()
    return file.add("CONCATENATION", [x, y], (1, 8, 8, 8), options={"": "ConcatenationOptions", "axis": 3})


def _output_map(file: TfliteFile, side: int) -> int:
    options = {"": "Pool2DOptions", "strideH": 1, "strideW": 1, "filterHeight": 9 - side, "filterWidth": 9 - side}
    return file.add("AVERAGE_POOL_2D", [file.input()], (1, side, side, 4), options=options)


def _sub_twice(file: TfliteFile, twice: bool) -> int:
    x = file.input()
    return file.add("SUB", [x, x if twice else file.input()])


def _by_channel(file: TfliteFile, scales: int) -> int:
    y = conv(file, int8_image(file), dtype="int8", weights="int8", by_channel=4, scales=scales)
    return file.add("DEQUANTIZE", [y])


def _axes(file: TfliteFile, dtype: str) -> int:
    return file.add("MEAN", [file.input(), file.constant((2,), dtype)], (1, 4))


def _permutation(file: TfliteFile, constant: bool) -> int:
    order = file.constant((4,), "int32") if constant else file.input((4,), "int32")
    return file.add("TRANSPOSE", [file.input(), order])


def _indices(file: TfliteFile, given: tuple[tuple[int, ...], str]) -> int:
    shape, dtype = given
    return file.add("GATHER", [file.input(), file.constant(shape, dtype)], options={"": "GatherOptions", "axis": 3})


def _matmul(file: TfliteFile, shape: tuple[int, ...]) -> int:
    return file.add("BATCH_MATMUL", [file.input((1, 8, 4)), file.constant(shape)], (1, 8, 4))


def _broadcast(file: TfliteFile, shape: tuple[int, ...]) -> int:
    return file.add("ADD", [file.input(), file.input(shape)], options={"": "AddOptions"})


def _alpha(file: TfliteFile, shape: tuple[int, ...]) -> int:
    return file.add("PRELU", [file.input(), file.constant(shape)])


def _resize(file: TfliteFile, align_corners: bool) -> int:
    options = {"": "ResizeBilinearOptions", "alignCorners": align_corners, "halfPixelCenters": True}
    sizes = file.constant((2,), "int32")
    return file.add("RESIZE_BILINEAR", [file.input(), sizes], (1, 16, 16, 4), version=3, options=options)


def _depthwise(file: TfliteFile, channels: int) -> int:
    options = {"": "DepthwiseConv2DOptions", "strideH": 1, "strideW": 1, "depthMultiplier": channels // 4}
    weights = file.constant((1, 3, 3, channels))
    return file.add("DEPTHWISE_CONV_2D", [file.input(), weights], (1, 8, 8, 8), options=options)


def _padding(file: TfliteFile, shape: tuple[int, ...]) -> int:
    return file.add("PAD", [file.input((1,) * (shape[0] - 1) + (8,)), file.constant(shape, "int32")], IMAGE)


def _slice(file: TfliteFile, shape: tuple[int, ...]) -> int:
    parts = [file.constant((len(shape),), "int32") for _ in range(2)]
    return file.add("SLICE", [file.input(shape), *parts], shape)


def _strided(file: TfliteFile, mask: int) -> int:
    parts = [file.constant((4,), "int32") for _ in range(3)]
    return file.add(
        "STRIDED_SLICE", [file.input(), *parts], options={"": "StridedSliceOptions", "shrinkAxisMask": mask}
    )


def _mirror(file: TfliteFile, mode: int) -> int:
    return file.add(
        "MIRROR_PAD", [file.input(), file.constant((4, 2), "int32")], options={"": "MirrorPadOptions", "mode": mode}
    )


def _linear(file: TfliteFile, keep: bool) -> int:
    weights = file.constant((5, 4))
    options = {"": "FullyConnectedOptions", "keepNumDims": keep}
    return file.add("FULLY_CONNECTED", [file.input(), weights], (64, 5), options=options)


def _int16(file: TfliteFile, dtype: str) -> int:
    x = file.constant(IMAGE, dtype, scales=1)
    return file.add("ADD", [file.input(), file.add("DEQUANTIZE", [x])], options={"": "AddOptions"})


def _float_inside(file: TfliteFile, int8: bool) -> int:
    y = conv(file, int8_image(file), dtype="int8", weights="int8", by_channel=4, scales=1)
    if int8:
        return file.add("DEQUANTIZE", [file.add("LOGISTIC", [y], dtype="int8", scales=1)])
    return file.add("LOGISTIC", [file.add("DEQUANTIZE", [y])])


def _blocks(file: TfliteFile, blockwise: bool) -> int:
    weights = file.constant((4, 4), "int8", scales=0 if blockwise else 4, blockwise=blockwise)
    return file.add("FULLY_CONNECTED", [file.input((1, 4)), weights], (1, 4), options={"": "FullyConnectedOptions"})


def _wide(file: TfliteFile, scales: int) -> int:
    x = file.add("QUANTIZE", [file.input()], dtype="int16", scales=scales)
    return file.add("DEQUANTIZE", [x])


def _int64_values(file: TfliteFile, dtype: str) -> int:
    return file.add("CAST", [file.input(IMAGE, dtype)], options={"": "CastOptions"})


NPUS, ALL = "qualcomm mediatek", "gpu webgl qualcomm mediatek"
CASES = [
    Case("unsupported operator", ALL, "not supported", _kind, "RANK", "TANH"),
    Case("operator without a kernel on MediaTek", "mediatek", "not supported", _kind, "RELU6", "RELU"),
    Case("custom operator", "gpu webgl", "custom", one("CUSTOM"), {"custom": b"Mine"}, {"custom": b"Resampler"}, True),
    Case("newer version", "gpu webgl", "version 9", one("RELU"), {"version": 9}, {"version": 2}),
    Case("size known at run time", ALL, "run time only", _dynamic, True, False),
    Case("size computed", ALL, "output is known at run time", _run_time_size, False, True),
    Case("5-D tensor", "gpu webgl", "5 dimensions", _five, (1, 2, 2, 2, 2), (1, 2, 2, 2)),
    Case("int64 tensor", "gpu webgl mediatek", "int64", _type, "int64", "float32"),
    Case("int64 to float", "gpu webgl mediatek", "int64", _int64_values, "int64", "int32"),
    Case("bool tensor", "gpu webgl", "bool", _type, "bool", "float32"),
    Case("one tensor twice in a concatenation", "webgl", "twice", _concat_twice, True, False),
    Case("heatmap of 1 x 1", "webgl", "1 x 1", _output_map, 1, 4),
    Case("one tensor twice in a subtraction", "gpu webgl", "twice", _sub_twice, True, False),
    Case("activations quantized by channel", "gpu webgl", "by channel", _by_channel, 4, 1),
    Case("int64 axes", "gpu webgl", "axes", _axes, "int64", "int32"),
    Case("permutation at run time", "qualcomm", "input 1 is not constant", _permutation, False, True, True),
    Case("permutation of int32 at run time", "gpu webgl", "int32", _permutation, False, True, True),
    Case("2-D indices", "gpu webgl", "2 dimensions", _indices, ((2, 2), "int32"), ((4,), "int32"), True),
    Case("int64 indices", "gpu webgl", "int64", _indices, ((4,), "int64"), ((4,), "int32"), True),
    Case("3-D constant matrix", "gpu webgl", "matrix has 3", _matmul, (1, 4, 4), (4, 4)),
    Case("broadcast of 2-D", "gpu webgl", "broadcasts", _broadcast, (8, 4), (1, 4)),
    Case("alpha by row", "gpu webgl", "alpha", _alpha, (8, 1, 1), (1, 1, 4)),
    Case("alphas of another number", "gpu webgl", "3 alphas for 4", _alpha, (3,), (4,)),
    Case("corners aligned on half pixels", "gpu webgl", "align_corners", _resize, True, False),
    Case("channels without depth multiplier", "gpu webgl", "depth_multiplier", _depthwise, 4, 8),
    Case("padding of two axes", "gpu webgl", "(2, 2)", _padding, (2, 2), (4, 2)),
    Case("slice of a matrix", "gpu webgl", "2 dimensions", _slice, (8, 4), (1, 8, 4)),
    Case("axis removed by a slice", "gpu webgl", "shrinkAxisMask", _strided, 1, 0),
    Case("symmetric padding", "gpu webgl", "symmetric", _mirror, 1, 0, True),
    Case("dimensions kept by name only", "gpu webgl", "keep_num_dims", _linear, True, False),
    Case("dequantized int16", "gpu webgl", "int16", _int16, "int16", "int8"),
    Case("quantized in blocks", NPUS, "blocks", _blocks, True, False),
    Case("int16 without a scale", "mediatek", "one scale", _wide, 0, 1, True),
    *(
        Case(f"{name} {value}", "gpu webgl", reason, one(kind, options={}), {"options": fault}, {"options": clean}, True)
        for name, value, reason, kind, fault, clean in (
            ("softmax", "beta", "beta", "SOFTMAX", {"": "SoftmaxOptions", "beta": 2.0}, {"": "SoftmaxOptions", "beta": 1.0}),
            ("depth to space", "block", "block size 1", "DEPTH_TO_SPACE", {"": "DepthToSpaceOptions", "blockSize": 1},
             {"": "DepthToSpaceOptions", "blockSize": 2}),
        )
    ),
]  # fmt: skip


def written(case: Case, value: Any, folder: Path) -> dict[str, DelegateReport]:
    file = TfliteFile()
    path = file.write(folder / "model.tflite", case.write(file, value))
    return {report.delegate: report for report in reports(path, ("gpu", "npu"))}


def test_number_of_faults() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 20


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_planted_fault_is_found(case: Case, tmp_path: Path) -> None:
    found = written(case, case.fault, tmp_path)
    for delegate, report in found.items():
        reasons = [one.reason for one in report.fallbacks]
        if delegate in case.delegates.split():
            assert any(case.reason in reason for reason in reasons), (delegate, reasons)
            assert report.delegated < report.operators and report.fallbacks[0].reason in report.text
        elif not case.elsewhere:
            assert not reasons, (delegate, reasons)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_false_alarm_on_the_corrected_file(case: Case, tmp_path: Path) -> None:
    for delegate, report in written(case, case.clean, tmp_path).items():
        if delegate in case.delegates.split():
            assert not report.fallbacks and report.partitions == 1, report.text
            assert report.text.startswith(f"all {report.operators} operators")


def test_float_operator_inside_int8_is_named(tmp_path: Path) -> None:
    case = Case("", "", "", _float_inside, None, None)
    assert written(case, False, tmp_path)["qualcomm"].float_operators == {"LOGISTIC float32": 1}
    assert "in float16, if the NPU has it: 1 LOGISTIC float32" in written(case, False, tmp_path)["mediatek"].text
    assert written(case, True, tmp_path)["mediatek"].float_operators == {}


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: "-".join(path.parts[-4:-2]))
def test_files_of_the_repository_have_no_fallback(path: Path) -> None:
    for report in reports(path, ("gpu", "npu")):
        assert not report.fallbacks and report.partitions == 1, report.text


def test_float_fallbacks_of_an_int8_file() -> None:
    conv = Operator("Conv", "int8", ("a",), ("b",), macs=9)
    resize, convert = Operator("Resize", "float32", ("b",), ("c",)), Operator("Quantize", "float32", ("c",), ("d",))
    assert float_fallbacks([conv, resize, convert], ("Quantize",)) == {"Resize float32": 1}
    assert float_fallbacks([resize, convert], ()) == {}


def test_fallback_splits_a_file(tmp_path: Path) -> None:
    file = TfliteFile()
    x = file.add("RANK", [conv(file, file.input())])
    report = reports(file.write(tmp_path / "model.tflite", conv(file, x)), ("gpu",))[0]
    assert (report.operators, report.delegated, report.partitions) == (3, 2, 2)
    assert report.fallbacks[0].places == (1,)


def test_rejected_file_runs_nothing_on_the_gpu(tmp_path: Path) -> None:
    file = TfliteFile()
    out = file.add("PRELU", [conv(file, file.input()), file.constant((3,))])
    report = reports(file.write(tmp_path / "model.tflite", out), ("gpu",))[0]
    assert (report.delegated, report.partitions) == (0, 0) and "rejects the file" in report.text


def test_float16_weights_are_constants(tmp_path: Path) -> None:
    file = TfliteFile()
    alpha = file.add("DEQUANTIZE", [file.constant((4,), "float16")], (4,))
    report = reports(file.write(tmp_path / "model.tflite", file.add("PRELU", [file.input(), alpha])), ("gpu",))[0]
    assert not report.fallbacks


def test_tables_name_source_and_version() -> None:
    for rules in (GPU, QUALCOMM, MEDIATEK):
        assert "google-ai-edge/LiteRT f67457790c9c" in rules.source and ".cc" in rules.source


@pytest.mark.parametrize("content", [b"", b"no model", b"\x1c\0\0\0TFL3" + bytes(40)])
def test_broken_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.tflite"):
        reports(path, ("gpu",))
