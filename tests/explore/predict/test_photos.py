"""predict on photos: geometry, drawing, and the command with a small bundle of random weights."""

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from explore.cli import main
from explore.data.colours import LEFT, MIDDLE, RIGHT, limb_colour, person_colour, rgb
from explore.data.crop import crop, project, training_target
from explore.data.images import read_image
from explore.data.skeleton import BLAZEPOSE33, H36M18
from explore.predict import drawing, photo_figure, pipeline, view3d
from explore.predict.boxes import Box, BoxEntry, boxes_of_frame
from explore.predict.camera import Camera, choose_camera, equivalent_focal, root_depth_from_side
from quantize.manifest import Skeleton
from tests.helpers import ROOT
from tests.helpers.layouts import REAL_DATA
from tests.helpers.networks import H36M, random_bundle

STREET = REAL_DATA / "photo" / "street.jpg"
STREET_BOXES = ("139.41,102.25,222.39,241.57", "287.17,61.52,74.88,165.61", "540.04,48.81,99.96,223.36",
                "372.58,170.84,266.63,217.19")  # fmt: skip
STANDING = np.array([
    [0, 0, 0], [-130, 0, 0], [-140, 430, 20], [-150, 860, 40], [130, 0, 0], [150, 430, -80], [160, 850, 30],
    [0, -240, 10], [0, -480, 0], [0, -590, -60], [0, -690, 0], [170, -460, 0], [230, -190, 40], [250, 60, -60],
    [-170, -460, 0], [-260, -200, -20], [-300, 40, -150], [0, -460, 0],
], float)  # fmt: skip


def at(x, y, z):
    """Return the joints of a standing person in camera mm."""
    return STANDING + np.array([x, y, z])


def camera(f=700.0, c=(320.0, 200.0)):
    return Camera(np.array([f, f]), np.array(c), "given", "given")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """A bundle of a small network with random weights."""
    return random_bundle(tmp_path_factory.mktemp("small"))


@pytest.fixture
def photo(tmp_path):
    """A smooth random photo of 240 x 160 px."""
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 255, (10, 15, 3), np.uint8), (240, 160), interpolation=cv2.INTER_CUBIC)
    path = tmp_path / "people.jpg"
    cv2.imwrite(str(path), image)
    return path


def predict(*arguments):
    return main(["predict", *map(str, arguments)])


# ---- geometry ----


@pytest.mark.parametrize(("size", "depth_range"), [(64, 2000.0), (256, 2000.0), (64, 3000.0)])
def test_known_joints_are_recovered_in_px_and_mm(size, depth_range):
    eye = camera()
    mm = at(250, 100, 4200)
    px = project(mm, eye.f, eye.c)
    low, high = px.min(0) - 10, px.max(0) + 10
    bbox = np.concatenate([low, high - low])
    _, matrix = crop(np.zeros((400, 640, 3), np.uint8), bbox, size)
    coords, seen = training_target(np.c_[px, mm[:, 2] - 4200], np.ones(18), matrix, size)
    assert seen.all()
    coords = coords.astype(float)
    coords[:, 2] = (coords[:, 2] - 0.5) * 2000 / depth_range + 0.5
    got_px, got_mm = pipeline.to_photo_and_camera(coords, matrix, size, depth_range, eye, 4200.0)
    np.testing.assert_allclose(got_px, px, atol=1e-3)
    np.testing.assert_allclose(got_mm, mm, atol=0.01)
    np.testing.assert_allclose(project(got_mm, eye.f, eye.c), got_px, atol=1e-9)


def test_root_depth_equals_rootnets_k():
    f, side = np.array([1500.0, 1400.0]), 250.0
    assert root_depth_from_side(side, f) == pytest.approx(math.sqrt(1500 * 1400 * 2000 * 2000 / side**2))
    assert root_depth_from_side(side * 2, f) == pytest.approx(root_depth_from_side(side, f) / 2)


def test_root_depth_of_a_standing_person_is_within_15_percent():
    eye = camera()
    for depth in (2500, 5000, 9000):
        px = project(at(0, 0, depth), eye.f, eye.c)
        estimated = root_depth_from_side(1.25 * np.ptp(px, axis=0).max(), eye.f)
        assert 0.85 < estimated / depth < 1.15


def test_camera_is_given_read_from_exif_or_assumed(tmp_path):
    path = tmp_path / "phone.jpg"
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 26
    Image.new("RGB", (400, 300)).save(path, exif=exif)
    assert equivalent_focal(path) == 26
    damaged = tmp_path / "damaged.webp"
    Image.new("RGB", (400, 300)).save(damaged, exif=exif)
    damaged.write_bytes(damaged.read_bytes().replace(b"MM\0*", b"????"))
    assert equivalent_focal(damaged) is None
    from_exif = choose_camera(400, 300, equivalent_mm=26)
    assert from_exif.f[0] == pytest.approx(26 / math.hypot(36, 24) * 500) and from_exif.focal_from.startswith("EXIF")
    assert len(from_exif.assumed) == 1 and "principal" in from_exif.assumed[0]
    assumed = choose_camera(400, 300)
    assert assumed.f.tolist() == [400, 400] and assumed.c.tolist() == [200, 150] and len(assumed.assumed) == 2
    given = choose_camera(400, 300, 620.0, (190.0, 140.0), 26)
    assert given.f.tolist() == [620, 620] and given.c.tolist() == [190, 140] and not given.assumed
    plain = tmp_path / "plain.png"
    Image.new("RGB", (4, 3)).save(plain)
    assert equivalent_focal(plain) is None


def test_ground_is_fitted_and_nobody_is_below_it():
    tilt = 0.25
    people = [at(x, 300 + tilt * (z - 4000), z) for x, z in ((-900, 3000), (0, 5000), (800, 7500))]
    ground = view3d.fit_ground(people)
    assert ground.slope == pytest.approx(tilt, abs=0.03)
    room = np.stack([ground.to_world(person) for person in people])
    assert room[..., 2].min() == pytest.approx(0, abs=1e-6)
    assert (room[..., 2].min(1) < 120).all()
    lengths = [np.linalg.norm(p[:, 1:] - p[:, :-1], axis=-1) for p in (room, np.stack(people))]
    np.testing.assert_allclose(*lengths)
    level = view3d.fit_ground(people[:1])
    assert level.slope == 0 and level.to_world(people[0])[:, 2].min() == 0


def test_view_camera_shows_up_above_right_at_the_right_and_far_behind():
    room = np.array([[[0, 0, 0]], [[1000, 0, 0]], [[0, 1000, 0]], [[0, 0, 1000.0]]])
    eye = view3d.look_at(room.reshape(-1, 3), azimuth=0)
    seen, distance = eye.project(room[:, 0])
    assert seen[1, 0] > seen[0, 0] and seen[3, 1] < seen[0, 1] and distance[2] > distance[0]
    np.testing.assert_allclose(eye.rotation @ eye.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(eye.rotation) == pytest.approx(1)


def test_best_view_separates_people_behind_each_other():
    ground = view3d.GroundPlane(860, 0)
    room = np.stack([ground.to_world(at(0, 0, depth)) for depth in (3000, 5000)])
    across = view3d.best_view(room).project(room)[0][..., 0]
    assert across[0].max() < across[1].min() or across[1].max() < across[0].min()


# ---- drawing ----


def test_colours_of_limbs_and_people_are_distinct():
    colours = {names: limb_colour(*names) for names in (("Pelvis", "R_Hip"), ("L_Knee", "L_Ankle"), ("Neck", "Nose"))}
    assert list(colours.values()) == [RIGHT, LEFT, MIDDLE]
    assert limb_colour("R_Hip", "L_Hip") == limb_colour("L_Shoulder", "R_Shoulder") == MIDDLE
    hues = [np.array(rgb(colour)) for colour in [*map(person_colour, range(8)), LEFT, RIGHT]]
    assert min(np.abs(a - b).sum() for a, b in itertools.combinations(hues, 2)) > 60
    assert person_colour(30) != person_colour(31)


def test_the_trunk_of_33_landmarks_is_drawn():
    landmarks = Skeleton(name="l", joints=BLAZEPOSE33.names, edges=BLAZEPOSE33.edges, root=BLAZEPOSE33.root)
    joints = np.full((33, 2), 10.0)
    corners = {"R_Shoulder": (30, 30), "L_Shoulder": (90, 30), "R_Hip": (30, 90), "L_Hip": (90, 90)}
    for name, corner in corners.items():
        joints[BLAZEPOSE33.index(name)] = corner
    panel = np.zeros((120, 120, 3), np.uint8)
    drawing.draw_bones(panel, joints, landmarks, 3)
    sides = {(60, 30): MIDDLE, (60, 90): MIDDLE, (30, 60): RIGHT, (90, 60): LEFT}
    for (x, y), colour in sides.items():
        assert np.abs(panel[y, x].astype(int) - rgb(colour)).sum() < 12, (x, y)


@pytest.mark.parametrize(
    ("width", "height", "count"), [(640, 400, 3), (300, 900, 1), (2400, 500, 2), (40, 40, 1), (640, 400, 12)]
)
def test_figure_shows_all_people(width, height, count, monkeypatch):
    eye, draw_label = choose_camera(width, height), drawing.draw_label
    people, labels = [], []
    monkeypatch.setattr(photo_figure, "draw_label", lambda *given: (labels.append(given[2]), draw_label(*given)))
    for index in range(count):
        mm = at(600 * (index % 4 - 1), 200, 3500 + 700 * index)
        px = project(mm, eye.f, eye.c)
        bbox = np.array([*px.min(0), *np.ptp(px, axis=0)])
        people.append(pipeline.Person(bbox, px, mm, np.full(18, 0.2), mm[0, 2], "given", 1.0, 7 - index))
    image = np.full((height, width, 3), 120, np.uint8)
    picture = photo_figure.render_figure(
        pipeline.Prediction(Path("a" * 90 + ".jpg"), image, eye, people, False), H36M, "small"
    )
    assert {label.split()[0] for label in labels} == {str(person.number) for person in people}
    assert 450 < picture.shape[0] < 900 and 1000 < picture.shape[1] < 2300
    side = picture[:, picture.shape[1] // 2 :].reshape(-1, 3).astype(int)
    for colour in (LEFT, RIGHT, *map(person_colour, range(count))):
        assert (np.abs(side - rgb(colour)).sum(1) < 12).sum() > 10, colour


# ---- the command ----


def test_written_files_and_messages(bundle, photo, tmp_path, capsys):
    out = tmp_path / "out"
    boxes = ("10,20,80,120", "120.5,30,60,100")
    code = predict(photo, "--bbox", boxes[0], "--bbox", boxes[1], "--model", bundle.path, "--focal", 300,
                   "--principal", "118,82", "--out", out)  # fmt: skip
    printed = capsys.readouterr()
    assert code == 0
    assert "people.jpg" in printed.out and "root depth m" in printed.out and str(out / "people-pose.png") in printed.out
    assert printed.err.count("assumed") == 1 and "root depth" in printed.err and "focal" not in printed.err
    assert sorted(file.name for file in out.iterdir()) == ["people-pose.json", "people-pose.png"]
    assert cv2.imread(str(out / "people-pose.png")) is not None
    found = json.loads((out / "people-pose.json").read_text())
    assert found["bundle"]["sha256"] == bundle.manifest.files[0].sha256
    assert found["bundle"]["runtime"] == "openvino" and found["bundle"]["recipe"] == "float"
    assert found["camera"]["focal_px"] == [300, 300] and found["camera"]["principal_px"] == [118, 82]
    assert [person["bbox"] for person in found["people"]] == [[10, 20, 80, 120], [120.5, 30, 60, 100]]
    for person in found["people"]:
        assert [joint["name"] for joint in person["joints"]] == list(H36M18.names)
        mm, px = (np.array([joint[key] for joint in person["joints"]]) for key in ("mm", "px"))
        np.testing.assert_allclose(project(mm, np.array([300, 300]), np.array([118, 82])), px, atol=0.05)
        x, y, w, h = person["bbox"]
        half = 1.25 * max(w, h) / 2 + 1
        assert (np.abs(px - [x + w / 2, y + h / 2]) < half).all()
        assert person["root_depth_mm"] == pytest.approx(2000 * 300 / (1.25 * max(w, h)), abs=0.1)
        assert 0 < person["confidence"] <= 1 and person["ms"] > 0


def test_bundle_agrees_with_torch(bundle, photo):
    import torch

    from arch.decode import IMAGENET_MEAN, IMAGENET_STD
    from arch.network import build

    box = np.array([30.0, 20, 90, 120])
    image = read_image(photo)
    model = pipeline.Model("small", bundle, bundle.session())
    person = pipeline.predict_people(model, image, [Box(1, box, 3000.0)], camera(300.0, (120.0, 80.0)))[0]
    picture, matrix = crop(image, box, 64)
    x = (torch.from_numpy(picture).float() / 255 - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    with torch.no_grad():
        cells = build(bundle.arch, 0).eval()(x.permute(2, 0, 1)[None]).numpy()[0]
    side = 64 / bundle.arch.heatmap_size
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    px = np.c_[cells[:, :2] * side, np.ones(18)] @ inverse.T
    np.testing.assert_allclose(person.px, px[:, :2], atol=0.05)
    depth = 3000 + (cells[:, 2] / bundle.arch.depth_bins - 0.5) * 2000
    np.testing.assert_allclose(person.mm[:, 2], depth, atol=1.0)


def test_full_image_as_box_is_reported(bundle, photo, tmp_path, capsys):
    assert predict(photo, "--full-image", "--model", bundle.path, "--out", tmp_path / "out", "--json") == 0
    printed = capsys.readouterr()
    assert "whole photo is one person's box" in printed.err and "focal length 240 px" in printed.err
    (found,) = json.loads(printed.out)
    assert found["people"][0]["bbox"] == [0, 0, 240, 160] and len(found["assumed"]) == 4
    assert all(Path(file).is_file() for file in found["files"])


@pytest.mark.parametrize("written", [["--bbox=-5,-8,60,80"], ["--bbox", "-5,-8,60,80"]])
def test_box_is_clipped_to_the_photo(bundle, photo, tmp_path, capsys, written):
    assert predict(photo, *written, "--model", bundle.path, "--out", tmp_path, "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["people"][0]["bbox"] == [0, 0, 55, 72]


@pytest.mark.parametrize(("old", "new"), [("--whole", "--full-image"), ("--film=webm", "--video-format")])
def test_old_options_work_with_a_notice(bundle, photo, tmp_path, capsys, old, new):
    assert predict(photo, old, "--model", bundle.path, "--out", tmp_path, "--json") == 0
    printed = capsys.readouterr()
    assert f"note: {old.partition('=')[0]} is now called {new}" in printed.err
    assert ("whole photo is one person's box" in printed.err) == (old == "--whole")


def test_people_without_a_number_get_one_of_their_own():
    entries = [BoxEntry(bbox=(1, 1, 9, 9), person=person) for person in (None, 2, None, 1)]
    assert [box.number for box in boxes_of_frame(entries, "--boxes", "a.jpg", 0, 20, 20)] == [3, 2, 4, 1]


def test_root_depths_can_be_given(bundle, photo, tmp_path, capsys):
    arguments = ("--bbox", "0,0,90,90", "--bbox", "90,0,90,90", "--root-depth", 3100, "--root-depth", 5200)
    assert predict(photo, *arguments, "--model", bundle.path, "--out", tmp_path, "--json") == 0
    printed = capsys.readouterr()
    assert [person["root_depth_mm"] for person in json.loads(printed.out)[0]["people"]] == [3100, 5200]
    assert "root depth" not in printed.err


def test_several_photos(bundle, photo, tmp_path, capsys):
    second = tmp_path / "other.png"
    cv2.imwrite(str(second), np.full((90, 60, 3), 99, np.uint8))
    assert predict(photo, second, "--full-image", "--model", bundle.path, "--out", tmp_path / "o", "--json") == 0
    assert [Path(found["photo"]).name for found in json.loads(capsys.readouterr().out)] == ["people.jpg", "other.png"]
    assert len(list((tmp_path / "o").iterdir())) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bbox", "500,20,50,60"], "people.jpg: --bbox 500,20,50,60: (500, 20, 50, 60) lies outside the image"),
        (["--bbox", "5,20,0,60"], "has no area"),
        (["--bbox", "5,20,nan,60"], "not four finite numbers"),
        (["--focal", "0"], "--focal 0: give a positive"),
        (["--focal", "nan"], "--focal nan: give a positive"),
        (["--principal", "nan,3"], "--principal nan,3: give px"),
        (["--threads", "0"], "--threads 0: give 1 to 256"),
        (["--root-depth", "3000", "--root-depth", "1"], "--root-depth: 2 given for 1 boxes"),
        (["--root-depth", "-3"], "--root-depth -3: give a positive"),
        (["--model", "nowhere"], "nowhere: not a bundle"),
        (["--model", "net.safetensors"], "net.safetensors: a checkpoint, not a bundle; make one with export"),
    ],
)
def test_wrong_options_give_one_line(bundle, photo, tmp_path, capsys, arguments, message):
    check_rejected(capsys, tmp_path, message, photo, "--model", bundle.path, *arguments)


def test_inputs_are_checked_before_anything_is_written(bundle, photo, tmp_path, capsys):
    (tmp_path / "more").mkdir()
    twin = tmp_path / "more" / photo.name
    twin.write_bytes(photo.read_bytes())
    taken = f"another input also writes {photo.name}-pose files"
    check_rejected(capsys, tmp_path, taken, photo, twin, "--model", bundle.path)
    other = twin.rename(photo.with_name("others.png"))
    check_rejected(
        capsys, tmp_path, "applies to one image, 2 given", photo, other, "--model", bundle.path, "--bbox", "1,1,9,9"
    )
    gone, broken = tmp_path / "gone.jpg", tmp_path / "broken.jpg"
    broken.write_bytes(photo.read_bytes()[:900])
    check_rejected(capsys, tmp_path, "gone.jpg: cannot be read", gone, "--model", bundle.path)
    check_rejected(capsys, tmp_path, "broken.jpg: ", photo, broken, "--model", bundle.path)


def check_rejected(capsys, tmp_path, message, *arguments):
    out = tmp_path / "out"
    assert predict(*arguments, "--out", out) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1 and message in printed.err
    assert not printed.out and not out.exists()


def test_predict_does_not_import_torch(bundle, photo, tmp_path):
    code = (
        "import sys\nfrom explore.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "loaded = {'torch', 'optuna', 'nncf', 'litert_torch'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {loaded}' if loaded else code)"
    )
    arguments = ["predict", str(photo), "--model", str(bundle.path), "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not STREET.is_file(), reason=f"no street photo at {STREET}")
def test_a_real_photo_of_four_people(bundle, tmp_path, capsys):
    boxes = [part for box in STREET_BOXES for part in ("--bbox", box)]
    assert predict(STREET, *boxes, "--model", bundle.path, "--out", tmp_path, "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    depths = [person["root_depth_mm"] for person in found["people"]]
    assert np.argsort(depths).tolist() == [3, 0, 2, 1]  # by size of the boxes, and by eye
    assert cv2.imread(str(tmp_path / "street-pose.png")).shape[1] > 1200
