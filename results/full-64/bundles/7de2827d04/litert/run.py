"""Run this bundle on a photo: `python run.py photo.jpg --bbox x,y,w,h`, or check it: `python run.py --check`.

This file needs numpy, Pillow and the runtime named in manifest.json (ai-edge-litert, openvino, onnxruntime or
executorch), but not edgepose. It prints JSON: the joints of each person in px of the photo, their depth in mm behind
the root joint, and their confidence; with --root-depth also camera coordinates in mm. Of a calibrated file it also
prints the probability that the box shows a person (presence), and that each joint is in the photo and not covered
(visibility).

--check repeats the prediction that was stored when the bundle was written, and prints by how much this machine
deviates. Exit status: 0, 1 if a deviation exceeds its limit, 2 if a file or an option is wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import numpy as np
import os
import re
import sys
from PIL import Image, ImageDraw, ImageOps
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

SIMCC_SPLIT = 2  # bins per heatmap cell along x and y
LEAST_CONFIDENCE = 1e-6  # added to confidences before the logarithm
DEPTH_UNIT_MM = 500.0  # of depth differences in the regression of the scale
HEADS = ("volumetric", "heatmap-2.5d", "simcc")
REFERENCE_MM = 2000.0  # assumed side of a person's region, for an estimate of the distance
REGION_SCALE = 2.5  # side of the region of a circle around a person, in radii
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Region:
    """A square region of a photo. x, y: centre, px; side: px; rotation: clockwise, rad."""

    x: float
    y: float
    side: float
    rotation: float = 0.0


# ---- regions ----


def region_of_box(box: Box, width: int, height: int, padding: float) -> Region:
    """Return the upright square around a person's box (x, y, w, h px), clipped to a photo of width x height px.

    Raises:
        ValueError: less than 1 px of the box is inside the photo.
    """
    x, y, w, h = clip_box(box, width, height)
    return Region(x + w / 2, y + h / 2, max(w, h) * padding)


def clip_box(box: Box, width: int, height: int) -> Box:
    """Return the part of a box inside a photo. ValueError: less than 1 px of it is inside."""
    left, top = max(box[0], 0.0), max(box[1], 0.0)
    right, bottom = min(box[0] + box[2], width), min(box[1] + box[3], height)
    if not (right - left >= 1 and bottom - top >= 1):
        given = ",".join(f"{value:g}" for value in box)
        raise ValueError(f"{given}: less than 1 px of it is inside the photo of {width} x {height}")
    return left, top, right - left, bottom - top


def region_of_joints(joints: np.ndarray, roi: dict[str, Any]) -> Region:
    """Return the region for the next frame of a video, by the joints (J, 2 or more) px of a person in this one.

    roi: `preprocessing.roi` of the manifest
    """
    px = np.asarray(joints, np.float64)[:, :2]
    hips, shoulders = px[list(roi["hips"])].mean(0), px[list(roi["shoulders"])].mean(0)
    radius = roi["reach"] * math.sqrt(float(np.square(px - hips).sum(1).max()))
    x, y = (float(value) for value in shoulders - hips)
    return Region(float(hips[0]), float(hips[1]), roi["scale"] * radius, math.atan2(x, -y))


def region_of_circle(hips: Sequence[float], rim: Sequence[float], scale: float = REGION_SCALE) -> Region:
    """Return the region of MediaPipe's pose detector: the hips' centre and the point above it on the circle."""
    x, y = rim[0] - hips[0], rim[1] - hips[1]
    return Region(hips[0], hips[1], scale * math.hypot(x, y), math.atan2(x, -y))


# ---- crops ----


def resample(
    pixels: np.ndarray, start: float, step: float, size: int, fine: int, replicate: bool = False
) -> np.ndarray:
    """Sample along the first axis: place i is the sum of `fine` samples between start + i * step and the next place.

    A sample interpolates two pixels linearly with weights that sum to 256; pixel k has its centre at k + 0.5. Pixels
    beyond the ends are 0, or equal to the last one with `replicate`. Integers make the result equal on all machines and
    in all languages.

    Returns:
        (size, ...) int32, 256 * fine times the mean.
    """
    total = np.zeros((size, *pixels.shape[1:]), np.int32)
    at = np.floor((start + (np.arange(size * fine) + 0.5) * (step / fine) - 0.5) * 256 + 0.5).astype(np.int64)
    low, share = at >> 8, at & 255
    for index, weight in ((low, 256 - share), (low + 1, share)):
        inside = replicate | ((index >= 0) & (index < len(pixels)))
        weight = np.where(inside, weight, 0).astype(np.int32)
        index = np.clip(index, 0, len(pixels) - 1)
        for part in range(fine):
            total += pixels[index[part::fine]] * weight[part::fine].reshape(-1, *[1] * (pixels.ndim - 1))
    return total


def samples_per_px(width: int, height: int, shrink: float) -> int:
    """Return how many samples a px of the crop averages along an axis. shrink: px of the photo in one px of the crop.

    Photos with a side of at most 256 px get finer samples, because they are sharper.
    """
    return min(max(int(shrink * 1.1) if min(height, width) > 256 else round(shrink), 1), 8)


def sample_square(
    photo: np.ndarray, left: float, top: float, side: float, size: int, replicate: bool = False
) -> np.ndarray:
    """Scale an upright square of a photo (H, W, 3) uint8 to (size, size, 3) by area averaging.

    This is the definition of a crop without augmentation, in training's evaluation, `predict`, bundles and the
    measuring program.

    Args:
        left, top, side: px of the photo.
        replicate: continue the border pixels beyond the photo, which is black otherwise.
    """
    height, width = photo.shape[:2]
    shrink = side / size
    fine = samples_per_px(width, height, shrink)
    x0, y0 = (min(max(math.floor(low) - 1, 0), end - 1) for low, end in ((left, width), (top, height)))
    part = photo[y0 : max(math.ceil(top + side) + 1, y0 + 1), x0 : max(math.ceil(left + side) + 1, x0 + 1)]
    rows = resample(part, top - y0, shrink, size, fine, replicate)
    square = resample(np.ascontiguousarray(rows.transpose(1, 0, 2)), left - x0, shrink, size, fine, replicate)
    whole = (256 * fine) ** 2
    return np.ascontiguousarray(((square + whole // 2) // whole).astype(np.uint8).transpose(1, 0, 2))


def sample_region(photo: np.ndarray, region: Region, size: int, border: str = "black") -> np.ndarray:
    """Scale a region of a photo (H, W, 3) uint8 to (size, size, 3) by area averaging.

    Args:
        border: of the photo: black, or replicate, which continues its border pixels.
    """
    replicate, half = border == "replicate", region.side / 2
    if not region.rotation:
        return sample_square(photo, region.x - half, region.y - half, region.side, size, replicate)
    height, width = photo.shape[:2]
    step = region.side / size
    fine = samples_per_px(width, height, step)
    cos, sin = math.cos(region.rotation), math.sin(region.rotation)
    places = (np.arange(size * fine) + 0.5) * (step / fine) - half
    total = np.zeros((size, size, 3), np.int32)
    for u in (places[part::fine][None, :] for part in range(fine)):
        for v in (places[part::fine][:, None] for part in range(fine)):
            x = _taps(region.x + cos * u - sin * v, width, replicate)
            y = _taps(region.y + sin * u + cos * v, height, replicate)
            for row, row_weight in y:
                for column, column_weight in x:
                    total += photo[row, column] * (row_weight * column_weight)[:, :, None]
    whole = (256 * fine) ** 2
    return ((total + whole // 2) // whole).astype(np.uint8)


def _taps(at: np.ndarray, count: int, replicate: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the two pixels around each place along an axis of `count` px, and their weights, which sum to 256."""
    fixed = np.floor((at - 0.5) * 256 + 0.5).astype(np.int64)
    low, share = fixed >> 8, (fixed & 255).astype(np.int32)
    taps = []
    for index, weight in ((low, 256 - share), (low + 1, share)):
        inside = replicate | ((index >= 0) & (index < count))
        taps.append((np.clip(index, 0, count - 1), np.where(inside, weight, 0).astype(np.int32)))
    return taps


def normalise(image: np.ndarray, rules: dict[str, Any]) -> np.ndarray:
    """Return the crop (S, S, 3) as (RGB / 255 - mean) / std, (1, 3, S, S) float32. rules: `preprocessing`."""
    rgb = np.asarray(image, np.float32) / 255
    scaled = (rgb - np.array(rules["mean"], np.float32)) / np.array(rules["std"], np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])


# ---- decoding ----


def softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    result: np.ndarray = weights / weights.sum(-1, keepdims=True)
    return result


def decode(raw: np.ndarray, rules: dict[str, Any], layout: str = "NCHW") -> tuple[np.ndarray, np.ndarray]:
    """Decode a raw output to joints (J, 3), fractions of the crop and of the depth range, and confidence (J,).

    The confidence is the largest probability of one cell in the image plane.

    Args:
        rules: `postprocessing` of the manifest.
        layout: of the raw output, as the manifest names it: NCHW, NHWC, or NJB for simcc.
    """
    cells, bins = rules["heatmap"], rules["depth_bins"]
    along = (np.arange(cells) + 0.5) / cells
    depth = (np.arange(bins) + 0.5) / bins
    if layout == "NHWC":
        raw = raw.transpose(0, 3, 1, 2)
    if rules["head"] == "simcc":
        fine = SIMCC_SPLIT * cells
        bins_xy = (np.arange(fine) + 0.5) / fine
        px, py, pz = softmax(raw[0, :, :fine]), softmax(raw[0, :, fine : 2 * fine]), softmax(raw[0, :, 2 * fine :])
        return np.stack([px @ bins_xy, py @ bins_xy, pz @ depth], 1), px.max(1) * py.max(1)
    if rules["head"] == "volumetric":
        joints = raw.shape[1] // bins
        volume = softmax(raw.reshape(joints, -1)).reshape(joints, bins, cells * cells)
        plane, z = volume.sum(1), volume.sum(2) @ depth
    elif rules["head"] == "heatmap-2.5d":
        joints = raw.shape[1] // 2
        plane = softmax(raw[0, :joints].reshape(joints, -1))
        z = (plane * raw[0, joints:].reshape(joints, -1)).sum(1) / rules["depth_scale"] + 0.5
    else:
        raise ValueError(f"head: '{rules['head']}' is unknown to this program; use a newer one")
    maps = plane.reshape(joints, cells, cells)
    return np.stack([maps.sum(1) @ along, maps.sum(2) @ along, z], 1), plane.max(1)


def presence(confidence: np.ndarray, rules: dict[str, Any]) -> Any:
    """Return the probability that the crop shows a person from confidences (..., J). rules: `postprocessing`."""
    scale, offset = rules["confidence"]["presence"]
    return _sigmoid(scale * np.log(confidence + LEAST_CONFIDENCE).mean(-1) + offset)


def visibility(confidence: np.ndarray, rules: dict[str, Any]) -> np.ndarray:
    """Return the probability (..., J) that each joint is in the image and not covered. rules: as of `presence`."""
    scale, offset = np.array(rules["confidence"]["visibility"]).T
    return np.asarray(_sigmoid(scale * np.log(confidence + LEAST_CONFIDENCE) + offset))


def _sigmoid(logit: Any) -> Any:
    return 1 / (1 + np.exp(-logit))


def mm_per_side(joints: np.ndarray, rules: dict[str, Any]) -> Any:
    """Return the size of the region's side at the root's distance in mm, by the pose itself.

    Args:
        joints: (..., J, 3), as `decode` returns them.
        rules: `postprocessing` of the manifest, with a fitted scale.
    """
    fitted = rules["scale"]
    first, second = np.array(fitted["edges"]).T
    offsets = joints[..., :2] - joints[..., :2].mean(-2, keepdims=True)
    size = np.sqrt(np.square(offsets).sum(-1).mean(-1))
    flat = np.sqrt(np.square(offsets[..., first, :] - offsets[..., second, :]).sum(-1)) / size[..., None]
    deep = np.abs(joints[..., first, 2] - joints[..., second, 2]) * (rules["depth_range_mm"] / DEPTH_UNIT_MM)
    log_mm = fitted["offset"] + fitted["size"] * np.log(size) + flat @ fitted["flat"] + deep @ fitted["deep"]
    return np.exp(np.clip(log_mm, fitted["low"], fitted["high"]))


def to_photo(joints: np.ndarray, region: Region, depth_range: float) -> np.ndarray:
    """Convert joints (J, 3) as `decode` returns them to px and px of the photo, and mm behind the root joint."""
    u, v = ((joints[:, axis] - 0.5) * region.side for axis in (0, 1))
    cos, sin = math.cos(region.rotation), math.sin(region.rotation)
    z = (joints[:, 2] - 0.5) * depth_range
    return np.stack([region.x + cos * u - sin * v, region.y + sin * u + cos * v, z], 1)


def to_camera(joints: np.ndarray, root_depth: float, focal: float, centre: tuple[float, float]) -> np.ndarray:
    """Convert joints (J, 3) in px, px and mm to camera coordinates in mm: x right, y down, z forward.

    Args:
        root_depth: distance of the root joint along z, mm; see the function `root_depth`.
        focal: focal length, px; the photo's longer side if unknown.
        centre: principal point, px; the photo's centre if unknown.
    """
    z = joints[:, 2:] + root_depth
    return np.concatenate([(joints[:, :2] - centre) / focal * z, z], 1)


def root_depth(region: Region, focal: float) -> float:
    """Estimate the distance of the root joint in mm: the region is assumed to be 2 m wide."""
    return REFERENCE_MM * focal / region.side


# ---- smoothing ----


class OneEuro:
    """One-Euro filter (Casiez, Roussel and Vogel 2012) of one person's points: less jitter at rest, little lag.

    A point passes a low-pass filter whose cutoff frequency grows with its speed.

    Args:
        min_cutoff: cutoff frequency at rest, Hz.
        beta: growth of the cutoff frequency, Hz for a speed of one `scale` per second.
        speed_cutoff: cutoff frequency of the speed, Hz.
    """

    def __init__(self, min_cutoff: float = 0.5, beta: float = 10.0, speed_cutoff: float = 1.0) -> None:
        self.min_cutoff, self.beta, self.speed_cutoff = min_cutoff, beta, speed_cutoff
        self.time_s = -math.inf
        self.points = self.velocity = np.zeros((0, 0))

    def filter(self, points: np.ndarray, time_s: float, scale: float) -> np.ndarray:
        """Return smoothed points (N, D). The first points, and those whose time does not increase, are not changed.

        scale: size of the person in the unit of the points: the side of the region
        """
        points = np.asarray(points, np.float64)
        elapsed = time_s - self.time_s
        if points.shape != self.points.shape or not 0 < elapsed < math.inf:
            self.points, self.velocity, self.time_s = points, np.zeros_like(points), time_s
            return points
        share = low_pass(self.speed_cutoff, elapsed)
        self.velocity = self.velocity + share * ((points - self.points) / elapsed - self.velocity)
        speed = np.sqrt(np.square(self.velocity).sum(1, keepdims=True)) / scale
        self.points = self.points + low_pass(self.min_cutoff + self.beta * speed, elapsed) * (points - self.points)
        self.time_s = time_s
        return self.points


def low_pass(cutoff: Any, elapsed: float) -> Any:
    """Return the weight of a new value in a low-pass filter. cutoff: Hz; elapsed: s since the last value."""
    turn = 2 * math.pi * cutoff * elapsed
    return turn / (turn + 1)

HERE = Path(__file__).resolve().parent
SCHEMA = 1
GOLDEN, GOLDEN_PHOTO = "golden.json", "golden.png"  # the stored predictions and their photo
DECODE_LIMIT = 1e-4  # of joints decoded from a stored raw output, as fractions of crop and depth range
Network = Callable[[np.ndarray], np.ndarray]  # from a crop (S, S, 3) uint8 to the raw output, channels first

MAX_PIXELS = 250_000_000  # of a photo; decoding more takes many seconds and gigabytes
MAX_LENGTH = 10_000_000  # px or mm; larger ones overflow
MAX_JOINTS = 1000
MAX_MANIFEST_BYTES = 2_000_000
LIMITS: dict[tuple[str, str], tuple[type, float, float]] = {  # numbers of a manifest: type, smallest, largest
    ("preprocessing", "size"): (int, 32, 1024),
    ("preprocessing", "mean"): (float, -256, 256),
    ("preprocessing", "std"): (float, 1e-3, 1e3),
    ("preprocessing", "box_padding"): (float, 0.5, 10),
    ("postprocessing", "heatmap"): (int, 1, 1024),
    ("postprocessing", "depth_bins"): (int, 1, 1024),
    ("postprocessing", "depth_scale"): (float, 1e-6, 1e6),
    ("postprocessing", "depth_range_mm"): (float, 1, 1e5),
}
ROI_LIMITS = (0.1, 100)  # of reach and scale of a region of interest


def fail(text: str) -> NoReturn:
    """Print one line on standard error and exit with status 2."""
    print(" ".join(text.split()), file=sys.stderr)
    sys.exit(2)


def read_manifest() -> dict[str, Any]:
    """Return the manifest next to this file, after checking that it and the files that it names are unchanged."""
    try:
        manifest: dict[str, Any] = json.loads((HERE / "manifest.json").read_bytes()[:MAX_MANIFEST_BYTES])
        checksum = manifest.pop("checksum", None)
        text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        fail(f"manifest.json: cannot be read ({error}); export the bundle again")
    version = manifest.get("schema_version")
    if version != SCHEMA:
        fail(f"manifest.json: schema_version: {version!r:.40}, but this run.py reads {SCHEMA}")
    if checksum != hashlib.sha256(text.encode()).hexdigest()[:16]:
        fail("manifest.json: checksum: the manifest was changed after it was written; export the bundle again")
    if fault := fault_of(manifest):
        fail(f"manifest.json: {fault}; export the bundle again")
    for file in [*manifest["files"], *manifest.get("golden", [])]:
        path = HERE / file["name"]
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != file["sha256"]:
            fail(f"{file['name']}: missing, or its SHA-256 differs from manifest.json; export the bundle again")
    head = manifest["postprocessing"]["head"]
    if head not in HEADS:
        fail(f"manifest.json: postprocessing.head: '{head}' is unknown to this run.py; use a newer one")
    return manifest


def fault_of(manifest: dict[str, Any]) -> str:
    """Return the first impossible value of a manifest as `KEY: what is wrong`, or an empty string.

    This is the guard of everything that opens a bundle: it bounds the work and the memory of a prediction.
    """
    for part in ("preprocessing", "postprocessing", "skeleton"):
        if not isinstance(manifest.get(part), dict):
            return f"{part}: missing or not a mapping"
    for part in ("files", "golden"):
        files = manifest.get(part, [])
        if not isinstance(files, list) or not all(isinstance(file, dict) and _is_file(file) for file in files):
            return f"{part}: is not a list of files with name and sha256"
    if not manifest.get("files"):
        return "files: missing"
    for (part, key), (kind, low, high) in LIMITS.items():
        values = manifest[part].get(key)
        three = key in ("mean", "std")
        if three and (not isinstance(values, list | tuple) or len(values) != 3):
            return f"{part}.{key}: is not three numbers"
        if not all(_is_number(value, kind, low, high) for value in (values if three else [values])):
            return f"{part}.{key}: {values!r:.60} is not {'a whole number ' if kind is int else ''}between {low:g} and {high:g}"
    joints = manifest["skeleton"].get("joints")
    if not isinstance(joints, list | tuple) or not 0 < len(joints) <= MAX_JOINTS:
        return f"skeleton.joints: is not a list of 1 to {MAX_JOINTS} names"
    if not all(isinstance(name, str) and name for name in joints) or len(set(joints)) < len(joints):
        return "skeleton.joints: has an entry that is not a name, or a name twice"
    edges, indices = manifest["skeleton"].get("edges"), range(len(joints))
    if (
        not isinstance(edges, list | tuple)
        or len(edges) > MAX_JOINTS
        or not all(_is_bone(edge, indices) for edge in edges)
    ):
        return f"skeleton.edges: is not a list of pairs of two joints, numbered from 0 to {len(joints) - 1}"
    if not _is_number(manifest["skeleton"].get("root"), int, 0, len(joints) - 1):
        return f"skeleton.root: {manifest['skeleton'].get('root')!r:.60} is not one of the {len(joints)} joints"
    alone = set(indices) - {joint for edge in edges for joint in edge}
    if alone and len(joints) > 1:
        return f"skeleton.edges: joint {joints[min(alone)]!r:.60} has no bone"
    return _fault_of_roi(manifest["preprocessing"], indices) or _fault_of_fits(manifest["postprocessing"], indices)


def _fault_of_roi(rules: dict[str, Any], joints: range) -> str:
    """Return the fault of the region of interest, or an empty string; without the key, crops are boxes."""
    roi, framing = rules.get("roi"), rules.get("framing", "box")
    if framing not in ("box", "roi") or (framing == "roi") != isinstance(roi, dict):
        return "preprocessing.roi: required by framing roi, and by that only"
    if roi is None:
        return ""
    for key in ("reach", "scale"):
        if not _is_number(roi.get(key), float, *ROI_LIMITS):
            return f"preprocessing.roi.{key}: {roi.get(key)!r:.60} is not between {ROI_LIMITS[0]} and {ROI_LIMITS[1]}"
    for key in ("hips", "shoulders"):
        if not isinstance(roi.get(key), list | tuple) or not all(_is_number(j, int, 0, joints[-1]) for j in roi[key]):
            return f"preprocessing.roi.{key}: a joint is not among the {len(joints)}"
    return ""


def _fault_of_fits(rules: dict[str, Any], joints: range) -> str:
    """Return the fault of the calibrated confidence or of the fitted scale, or an empty string."""
    confidence, scale = rules.get("confidence"), rules.get("scale")
    if confidence is not None:
        pairs = [_list(confidence, "presence"), *_list(confidence, "visibility")]
        if len(pairs) != len(joints) + 1 or not all(_are_numbers(pair, 2) for pair in pairs):
            return f"postprocessing.confidence: is not two numbers for presence and for each of {len(joints)} joints"
    if scale is not None:
        edges = _list(scale, "edges")
        if not all(_is_bone(edge, joints) for edge in edges):
            return f"postprocessing.scale.edges: is not pairs of two joints, numbered from 0 to {len(joints) - 1}"
        if not edges or not all(_are_numbers(_list(scale, key), len(edges)) for key in ("flat", "deep")):
            return "postprocessing.scale: flat or deep is not a number for each edge"
    return ""


def _list(part: Any, key: str) -> list[Any]:
    """Return the list of a key, or an empty one."""
    found = part.get(key) if isinstance(part, dict) else None
    return list(found) if isinstance(found, list | tuple) else []


def _are_numbers(values: Any, count: int) -> bool:
    is_list = isinstance(values, list | tuple) and len(values) == count
    return is_list and all(_is_number(value, float, -1e9, 1e9) for value in values)


def _is_file(file: dict[str, Any]) -> bool:
    name = file.get("name")
    return isinstance(name, str) and Path(name).name == name and isinstance(file.get("sha256"), str)


def _is_number(value: Any, kind: type, low: float, high: float) -> bool:
    is_number = isinstance(value, int) or (kind is float and isinstance(value, float))
    return is_number and not isinstance(value, bool) and bool(low <= value <= high)  # false for NaN


def _is_bone(edge: Any, joints: range) -> bool:
    pair = isinstance(edge, list | tuple) and len(edge) == 2 and edge[0] != edge[1]
    return pair and all(_is_number(joint, int, 0, joints[-1]) for joint in edge)


def load(manifest: dict[str, Any]) -> Network:
    """Return a function from a crop (S, S, 3) uint8 to the raw output, channels first."""
    path = str(HERE / manifest["files"][0]["name"])

    def entry(image: np.ndarray, channels_last: bool) -> np.ndarray:
        """Return the input of the model file. One of uint8 is channels last in every runtime."""
        if any(tensor["dtype"] == "uint8" for tensor in manifest.get("inputs", ())):
            return np.ascontiguousarray(image[None])
        x = normalise(image, manifest["preprocessing"])
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if channels_last else x

    if manifest["runtime"] == "litert":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=path, num_threads=1)
        interpreter.allocate_tensors()
        start, end = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

        def litert(image: np.ndarray) -> np.ndarray:
            interpreter.set_tensor(start, entry(image, True))
            interpreter.invoke()
            raw: np.ndarray = interpreter.get_tensor(end)
            return raw.transpose(0, 3, 1, 2) if raw.ndim == 4 else raw

        return litert
    if manifest["runtime"] == "openvino":
        import openvino

        model = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"})
        return lambda image: np.asarray(model([entry(image, False)])[0])
    if manifest["runtime"] == "executorch":
        import torch
        from executorch.runtime import Runtime

        program = Runtime.get().load_program(path)
        alive = (program.load_method("forward"), program)  # a method crashes once its program is freed

        def executorch(image: np.ndarray) -> np.ndarray:
            raw: np.ndarray = alive[0].execute([torch.from_numpy(entry(image, False))])[0].numpy().copy()
            return raw

        return executorch
    if manifest["runtime"] != "onnxruntime":
        fail(f"manifest.json: runtime: '{manifest['runtime']}' is unknown to this run.py; use a newer one")
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda image: np.asarray(session.run(None, {"image": entry(image, False)})[0])


def read_photo(path: str | Path) -> np.ndarray:
    """Decode a photo to RGB uint8 (H, W, 3), rotated by its EXIF orientation.

    Of 16 bits a channel the upper 8 are used. An alpha channel is dropped, except in TIFF, where it is applied.
    """
    if not Path(path).is_file():
        fail(f"{path}: no such file")  # a pipe or device would block
    try:
        import pillow_heif  # optional, for HEIC photos

        pillow_heif.register_heif_opener()
    except ImportError:
        pass
    try:
        Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit is lower, and first a warning
        with Image.open(path) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                fail(
                    f"{path}: {opened.width} x {opened.height} px; the limit is {MAX_PIXELS // 10**6} megapixels, scale it down"
                )
            image = ImageOps.exif_transpose(opened)
            if opened.format == "TIFF" and image.mode == "RGBA":
                rgba = np.asarray(image).astype(np.uint16)
                return ((rgba[:, :, :3] * rgba[:, :, 3:] + 127) // 255).astype(np.uint8)
    except (OSError, ValueError, SyntaxError, OverflowError) as error:
        advice = "install pillow-heif" if Path(path).suffix.lower() in (".heic", ".heif") else "give a photo"
        fail(f"{path}: cannot be read as an image ({error}); {advice}")
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        grey = np.asarray(image)
        if image.mode == "F" or grey.min() < 0 or grey.max() > 65535 or (opened.format == "TIFF" and image.mode == "I"):
            fail(f"{path}: has 32 bits a channel; convert it to 8")
        return np.repeat((grey >> 8).astype(np.uint8)[:, :, None], 3, 2)
    return np.array(image.convert("RGB"))


def predict_box(
    network: Network, manifest: dict[str, Any], photo: np.ndarray, box: Box
) -> tuple[np.ndarray, np.ndarray]:
    """Predict the person in a box: joints (J, 3) in px, px and mm behind the root joint; and confidence (J,).

    With framing roi, the joints of an upright region around the box give the region of the result.
    """
    rules = manifest["preprocessing"]
    height, width = photo.shape[:2]
    joints, confidence = predict(network, manifest, photo, region_of_box(box, width, height, rules["box_padding"]))
    if rules.get("framing") == "roi" and (region := region_of_joints(joints, rules["roi"])).side > 1:
        joints, confidence = predict(network, manifest, photo, region)
    return joints, confidence


def predict(
    network: Network, manifest: dict[str, Any], photo: np.ndarray, region: Region
) -> tuple[np.ndarray, np.ndarray]:
    """Predict the person in a region: joints (J, 3) in px, px and mm behind the root joint; and confidence (J,)."""
    before, after = manifest["preprocessing"], manifest["postprocessing"]
    image = sample_region(photo, region, before["size"], before.get("border", "black"))
    joints, confidence = decode(network(image), after)
    return to_photo(joints, region, after["depth_range_mm"]), confidence


def draw(photo: np.ndarray, people: list[np.ndarray], edges: list[list[int]]) -> Image.Image:
    drawn = Image.fromarray(photo)
    pen = ImageDraw.Draw(drawn)
    width = max(2, max(photo.shape[:2]) // 200)
    for joints in people:
        for a, b in edges:
            pen.line([*joints[a, :2], *joints[b, :2]], fill=(255, 140, 0), width=width)
        for x, y, _ in joints:
            pen.ellipse([x - width, y - width, x + width, y + width], fill=(0, 120, 255))
    return drawn


def numbers_of(text: str) -> list[float]:
    """Return the numbers in a comma-separated list, or an empty list if one of them is no finite number."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        return []
    return values if all(map(math.isfinite, values)) else []


def parse_length(text: str) -> float:
    values = numbers_of(text)
    if len(values) != 1 or not 0 < values[0] <= MAX_LENGTH:
        raise argparse.ArgumentTypeError(f"'{text}': give a positive number, at most {MAX_LENGTH}")
    return values[0]


def parse_box(text: str) -> Box:
    values = numbers_of(text)
    if len(values) != 4 or min(values[2:]) < 1:
        raise argparse.ArgumentTypeError(f"'{text}': give x,y,w,h in px, with w and h of at least 1")
    return values[0], values[1], values[2], values[3]


def check(network: Network, manifest: dict[str, Any]) -> bool:
    """Repeat the stored predictions, print the largest deviations and return whether all are within their limits."""
    golden, photo = json.loads((HERE / GOLDEN).read_text()), read_photo(HERE / GOLDEN_PHOTO)
    before, after = manifest["preprocessing"], manifest["postprocessing"]
    focal, centre, limit = golden["focal_px"], tuple(golden["centre_px"]), golden["limit_mm"]
    passed, (height, width) = True, photo.shape[:2]
    for number, vector in enumerate(golden["vectors"], 1):
        region, root_depth, box = Region(**vector["region"]), vector["root_depth_mm"], vector["box"]
        if box:
            region = region_of_box((box[0], box[1], box[2], box[3]), width, height, before["box_padding"])
        stored = read_photo(HERE / vector["crop"])
        raw = np.fromfile(HERE / vector["raw"], "<f4").reshape(vector["raw_shape"])
        joints, confidence = decode(raw, after, vector["raw_layout"])
        count = vector["raw_joints"]
        moved = np.abs(joints - np.array(vector["joints"])[:count]).max()
        moved = max(moved, np.abs(confidence - np.array(vector["confidence"])[:count]).max())
        passed = report(f"{number}: stored raw output to joints", [("of the crop", moved, DECODE_LIMIT)]) and passed
        image = sample_region(photo, region, before["size"], before.get("border", "black"))
        levels = np.abs(image.astype(int) - stored).max()
        passed = report(f"{number}: photo to crop", [("grey levels", levels, 0)]) and passed
        for name, pixels in (("stored crop to joints", stored), ("photo to joints", image)):
            joints = to_photo(decode(network(pixels), after)[0], region, after["depth_range_mm"])
            px = np.linalg.norm(joints[:, :2] - np.array(vector["joints_px_mm"])[:, :2], axis=1).max()
            camera = to_camera(joints, root_depth, focal, centre)
            mm = np.linalg.norm(camera - np.array(vector["camera_mm"]), axis=1).max()
            deviations = [("px", px, limit * focal / root_depth), ("mm", mm, limit)]
            passed = report(f"{number}: {name}", deviations) and passed
    return passed


def report(name: str, deviations: list[tuple[str, float, float]]) -> bool:
    """Print deviations (unit, value, limit) and return whether none exceeds its limit; not a number exceeds any."""
    passed = all(value <= limit for _, value, limit in deviations)
    texts = [
        f"{value:.3g} {unit}" + (f" (limit {limit:.3g})" if limit < math.inf else "")
        for unit, value, limit in deviations
    ]
    print(f"{'pass' if passed else 'FAIL'}  {name}: deviates by {', '.join(texts)}")
    return passed


class Parser(argparse.ArgumentParser):
    """An argument parser with errors of one line, that notices a closed pipe or a full disk when it prints the help."""

    def error(self, message: str) -> NoReturn:
        fail(f"{message}; see --help")

    def _print_message(self, message: str, file: Any = None) -> None:
        if file:
            file.write(message)


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser._negative_number_matcher = re.compile(r"^-\.?\d")  # so that argparse reads "-5,10,80,200" as a value
    parser.add_argument("photo", metavar="PHOTO", nargs="?")
    parser.add_argument(
        "--bbox",
        type=parse_box,
        action="append",
        metavar="X,Y,W,H",
        help="box of a person, px; may be repeated (default: the whole photo)",
    )
    parser.add_argument(
        "--root-depth", type=parse_length, metavar="MM", help="distance of the root joint from the camera"
    )
    parser.add_argument(
        "--focal", type=parse_length, metavar="PX", help="focal length (default: the longer side of the photo)"
    )
    parser.add_argument("--draw", metavar="FILE", help="write the photo with the skeletons to FILE")
    parser.add_argument("--check", action="store_true", help="compare this machine with the stored prediction")
    parser.add_argument("--traceback", action="store_true", help="show the traceback of an unexpected error")
    given = parser.parse_args()
    if bool(given.photo) == given.check:
        parser.error("give either PHOTO or --check")
    if given.focal and not given.root_depth:
        parser.error("--focal: applies to camera coordinates only; add --root-depth")
    manifest = read_manifest()
    if given.check:
        if not any(file["name"] == GOLDEN for file in manifest.get("golden", ())):
            fail("--check: this bundle has no stored prediction; export it again with edgepose 0.2 or later")
        sys.exit(0 if check(load(manifest), manifest) else 1)
    photo = read_photo(given.photo)
    height, width = photo.shape[:2]
    try:
        boxes = [clip_box(box, width, height) for box in given.bbox or [(0.0, 0.0, float(width), float(height))]]
    except ValueError as error:
        fail(f"--bbox {error}; give x,y,w,h in px")
    network = load(manifest)
    focal, centre = given.focal or max(width, height), (width / 2, height / 2)
    people = []
    for box in boxes:
        joints, confidence = predict_box(network, manifest, photo, box)
        person = {
            "bbox": box,
            "joints_px_mm": joints.round(2).tolist(),
            "confidence": confidence.astype(float).round(4).tolist(),
        }
        if manifest["postprocessing"].get("confidence"):
            person["presence"] = round(float(presence(confidence, manifest["postprocessing"])), 4)
            person["visibility"] = visibility(confidence, manifest["postprocessing"]).round(4).tolist()
        if given.root_depth:
            person["camera_mm"] = to_camera(joints, given.root_depth, focal, centre).round(1).tolist()
        people.append((joints, person))
    print(json.dumps({"joints": manifest["skeleton"]["joints"], "people": [person for _, person in people]}))
    if given.draw:
        drawn = draw(photo, [joints for joints, _ in people], manifest["skeleton"]["edges"])
        try:
            drawn.save(given.draw)
        except (OSError, ValueError) as error:
            fail(f"--draw {given.draw}: cannot be written ({error}); give a file such as out.png in an existing folder")


def guarded() -> None:
    """Run `main`; an unexpected exception is one line, and the exit status 1."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - None if closed (`>&-`)
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    try:
        try:
            main()
        finally:
            sys.stdout.flush()  # a closed pipe or a full disk is noticed here
    except ImportError as error:
        fail(f"{error}; install the packages named at the top of run.py")
    except Exception as error:
        if isinstance(error, OSError):  # else Python fails on the same output again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # the reader, such as `head`, has what it wanted
            sys.exit(1)
        if len(sys.argv) > 1 and sys.argv[-1] == "--traceback":
            raise
        text = " ".join(str(error).split())[:300]
        print(
            f"failed: {type(error).__name__}: {text}; repeat with --traceback at the end to see where", file=sys.stderr
        )
        sys.exit(1)


if __name__ == "__main__":
    guarded()

