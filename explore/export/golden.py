"""Stored predictions of a bundle (golden vectors), for `run.py --check` and the tests of decoders in apps.

golden.json describes two crops of one drawn photo, golden.png: regions, joints and confidence. The crops are PPM files,
and the raw outputs are plain little-endian float32, so that any language reads them without a library.
"""

from __future__ import annotations

import io
import json
from contextlib import closing
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from arch.decode import decode_with_confidence, to_normalised
from arch.heads import HEADS
from explore.data import framing
from explore.data.crop import region_matrix
from explore.predict.camera import choose_camera
from explore.predict.pipeline import to_photo_and_camera
from quantize.bundle import Bundle
from quantize.runner import GOLDEN, GOLDEN_PHOTO
from quantize.runtimes import Array, Session
from quantize.sdk.edgepose_decoder import Box, Region, region_of_box, sample_region

ROOT_DEPTH = 3000.0  # mm
MAX_RAW = 40_000  # values of a stored raw output; of a larger one, the first joints are stored
LIMITS = (0.5, 10.0)  # least and largest limit of the check, mm
TRIALS, CHANGED = 6, 0.005  # predictions of changed crops, and the fraction of values changed by one grey level
ROTATIONS = (0.35, -2.0)  # of the regions with framing roi, rad
FIGURE = (  # limbs from x0, y0 to x1, y1 as fractions of the photo, and their colours
    ((0.50, 0.30), (0.48, 0.56), "#356ba8"),
    ((0.42, 0.33), (0.33, 0.52), "#c77"),
    ((0.58, 0.33), (0.70, 0.45), "#b55"),
    ((0.46, 0.56), (0.42, 0.90), "#444a55"),
    ((0.51, 0.56), (0.58, 0.88), "#2d3440"),
)


def draw_photo(side: int) -> np.ndarray:
    """Draw a figure before stripes of several widths, which reveal how a program resamples."""
    photo = Image.new("RGB", (side, side * 3 // 4), "#9aa7a0")
    pen, height = ImageDraw.Draw(photo), side * 3 // 4
    for index, x in enumerate(range(0, side, 5)):
        pen.line(
            [x, 0, x - height // 3, height], fill=("#8c8f7f", "#b9c2bb", "#6f7f8d")[index % 3], width=1 + index % 4
        )
    for start, end, colour in FIGURE:
        points = [(round(x * side), round(y * height)) for x, y in (start, end)]
        pen.line(points, fill=colour, width=max(side // 14, 3))
        for x, y in points:
            pen.ellipse([x - side // 28, y - side // 28, x + side // 28, y + side // 28], fill=colour)
    pen.ellipse([round(0.45 * side), round(0.10 * height), round(0.55 * side), round(0.26 * height)], fill="#d9a98a")
    return np.asarray(photo)


def stored_predictions(bundle: Bundle) -> dict[str, bytes]:
    """Predict two crops of a drawn photo and return the files of the stored predictions by name.

    Roundings differ between processors, and the joints of an INT8 file move when one pixel changes by one grey level.
    The limit of the check is the largest such movement in `TRIALS` predictions of each crop, within `LIMITS`.
    """
    photo = draw_photo(round(2.7 * bundle.manifest.preprocessing.size))
    height, width = photo.shape[:2]
    png = io.BytesIO()
    Image.fromarray(photo).save(png, "PNG", optimize=True)
    files, vectors, movements = {GOLDEN_PHOTO: png.getvalue()}, [], []
    with closing(bundle.session()) as session:
        for number, (box, region) in enumerate(_regions(bundle, width, height), 1):
            vector, movement = _predict(bundle, session, photo, region, f"golden-{number}", files)
            vectors.append({"box": box} | vector)
            movements.append(movement)
    camera = choose_camera(width, height)
    about = {
        "photo": GOLDEN_PHOTO,
        "focal_px": float(camera.f[0]),
        "centre_px": camera.c.tolist(),
        "limit_mm": float(np.clip(max(movements), *LIMITS)),
        "vectors": vectors,
    }
    return files | {GOLDEN: (json.dumps(about, indent=1) + "\n").encode()}


def _regions(bundle: Bundle, width: int, height: int) -> list[tuple[Box | None, Region]]:
    """Return two regions of a photo, the first beyond its upper edge, and their boxes with framing box."""
    rules = bundle.manifest.preprocessing
    if rules.framing == "roi":
        return [
            (None, Region(0.52 * width + 0.3, 0.35 * height, 0.62 * width, ROTATIONS[0])),
            (None, Region(0.45 * width, 0.60 * height + 0.4, 0.41 * width, ROTATIONS[1])),
        ]
    boxes = (
        (0.27 * width + 0.3, -0.06 * height, 0.5 * width, 0.97 * height),
        (0.36 * width, 0.22 * height + 0.6, 0.28 * width, 0.46 * height),
    )
    return [(box, region_of_box(box, width, height, rules.box_padding)) for box in boxes]


def _predict(
    bundle: Bundle, session: Session, photo: np.ndarray, region: Region, name: str, files: dict[str, bytes]
) -> tuple[dict[str, Any], float]:
    """Predict one region, add the crop and the raw output to `files`, and return the vector and the movement in mm.

    The movement is the largest distance between joints of the crop and of `TRIALS` changed copies.
    """
    manifest = bundle.manifest
    rules, after = manifest.preprocessing, manifest.postprocessing
    camera = choose_camera(photo.shape[1], photo.shape[0])
    crop = sample_region(photo, region, rules.size, rules.border)
    raw = session.run(bundle.normalise(crop[None]))
    cells, confidence = decode_with_confidence(raw, bundle.arch, after.depth_scale)
    joints = to_normalised(cells, bundle.arch)[0]
    framed = framing.Region(np.array([region.x, region.y]), region.side, region.rotation)
    matrix = region_matrix(framed, rules.size)

    def place(joints: Array) -> tuple[np.ndarray, np.ndarray]:
        return to_photo_and_camera(joints, matrix, rules.size, after.depth_range_mm, camera, ROOT_DEPTH)

    rng = np.random.default_rng(0)
    changed, _ = bundle.run_crops(np.stack([_change(crop, rng) for _ in range(TRIALS)]), session)
    px, mm = place(joints)
    movement = max(float(np.linalg.norm(place(other)[1] - mm, axis=1).max()) for other in changed)
    part, count = _first_joints(raw, bundle.arch.head, bundle.arch.num_joints)
    # version 0.1 has no outputs
    layout = manifest.outputs[0].layout if manifest.outputs else "NCHW" if raw.ndim == 4 else "NJB"
    if layout == "NHWC":
        part = part.transpose(0, 2, 3, 1)
    files[f"{name}.ppm"] = b"P6\n%d %d\n255\n" % (rules.size, rules.size) + crop.tobytes()
    files[f"{name}.f32"] = np.ascontiguousarray(part, "<f4").tobytes()
    depths = mm[:, 2:] - ROOT_DEPTH
    vector = {
        "region": {"x": region.x, "y": region.y, "side": region.side, "rotation": region.rotation},
        "crop": f"{name}.ppm",
        "raw": f"{name}.f32",
        "raw_shape": list(part.shape),
        "raw_layout": layout,
        "raw_joints": count,
        "joints": np.float64(joints).round(7).tolist(),
        "confidence": np.float64(confidence[0]).round(7).tolist(),
        "joints_px_mm": np.concatenate([px, depths], 1).round(4).tolist(),
        "root_depth_mm": ROOT_DEPTH,
        "camera_mm": mm.round(3).tolist(),
    }
    return vector, movement


def _first_joints(raw: Array, head: str, joints: int) -> tuple[Array, int]:
    """Return a raw output (1, ...) of the first joints alone, with about `MAX_RAW` values, and the number of joints."""
    count = min(joints, max(1, MAX_RAW * joints // raw.size))
    if not HEADS[head].MAPS:
        return raw[:, :count], count
    if HEADS[head].DEPTH_VALUES:
        part = raw.reshape(1, -1, joints, *raw.shape[2:])[:, :, :count]
    else:
        part = raw.reshape(1, joints, -1, *raw.shape[2:])[:, :count]
    return part.reshape(1, -1, *raw.shape[2:]), count


def _change(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a copy of a crop (S, S, 3) in which a fraction `CHANGED` of the values differs by one grey level."""
    step = rng.choice([-1, 0, 1], pixels.shape, p=[CHANGED / 2, 1 - CHANGED, CHANGED / 2])
    return np.clip(pixels.astype(int) + step, 0, 255).astype(np.uint8)
