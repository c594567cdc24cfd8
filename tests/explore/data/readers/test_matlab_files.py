"""MATLAB files of MPI-INF-3DHP: version 7.3 is read with h5py, or one line names the extra; broken ones are one line."""

from __future__ import annotations

import hashlib
import io
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from arch.errors import InputError
from explore.cli import main
from explore.data import open_dataset
from explore.data.config import MpiInf3dhpOptions
from explore.data.readers.mpi_inf_3dhp import read_matlab
from tests.helpers.layouts import mpi_inf_3dhp

CAMERA_0 = MpiInf3dhpOptions(train_subjects=(1,), cameras=(0,))


def save_as_7_3(path: Path) -> None:
    """Rewrite annot.mat as version 7.3: HDF5 after a header, cells as references, axes in reverse order."""
    import h5py

    content = loadmat(path)
    with h5py.File(path, "w", userblock_size=512) as file:
        for key in ("annot2", "annot3"):
            cells = content[key]
            references = file.create_dataset(key, cells.T.shape, h5py.ref_dtype)
            for number, cell in enumerate(cells.reshape(-1)):
                references[0, number] = file.create_dataset(f"#refs#/{key}{number}", data=cell.T).ref
    data = path.read_bytes()
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    path.write_bytes(header + data[len(header) :])


def test_version_7_3_equals_version_5(tmp_path: Path) -> None:
    path = mpi_inf_3dhp(tmp_path, 4)
    before = open_dataset(f"mpi_inf_3dhp:{tmp_path}", "train", CAMERA_0)
    save_as_7_3(path)
    after = open_dataset(f"mpi_inf_3dhp:{tmp_path}", "train", CAMERA_0)
    np.testing.assert_array_equal(before.joints_cam, after.joints_cam)
    np.testing.assert_array_equal(before.joints_img, after.joints_img)


def test_videos_without_extracted_frames_are_counted(tmp_path: Path) -> None:
    mpi_inf_3dhp(tmp_path, 4)
    options = MpiInf3dhpOptions(train_subjects=(1,), cameras=(0, 1, 2))
    data = open_dataset(f"mpi_inf_3dhp:{tmp_path}", "train", options)
    assert any("4 samples; left out: 8 in videos without extracted frames" in note for note in data.notes)


def test_without_h5py_one_line_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_as_7_3(mpi_inf_3dhp(tmp_path, 4))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"annot\.mat: saved as MATLAB 7\.3, which needs h5py; pip install"):
        open_dataset(f"mpi_inf_3dhp:{tmp_path}", "train", CAMERA_0)
    assert main(["data", "check", f"mpi_inf_3dhp:{tmp_path}", "--dataset.train-subjects=1"]) == 1
    assert "edgepose[h5]" in capsys.readouterr().out


def saved(**values: object) -> bytes:
    file = io.BytesIO()
    savemat(file, values)
    return file.getvalue()


HEADER_73 = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + b" " * 8 + b"\x00\x02IM"
FAULTS = {
    "empty": (b"", "not a valid MATLAB file"),
    "text": (b"hello", "not a valid MATLAB file"),
    "header only": (saved(annot2=np.zeros(2))[:128], "'annot2' is missing"),
    "cut": (saved(annot2=np.zeros(2))[:200], "not a valid MATLAB file"),
    "7.3 header only": (HEADER_73, "not a valid MATLAB file|needs h5py"),
    "7.3 cut": (HEADER_73 + bytes(384) + b"\x89HDF\r\n\x1a\n" + bytes(100), "not a valid MATLAB file|needs h5py"),
    "other types": (saved(annot2="text", annot3={"a": 1}), "not a valid MATLAB file"),
    "another variable": (saved(x=np.zeros(2)), "'annot2' is missing"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_broken_matlab_files(fault: str, tmp_path: Path) -> None:
    path, (content, message) = tmp_path / "annot.mat", FAULTS[fault]
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_matlab(path, ("annot2", "annot3"), hashlib.sha256())
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
