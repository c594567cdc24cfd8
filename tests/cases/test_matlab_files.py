"""MPI-INF-3DHP annotations saved as MATLAB 7.3 are read with h5py, or one line names the extra."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat

from arch.errors import InputError
from explore.cli import main
from explore.data import open_dataset
from explore.data.config import MpiInf3dhpOptions
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


def test_without_h5py_one_line_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_as_7_3(mpi_inf_3dhp(tmp_path, 4))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"annot\.mat: saved as MATLAB 7\.3, which needs h5py; pip install"):
        open_dataset(f"mpi_inf_3dhp:{tmp_path}", "train", CAMERA_0)
    assert main(["data", "check", f"mpi_inf_3dhp:{tmp_path}"]) == 1
    assert "edgepose[h5]" in capsys.readouterr().out


def test_broken_files_of_both_versions(tmp_path: Path) -> None:
    path = mpi_inf_3dhp(tmp_path, 4)
    whole = path.read_bytes()
    save_as_7_3(path)
    newer = path.read_bytes()
    for data in (whole[:600], newer[:1200], newer[:512] + b"\x89HDF\r\n\x1a\n" + bytes(300), b""):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"annot\.mat: (not a valid MATLAB file|key)") as caught:
            open_dataset(f"mpi_inf_3dhp:{tmp_path}", "train", CAMERA_0)
        assert "\n" not in str(caught.value)
