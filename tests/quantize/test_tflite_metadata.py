"""Metadata in .tflite files: readable by the schema's own reader, and without effect on the weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from quantize.runtimes import litert
from quantize.tflite_metadata import ImageInput, OutputText, add_metadata, image_metadata
from tests.helpers.tflite import read_metadata

IMAGE = ImageInput("image", "RGB crop", 64, (123.7, 116.3, 103.5), (58.4, 57.1, 57.4), (-2.1,) * 3, (2.6,) * 3)


def test_metadata_describe_input_and_outputs() -> None:
    schema = pytest.importorskip("mediapipe.tasks.metadata.metadata_schema_py_generated", reason="no mediapipe here")
    made = image_metadata("net", "a network", IMAGE, [OutputText("a", "first"), OutputText("b", "")], "Apache-2.0")
    found = schema.ModelMetadataT.InitFromObj(schema.ModelMetadata.GetRootAs(made, 0))
    (graph,) = found.subgraphMetadata
    (entry,) = graph.inputTensorMetadata
    assert (found.name, found.license, found.minParserVersion) == (b"net", b"Apache-2.0", b"1.0.0")
    assert [output.name for output in graph.outputTensorMetadata] == [b"a", b"b"]
    assert entry.content.contentProperties.colorSpace == 1
    assert entry.content.contentProperties.defaultSize.width == 64
    assert entry.processUnits[0].options.std == pytest.approx(IMAGE.std)
    assert entry.stats.max == pytest.approx(IMAGE.high) and entry.stats.min == pytest.approx(IMAGE.low)


@pytest.mark.parametrize("recipe", ["float", "int8-static"])
def test_added_metadata_change_neither_output_nor_delegation(
    recipe: str, exported: Callable[[str, str, str], Path], tmp_path: Path
) -> None:
    model = exported("litert", "heatmap-2.5d", recipe)
    first, second = (image_metadata(name, "", IMAGE, [OutputText("raw", "")]) for name in ("first", "second"))
    path = tmp_path / "model.tflite"
    path.write_bytes(add_metadata(add_metadata(model.read_bytes(), first), second))
    assert read_metadata(path.read_bytes()) == second  # one entry, the last
    x = np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype(np.float32)
    assert np.array_equal(litert.load(path).run(x), litert.load(model).run(x))
    summary, before = litert.inspect(path), litert.inspect(model)
    assert (summary.operators, summary.partitions, summary.delegated) == (
        before.operators,
        before.partitions,
        before.delegated,
    )


def test_data_of_buffers_are_aligned(exported: Callable[[str, str, str], Path]) -> None:
    from ai_edge_litert import schema_py_generated as schema

    metadata = image_metadata("net", "", IMAGE, [])
    made = add_metadata(exported("litert", "heatmap-2.5d", "int8-static").read_bytes(), metadata)
    model = schema.Model.GetRootAs(made, 0)
    buffers = [model.Buffers(index) for index in range(model.BuffersLength())]
    starts = [buffer._tab.Vector(buffer._tab.Offset(4)) for buffer in buffers if buffer.DataLength()]
    assert len(starts) > 10 and not any(start % 16 for start in starts)
    assert not any(buffer.Offset() for buffer in buffers)  # nothing is behind the flatbuffer
