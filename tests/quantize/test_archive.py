"""A .zip of a bundle is the bundle; anything else in one is refused, and nothing is written outside."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from arch.decode import without_gain
from arch.errors import InputError
from quantize import archive, bundle
from quantize.recipes import recipe
from quantize.runtimes import RUNTIMES
from tests.quantize.conftest import Case
from tests.quantize.test_bundle import write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "model.onnx").write_bytes(b"weights" * 100)
    return write(tmp_path / "b", tmp_path / "made" / "model.onnx").path


def test_round_trip(folder: Path, tmp_path: Path) -> None:
    made = bundle.load(folder)
    packed = bundle.save_zip(made, tmp_path / "b.zip")
    first = packed.read_bytes()
    opened = bundle.load(packed)
    assert opened.manifest == made.manifest and opened.model.read_bytes() == made.model.read_bytes()
    assert bundle.save_zip(made, packed).read_bytes() == first
    place = opened.path
    del opened
    assert not place.exists()


def test_changed_file_in_a_zip_names_the_zip(folder: Path, tmp_path: Path) -> None:
    (folder / "model.onnx").write_bytes(b"Weights" * 100)
    archive.pack(folder, tmp_path / "b.zip")
    with pytest.raises(InputError, match=r"b\.zip/model\.onnx: its SHA-256"):
        bundle.load(tmp_path / "b.zip")


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "sub/evil", "..\\evil", "C:evil", ".hidden", "sub/"])
def test_paths_are_refused(name: str, folder: Path, tmp_path: Path) -> None:
    packed = tmp_path / "z" / "b.zip"
    bundle.save_zip(bundle.load(folder), packed)
    with zipfile.ZipFile(packed, "a") as opened:
        opened.writestr(name, "x")
    with pytest.raises(InputError, match="is no plain file of a bundle"):
        bundle.load(packed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "made", "z"]


def test_links_doubles_and_floods_are_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = zipfile.ZipInfo("model.onnx")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as opened:
        opened.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="is no plain file of a bundle"):
        bundle.load(tmp_path / "link.zip")
    with zipfile.ZipFile(tmp_path / "double.zip", "w") as opened:
        opened.writestr("model.onnx", "x")
        opened.writestr("MODEL.onnx", "y")
    with pytest.raises(InputError, match="two files of one name"):
        bundle.load(tmp_path / "double.zip")
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as opened:
        for index in range(17):
            opened.writestr(f"f{index}", "")
    with pytest.raises(InputError, match="holds 17 files"):
        bundle.load(tmp_path / "many.zip")
    monkeypatch.setattr(archive, "MOST_BYTES", 500)
    bundle.save_zip(bundle.load(folder), tmp_path / "large.zip")
    with pytest.raises(InputError, match="unpacks to more than"):
        bundle.load(tmp_path / "large.zip")


def test_damaged_zip(folder: Path, tmp_path: Path) -> None:
    packed = bundle.save_zip(bundle.load(folder), tmp_path / "b.zip")
    whole = packed.read_bytes()
    flipped = bytearray(whole)
    flipped[200:260] = bytes(60)
    for content in (b"", b"PK\x03\x04", whole[: len(whole) // 2], bytes(flipped)):
        packed.write_bytes(content)
        with pytest.raises(InputError, match=r"b\.zip") as caught:
            bundle.load(packed)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_verify_runs_the_file_elsewhere(
    runtime: str, exported: Callable[[str, str, str], Path], case: Callable[[str], Case], tmp_path: Path
) -> None:
    made = write(tmp_path / "b", exported(runtime, "depthmap", "float"), runtime, recipe=recipe("float"))
    packed = bundle.save_zip(made, tmp_path / "b.zip")
    opened = bundle.load(packed).verify()
    session = opened.session()
    raw = without_gain(session.run(case("depthmap").unseen), opened.arch, opened.manifest.postprocessing.depth_gain)
    assert np.abs(raw - case("depthmap").raw).max() < 1e-3
    session.close()


def test_verify_refuses_a_model_of_another_network(exported: Callable[[str, str, str], Path], tmp_path: Path) -> None:
    made = write(tmp_path / "b", exported("onnxruntime", "simcc", "float"), recipe=recipe("float"))
    with pytest.raises(InputError, match=r"its answer is of shape .* the manifest's network gives \(1, 34, 8, 8\)"):
        made.verify()
