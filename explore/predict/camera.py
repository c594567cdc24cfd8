"""Camera intrinsics of a photo or video, and the distance of a person from the camera."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags

from arch.decode import CROP_SIDE_MM
from explore.data.images import from_pillow

FULL_FRAME_DIAGONAL = math.hypot(36.0, 24.0)  # mm, the reference of a 35 mm equivalent focal length
ASSUMED = "assumed, "


@dataclass(frozen=True)
class Camera:
    """Pinhole intrinsics: focal length f (2,) and principal point c (2,) in px, and the source of each in words."""

    f: np.ndarray
    c: np.ndarray
    focal_from: str
    principal_from: str

    @property
    def assumed(self) -> list[str]:
        """Descriptions of the values that neither the user nor the file gave."""
        values = (
            (f"focal length {self.f[0]:.0f} px", self.focal_from),
            (f"principal point {self.c[0]:g},{self.c[1]:g} px", self.principal_from),
        )
        return [f"{text} ({source.removeprefix(ASSUMED)})" for text, source in values if source.startswith(ASSUMED)]


def choose_camera(
    width: int,
    height: int,
    focal: float | None = None,
    principal: tuple[float, float] | None = None,
    equivalent_mm: float | None = None,
) -> Camera:
    """Return the intrinsics of an image of width x height px.

    Without the values below, the focal length is the longer side and the principal point the centre.

    Args:
        focal, principal: px, given by the user.
        equivalent_mm: 35 mm equivalent focal length stored in the file.
    """
    if focal is not None:
        focal_from = "given"
    elif equivalent_mm is not None:
        focal = equivalent_mm / FULL_FRAME_DIAGONAL * math.hypot(width, height)
        focal_from = f"EXIF, {equivalent_mm:g} mm in 35 mm film"
    else:
        focal = float(max(width, height))
        focal_from = f"{ASSUMED}the image's longer side"
    c = principal or (width / 2, height / 2)
    principal_from = "given" if principal else f"{ASSUMED}the image's centre"
    return Camera(np.array([focal, focal]), np.array(c), focal_from, principal_from)


def equivalent_focal(path: Path) -> float | None:
    """Return the 35 mm equivalent focal length in mm from a photo's EXIF data, or None."""
    exif = from_pillow(path, lambda image: image.getexif().get_ifd(ExifTags.IFD.Exif)) or {}
    value = exif.get(ExifTags.Base.FocalLengthIn35mmFilm)
    return float(value) if isinstance(value, int) and value > 0 else None


def root_depth_from_side(side: float, f: np.ndarray) -> float:
    """Estimate the depth of the root joint in mm, assuming that the square of a person, `side` px wide, spans 2 m.

    This is RootNet's k without its learned correction. It fits a standing adult and overestimates the depth of
    children, of crouching people and of people cut off by the edge of the image.
    """
    return CROP_SIDE_MM * math.sqrt(float(f[0] * f[1])) / side
