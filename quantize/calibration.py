"""The pictures that INT8 ranges are taken from: checked before use, hashed for the manifest."""

from __future__ import annotations

import hashlib

import numpy as np

from arch.errors import InputError
from arch.space import Arch
from quantize.recipes import Recipe
from quantize.runtimes import Array

MAX_MAGNITUDE = 100.0  # normalised RGB lies within 3; thousands mean that normalisation was forgotten


def check(pictures: Array | None, arch: Arch, recipe: Recipe) -> Array | None:
    """The first `recipe.calibration_images` of `pictures`, normalised RGB (N, 3, S, S); None where none are needed.

    Raises:
        InputError: too few, of another size, not finite, not normalised, or all of one colour.
    """
    if not recipe.int8:
        return None
    wanted = recipe.calibration_images
    if pictures is None or len(pictures) < wanted:
        have = 0 if pictures is None else len(pictures)
        raise InputError(
            f"calibration: recipe {recipe.name} takes {wanted} pictures, {have} given; add pictures or lower "
            f"calibration_images"
        )
    shape = (3, arch.input, arch.input)
    if pictures.shape[1:] != shape or pictures.dtype != np.float32:
        raise InputError(f"calibration: pictures are {pictures.dtype} {pictures.shape[1:]}; give float32 {shape}")
    pictures = np.ascontiguousarray(pictures[:wanted])
    if not np.isfinite(pictures).all():
        bad = int(np.flatnonzero(~np.isfinite(pictures).all((1, 2, 3)))[0])
        raise InputError(f"calibration: picture {bad} holds NaN or infinity; leave it out")
    if np.abs(pictures).max() > MAX_MAGNITUDE:
        raise InputError("calibration: values far outside normalised RGB; divide by 255, subtract mean, divide by std")
    if (pictures.std((2, 3)) < 1e-6).all():
        raise InputError("calibration: every picture is of one colour; INT8 ranges need real pictures")
    return pictures


def digest(pictures: Array) -> str:
    """Hash of the pictures' values: the same ranges come from the same digest."""
    return hashlib.sha256(np.ascontiguousarray(pictures, np.float32).tobytes()).hexdigest()[:12]
