"""INT8 files are right on every x86 CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from quantize import qat, runtimes


def int8_weights(runtime: str, path: Path) -> list[np.ndarray]:
    """Return the INT8 weights in a file, for OpenVINO without those of depthwise convolutions, added in 32 bits."""
    if runtime == "onnxruntime":
        import onnx
        from onnx import numpy_helper

        arrays = [numpy_helper.to_array(constant) for constant in onnx.load(str(path)).graph.initializer]
    else:
        import openvino as ov

        nodes = ov.Core().read_model(path).get_ops()
        arrays = [node.data for node in nodes if node.get_type_name() == "Constant"]
    return [array for array in arrays if array.dtype == np.int8 and 2 <= array.ndim <= 4]


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_sums_of_two_products_fit_into_16_bits(runtime: str, exported: Callable[[str, str, str], Path]) -> None:
    """Without VNNI, u8 * s8 + u8 * s8 is added in 16 bits."""
    weights = int8_weights(runtime, exported(runtime, "heatmap-2.5d", "int8-static"))
    largest = max(int(np.abs(array.astype(int)).max()) for array in weights)
    assert len(weights) > 20 and 60 < largest <= 64
    assert 2 * 255 * largest < 2**15
    assert runtimes.get(runtime).WEIGHT_BITS == 7


@pytest.mark.parametrize(("inputs", "largest"), [(32, 64), (1, 127)])
def test_weights_that_training_moved_beyond_7_bits_are_clipped(inputs: int, largest: int) -> None:
    """One input per output channel is a depthwise convolution, whose products are added in 32 bits."""
    import openvino as ov

    ops = ov.opset13
    image = ops.parameter([1, 32, 8, 8], np.float32)
    quantized = ops.fake_quantize(image, *(ops.constant(np.float32(v)) for v in (0, 255, 0, 255)), 256)
    stored = ops.constant(np.full((32, inputs, 3, 3), 127, np.int8))
    weights = ops.multiply(ops.convert(stored, np.float32), ops.constant(np.float32(1)))
    if inputs == 1:
        weights = ops.reshape(weights, ops.constant([32, 1, 1, 3, 3]), False)
    convolution = ops.group_convolution if inputs == 1 else ops.convolution
    model = ov.Model([convolution(quantized, weights, [1, 1], [0, 0], [0, 0], [1, 1])], [image])
    qat.limit_weights(model)
    constants = [node.data for node in model.get_ops() if node.get_type_name() == "Constant" and node.data.ndim == 4]
    assert [int(array.max()) for array in constants] == [largest]
    out = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(
        [np.full((1, 32, 8, 8), 255, np.float32)]
    )[0]
    assert np.allclose(out, 255 * largest * 9 * inputs)  # half of it where sums saturate
