"""Decoding of image files into RGB arrays, with errors for files that cannot be used."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from arch.errors import shortened
from arch.files import read_regular
from explore.data import jpeg
from explore.data.sample_errors import SampleError
from quantize.runner import MAX_PIXELS

_FLAGS = {1: cv2.IMREAD_COLOR_RGB} | {
    # the greyscale flag only selects the reduction; the RGB flag beside it selects the colours
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2 | cv2.IMREAD_COLOR_RGB,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4 | cv2.IMREAD_COLOR_RGB,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8 | cv2.IMREAD_COLOR_RGB,
}

# As in `quantize.sdk.edgepose_decoder.samples_per_px`.
MAX_ENLARGEMENT = 1.1  # largest enlargement of a reduced image; the error stays below that of plain bilinear sampling
FULL_SIZE_SIDE = 256  # px: images with a side up to this are decoded at full size, which takes no time
MIN_CHECKED_BYTES = 1 << 16  # smaller JPEGs cannot exceed MAX_PIXELS, so that their header is not read
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


def read_image(path: str | Path, oriented: bool = True) -> np.ndarray:
    """Decode a photo to RGB uint8 (H, W, 3); 16-bit values as in `to_8_bits`.

    oriented: rotate it by its EXIF orientation, which annotations of data sets ignore

    Raises:
        InputError: the file is missing, truncated or not an image.
    """
    return _decode(_read(path), cv2.IMREAD_COLOR_RGB | (0 if oriented else cv2.IMREAD_IGNORE_ORIENTATION), path)


def read_frame(
    path: str | Path, size: Sequence[int] | np.ndarray, allowed: float = 1.0, region: jpeg.Region | None = None
) -> tuple[np.ndarray, int]:
    """Decode an image of a data set. Return it as RGB uint8 and its reduction (1, 2, 4 or 8) relative to `size`.

    The EXIF orientation is ignored. Large JPEGs are decoded at a reduced size if `allowed` permits it. 16-bit values
    are read as in `to_8_bits`.

    size: (width, height) px as annotated
    allowed: source px per px of the crop, that is, how far the image may be reduced
    region: left, top, right, bottom px that the crop covers; pixels outside it may be undefined, which saves time

    Raises:
        SampleError: the file is missing, truncated, not an image that can be decoded, or has another size.
    """
    data, (width, height) = _read(path), (int(side) for side in size)
    large_jpeg = data[:2] == b"\xff\xd8" and min(width, height) > FULL_SIZE_SIDE
    reduced = max(factor for factor in _FLAGS if factor == 1 or (large_jpeg and factor <= allowed * MAX_ENLARGEMENT))
    if region and large_jpeg:
        part = jpeg.decode_part(data, (width, height), region, reduced)
        if part is not None:
            return part, reduced
    image = _decode(data, _FLAGS[reduced] | cv2.IMREAD_IGNORE_ORIENTATION, path)
    if image.shape[:2] != (-(-height // reduced), -(-width // reduced)):
        full = _decode(data, _FLAGS[1] | cv2.IMREAD_IGNORE_ORIENTATION, path)  # the reduced size is rounded
        found = f"{full.shape[1]} x {full.shape[0]}"
        raise SampleError(
            "size", f"{path}: the image is {found}, annotated {width} x {height}; correct width and height"
        )
    return image, reduced


def image_size(path: Path) -> tuple[int, int]:
    """Return (width, height) px of an image file, as `read_frame` decodes it. Raises SampleError if it cannot be."""
    data = _read(path)
    if found := _size_in_header(data):
        return found
    height, width = _decode(data, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION, path).shape
    return width, height


def _size_in_header(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) px, or None if Pillow does not know the format."""
    size: tuple[int, int] | None = from_pillow(io.BytesIO(data), lambda image: image.size)
    return size


def stored_orientation(path: Path) -> int:
    """Return the EXIF orientation that readers ignore; 1 where there is none, and for HEIC, which is decoded rotated."""
    return int(from_pillow(path, lambda image: image.getexif().get(0x0112)) or 1)


def from_pillow(source: Path | io.BytesIO, read: Callable[[Any], Any]) -> Any:
    """Return `read` of the image that Pillow opens, or None if it does not know the format or its metadata is damaged."""
    from PIL import Image

    # any size: MAX_PIXELS is checked here, for Pillow and OpenCV alike
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(source) as image:
            return read(image)
    except (OSError, ValueError, SyntaxError, OverflowError, struct.error):
        return None
    finally:
        Image.MAX_IMAGE_PIXELS = before


def read_mask(path: Path) -> np.ndarray:
    """Decode the mask of a person to uint8 (H, W), 255 on the person. Raises SampleError as `read_frame`."""
    return _decode(_read(path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION, path)


def _read(path: str | Path) -> bytes:
    try:
        data = read_regular(path)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or error
        raise SampleError(
            "missing", f"{path}: cannot be read ({reason}); restore the image or correct its path"
        ) from error
    if not data or (data[:2] == b"\xff\xd8" and not jpeg_is_complete(data)):
        raise SampleError("broken", f"{path}: the image is cut off; fetch it again")
    return data


def _check_pixels(size: tuple[int, int], path: str | Path) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        shown = f"{size[0]} x {size[1]} px; the limit is {MAX_PIXELS // 10**6} megapixels"
        raise SampleError("broken", f"{path}: too many pixels, {shown}; scale the image down")


def _decode(data: bytes, flags: int, path: str | Path) -> np.ndarray:
    if len(data) > MIN_CHECKED_BYTES or data[:2] != b"\xff\xd8":  # a small JPEG has few pixels
        size = _size_in_header(data)
        if size:
            _check_pixels(size, path)
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS:
        return _decode_heif(data, flags, path)
    encoded = np.frombuffer(data, np.uint8)
    try:
        image = cv2.imdecode(encoded, flags | cv2.IMREAD_ANYDEPTH)
        if image is not None and image.dtype == np.uint16 and image.ndim == 3:
            # OpenCV 5 confuses the channels of TIFF in RGB order
            blue_first = flags & ~cv2.IMREAD_COLOR_RGB | cv2.IMREAD_COLOR_BGR
            image = np.flip(np.asarray(cv2.imdecode(encoded, blue_first | cv2.IMREAD_ANYDEPTH)), -1)
    except cv2.error as error:  # for example more pixels than OpenCV reads
        reason = "too many pixels" if "PIXELS" in error.err else error.err
        raise SampleError("broken", f"{path}: cannot be decoded ({reason}); give a smaller JPEG or PNG") from None
    if image is None:
        raise SampleError("broken", f"{path}: not an image that can be decoded; give a JPEG or PNG")
    if image.dtype not in (np.uint8, np.uint16):
        raise SampleError("format", f"{path}: has values of type {image.dtype}; convert it to 8 bits per channel")
    return to_8_bits(image)


def _decode_heif(data: bytes, flags: int, path: str | Path) -> np.ndarray:
    """Decode a HEIC photo, as phones write them, rotated as it says."""
    try:
        import pillow_heif
    except ImportError:
        advice = "pip install 'edgepose[heif]', or convert it to JPEG"
        raise SampleError("format", f"{path}: a HEIC photo, which needs pillow-heif; {advice}") from None
    try:
        opened = pillow_heif.open_heif(io.BytesIO(data))
        _check_pixels(opened.size, path)
        image = opened.to_pillow()
    except SampleError:
        raise
    except (OSError, ValueError, RuntimeError, EOFError) as error:
        raise SampleError("broken", f"{path}: cannot be decoded ({shortened(error)}); give a JPEG or PNG") from None
    return np.array(image.convert("L" if flags & ~cv2.IMREAD_IGNORE_ORIENTATION == cv2.IMREAD_GRAYSCALE else "RGB"))


def to_8_bits(image: np.ndarray) -> np.ndarray:
    """Return an image of 8 or 16 bits per channel as uint8: the high byte of 16 bits, in every part of the project."""
    return image if image.dtype == np.uint8 else np.ascontiguousarray(image >> 8).astype(np.uint8)


def jpeg_is_complete(data: bytes) -> bool:
    """Return whether the end-of-image marker follows the first scan. libjpeg fills missing parts with grey silently."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xFF:  # fill byte before a marker
            at += 1
            continue
        if data[at + 1] == 0xDA:
            return data.rfind(b"\xff\xd9", at) >= 0
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False
