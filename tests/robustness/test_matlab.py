"""Broken MATLAB files of both kinds: one line with the file."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from arch.errors import InputError
from explore.data.readers.mpi_inf_3dhp import read_matlab


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
