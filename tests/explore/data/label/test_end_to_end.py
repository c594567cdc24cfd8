"""Photos are labelled by the real teacher, a network is trained on them, exported, and predicts a photo."""

import json
import shutil

import numpy as np
import pytest

from arch.errors import InputError
from explore.cli import main
from explore.data import open_dataset
from explore.data.label.fetch import model_file
from explore.data.synthetic.config import SyntheticConfig
from explore.evaluation.metrics import mean_pose_error, pa_mpjpe
from tests.helpers.layouts import REAL_DATA

STREET = REAL_DATA / "street_fashion" / "photos"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def teacher():
    try:
        model_file("blazepose-full")
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Render 80 people at 256 px; return the folder of photos and the data set."""
    folder = tmp_path_factory.mktemp("photos")
    config = SyntheticConfig(level="easy", size=256, train_frames=80, test_frames=1)
    data = open_dataset("synthetic:easy", "train", config, cache=tmp_path_factory.mktemp("cache"))
    for index in range(len(data)):
        shutil.copy(data.path(index), folder / f"{index}.jpg")
    return folder, data


@pytest.fixture(scope="module")
def labelled(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets") / "set"
    assert main(["data", "label", str(photos[0]), "--out", str(folder), "--test-fraction", "0.2"]) == 0
    return folder


def test_labels_agree_with_the_exact_joints(photos, labelled):
    """The teacher's labels are better than any constant pose, in px and in 3D."""
    _, truth = photos
    train = open_dataset(f"custom:{labelled}", "train")
    assert len(train) > 40 and all(train.masks)
    train = train.take(np.flatnonzero((train.vis > 0).all(1)))  # all joints in the image
    indices = [int(file.split("/")[1].split("-")[0]) for file in train.files]
    true = truth.joints_cam[indices]
    assert len(train) > 20 and pa_mpjpe(train.joints_cam, true) < 90
    distance = np.linalg.norm(train.joints_img[..., :2] - truth.joints_img[indices][..., :2], axis=2).mean(1)
    assert np.median(distance / truth.bbox[indices][:, 2:].max(1)) < 0.05


def test_a_network_trained_on_labels_predicts_photos(photos, labelled, tmp_path, capsys):
    net, bundles = tmp_path / "net.safetensors", tmp_path / "bundles"
    arguments = ["--data", f"custom:{labelled}", "--samples", "3000", "--workers", "0", "--out", str(net), "--json"]
    assert main(["train", "--arch", "paper-XS-relu@64", *arguments]) == 0
    trained = json.loads(capsys.readouterr().out)
    train, test = (open_dataset(f"custom:{labelled}", split) for split in ("train", "test"))
    assert trained["mpjpe_mm"] < mean_pose_error(train, test)
    assert main(["export", str(net), "--runtimes", "litert", "--out", str(bundles), "--force"]) == 0
    photo = photos[0] / "0.jpg"
    bundle = next(bundles.rglob("manifest.json")).parent
    assert main(["predict", str(photo), "--model", str(bundle), "--out", str(tmp_path)]) == 0
    people = json.loads((tmp_path / "0-pose.json").read_text())["people"]
    assert people and len(people[0]["joints"]) == 18


@pytest.mark.skipif(not STREET.is_dir(), reason="needs the street_fashion photos")
def test_real_photos_are_labelled(tmp_path, capsys):
    photos = sorted(STREET.glob("*.jpg"))[:30]
    assert main(["data", "label", *map(str, photos), "--out", str(tmp_path / "set"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["train"] + report["test"] >= 25
    assert main(["data", "check", f"custom:{tmp_path / 'set'}", "--sheet", str(tmp_path / "check.png")]) == 0
