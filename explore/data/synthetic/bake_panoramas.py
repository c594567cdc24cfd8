"""Bake panoramas.npz from the panoramas of an npm package. This is only needed to change the surroundings:

    npm pack @pmndrs/assets@1.7.0 && tar xzf pmndrs-assets-1.7.0.tgz
    pip install OpenEXR
    python -m explore.data.synthetic.bake_panoramas package panoramas.npz

The panoramas are Poly Haven's, reduced to 512 x 256 px by the package; both are CC0 (see NOTICE). The script stores
each as a JPEG, with the light of the scene beside it: the irradiance as spherical harmonics of order 2 (Ramamoorthi and
Hanrahan, An Efficient Representation for Irradiance Environment Maps, SIGGRAPH 2001), and the strongest lamp.
"""

from __future__ import annotations

import argparse
import base64
import re
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile

import cv2
import numpy as np

from explore.data.synthetic.panorama import HEADROOM, directions, harmonics

SHA256 = (
    "303738e154b630fd7515d8a33155ea21aeb8d4aa622f329c8c1c396d3dbddd2b"  # of the 18 .exr.js files in alphabetical order
)
LAMP_ANGLE = 20.0  # degrees around the brightest direction that belong to the lamp
JPEG_QUALITY = 88
LOST = 0.01  # radiance below which red and green have overflowed


def bake(package: Path, path: Path) -> None:
    """Read the panoramas of the unpacked package and write the file."""
    files = sorted((package / "hdri").glob("*.exr.js"))
    found = sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{package}: sha256 of hdri/*.exr.js is {found}, not {SHA256}; unpack @pmndrs/assets 1.7.0")
    images, ambient, lamps, toward = [], [], [], []
    for file in files:
        radiance = _read(file)
        weight, lamp, direction = _light(radiance)
        median = float(np.median(radiance.mean(-1)))
        ambient.append(weight / median)
        lamps.append(lamp / median)
        toward.append(direction)
        coded = np.sqrt(np.clip(radiance / (HEADROOM * median), 0, 1)) * 255
        encoded = cv2.imencode(
            ".jpg", np.rint(coded[..., ::-1]).astype(np.uint8), (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
        )
        images.append(encoded[1].ravel())
    np.savez(
        path,
        names=np.array([file.name.removesuffix(".exr.js") for file in files]),
        images=np.concatenate(images),
        ends=np.cumsum([len(image) for image in images]),
        ambient=np.array(ambient, np.float32),
        lamp=np.array(lamps, np.float32),
        toward=np.array(toward, np.float32),
    )


def _read(file: Path) -> np.ndarray:
    """Return the linear RGB (256, 512, 3) of a panorama that is packed into a JavaScript file."""
    import OpenEXR

    match = re.search(rb"base64,([A-Za-z0-9+/=]+)", file.read_bytes())
    if match is None:
        raise SystemExit(f"{file}: holds no base64 data; unpack the package again")
    with NamedTemporaryFile(suffix=".exr") as unpacked:
        unpacked.write(base64.b64decode(match[1]))
        unpacked.flush()
        with OpenEXR.File(unpacked.name) as content:
            return _without_ringing(_with_sun(content.channels()["RGB"].pixels.astype(np.float32)))


def _with_sun(radiance: np.ndarray) -> np.ndarray:
    """Return the panorama with red and green of the sun in proportion to its blue, where they overflowed in the files.

    There, red and green are almost 0 and blue is that of the sun. The proportion is that of the pixels around.
    """
    lost = (np.abs(radiance[..., :2]) < LOST).all(-1)
    count, labels = cv2.connectedComponents(lost.astype(np.uint8))
    sun = HEADROOM * np.median(radiance.mean(-1))
    for label in range(1, count):
        part = labels == label
        if radiance[part, 2].max() > sun:
            ring = cv2.dilate(part.astype(np.uint8), np.ones((3, 3), np.uint8)) > part
            colour = np.median(radiance[ring], 0)
            radiance[part] = radiance[part, 2:] * colour / colour[2]
    return radiance


def _without_ringing(radiance: np.ndarray) -> np.ndarray:
    """Return the panorama without the dark lines that the package's reduction left around lamps."""
    bright = (radiance.max(-1) > HEADROOM * np.median(radiance.mean(-1))).astype(np.uint8)
    around = cv2.dilate(bright, np.ones((9, 9), np.uint8)) - bright
    closed = cv2.morphologyEx(radiance, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    cleaned: np.ndarray = np.clip(np.where(around[..., None] > 0, closed, radiance), 0, None)
    return cleaned


def _light(radiance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return harmonics (9, 3) of irradiance / pi without the lamp, the lamp's irradiance / pi (3,) and direction."""
    height, width, _ = radiance.shape
    d = directions(width, height)
    latitude = np.arcsin(d[..., 1])
    solid = np.cos(latitude) * (2 * np.pi / width) * (np.pi / height)  # sr of each pixel
    blurred = cv2.GaussianBlur(radiance.mean(-1), (0, 0), 4, borderType=cv2.BORDER_REPLICATE)
    blurred[latitude > 0] = 0  # the lamp is above the horizon
    y, x = np.unravel_index(blurred.argmax(), blurred.shape)
    near = d @ d[y, x] > np.cos(np.deg2rad(LAMP_ANGLE))
    around = np.median(radiance[near], 0)
    excess = np.where(near[..., None], np.clip(radiance - around, 0, None), 0) * solid[..., None]
    strength = excess.sum((0, 1))
    direction = (d * excess.mean(-1)[..., None]).sum((0, 1))
    rest = radiance * solid[..., None] - excess
    basis, gain = harmonics(d.reshape(-1, 3))
    weights = gain[:, None] * (basis.T @ rest.reshape(-1, 3)) / np.pi
    return weights, strength / np.pi, direction / np.linalg.norm(direction)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Bake the panoramas of the synthetic data set.")
    parser.add_argument("package", type=Path, help="folder of the unpacked npm package")
    parser.add_argument("path", type=Path, help="the .npz file to write")
    bake(**vars(parser.parse_args()))
