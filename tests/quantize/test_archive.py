"""Reading and writing bundles as .zip files."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from arch.decode import unscale_depths
from arch.errors import InputError
from quantize import archive, bundle
from quantize.recipes import recipe
from tests.helpers.networks import Case, write_bundle
from tests.helpers.runtimes import every_runtime


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "model.onnx").write_bytes(b"weights" * 100)
    return write_bundle(tmp_path / "b", tmp_path / "made" / "model.onnx").path


def test_round_trip_is_reproducible(folder: Path, tmp_path: Path) -> None:
    made = bundle.load(folder)
    packed = bundle.save_zip(made, tmp_path / "b.zip")
    first = packed.read_bytes()
    opened = bundle.load(packed)
    assert opened.manifest == made.manifest and opened.model.read_bytes() == made.model.read_bytes()
    assert bundle.save_zip(made, packed).read_bytes() == first
    temporary = opened.path
    del opened
    assert not temporary.exists()


def test_changed_file_is_reported_with_the_zip(folder: Path, tmp_path: Path) -> None:
    (folder / "model.onnx").write_bytes(b"Weights" * 100)
    archive.pack(folder, tmp_path / "b.zip")
    with pytest.raises(InputError, match=r"b\.zip/model\.onnx: SHA-256 differs"):
        bundle.load(tmp_path / "b.zip")


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "sub/evil", "..\\evil", "C:evil", ".hidden", "sub/"])
def test_paths_are_rejected(name: str, folder: Path, tmp_path: Path) -> None:
    packed = tmp_path / "z" / "b.zip"
    bundle.save_zip(bundle.load(folder), packed)
    with zipfile.ZipFile(packed, "a") as opened:
        opened.writestr(name, "x")
    with pytest.raises(InputError, match="a bundle holds regular files only"):
        bundle.load(packed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "made", "z"]


def test_links_duplicates_and_large_content_are_rejected(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = zipfile.ZipInfo("model.onnx")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as opened:
        opened.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="a bundle holds regular files only"):
        bundle.load(tmp_path / "link.zip")
    with zipfile.ZipFile(tmp_path / "double.zip", "w") as opened:
        opened.writestr("model.onnx", "x")
        opened.writestr("MODEL.onnx", "y")
    with pytest.raises(InputError, match="two files of the same name"):
        bundle.load(tmp_path / "double.zip")
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as opened:
        for index in range(33):
            opened.writestr(f"f{index}", "")
    with pytest.raises(InputError, match="33 files; a bundle has at most 32"):
        bundle.load(tmp_path / "many.zip")
    monkeypatch.setattr(archive, "MAX_BYTES", 500)
    bundle.save_zip(bundle.load(folder), tmp_path / "large.zip")
    with pytest.raises(InputError, match="unpacks to more than"):
        bundle.load(tmp_path / "large.zip")


def test_damaged_zip(folder: Path, tmp_path: Path) -> None:
    packed = bundle.save_zip(bundle.load(folder), tmp_path / "b.zip")
    complete = packed.read_bytes()
    flipped = bytearray(complete)
    flipped[200:260] = bytes(60)
    for content in (b"", b"PK\x03\x04", complete[: len(complete) // 2], bytes(flipped)):
        packed.write_bytes(content)
        with pytest.raises(InputError, match=r"b\.zip") as caught:
            bundle.load(packed)
        assert "\n" not in str(caught.value)


@every_runtime
def test_verify_and_run_a_zip(
    runtime: str, exported: Callable[[str, str, str], Path], case: Callable[[str], Case], tmp_path: Path
) -> None:
    model = exported(runtime, "heatmap-2.5d", "float")
    made = write_bundle(tmp_path / "b", model, runtime, recipe=recipe("float"))
    opened = bundle.load(bundle.save_zip(made, tmp_path / "b.zip")).verify()
    session = opened.session()
    scale = opened.manifest.postprocessing.depth_scale
    raw = unscale_depths(session.run(case("heatmap-2.5d").unseen), opened.arch, scale)
    assert np.abs(raw - case("heatmap-2.5d").raw).max() < 1e-3
    session.close()


def test_verify_rejects_a_model_of_another_network(exported: Callable[[str, str, str], Path], tmp_path: Path) -> None:
    made = write_bundle(tmp_path / "b", exported("onnxruntime", "simcc", "float"), recipe=recipe("float"))
    with pytest.raises(InputError, match=r"output has shape .* the network in the manifest \(1, 34, 8, 8\)"):
        made.verify()
