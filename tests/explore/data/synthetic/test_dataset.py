import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from arch.errors import InputError
from explore.data import open_dataset
from explore.data.batches import evaluation_arrays
from explore.data.images import read_image
from explore.data.skeleton import H36M17
from explore.data.synthetic import clothes
from explore.data.synthetic import dataset as synthetic
from explore.data.synthetic.body import load_body, skin
from explore.data.synthetic.config import SyntheticConfig
from explore.data.synthetic.dataset import render_dataset
from explore.data.synthetic.frame import compose_frame, render_jpeg, shapes_of_subjects
from explore.data.synthetic.pose import ARCHETYPES, FURTHER, LIMITS, bone_rotations, sample_pose, sample_varied_pose
from explore.data.synthetic.render import rasterise
from explore.evaluation import metrics
from tests.helpers import ROOT, mostly_slow

SMALL = SyntheticConfig(level="full", size=64, train_frames=12, test_frames=6)


def frames(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((folder / "images").rglob("*.jpg"))
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return render_dataset(tmp_path_factory.mktemp("sets"), SMALL)


# ---- bodies and poses ----


def test_body_shapes_have_plausible_heights():
    body = load_body()
    for shape in body.shapes[:20]:
        vertices, heads = body.rest(shape)
        assert 1.3 < np.ptp(vertices[:, 2]) < 2.2
        transforms, places = body.pose(heads, {})
        np.testing.assert_allclose(skin(transforms, vertices), vertices, atol=1e-4)
        np.testing.assert_allclose(places, heads, atol=1e-4)


def test_subjects_share_no_body_shape():
    groups = list(shapes_of_subjects().values())
    everyone = np.concatenate(groups)
    assert len(groups) == 9 and min(len(group) for group in groups) > 20
    assert len(set(everyone)) == len(everyone)


def test_posing_preserves_bone_lengths():
    body, rng = load_body(), np.random.default_rng(0)
    vertices, heads = body.rest(body.shapes[3])
    for kind in ARCHETYPES:
        pose = sample_pose(rng, kind)
        transforms, places = body.pose(heads, bone_rotations(body, heads, pose))
        for bone in ("lowerarm01.L", "wrist.R", "lowerleg01.R", "foot.L", "head"):
            index = body.bone_index[bone]
            parent = body.parents[index]
            length = np.linalg.norm(places[index] - places[parent])
            assert length == pytest.approx(np.linalg.norm(heads[index] - heads[parent]), abs=1e-5)
        joints = body.joints(skin(transforms, vertices), places)
        assert joints.shape == (17, 3) and np.isfinite(joints).all()


@pytest.mark.parametrize(("sample", "known"), [(sample_pose, ARCHETYPES), (sample_varied_pose, ARCHETYPES | FURTHER)])
def test_poses_respect_joint_limits(sample, known):
    rng = np.random.default_rng(0)
    kinds = set()
    for _ in range(500):
        pose = sample(rng)
        kinds.add(pose.kind)
        for part in (pose, *pose.sides):
            for name, value in vars(part).items():
                if name in LIMITS:
                    assert LIMITS[name][0] <= value <= LIMITS[name][1], (pose.kind, name)
    assert kinds == set(known)


def test_joints_of_a_standing_body_are_ordered_by_height():
    body = load_body()
    vertices, heads = body.rest(body.shapes[0])
    transforms, places = body.pose(heads, bone_rotations(body, heads, sample_pose(np.random.default_rng(0), "stand")))
    joint = dict(zip(H36M17.names, body.joints(skin(transforms, vertices), places), strict=True))
    height = [joint[name][2] for name in ("R_Ankle", "R_Knee", "Pelvis", "Torso", "Neck", "Nose", "Head")]
    assert height == sorted(height)
    assert joint["L_Shoulder"][0] > 0.1 > -0.1 > joint["R_Shoulder"][0]


def heights(pose):
    """Return the height of each joint of a posed body, m."""
    body = load_body()
    vertices, heads = body.rest(body.shapes[0])
    transforms, places = body.pose(heads, bone_rotations(body, heads, pose))
    return dict(zip(H36M17.names, body.joints(skin(transforms, vertices), places)[:, 2], strict=True))


def test_athletic_poses():
    rng = np.random.default_rng(1)
    archetypes = ARCHETYPES | FURTHER
    found = {kind: [heights(sample_pose(rng, kind, archetypes)) for _ in range(40)] for kind in FURTHER}
    trunk = {kind: np.array([h["Neck"] - h["Pelvis"] for h in poses]) for kind, poses in found.items()}
    assert (trunk["handstand"] < -0.2).mean() > 0.5  # head down
    assert (abs(trunk["lie"]) < 0.3).mean() > 0.8 and (abs(trunk["crawl"]) < 0.35).mean() > 0.6
    assert trunk["balance"].min() < 0.15 < 0.4 < trunk["balance"].max()
    apart = [abs(h["L_Ankle"] - h["R_Ankle"]) for h in found["balance"]]
    assert max(apart) > 0.7  # one leg is high in the air
    for kind in ("hang", "star"):
        above = [max(h["L_Wrist"] - h["L_Shoulder"], h["R_Wrist"] - h["R_Shoulder"]) for h in found[kind]]
        assert np.median(above) > (0.3 if kind == "hang" else 0)


def test_roll_lifts_one_side():
    level, rolled = (sample_pose(np.random.default_rng(0), "stand") for _ in range(2))
    rolled.roll = 60.0
    difference = {name: h["L_Hip"] - h["R_Hip"] for name, h in (("level", heights(level)), ("rolled", heights(rolled)))}
    assert abs(difference["level"]) < 0.02 < 0.1 < abs(difference["rolled"])
    assert abs(heights(rolled)["Neck"] - heights(rolled)["Pelvis"]) < 0.6 * (
        heights(level)["Neck"] - heights(level)["Pelvis"]
    )


def test_sports_tops_and_bare_feet_show_skin():
    body, rng = load_body(), np.random.default_rng(0)
    rest, heads = body.rest(body.shapes[0])
    points, marks = clothes.surface(body, rest, heads), clothes.landmarks(body, rest, heads)
    outfit = clothes.sample_outfit(rng, marks)
    seen = {
        bare: clothes.materials(points, replace(outfit, bare=bare, barefoot=bare, sleeve=-1.0 if bare else 0.5))
        for bare in (False, True)
    }
    belly = (abs(points[:, 0]) < 0.05) & (abs(points[:, 2] - (outfit.waist + 0.06)) < 0.03) & (points[:, 1] < 0)
    assert belly.any() and (seen[True][belly] == clothes.Material.SKIN).all()
    assert (seen[False][belly] == clothes.Material.TOP).all() and (seen[True] == clothes.Material.TOP).any()
    assert clothes.Material.SHOE in seen[False] and clothes.Material.SHOE not in seen[True]
    varied = [clothes.vary(rng, outfit, np.zeros((8, 8, 3), np.uint8)) for _ in range(300)]
    assert 15 < sum(one.bare for one in varied) < 60 and 25 < sum(one.barefoot for one in varied) < 90


# ---- rasteriser ----


def test_rasteriser_agrees_with_a_z_buffer():
    """Compare with a z-buffer in plain loops on a posed body."""
    body = load_body()
    stage = compose_frame(SyntheticConfig(size=64), "train", 3).figure
    vertices = stage.view.place(skin(stage.transforms, stage.rest))
    uv = stage.view.project(vertices)
    vectors = body.face_vectors(vertices)
    faces = body.faces[(vectors * vertices[body.faces[:, 0]]).sum(1) < 0]
    found = rasterise(uv, vertices[:, 2], faces, 64)
    buffer = np.full((64, 64), np.inf)
    for a, b, c in faces:
        corners = uv[[a, b, c]].astype(float)
        low, high = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int)
        y, x = np.mgrid[max(low[1], 0) : min(high[1] + 1, 64), max(low[0], 0) : min(high[0] + 1, 64)]
        m = np.stack([corners[1] - corners[0], corners[2] - corners[0]], 1)
        if not y.size or abs(np.linalg.det(m)) < 1e-12:
            continue
        w = np.linalg.inv(m) @ (np.stack([x.ravel(), y.ravel()]) + 0.5 - corners[0][:, None])
        depth = vertices[a, 2] * (1 - w.sum(0)) + vertices[b, 2] * w[0] + vertices[c, 2] * w[1]
        hit = (w >= 0).all(0) & (w.sum(0) <= 1)
        np.minimum.at(buffer, (y.ravel()[hit], x.ravel()[hit]), depth[hit])
    covered = np.zeros(64 * 64, bool)
    covered[found.pixel] = True
    assert (covered.reshape(64, 64) != np.isfinite(buffer)).sum() <= 3
    depth = (vertices[faces[found.triangle], 2] * found.weight).sum(1)
    wanted = buffer.ravel()[found.pixel]
    wrong = np.abs(depth - wanted)[np.isfinite(wanted)] > 0.01
    assert wrong.mean() < 0.01


def test_rasteriser_without_visible_triangles():
    uv = np.array([[-10, -10], [-5, -10], [-5, -5]], np.float32)
    assert len(rasterise(uv, np.ones(3, np.float32), np.array([[0, 1, 2]], np.int32), 16).pixel) == 0


# ---- the set on disk ----


def test_human36m_reader_reads_the_set(made):
    train, test = (synthetic.load(made, split) for split in ("train", "test"))
    assert (len(train), len(test)) == (12, 6)
    assert train.name == "synthetic-full"
    assert set(train.subject) <= {1, 5, 6, 7, 8} and set(test.subject) <= {9, 11}
    assert set(train.action) <= {*ARCHETYPES, *FURTHER}
    assert read_image(train.path(0)).shape == (64, 64, 3)
    crops = evaluation_arrays(test, 64)
    assert crops.vis.mean() > 0.97
    assert metrics.score(crops.to_camera(crops.target), test).mpjpe < 0.01
    assert metrics.mean_pose_error(train, test) > 100


# Joints of frames 0 and 7 of SMALL, px and depth mm, recorded with version 3 of the level full
RECORDED = {
    0: [
        [22.15, 33.06, 0], [26.33, 33.14, -41], [38.9, 39.4, 150], [43.78, 55.03, 65], [18.13, 32.99, 41],
        [16.34, 43.47, 309], [13.47, 53.37, 520], [23.57, 24.86, 53], [26.78, 17.68, 178], [28.09, 15.05, 250],
        [29.52, 11.41, 298], [22.1, 16.26, 249], [15.81, 10.06, 302], [15.35, 16.08, 477], [32.31, 17.85, 118],
        [41.31, 22.49, 73], [42.42, 22.46, 296],
    ],
    7: [
        [31.94, 32.89, 0], [30.13, 32.73, -75], [30.61, 40.02, -171], [30.74, 48.33, -277], [33.7, 33.04, 75],
        [34.31, 40.3, 72], [35.22, 48.24, 78], [31.96, 28.42, 29], [32.58, 23.68, 41], [33.09, 21.52, 33],
        [33.41, 19.05, 48], [33.76, 24.59, 185], [33.36, 29.46, 238], [33.94, 33.41, 256], [31.26, 23.38, -105],
        [30.52, 28.46, -134], [32.96, 30.64, -263],
    ],
}  # fmt: skip


def test_joints_of_a_seed_do_not_change(made):
    assert made.name == "synthetic-full-77100bea30cc"
    data = synthetic.load(made, "train")
    for frame, joints in RECORDED.items():
        row = data.frame.tolist().index(frame)
        np.testing.assert_allclose(data.joints_img[row, :17, :2], np.array(joints)[:, :2], atol=0.02)
        np.testing.assert_allclose(data.joints_img[row, :17, 2], np.array(joints)[:, 2], atol=1)


def test_the_level_easy_is_that_of_version_0_1():
    """Compare joints in mm and the grey levels of 16 x 16 px blocks of a frame, so that sets rendered before stay valid."""
    config = SyntheticConfig(size=64)
    frame = compose_frame(config, "train", 5)
    joints = np.array(frame.record["world"])[[0, 3, 13]]
    np.testing.assert_allclose(joints, [[187.9, -98.6, 961.5], [16.0, -43.7, 96.1], [400.9, -266.4, 935.0]], atol=0.1)
    data = render_jpeg(config, "train", 5, frame)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    blocks = [
        169.5, 159.1, 154.8, 188.6, 155.2, 153.4, 131.9, 171.2, 165.8, 147.7, 116.4, 189.9, 206.8, 191.1, 189.3, 242.6,
    ]  # fmt: skip
    assert image.reshape(4, 16, 4, 16, 3).mean((1, 3, 4)).ravel() == pytest.approx(blocks, abs=0.3)


def test_joints_lie_inside_the_projected_body(made):
    """Each annotated joint is within 2 px of a vertex of the posed mesh, projected with the annotated camera."""
    data = synthetic.load(made, "train")
    for row in range(len(data)):
        frame = compose_frame(SMALL, "train", int(data.frame[row]))
        assert data.files[row].endswith(frame.file)
        figure = frame.figure
        x, y, z = (np.einsum("vij,vj->vi", figure.transforms[..., :3], figure.rest) + figure.transforms[..., 3]).T
        cam = figure.view.rotation @ [x, y, z] + figure.view.shift[:, None]
        mesh = (cam[:2] / cam[2]).T * data.f[row] + data.c[row]
        distance = np.linalg.norm(data.joints_img[row, :17, None, :2] - mesh, axis=-1).min(1)
        assert distance.max() < 2


def test_rendered_person_fills_the_annotated_box():
    """Compare the image with one in which the person is moved away."""
    config = SyntheticConfig(size=128)
    for index in range(4):
        stage = compose_frame(config, "train", index)
        drawn = cv2.imdecode(np.frombuffer(render_jpeg(config, "train", index, stage), np.uint8), 1)
        view = stage.figure.view
        away = replace(view, shift=view.shift + np.array([500, 0, 0]))
        bare_stage = replace(stage, figure=replace(stage.figure, view=away))
        bare = cv2.imdecode(np.frombuffer(render_jpeg(config, "train", index, bare_stage), np.uint8), 1)
        changed = np.abs(drawn.astype(int) - bare.astype(int)).sum(2) > 60
        x, y, w, h = stage.record["bbox"]
        rows, columns = np.nonzero(changed[: int(y + h * 0.8)])  # the shadow lies lower
        assert len(rows) > 100
        assert rows.min() > y - 4
        inside = (columns > x - 4) & (columns < x + w + 4)
        assert inside.mean() > 0.9


def test_frames_do_not_depend_on_workers_or_order(made, tmp_path):
    again = render_dataset(tmp_path, SMALL, workers=2)
    assert frames(again) == frames(made)
    for kind in ("data", "camera", "joint_3d"):
        name = f"annotations/Human36M_subject9_{kind}.json"
        assert (again / name).read_bytes() == (made / name).read_bytes()


def test_frames_and_names_depend_on_the_configuration(made, tmp_path):
    other = render_dataset(tmp_path, SMALL.model_copy(update={"seed": 1, "train_frames": 2, "test_frames": 1}))
    assert not set(frames(other).values()) & set(frames(made).values())
    names = {SMALL.model_copy(update=change).name for change in ({}, {"seed": 1}, {"level": "easy"}, {"size": 96})}
    assert len(names) == 4


def test_larger_sets_contain_the_frames_of_smaller_ones(made, tmp_path):
    more = frames(render_dataset(tmp_path, SMALL.model_copy(update={"train_frames": 14})))
    assert frames(made).items() <= more.items()


class Stop(Exception):
    pass


def test_interrupted_rendering_is_continued(made, tmp_path):
    def stop(done, total):
        assert total == 18
        if done == 7:
            raise Stop

    with pytest.raises(Stop):
        render_dataset(tmp_path, SMALL, progress=stop)
    folder = tmp_path / SMALL.name
    written = {path: path.stat().st_mtime_ns for path in (folder / "images").rglob("*.jpg")}
    assert len(written) == 7
    assert not (folder / "annotations").exists() and not (folder / "dataset.json").exists()
    with pytest.raises(InputError, match="not finished"):
        synthetic.load(folder, "train")
    broken = sorted(written)[0]
    broken.write_bytes(broken.read_bytes()[:300])
    kept = {path: when for path, when in written.items() if path != broken}
    seen = []
    render_dataset(tmp_path, SMALL, progress=lambda done, total: seen.append(done))
    assert seen == list(range(1, 19))
    assert frames(folder) == frames(made)
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    assert not list(folder.rglob(".*"))


def test_a_finished_set_is_reused(made):
    before = (made / "dataset.json").stat().st_mtime_ns
    assert render_dataset(made.parent, SMALL) == made
    assert (made / "dataset.json").stat().st_mtime_ns == before


def test_sets_of_another_configuration_are_rejected(made, tmp_path):
    folder = tmp_path / SMALL.name
    folder.mkdir()
    summary = json.loads((made / "dataset.json").read_text())
    summary["config"]["seed"] = 5
    (folder / "dataset.json").write_text(json.dumps(summary))
    with pytest.raises(InputError, match="config differs from the requested one"):
        render_dataset(tmp_path, SMALL)
    (folder / "dataset.json").write_text("{")
    with pytest.raises(InputError, match=r"dataset\.json: damaged"):
        render_dataset(tmp_path, SMALL)


def test_unwritable_cache(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="EDGEPOSE_CACHE"):
        render_dataset(tmp_path / "file", SMALL)


def test_open_dataset_renders_on_first_use(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEPOSE_CACHE", str(tmp_path))
    config = SyntheticConfig(size=48, train_frames=2, test_frames=1)
    assert len(open_dataset("synthetic:easy", "train", config)) == 2
    assert (tmp_path / config.name / "dataset.json").is_file()
    with pytest.raises(InputError, match="differ"):
        open_dataset("synthetic:full", "train", config)


def test_levels_differ_in_viewing_direction():
    def turned_away(level):
        config = SyntheticConfig(level=level, size=64)
        forward = [compose_frame(config, "train", index).figure.view.rotation @ [0, -1, 0] for index in range(60)]
        return np.mean([direction[2] > 0 for direction in forward])

    assert turned_away("easy") < 0.12
    assert 0.3 < turned_away("full") < 0.7


RENDER_WITH_TWO = """
import sys
from pathlib import Path
from explore.data.synthetic.config import SyntheticConfig
from explore.data.synthetic.dataset import render_dataset
if __name__ == "__main__":
    config = SyntheticConfig(size=64, train_frames=4000, test_frames=1)
    render_dataset(Path(sys.argv[1]), config, 2, lambda done, total: print(done, flush=True))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("how", mostly_slow([signal.SIGINT, signal.SIGKILL], signal.SIGKILL))
def test_workers_end_with_their_parent(tmp_path, how):
    script = tmp_path / "make.py"
    script.write_text(RENDER_WITH_TWO)
    parent = subprocess.Popen(
        [sys.executable, script, tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert parent.stdout.readline()
    children = [int(pid) for pid in Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()]
    assert len(children) >= 2
    parent.send_signal(how)
    parent.communicate(timeout=30)
    deadline = time.monotonic() + 30
    while any(_alive(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in children)


def _alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
