"""Partial JPEG decoding: libjpeg-turbo 3 skips the rows and columns outside the crop.

OpenCV can only decode whole images. If libturbojpeg 3 is not installed (by the `jpeg` extra or the system), or if it
reports a problem, the caller decodes the whole image with OpenCV, which gives the same values inside the crop.
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
ALIGNED = 32  # px, the widest block of any chroma subsampling: a part must start at a multiple
MARGIN = 4  # px around the region: chroma upsampling blurs the edge of the decoded part

Region = tuple[int, int, int, int]  # left, top, right, bottom px


class _Rectangle(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("x", "y", "w", "h")]


class _Factor(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("numerator", "denominator")]


def available() -> bool:
    """Return whether libturbojpeg 3 is installed."""
    return _library() is not None


def decode_part(data: bytes, size: tuple[int, int], region: Region, reduced: int) -> np.ndarray | None:
    """Return RGB uint8 (H, W, 3) of the whole image's size, valid inside `region` and undefined elsewhere.

    Return None if the file has another size or libjpeg-turbo reports a problem.

    size: (width, height) px of the image; region: left, top, right, bottom px
    reduced: 1, 2, 4 or 8, by which both sides of the result are divided
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
    if part.w <= 0 or part.h <= 0:  # the crop lies outside the image
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
    """Return the decompressor of this thread."""
    if not hasattr(_handles, "value"):
        library = _library()
        _handles.value = library.tj3Init(DECOMPRESS) if library else None
    return _handles.value


@lru_cache(maxsize=1)
def _library() -> Any:
    """Load libturbojpeg 3 from the `turbojpeg` package or the system and declare its functions; None if not found."""
    for path in _candidates():
        try:
            library = ctypes.CDLL(path)
            library.tj3SetCroppingRegion  # noqa: B018 - missing in version 2
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
