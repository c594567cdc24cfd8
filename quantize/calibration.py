"""Checks of the calibration images, from which quantizers derive activation ranges."""

from __future__ import annotations

import hashlib

import numpy as np

from arch.errors import InputError
from arch.space import Arch
from quantize.recipes import Recipe
from quantize.runtimes import Array

MAX_MAGNITUDE = 100.0  # normalised RGB is within 3; thousands mean that the images were not normalised


def check(images: Array | None, arch: Arch, recipe: Recipe) -> Array | None:
    """Return the first `recipe.calibration_images` of normalised RGB images (N, 3, S, S), or None without ranges of activations.

    Raises:
        InputError: too few images, or wrong size, type or values.
    """
    if not recipe.calibrated:
        return None
    count = recipe.calibration_images
    if images is None or len(images) < count:
        given = 0 if images is None else len(images)
        raise InputError(
            f"calibration: {given} images, but {recipe.name} needs {count}; add images or lower calibration_images"
        )
    shape = (3, arch.input_size, arch.input_size)
    if images.shape[1:] != shape or images.dtype != np.float32:
        raise InputError(f"calibration: images are {images.dtype} {images.shape[1:]}; give float32 {shape}")
    images = np.ascontiguousarray(images[:count])
    if not np.isfinite(images).all():
        bad = int(np.flatnonzero(~np.isfinite(images).all((1, 2, 3)))[0])
        raise InputError(f"calibration: image {bad} has NaN or infinite values; leave it out")
    if np.abs(images).max() > MAX_MAGNITUDE:
        raise InputError("calibration: values outside normalised RGB; divide by 255, subtract mean, divide by std")
    if (images.std((2, 3)) < 1e-6).all():
        raise InputError("calibration: every image has a single colour; use real images")
    return images


def digest(images: Array) -> str:
    """Return a hash of the images; images with the same hash give the same activation ranges."""
    return hashlib.sha256(np.ascontiguousarray(images, np.float32).tobytes()).hexdigest()[:12]
