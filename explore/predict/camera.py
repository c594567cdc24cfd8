"""What a photo's camera is taken to be, and how far away a person is taken to stand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

FULL_FRAME_DIAGONAL = math.hypot(36.0, 24.0)  # mm, what "35 mm equivalent" refers to
ASSUMED = "assumed, "
REFERENCE_SIDE = 2000.0  # mm that the padded box is taken to span (RootNet, Moon et al. 2019, equation 2)


@dataclass(frozen=True)
class Camera:
    """A pinhole: f (2,) and c (2,) in px of the photo; where each of them comes from, in words."""

    f: np.ndarray
    c: np.ndarray
    focal_from: str
    principal_from: str

    @property
    def assumed(self) -> list[str]:
        """What nobody gave and no file told."""
        parts = (
            (f"focal length {self.f[0]:.0f} px", self.focal_from),
            (f"principal point {self.c[0]:g},{self.c[1]:g} px", self.principal_from),
        )
        return [f"{what} ({source.removeprefix(ASSUMED)})" for what, source in parts if source.startswith(ASSUMED)]


def choose_camera(
    width: int,
    height: int,
    focal: float | None = None,
    principal: tuple[float, float] | None = None,
    equivalent_mm: float | None = None,
) -> Camera:
    """The camera of a photo of width x height px.

    focal, principal: px, as given by the user; equivalent_mm: the photo's own 35 mm equivalent focal length.
    Without them the focal length is the photo's longer side, the principal point its centre.
    """
    if focal is not None:
        focal_from = "given"
    elif equivalent_mm is not None:
        focal = equivalent_mm / FULL_FRAME_DIAGONAL * math.hypot(width, height)
        focal_from = f"EXIF, {equivalent_mm:g} mm in 35 mm film"
    else:
        focal = float(max(width, height))
        focal_from = f"{ASSUMED}the photo's longer side"
    c = principal or (width / 2, height / 2)
    principal_from = "given" if principal else f"{ASSUMED}the photo's centre"
    return Camera(np.array([focal, focal]), np.array(c), focal_from, principal_from)


def equivalent_focal(path: Path) -> float | None:
    """The 35 mm equivalent focal length in mm that the camera wrote into the file; None where it did not."""
    try:
        picture = Image.open(path)
    except (UnidentifiedImageError, Image.DecompressionBombError):
        return None  # OpenCV reads more than Pillow does
    with picture:
        value = picture.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.FocalLengthIn35mmFilm)
    return float(value) if isinstance(value, int) and value > 0 else None


def root_depth_from_box(bbox: np.ndarray, padding: float, f: np.ndarray) -> float:
    """Depth of the root joint in mm: where a square of 2 m would look as large as the padded, squared box.

    RootNet's k, without the correction that RootNet learns: right for a standing adult, too far for a child or
    someone who crouches, too far as well where the photo's edge cuts the person.
    """
    side = max(float(bbox[2]), float(bbox[3])) * padding
    return REFERENCE_SIDE * math.sqrt(float(f[0] * f[1])) / side
