"""Part of a JPEG decoded alone: libjpeg-turbo 3 leaves out the rows and columns that no crop looks at.

OpenCV decodes whole pictures. Where libturbojpeg 3 is not installed (it is in the `jpeg` extra, or the system's), or
where it finds anything to complain of, the caller decodes the whole picture by OpenCV: the same values in the part.
"""

from __future__ import annotations

import ctypes
import importlib.util
from ctypes.util import find_library
from functools import lru_cache
from pathlib import Path
from threading import local
from typing import Any

import numpy as np

DECOMPRESS, RGB = 1, 0  # TJINIT_DECOMPRESS, TJPF_RGB
ALIGNED = 32  # px, the widest block of any subsampling: where a part may begin
MARGIN = 4  # px around what is asked: colours are smoothed over the edge of the part

Region = tuple[int, int, int, int]  # left, top, right, bottom px


class _Rectangle(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("x", "y", "w", "h")]


class _Factor(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("numerator", "denominator")]


def available() -> bool:
    """Whether parts can be decoded here."""
    return _library() is not None


def decode_part(data: bytes, size: tuple[int, int], region: Region, reduced: int) -> np.ndarray | None:
    """RGB uint8 (H, W, 3) of the whole picture's size, right within `region` and undefined elsewhere.

    size: (width, height) px of the picture; region: left, top, right, bottom px of it. The result is 1/`reduced`
    (1, 2, 4 or 8) of that. None where the file is not of that size or libjpeg-turbo cannot decode it faultlessly.
    """
    library, handle = _library(), _handle()
    if library is None or handle is None or library.tj3DecompressHeader(handle, data, len(data)):
        return None
    found = (library.tj3Get(handle, 5), library.tj3Get(handle, 6))  # TJPARAM_JPEGWIDTH, TJPARAM_JPEGHEIGHT
    if found != size:
        return None
    width, height = (-(-side // reduced) for side in size)
    left = max(0, (region[0] // reduced - MARGIN) // ALIGNED * ALIGNED)
    top = max(0, region[1] // reduced - MARGIN)
    right, bottom = (-(-edge // reduced) + MARGIN for edge in region[2:])
    part = _Rectangle(left, top, min(right, width) - left, min(bottom, height) - top)
    image = np.empty((height, width, 3), np.uint8)
    if part.w <= 0 or part.h <= 0:  # the crop looks past the picture
        image.fill(0)
        return image
    start = image[top:, left:].ctypes.data
    if (
        library.tj3SetScalingFactor(handle, _Factor(1, reduced))
        or library.tj3SetCroppingRegion(handle, part)
        or library.tj3Decompress8(handle, data, len(data), start, width * 3, RGB)
    ):
        return None
    return image


_handles = local()


def _handle() -> int | None:
    """This thread's decompressor."""
    if not hasattr(_handles, "value"):
        library = _library()
        _handles.value = library.tj3Init(DECOMPRESS) if library else None
    return _handles.value


@lru_cache(maxsize=1)
def _library() -> Any:
    """libturbojpeg 3 of the `turbojpeg` package or the system, its functions declared; None where there is none."""
    for path in _candidates():
        try:
            library = ctypes.CDLL(path)
            library.tj3SetCroppingRegion  # noqa: B018 - is it there? Version 2 has none
        except (OSError, AttributeError):
            continue
        handle, text, size, pointer = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p
        library.tj3Init.restype = handle
        library.tj3Init.argtypes = [ctypes.c_int]
        library.tj3Get.argtypes = [handle, ctypes.c_int]
        library.tj3DecompressHeader.argtypes = [handle, text, size]
        library.tj3SetScalingFactor.argtypes = [handle, _Factor]
        library.tj3SetCroppingRegion.argtypes = [handle, _Rectangle]
        library.tj3Decompress8.argtypes = [handle, text, size, pointer, ctypes.c_int, ctypes.c_int]
        return library
    return None


def _candidates() -> list[str]:
    spec = importlib.util.find_spec("turbojpeg")
    bundled = Path(spec.origin).parent.glob("turbojpeg.libs/*turbojpeg*") if spec and spec.origin else ()
    system = find_library("turbojpeg")
    return [*(str(path) for path in bundled), *([system] if system else [])]
