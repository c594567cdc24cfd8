"""Calibrations: every file format describes the same cameras, and faults are named in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from arch.errors import InputError
from explore.data.label.calibration import match_videos, read_calibration
from tests.helpers.views import project, ring_of_cameras

WORLD = np.array([[0.0, 0.0, 0.0], [300.0, -200.0, 900.0], [-400.0, 100.0, 1500.0]])


@pytest.fixture
def cameras():
    return ring_of_cameras(3)


def assert_same(found, expected, scale=1.0):
    assert [camera.name for camera in found] == [camera.name for camera in expected]
    for one, other in zip(found, expected, strict=True):
        moved = replace(one, translation=one.translation * scale)
        assert np.allclose(project(moved, WORLD), project(other, WORLD), atol=1e-3)


def qualisys(cameras) -> str:
    lines = []
    for camera in cameras:
        matrix = np.diag([1.0, -1.0, -1.0]) @ camera.rotation
        position = -camera.rotation.T @ camera.translation
        width, height = camera.size
        turn = (
            " ".join(f'r{a + 1}{b + 1}="{matrix[a, b]!r}"' for a in range(3) for b in range(3))
            .replace("np.float64(", "")
            .replace(")", "")
        )
        k1, k2, p1, p2 = camera.distortion
        lines.append(
            f'<camera serial="{camera.name}"><fov_video bottom="{height + 9}" left="20" right="{width + 19}" top="10"/>'
            f'<transform {turn} x="{position[0]}" y="{position[1]}" z="{position[2]}"/>'
            f'<intrinsic focalLengthU="{camera.f[0] * 64}" focalLengthV="{camera.f[1] * 64}" '
            f'centerPointU="{(camera.c[0] + 20) * 64}" centerPointV="{(camera.c[1] + 10) * 64}" radialDistortion1="{k1}" '
            f'radialDistortion2="{k2}" tangentalDistortion1="{p1}" tangentalDistortion2="{p2}"/></camera>'
        )
    return f"<calibration><cameras>{''.join(lines)}</cameras></calibration>"


def toml(cameras) -> str:
    tables = [
        f'[cam_{index}]\nname = "{camera.name}"\nsize = {[float(side) for side in camera.size]}\n'
        f"matrix = {camera.matrix.tolist()}\ndistortions = {camera.distortion.tolist()}\n"
        f"rotation = {cv2.Rodrigues(camera.rotation)[0].ravel().tolist()}\n"
        f"translation = {(camera.translation / 1000).tolist()}\nfisheye = false\n"
        for index, camera in enumerate(cameras)
    ]
    return "\n".join(tables) + "\n[metadata]\nadjusted = false\nerror = 0.0\n"


def test_qualisys(tmp_path, cameras):
    path = tmp_path / "Calib.qca.txt"
    path.write_text(qualisys(cameras))
    found = read_calibration(path)
    assert_same(found, cameras)
    assert found[0].size == cameras[0].size and found[0].unit_mm == 1.0


def test_pose2sim_in_metres(tmp_path, cameras):
    path = tmp_path / "Calib.toml"
    path.write_text(toml(cameras))
    found = read_calibration(path)
    assert_same(found, cameras, 1000)
    assert found[0].size == cameras[0].size and found[0].unit_mm is None


def test_opencv_multiview(tmp_path, cameras):
    storage = cv2.FileStorage(str(tmp_path / "views.yaml"), cv2.FILE_STORAGE_WRITE)
    storage.write("Ks", np.array([camera.matrix for camera in cameras]))
    storage.write("distortions", np.array([camera.distortion for camera in cameras]))
    storage.write("rvecs", np.array([cv2.Rodrigues(camera.rotation)[0] for camera in cameras]))
    storage.write("Ts", np.array([camera.translation[:, None] for camera in cameras]))
    storage.write("image_sizes", np.array([camera.size for camera in cameras]))
    storage.write("is_fisheye", np.zeros(len(cameras), int))
    storage.write("cam_ids", ",".join(camera.name for camera in cameras))
    storage.release()
    found = read_calibration(tmp_path / "views.yaml")
    assert_same(found, cameras)
    assert found[1].size == cameras[1].size


def test_opencv_folder_of_one_file_per_camera(tmp_path, cameras):
    for camera in cameras:
        storage = cv2.FileStorage(str(tmp_path / f"{camera.name}.yml"), cv2.FILE_STORAGE_WRITE)
        storage.write("image_width", camera.size[0])
        storage.write("image_height", camera.size[1])
        storage.write("camera_matrix", camera.matrix)
        storage.write("distortion_coefficients", camera.distortion)
        storage.write("R", camera.rotation)
        storage.write("T", camera.translation)
        storage.release()
    found = read_calibration(tmp_path)
    assert_same(found, cameras)
    assert found[0].size == cameras[0].size


def test_easymocap_folder(tmp_path, cameras):
    files = {
        name: cv2.FileStorage(str(tmp_path / f"{name}.yml"), cv2.FILE_STORAGE_WRITE) for name in ("intri", "extri")
    }
    for storage in files.values():
        storage.write("names", [camera.name for camera in cameras])
    for camera in cameras:
        files["intri"].write(f"K_{camera.name}", camera.matrix)
        files["intri"].write(f"dist_{camera.name}", camera.distortion)
        files["extri"].write(f"R_{camera.name}", cv2.Rodrigues(camera.rotation)[0])
        files["extri"].write(f"Rot_{camera.name}", camera.rotation)
        files["extri"].write(f"T_{camera.name}", camera.translation[:, None])
    for storage in files.values():
        storage.release()
    assert_same(read_calibration(tmp_path), cameras)


def test_plain_json_of_one_map_per_camera(tmp_path, cameras):
    path = tmp_path / "views.json"
    keys = {"camera_matrix": "matrix", "distortion_coefficients": "distortion", "R": "rotation", "T": "translation"}
    path.write_text(json.dumps({c.name: {key: getattr(c, own).tolist() for key, own in keys.items()} for c in cameras}))
    assert_same(read_calibration(path), cameras)


POSE = "matrix = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]\nrotation = [0, 0, 0]\ntranslation = [0, 0, 0]"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "[cam]\nmatrix = [[1", "not valid TOML"),
        ("a.toml", "[cam]\nmatrix = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]", "no rotation or R or rvec or Rot"),
        ("a.toml", "[cam]\nmatrix = [1, 0]\nrotation = [0, 0, 0]", "matrix: not 9 finite numbers"),
        ("a.toml", "[cam]\nmatrix = [1]\nfisheye = true", "a fisheye lens; undistort"),
        ("a.toml", f"[cam]\nsize = 1280\n{POSE}", "size: not 2 finite numbers"),
        ("a.toml", f"[cam]\nimage_width = 1280\n{POSE}", "size: not 2 finite numbers"),
        ("a.toml", f"[cam]\nsize = [0, 0]\n{POSE}", "size: 0 x 0 px; export the calibration again"),
        ("a.toml", "title = 'x'", "0 cameras in it; triangulation needs at least two"),
        ("a.qca.txt", "cam01 1 2 3", "not Qualisys' XML"),
        ("a.qca.txt", "<c><cameras><camera serial='a'/></cameras></c>", "camera a: fov_video left: not a number"),
        ("a.yml", "%YAML:1.0\n---\nK: [1, 2", "cannot be read"),
        ("a.yml", "hello", "no keys in it"),
        ("a.csv", "", "unknown kind of file"),
    ],
)  # fmt: skip
def test_faults_of_files(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_calibration(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_calibration(tmp_path / "a.toml")


def test_resized_video(cameras):
    camera = cameras[0]
    width, height = camera.size
    half = camera.scaled_to(width // 2, height // 2)
    assert np.allclose(project(half, WORLD), project(camera, WORLD) / 2)
    with pytest.raises(ValueError, match=f"calibrated for {width} x {height} px"):
        camera.scaled_to(height, width)


def test_undistort_is_the_inverse_of_the_lens(cameras):
    camera = cameras[0]
    cam = camera.to_camera(WORLD)
    assert np.allclose(camera.undistort(project(camera, WORLD)), cam[:, :2] / cam[:, 2:], atol=1e-5)


def matched(cameras, *names):
    return [camera.name for camera in match_videos(cameras, [Path(name) for name in names], Path("c.toml"))]


def test_videos_are_matched_by_name_else_by_order(cameras):
    assert matched(cameras, "walk_cam2.mp4", "walk_cam0.mp4") == ["cam2", "cam0"]
    assert matched(cameras, "CAM1.MP4", "cam0.mp4", "cam2.mp4") == ["cam1", "cam0", "cam2"]
    assert matched(cameras, "a.mp4", "b.mp4", "c.mp4") == ["cam0", "cam1", "cam2"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("cam0.mp4",), "1 videos, but the calibration has 3 cameras"),
        (("a.mp4", "b.mp4", "c.mp4", "d.mp4"), "4 videos, but the calibration has 3 cameras"),
        (("a.mp4", "b.mp4"), r"a.mp4: none of the cameras cam0, cam1, cam2 has this name"),
        (("cam0.mp4", "cam10.mp4"), "cam10.mp4: none of the cameras"),
        (("cam0.mp4", "old-cam0.mp4"), "camera cam0: two videos have its name"),
    ],
)
def test_videos_of_other_cameras(cameras, names, message):
    with pytest.raises(InputError, match=message):
        matched(cameras, *names)
