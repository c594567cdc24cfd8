"""pose_landmarker.task: a network of this project in MediaPipe's Pose Landmarker.

The archive has MediaPipe's pose detector and a landmark model: normalisation, the model file of a LiteRT bundle as it
is, and the float end of `quantize.task_tail`. MediaPipe identifies the five outputs by their position.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from quantize import task_graph
from quantize.sdk.edgepose_decoder import REGION_SCALE
from quantize.task_tail import AUXILIARY, HEATMAP_SIDE, LANDMARKS, MASK_SIDE, NEVER
from quantize.tflite_metadata import ImageInput, OutputText, add_metadata, image_metadata, read_model, write_model

DETECTOR, LANDMARK_MODEL = "pose_detector.tflite", "pose_landmarks_detector.tflite"
DETECTOR_SIZE = 224  # px
OUTPUTS = (
    OutputText("landmarks", "39 times x, y, z in px of the image, visibility and presence as logits"),
    OutputText("presence", "probability that the image shows a person"),
    OutputText("mask", "no mask"),
    OutputText("heatmap", "no heatmap"),
    OutputText("world_landmarks", "39 times x, y, z in m from the hips' centre"),
)
DETECTOR_OUTPUTS = (OutputText("boxes", "12 values of each anchor"), OutputText("scores", "logit of each anchor"))
ALIGNMENT = 16  # bytes, of the files in the archive, which MediaPipe maps into memory
FILE_HEADER, EXTRA_FIELD = 30 + 4, 0xD935  # bytes before a name and its padding; Android's field for padding


def landmark_model(
    model: Path, tail: Path, mean: Sequence[float], std: Sequence[float], description: str, licence: str
) -> bytes:
    """Return the landmark model of a .task file.

    model: of a LiteRT bundle; tail: made by `task_tail.export` for it; mean, std: of the bundle's input
    """
    graph = task_graph.normalise_input(read_model(model.read_bytes()), mean, std)
    return _landmark_model(task_graph.joined(graph, read_model(tail.read_bytes())), description, licence)


def region_model(size: int) -> bytes:
    """Return a landmark model that finds a person in every region and shows where the region is.

    Landmarks 0, 1 and 2 are the upper left, upper right and lower left corner. The next region is the same.
    """
    landmarks = np.full((LANDMARKS + AUXILIARY, 5), -NEVER, np.float32)
    landmarks[:, :3] = 0
    landmarks[1, 0] = landmarks[2, 1] = size
    landmarks[LANDMARKS:, :2] = size / 2
    landmarks[LANDMARKS + 1, 1] -= size / REGION_SCALE
    outputs = [
        landmarks.reshape(1, -1),
        np.ones((1, 1), np.float32),
        np.full((1, MASK_SIDE, MASK_SIDE, 1), NEVER, np.float32),
        np.full((1, HEATMAP_SIDE, HEATMAP_SIDE, LANDMARKS + AUXILIARY), NEVER, np.float32),
        np.zeros((1, (LANDMARKS + AUXILIARY) * 3), np.float32),
    ]
    return _landmark_model(task_graph.constant_model((1, size, size, 3), outputs), "corners of the region", "")


def _landmark_model(model: Any, description: str, licence: str) -> bytes:
    task_graph.name_signature(model, ("image",), [output.name for output in OUTPUTS])
    (graph,) = model.subgraphs
    size = int(graph.tensors[graph.inputs[0]].shape[1])
    image = ImageInput("image", "square of a person, RGB", size, (0.0,), (255.0,), (0.0,), (1.0,))
    return add_metadata(write_model(model), image_metadata("edgepose", description, image, OUTPUTS, licence))


def archive(detector: bytes, landmarks: bytes) -> bytes:
    """Return the content of a .task file. detector: BlazePose's detector

    The files are neither compressed nor dated, so that MediaPipe can map them and equal models give equal archives.
    """
    image = ImageInput("image", "image, RGB", DETECTOR_SIZE, (127.5,), (127.5,), (-1.0,), (1.0,))
    description = "pose detector of MediaPipe (Apache-2.0)"
    found = add_metadata(detector, image_metadata("pose detector", description, image, DETECTOR_OUTPUTS))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as file:
        for name, data in ((DETECTOR, found), (LANDMARK_MODEL, landmarks)):
            entry = zipfile.ZipInfo(name)
            padding = -(content.tell() + FILE_HEADER + len(name)) % ALIGNMENT
            entry.extra = struct.pack("<HH", EXTRA_FIELD, padding) + bytes(padding)
            file.writestr(entry, data)
    return content.getvalue()
