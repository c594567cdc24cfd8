"""Labels from several views: true 3D in each camera, from what a teacher saw in each video."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arch.errors import InputError
from explore.data.framing import Region
from explore.data.label.config import LabelFilters
from explore.data.label.journal import COLUMNS, PersonRecord, ShotRecord
from explore.data.label.mapping import joint_map
from explore.data.label.shot import Shot
from explore.data.label.views import VideoFacts, Views, check_images, filter_views, open_views, undistorted
from explore.data.skeleton import H36M18
from tests.helpers.views import observe, project, ring_of_cameras

JOINTS = joint_map(H36M18, "")
STANDING = np.array(
    [[0, 0, 950], [-120, 0, 940], [-130, 20, 520], [-130, 0, 90], [120, 0, 940], [130, 20, 520], [130, 0, 90],
     [0, 0, 1200], [0, 0, 1480], [0, 90, 1580], [0, 0, 1720], [180, 0, 1440], [230, 30, 1150], [240, 120, 920],
     [-180, 0, 1440], [-230, 30, 1150], [-240, 120, 920], [0, 0, 1440]], float,
)  # fmt: skip


def views_of(cameras, fps=30.0):
    videos = [VideoFacts(Path(f"{c.name}.mp4"), f"{index:064x}", *c.size, fps) for index, c in enumerate(cameras)]
    return Views(Path("calib.toml"), tuple(videos), tuple(cameras))


def journal(cameras, people, frames=12, scale=0.5, noise_px=1.0, shift_of=None):
    """Return what a teacher would write: `people` are functions from the time in frames to joints (18, 3)."""
    rng = np.random.default_rng(0)
    flat = [replace(camera, distortion=np.zeros(4)) for camera in cameras]
    shots = []
    for view, camera in enumerate(flat):
        for frame in range(0, 10 * frames, 10):
            time = frame - (shift_of or {}).get(view, 0)
            records = []
            for number, person in enumerate(people, 1):
                px = observe([camera], person(time), rng, noise_px)[0].px
                table = np.zeros((len(H36M18), COLUMNS))
                table[:, :2], table[:, 6] = px * scale, 0.9
                table[:, 2:6] = 1e4  # depths of the teacher, which must not matter
                records.append(PersonRecord(number=number, presence=0.99, joints=table.tolist()))
            width, height = (round(side * scale) for side in camera.size)
            shots.append(
                ShotRecord(
                    key=f"{view:064x}#{frame}", source=f"{camera.name}.mp4", image=f"views/{frame:06}-{camera.name}.jpg",
                    unit=7, width=width, height=height, scale=scale, focal=float(camera.f[0] * scale), people=records,
                )
            )  # fmt: skip
    return shots


def walking(time):
    return STANDING + np.array([4.0 * time - 200, 100 * np.sin(time / 9), 0])


def kept(filtered):
    return [one.person for one in filtered if not one.reason]


@pytest.mark.parametrize("unit", [1.0, 1000.0])
def test_labels_are_the_true_joints_in_each_camera(unit):
    cameras = ring_of_cameras(4)
    given = [replace(c, translation=c.translation / unit, unit_mm=None) for c in cameras]
    found = kept(filter_views(journal(cameras, [walking]), views_of(given), JOINTS, LabelFilters()))
    assert len(found) == 48
    for index, person in enumerate(found):
        view, frame = divmod(index, 12)
        true = cameras[view].to_camera(walking(10 * frame))
        assert np.linalg.norm(person.cam - true, axis=1).max() < 12
        flat = replace(cameras[view], distortion=np.zeros(4))
        px = person.cam[:, :2] / person.cam[:, 2:] * person.f + person.c
        assert np.allclose(px, project(flat, walking(10 * frame)) / 2, atol=3)
        assert person.depth_weight == 1 and (person.vis > 0.8).all()
        assert person.extra["views"] == [4] * 18 and 0 < np.mean(person.extra["reprojection_px"]) < 2


def test_two_views_are_enough_and_weigh_less():
    cameras = ring_of_cameras(3)[:2]
    found = kept(filter_views(journal(cameras, [walking]), views_of(cameras), JOINTS, LabelFilters()))
    assert len(found) == 24 and all((person.vis <= 0.5).all() and (person.vis > 0.3).all() for person in found)


def test_two_people_and_one_whom_a_single_camera_shows():
    cameras = ring_of_cameras(4)
    shots = journal(cameras, [walking, lambda time: walking(time) + np.array([0, 900, 0])], noise_px=2.0)
    other = journal(cameras[:1], [lambda time: STANDING + np.array([-600, -600, 0])])
    first = {shot.key: shot for shot in other}
    shots = [
        shot.model_copy(update={"people": [*shot.people, first[shot.key].people[0].model_copy(update={"number": 9})]})
        if shot.key in first else shot
        for shot in shots
    ]  # fmt: skip
    filtered = filter_views(shots, views_of(cameras), JOINTS, LabelFilters())
    assert len(kept(filtered)) == 2 * 4 * 12 and sum(one.reason == "alone" for one in filtered) == 12


def test_a_hidden_limb_is_seen_by_the_other_views():
    cameras = ring_of_cameras(4)
    shots = journal(cameras, [walking])
    wrist = H36M18.index("R_Wrist")
    for shot in shots[:12]:  # the first camera
        shot.people[0].joints[wrist][0] += 60
    found = kept(filter_views(shots, views_of(cameras), JOINTS, LabelFilters()))[0]
    assert np.linalg.norm(found.cam[wrist] - cameras[0].to_camera(walking(0))[wrist]) < 15
    assert found.extra["views"][wrist] == 3 and found.extra["reprojection_px"][wrist] > 50


def test_a_view_in_which_the_teacher_confuses_the_sides():
    cameras = ring_of_cameras(3)
    shots = journal(cameras, [walking])
    for shot in shots[3:6]:  # of the first camera
        shot.people[0].joints[:] = [shot.people[0].joints[joint] for joint in H36M18.flip_order]
    found = kept(filter_views(shots, views_of(cameras), JOINTS, LabelFilters()))
    assert len(found) == 36 and found[4].extra["views"] == [3] * 18
    assert np.linalg.norm(found[4].cam - cameras[0].to_camera(walking(40)), axis=1).max() < 12


def test_a_joint_that_one_view_shows_is_left_out_without_its_person():
    cameras = ring_of_cameras(3)
    shots = journal(cameras, [walking])
    wrist = H36M18.index("R_Wrist")
    for shot in shots[12:]:  # all but the first camera
        shot.people[0].joints[wrist][6] = 0.0
    found = kept(filter_views(shots, views_of(cameras), JOINTS, LabelFilters()))
    assert len(found) == 36 and all(person.vis[wrist] == 0 and np.isnan(person.cam[wrist]).all() for person in found)


def test_shifted_videos_are_refused():
    cameras = ring_of_cameras(3)
    with pytest.raises(
        InputError,
        match=r"--views calib.toml: the videos are not synchronised: cam1.mp4 shows [^,]* 2[4-6] frames later than",
    ):
        filter_views(journal(cameras, [walking], 30, shift_of={1: 25}), views_of(cameras), JOINTS, LabelFilters())


def test_a_set_of_other_videos_is_refused():
    cameras = ring_of_cameras(2)
    shots = journal(ring_of_cameras(3), [walking])
    with pytest.raises(InputError, match="images of other inputs"):
        filter_views(shots, views_of(cameras), JOINTS, LabelFilters())


def test_videos_of_another_size_or_rate_are_refused(tmp_path):
    from tests.explore.data.label.test_calibration import toml

    cameras = ring_of_cameras(2)
    path = tmp_path / "c.toml"
    path.write_text(toml(cameras))
    facts = list(views_of(cameras).videos)
    assert [lens.name for lens in open_views(path, facts).lenses] == ["cam0", "cam1"]
    with pytest.raises(InputError, match=r"camera cam1 is calibrated for 720 x 1280 px, but cam1\.mp4 has 1280 x 720"):
        open_views(path, [facts[0], replace(facts[1], width=1280, height=720)])
    with pytest.raises(InputError, match=r"not synchronised: cam0\.mp4 has 30 frames/s, cam1.mp4 60; convert"):
        open_views(path, [facts[0], replace(facts[1], fps=60.0)])


def test_undistorted_shots_show_what_a_pinhole_camera_would():
    camera = replace(ring_of_cameras(1)[0], distortion=np.array([-0.2, 0.05, 0.0, 0.0]))
    flat = replace(camera, distortion=np.zeros(4))
    world = STANDING[[3, 10, 16]]
    image = np.zeros((1280, 720, 3), np.uint8)
    for x, y in project(camera, world).round().astype(int):
        image[y - 3 : y + 4, x - 3 : x + 4] = 255
    people = [(1, Region(project(camera, STANDING[:1])[0], 500.0))]
    shot = Shot("k#20", "cam0.mp4", "cam0-1234/000020", 5, people, 1000.0, image)
    (found,) = undistorted([shot], views_of([camera]), 0)
    assert found.name == "views/000020-cam0-1234" and found.focal == pytest.approx(1102.5)
    assert np.allclose(found.people[0][1].centre, project(flat, STANDING[:1])[0], atol=0.5)
    for x, y in project(flat, world):
        window = found.image[round(y) - 8 : round(y) + 9, round(x) - 8 : round(x) + 9, 0]
        rows, columns = np.nonzero(window > 127)
        assert abs(rows.mean() - 8) < 1.5 and abs(columns.mean() - 8) < 1.5


def test_a_set_belongs_to_one_calibration():
    cameras = ring_of_cameras(2)
    flat = [
        shot.model_copy(update={"focal": round(float(cameras[index // 3].f.mean()) * shot.scale, 3)})
        for index, shot in enumerate(journal(cameras, [walking], frames=3))
    ]
    as_filmed = [shot.model_copy(update={"image": shot.image.removeprefix("views/")}) for shot in flat]
    other = [replace(camera, matrix=camera.matrix * [[1.01], [1.01], [1]]) for camera in cameras]
    check_images(flat, views_of(cameras), Path("set"))
    check_images(as_filmed, None, Path("set"))
    for shots, views, message in (
        (flat, views_of(other), "or with another calibration"),
        (as_filmed, views_of(cameras), "labelled without --views"),
        (flat, None, "labelled with --views"),
    ):
        with pytest.raises(InputError, match=message):
            check_images(shots, views, Path("set"))
