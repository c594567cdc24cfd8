"""Benchmark `real`: the truth of a view comes from the other views, and known predictions have known errors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from arch.errors import InputError
from benchmarks import real, real_networks, real_sources
from benchmarks.real_options import RealOptions
from explore.data import Human36MOptions, open_dataset
from explore.data.framing import region_of_circle
from explore.data.label.annotations import write_annotations
from explore.data.label.fetch import MODELS
from explore.data.label.mapping import joint_map
from explore.data.readers import custom
from explore.data.sample import Sample
from explore.data.skeleton import H36M18
from explore.host import default_cache
from explore.measure.latency import Disturbed
from explore.predict.boxes import Box
from explore.predict.camera import Camera
from explore.predict.pipeline import predict_people
from tests.explore.data.label.test_views import journal, views_of, walking
from tests.helpers import layouts
from tests.helpers.views import ring_of_cameras

JOINTS = joint_map(H36M18, "")
RECORDING = layouts.REAL_DATA / "pose2sim" / "MultiPerson"
TEACHER = default_cache() / "teachers" / MODELS[real_sources.TRUTH_TEACHER].name
QUICK = real_networks.RULES.model_copy(update={"rounds": 3, "calls": 3, "max_seconds": 0.2})


@dataclass(frozen=True)
class Known:
    """A network whose joints are off by `offset` mm in depth and `px` px, except for the root."""

    name: str = "known"
    ours: bool = True
    offset: float = 40.0
    px: float = 10.0

    def predict(self, image: np.ndarray, sample: Sample) -> real_networks.Joints:
        cam, px = sample.joints_cam.copy(), sample.joints_img[:, :2].copy()
        moved = np.arange(len(H36M18)) != H36M18.root
        cam[moved, 2] += self.offset
        px[moved, 0] += self.px
        return px, cam

    def call(self):
        return lambda: sum(range(2000))


@pytest.fixture
def source(tmp_path):
    layouts.human36m(tmp_path / "set", 8)
    data = open_dataset(f"human36m:{tmp_path / 'set'}", "train", Human36MOptions(train_subjects=(1,), train_step=1))
    return real_sources.Source("Human3.6M", data)


def test_errors_of_a_known_network(source):
    (result,) = real.evaluate(source, [Known()])
    assert np.allclose(result.error_mm, 40 * 16 / 17)
    sides = source.data.bbox[:, 2:].max(1)
    assert np.allclose(result.error_2d, 100 * 10 * 16 / 17 / sides)
    assert np.allclose(result.pck, 1.0) and result.pa_mm.max() < 40
    (far,) = real.evaluate(source, [Known(offset=160.0)])
    assert np.allclose(far.pck, 0.0)


def test_rows_claims_and_page(source, monkeypatch, tmp_path):
    monkeypatch.setattr(real, "SHEET", tmp_path / "real.png")
    monkeypatch.setattr(real, "cache_folder", lambda: tmp_path / "cache")
    mean = real_networks.MeanPose(np.zeros((18, 3)))
    lite = Known("blazepose-lite", False, 10.0, 1.0)
    networks = [mean, lite, Known()]
    results = real.evaluate(source, networks)
    timings = real_networks.latencies(networks, QUICK)
    rows = [real._row(result, timings) for result in results]
    assert [row["network"] for row in rows] == [mean.name, "blazepose-lite", "known"]
    assert rows[2]["mpjpe_mm"] == pytest.approx(37.6, abs=0.1) and "latency_ms" not in rows[0]
    assert rows[2]["mpjpe_low_mm"] <= rows[2]["mpjpe_mm"] <= rows[2]["mpjpe_high_mm"]
    claims = {claim.name: claim for claim in real.claims_of(results, timings)}
    assert claims["known: MPJPE on Human3.6M, mm"].passed
    assert claims["known: MPJPE on Human3.6M relative to the mean pose"].passed
    assert not real.claims_of(real.evaluate(source, [mean, lite, Known(offset=400)]), timings)[0].passed
    assert "known: latency relative to blazepose-lite" in claims
    text = real.markdown(rows, list(claims.values()))
    assert "| known | 37.6 |" in text and "no accuracy" not in text

    real.write_sheets(results)
    sheet = cv2.imread(str(tmp_path / "cache" / "real.png"))
    assert sheet is not None and not (tmp_path / "real.png").exists()  # the images of this source are not public
    real.write_sheets([replace(result, source=replace(source, public=True)) for result in results])
    assert (tmp_path / "real.png").exists()


def test_agreement_with_a_teacher_is_no_accuracy(source):
    photos = replace(source, name=real.AGREEMENT.format(teacher="blazepose-full"))
    mean = real_networks.MeanPose(np.zeros((18, 3)))
    results = real.evaluate(photos, [mean, Known()])
    claims = real.claims_of(results, {})
    assert [claim.name for claim in claims] == ["known: photos, agreement with blazepose-full, mm"]
    assert "This is no accuracy" in real.markdown([real._row(result, {}) for result in results], claims)


def test_the_truth_of_a_view_is_triangulated_from_the_others(tmp_path):
    cameras = ring_of_cameras(4)
    shots = journal(cameras, [walking], noise_px=1.0)
    clean = real_sources.leave_one_out(shots, views_of(cameras), JOINTS)
    for shot in shots[3:7]:  # of the first camera: what the network sees there must not matter there
        for joint in shot.people[0].joints:
            joint[0] += 25
    people = real_sources.leave_one_out(shots, views_of(cameras), JOINTS)
    assert len(clean) == 48 and [person.image for person in people[:12]] == [person.image for person in clean[:12]]
    for one, other in zip(clean[:12], people[:12], strict=True):
        assert np.array_equal(one.cam, other.cam)
    assert np.linalg.norm(people[5].cam - cameras[0].to_camera(walking(50)), axis=1).max() < 15
    # a set in which each moment is one unit of the intervals
    for person in clean:
        path = tmp_path / "images" / person.image
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    write_annotations(tmp_path, H36M18, clean, 1.0)
    data = custom.load(tmp_path, "test")
    assert len(data) == 48 and real.independent_units(data).count == 12


def test_three_cameras_leave_too_few_views():
    cameras = ring_of_cameras(3)
    assert real_sources.leave_one_out(journal(cameras, [walking]), views_of(cameras), JOINTS) == []


def test_a_busy_machine_is_marked(monkeypatch):
    def disturbed(*arguments):
        raise Disturbed("busy")

    monkeypatch.setattr(real_networks, "measure", disturbed)
    assert real_networks.latencies([Known()], QUICK)["known"].busy


def test_bundles_with_framing_roi_take_the_first_region_of_the_detector(source):
    class Sideways:
        def circle(self, image, bbox):
            hips = bbox[:2] + bbox[2:] / 2
            return hips, hips + np.array([0.53 * max(bbox[2:]), 0])

    sample = source.data[0]
    image = np.random.default_rng(0).integers(0, 255, (sample.size[1], sample.size[0], 3), np.uint8)
    found = real_networks.BundleNetwork(Path("results/real-128/litert"), Sideways())
    camera, box = Camera(sample.f, sample.c, "given", "given"), Box(1, sample.bbox, float(sample.root_depth))
    region = region_of_circle(*Sideways().circle(image, sample.bbox))
    (person,) = predict_people(found._model, image, [box], camera, find=lambda image, bbox: region)
    (upright,) = predict_people(found._model, image, [box], camera)
    px, _ = found.predict(image, sample)
    assert np.allclose(px, found._matrix @ person.px) and not np.allclose(px, found._matrix @ upright.px, atol=1)


def test_folders_and_bundles(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEPOSE_HUMAN36M", "/data/h36m")
    assert RealOptions().folder("human36m") == Path("/data/h36m")
    assert RealOptions(human36m="mine").folder("human36m") == Path("mine") and RealOptions().folder("photos") is None
    for name in ("reference/bundles/abc/litert", "reference/bundles/abc/openvino", "real-128/litert"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "manifest.json").touch()
    found = real_networks.stored_bundles(tmp_path)
    assert [real_networks._name(path) for path in found] == ["real-128", "abc"]
    with pytest.raises(InputError, match="no SinglePerson/Calib"):
        real_sources.pose2sim(tmp_path, 5, lambda share: None)
    with pytest.raises(InputError, match=r"no report\.json; give a set made by data label"):
        real._teacher_of(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not RECORDING.is_dir(), reason=f"no recording at {RECORDING}")
@pytest.mark.skipif(not TEACHER.is_file(), reason=f"no teacher at {TEACHER}; benchmark real fetches it")
def test_short_tracks_of_two_people_are_not_taken_for_shifted_videos() -> None:
    assert len(real_sources.recording(RECORDING, "MultiPerson", every=3)) > 100
