"""TFLite metadata: a model's input and outputs, described in the .tflite file for MediaPipe and Android Studio.

The fields are those of `metadata_schema.fbs` of the TensorFlow Lite support library, version 1.0.0. The module writes
them with flatbuffers alone; ai-edge-litert contains the schema of the model, but not that of the metadata.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import flatbuffers

METADATA = b"TFLITE_METADATA"
IDENTIFIER, MODEL_IDENTIFIER = b"M001", b"TFL3"
PARSER_VERSION = "1.0.0"
IMAGE_PROPERTIES, FEATURE_PROPERTIES = 2, 1  # of the union ContentProperties
NORMALIZATION, RGB = 1, 1  # of the union ProcessUnitOptions, and of the enum ColorSpaceType
ALIGNMENT = 16  # bytes; the schema requires it for the data of buffers


@dataclass(frozen=True)
class ImageInput:
    """The image that a model receives.

    mean, std: the model receives (value - mean) / std of values from 0 to 255; one number, or one for each channel
    low, high: least and largest value that the model receives, as many as `mean`
    """

    name: str
    description: str
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class OutputText:
    """Name and description of an output."""

    name: str
    description: str


def image_metadata(
    name: str, description: str, image: ImageInput, outputs: Sequence[OutputText], licence: str = ""
) -> bytes:
    """Return the metadata of a model with one image as its input.

    Args:
        outputs: in the order of the model's outputs.
    """
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    unit = _union(builder, NORMALIZATION, _table(builder, _floats(builder, image.mean), _floats(builder, image.std)))
    side = _table(builder, np.uint32(image.size), np.uint32(image.size))
    content = _union(builder, IMAGE_PROPERTIES, _table(builder, np.int8(RGB), side))
    stats = _table(builder, _floats(builder, image.high), _floats(builder, image.low))
    texts = (builder.CreateString(image.name), builder.CreateString(image.description))
    entry = _table(builder, *texts, None, content, _offsets(builder, [unit]), stats)
    exits = []
    for output in outputs:
        texts = (builder.CreateString(output.name), builder.CreateString(output.description))
        content = _union(builder, FEATURE_PROPERTIES, _table(builder))
        exits.append(_table(builder, *texts, None, content))
    graph = _table(builder, None, None, _offsets(builder, [entry]), _offsets(builder, exits))
    texts = tuple(builder.CreateString(text) for text in (name, description, "v1"))
    graphs, terms = _offsets(builder, [graph]), builder.CreateString(licence)
    parser = builder.CreateString(PARSER_VERSION)
    builder.Finish(_table(builder, *texts, graphs, None, terms, None, parser), IDENTIFIER)
    return bytes(builder.Output())


def add_metadata(model: bytes, metadata: bytes) -> bytes:
    """Return a .tflite file with metadata, which replaces existing metadata, and with all weights in the flatbuffer.

    ai-edge-quantizer stores weights behind the flatbuffer, where a longer flatbuffer would overwrite them.
    """
    from ai_edge_litert import schema_py_generated as schema

    content = read_model(model)
    entry = schema.MetadataT()
    entry.name, entry.buffer = METADATA, len(content.buffers)
    content.buffers.append(schema.BufferT(data=np.frombuffer(metadata, np.uint8)))
    content.metadata = [each for each in content.metadata or [] if each.name != METADATA] + [entry]
    return write_model(content)


def read_model(model: bytes) -> Any:
    """Return a .tflite file as a `ModelT` of ai-edge-litert's schema, with the weights of all buffers in `data`."""
    from ai_edge_litert import schema_py_generated as schema

    content = schema.ModelT.InitFromPackedBuf(model, 0)
    for buffer in content.buffers:
        if buffer.offset > 1:  # 0 and 1 say that the buffer has no data behind the flatbuffer
            buffer.data = np.frombuffer(model, np.uint8, buffer.size, buffer.offset)
        buffer.offset = buffer.size = 0
    return content


def write_model(content: Any) -> bytes:
    """Return a `ModelT` as the bytes of a .tflite file, in which the data of every buffer is aligned."""
    import flatbuffers

    class Aligned(flatbuffers.Builder):  # type: ignore[misc]
        """flatbuffers.Builder aligns bytes to 1, although the schema requires more."""

        def CreateNumpyVector(self, x: np.ndarray) -> int:
            if x.dtype == np.uint8 and x.size:
                self.Prep(ALIGNMENT, x.size)
            offset: int = super().CreateNumpyVector(x)
            return offset

    builder = Aligned(1 << 20)
    builder.Finish(content.Pack(builder), MODEL_IDENTIFIER)
    return bytes(builder.Output())


def _table(builder: flatbuffers.Builder, *fields: np.generic | int | None) -> int:
    """Write a table. fields: by slot; an int is the offset of a string, vector or table, None is absent."""
    builder.StartObject(len(fields))
    for slot, value in enumerate(fields):
        if isinstance(value, np.generic):
            add = {1: builder.PrependInt8Slot, 4: builder.PrependUint32Slot}[value.itemsize]
            add(slot, int(value), 0)
        elif value is not None:
            builder.PrependUOffsetTRelativeSlot(slot, value, 0)
    offset: int = builder.EndObject()
    return offset


def _union(builder: flatbuffers.Builder, kind: int, value: int) -> int:
    """Write a table whose only field is a union: its type and the offset of its value."""
    return _table(builder, np.int8(kind), value)


def _offsets(builder: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    end: int = builder.EndVector()
    return end


def _floats(builder: flatbuffers.Builder, values: Sequence[float]) -> int:
    end: int = builder.CreateNumpyVector(np.array(values, np.float32))
    return end
