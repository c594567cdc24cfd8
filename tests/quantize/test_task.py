"""The parts of a .task file: decode of every head, limits of the next region, joined graphs, archive."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter

from arch.decode import DEPTH_RANGE_MM, decode_with_confidence, to_normalised
from arch.heads import HEADS
from arch.space import Arch, preset
from explore.data.skeleton import BLAZEPOSE33, H36M18, Skeleton
from explore.export.task_body import body_of, landmarks_of
from quantize import task, task_graph
from quantize.confidence import Confidence
from quantize.scale import fit_scale
from quantize.sdk.edgepose_decoder import REGION_SCALE
from quantize.task_tail import GROWTH, NEVER, Body, Tail
from quantize.tflite_metadata import read_model, write_model
from tests.helpers.tflite import read_metadata

SIZE = 64


def arch_of(head: str, skeleton: Skeleton) -> Arch:
    return preset("paper-XS-relu@64").replace(head=head, num_joints=len(skeleton))


def raw_output(arch: Arch, seed: int, contrast: float = 4.0) -> np.ndarray:
    """Return a raw output with a few clear maxima, without a scale of its depths."""
    shape = HEADS[arch.head].raw_shape(arch.head_spec)
    raw = np.random.default_rng(seed).normal(size=(1, *shape)).astype(np.float32) * contrast
    if arch.head == "heatmap-2.5d":
        raw[:, arch.num_joints :] *= 0.1
    return raw


def run(tail: Tail, raw: np.ndarray) -> list[np.ndarray]:
    with torch.no_grad():
        return [output.numpy() for output in tail(torch.from_numpy(raw))]


@pytest.mark.parametrize("skeleton", [H36M18, BLAZEPOSE33], ids=lambda skeleton: skeleton.name)
@pytest.mark.parametrize("head", list(HEADS))
def test_landmarks_are_those_of_the_decode(head: str, skeleton: Skeleton) -> None:
    arch, body = arch_of(head, skeleton), body_of(skeleton)
    raw = raw_output(arch, 0)
    coordinates, confidence = decode_with_confidence(raw, arch)
    px, depths = landmarks_of(to_normalised(coordinates, arch), body, SIZE)
    landmarks, presence, mask, heatmap, world = run(Tail(arch, body, 1.0), raw)
    assert [output.shape for output in (landmarks, presence, mask, heatmap, world)] == [
        (1, 195), (1, 1), (1, 8, 8, 1), (1, 2, 2, 39), (1, 117),
    ]  # fmt: skip
    points = landmarks.reshape(39, 5)
    assert np.abs(points[:33, :2] - px[0]).max() < 2e-3
    assert np.abs(1000 * world.reshape(39, 3)[:33, 2] - depths[0]).max() < 0.05
    assert (mask == NEVER).all() and (heatmap == NEVER).all() and 0 <= presence <= 1
    logits = np.log(confidence[0] + 1e-6) * 2.0 + 8.0
    weights = np.abs(np.array(body.landmarks))
    expected = np.where(body.derived, weights / weights.sum(1, keepdims=True) @ logits, NEVER)
    assert np.abs(points[:33, 3] - expected).max() < 1e-3


def test_world_landmarks_use_the_fitted_scale_and_confidence() -> None:
    """x and y in metres follow from `quantize.scale`, presence and visibility from `quantize.confidence`."""
    arch, rng = arch_of("heatmap-2.5d", H36M18), np.random.default_rng(0)
    people = rng.uniform(0.2, 0.8, (50, 18, 3)).astype(np.float32)
    scale = fit_scale(people, rng.uniform(1500, 3000, 50), H36M18.edges, DEPTH_RANGE_MM)
    calibration = Confidence(presence=(1.5, 2.0), visibility=tuple((1 + joint / 18, 1.0) for joint in range(18)))
    body = body_of(H36M18, None, calibration, scale)
    raw = raw_output(arch, 3)
    coordinates, confidence = decode_with_confidence(raw, arch)
    joints = to_normalised(coordinates, arch)
    metres = scale.mm_per_side(joints, DEPTH_RANGE_MM)[0] / 1000
    landmarks, presence, _, _, world = run(Tail(arch, body, 1.0), raw)
    points = np.array(body.landmarks) @ joints[0]
    expected = (points - joints[0, list(body.hips)].mean(0))[:, :2] * metres
    assert np.abs(world.reshape(39, 3)[:33, :2] - expected).max() < 1e-4
    assert presence[0, 0] == pytest.approx(float(calibration.presence_of(confidence)[0]), abs=1e-5)
    shown = 1 / (1 + np.exp(-landmarks.reshape(39, 5)[:33, 3]))
    nose = H36M18.index("Nose")  # a landmark that is a joint, up to small weights of others
    assert shown[0] == pytest.approx(float(calibration.visibility_of(confidence)[0, nose]), abs=0.05)


def test_depth_scale_is_undone() -> None:
    arch, body = arch_of("heatmap-2.5d", H36M18), body_of(H36M18)
    raw = raw_output(arch, 1)
    scaled = raw.copy()
    scaled[:, arch.num_joints :] *= 16
    for one, other in zip(run(Tail(arch, body, 1.0), raw), run(Tail(arch, body, 16.0), scaled), strict=True):
        assert np.abs(one - other).max() < 1e-3


def peaked(arch: Arch, cells: np.ndarray) -> np.ndarray:
    """Return a raw output whose joints (J, 2) are at the centres of cells, x and y."""
    raw = np.full((1, 2 * arch.num_joints, arch.heatmap_size, arch.heatmap_size), -40, np.float32)
    raw[:, arch.num_joints :] = 0
    raw[0, np.arange(arch.num_joints), cells[:, 1], cells[:, 0]] = 40
    return raw


def region(body: Body, arch: Arch, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return centre, direction (2,) and side, as a fraction of the crop's, of the next region."""
    points = run(Tail(arch, body, 1.0), peaked(arch, cells))[0].reshape(39, 5)
    towards = points[34, :2] - points[33, :2]
    length = float(np.linalg.norm(towards))
    return points[33, :2] / SIZE, towards / length, REGION_SCALE * length / SIZE


def test_next_region_has_a_limited_side_and_a_direction() -> None:
    arch, body = arch_of("heatmap-2.5d", H36M18), body_of(H36M18)
    side, count = arch.heatmap_size, len(H36M18)
    centre, towards, size = region(body, arch, np.full((count, 2), side // 2))  # all joints in one point
    assert np.allclose(centre, 0.5, atol=1 / side) and np.allclose(towards, (0, -1), atol=1e-3)
    assert size == pytest.approx(GROWTH[0], rel=1e-3)
    corners = np.full((count, 2), side - 1)  # hips in one corner, everything else in the opposite one
    corners[list(body.hips)] = 0
    _, towards, size = region(body, arch, corners)
    assert size == pytest.approx(GROWTH[1], rel=1e-3) and np.allclose(towards, 0.5**0.5, atol=0.01)
    lying = np.full((count, 2), side // 2)
    lying[list(body.hips), 0] -= 2
    lying[list(body.shoulders), 0] += 3
    assert np.allclose(region(body, arch, lying)[1], (1, 0), atol=0.01)


def test_region_follows_the_training_region() -> None:
    """A person who fills the region of training has a next region of the same size."""
    arch, body = arch_of("heatmap-2.5d", H36M18), body_of(H36M18)
    side = arch.heatmap_size
    cells = np.full((len(H36M18), 2), side // 2)
    far = round(side / REGION_SCALE / body.radius)
    cells[H36M18.index("R_Ankle"), 1] += far
    assert region(body, arch, cells)[2] == pytest.approx(REGION_SCALE * body.radius * far / side, rel=1e-3)
    assert region(body, arch, cells)[2] == pytest.approx(1, abs=0.1)


def test_normalised_and_joined_models_compute_the_same() -> None:
    first = task_graph.constant_model((1, 4, 4, 3), [np.arange(6, dtype=np.float32).reshape(1, 6)])
    second = task_graph.normalise_input(_doubling(), (0.5, 0.25, 0.0), (0.5, 0.5, 2.0))
    image = np.random.default_rng(0).random((1, 2, 2, 3), np.float32)
    expected = 2 * (image - [0.5, 0.25, 0.0]) / [0.5, 0.5, 2.0]
    assert np.allclose(_run(write_model(second), image), expected, atol=1e-6)
    both = task_graph.joined(read_model(write_model(second)), read_model(write_model(_doubling())))
    assert np.allclose(_run(write_model(both), image), 2 * expected, atol=1e-6)
    with pytest.raises(ValueError, match=r"ends with \[1, 6\], but the next one takes \[1, 2, 2, 3\]"):
        task_graph.joined(first, _doubling())


def _doubling() -> object:
    model = task_graph.constant_model((1, 2, 2, 3), [])
    (graph,) = model.subgraphs
    result = task_graph.add_tensor(model, "doubled", [1, 2, 2, 3])
    graph.operators = [task_graph.operator(model, "ADD", [graph.inputs[0], graph.inputs[0]], result)]
    graph.outputs = [result]
    return model


def _run(model: bytes, image: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    found: np.ndarray = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return found


def test_archive_is_stored_aligned_and_reproducible(tmp_path: Path) -> None:
    detector = write_model(task_graph.constant_model((1, 224, 224, 3), [np.zeros((1, 5), np.float32)]))
    content = task.archive(detector, task.region_model(SIZE))
    assert content == task.archive(detector, task.region_model(SIZE))
    path = tmp_path / "a.task"
    path.write_bytes(content)
    with zipfile.ZipFile(path) as file:
        for entry in file.infolist():
            assert entry.compress_type == zipfile.ZIP_STORED
            model = file.read(entry)
            assert content.index(model) % 16 == 0 and read_metadata(model)
        found = file.read(task.LANDMARK_MODEL)
    landmarks = _run(found, np.zeros((1, SIZE, SIZE, 3), np.float32)).reshape(39, 5)
    assert landmarks[:3, :2].tolist() == [[0, 0], [SIZE, 0], [0, SIZE]]


def test_an_uncertain_region_does_not_grow() -> None:
    """The limit of growth falls with presence, so that backgrounds do not enlarge the region frame by frame."""
    arch = arch_of("heatmap-2.5d", H36M18)
    body = body_of(H36M18, None, Confidence(presence=(0.0, 0.0), visibility=((1.0, 0.0),) * 18))  # always 0.5
    corners = np.full((len(H36M18), 2), arch.heatmap_size - 1)
    corners[list(body.hips)] = 0
    assert region(body, arch, corners)[2] == pytest.approx(1.0, rel=1e-3)
