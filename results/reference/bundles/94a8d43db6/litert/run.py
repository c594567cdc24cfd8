"""Run this bundle on a photo: `python run.py photo.jpg --bbox x,y,w,h`, or check it: `python run.py --check`.

This file needs numpy, Pillow and the runtime named in manifest.json (ai-edge-litert, openvino or onnxruntime), but not
edgepose. It prints JSON: the joints of each person in px of the photo, their depth in mm behind the root joint, and
their confidence; with --root-depth also camera coordinates in mm.

--check repeats the prediction that was stored when the bundle was written, and prints by how much this machine deviates.
Exit status: 0, 1 if a deviation exceeds its limit, 2 if a file or an option is wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from PIL import Image, ImageDraw, ImageOps

HERE = Path(__file__).resolve().parent
SCHEMA = 1
SIMCC_SPLIT = 2  # bins per heatmap cell along x and y
HEADS = ("volumetric", "heatmap-2.5d", "simcc")
GOLDEN, GOLDEN_PHOTO = "golden.npz", "golden.png"  # the stored prediction and its photo
Box = tuple[float, float, float, float]
Network = Callable[[np.ndarray], np.ndarray]


def fail(text: str) -> NoReturn:
    """Print one line on standard error and exit with status 2."""
    print(text, file=sys.stderr)
    sys.exit(2)


def read_manifest() -> dict[str, Any]:
    """Return the manifest next to this file, after checking that it and the files that it names are unchanged."""
    try:
        manifest: dict[str, Any] = json.loads((HERE / "manifest.json").read_text())
    except (OSError, ValueError) as error:
        fail(f"manifest.json: cannot be read ({error}); export the bundle again")
    checksum = manifest.pop("checksum", None)
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    if manifest["schema_version"] != SCHEMA:
        fail(f"manifest.json: schema_version: {manifest['schema_version']}, but this run.py reads {SCHEMA}")
    if checksum != hashlib.sha256(text.encode()).hexdigest()[:16]:
        fail("manifest.json: checksum: the manifest was changed after it was written; export the bundle again")
    for file in [*manifest["files"], *manifest.get("golden", [])]:
        path = HERE / file["name"]
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != file["sha256"]:
            fail(f"{file['name']}: missing, or its SHA-256 differs from manifest.json; export the bundle again")
    head = manifest["postprocessing"]["head"]
    if head not in HEADS:
        fail(f"manifest.json: postprocessing.head: '{head}' is unknown to this run.py; use a newer one")
    return manifest


def load(manifest: dict[str, Any]) -> Network:
    """Return a function from the input (1, 3, S, S) to the raw output, channels first."""
    path = str(HERE / manifest["files"][0]["name"])
    if manifest["runtime"] == "litert":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=path, num_threads=1)
        interpreter.allocate_tensors()
        entry, end = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

        def litert(x: np.ndarray) -> np.ndarray:
            interpreter.set_tensor(entry, np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
            interpreter.invoke()
            raw: np.ndarray = interpreter.get_tensor(end)
            return raw.transpose(0, 3, 1, 2) if raw.ndim == 4 else raw

        return litert
    if manifest["runtime"] == "openvino":
        import openvino

        model = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"})
        return lambda x: np.asarray(model([x])[0])
    if manifest["runtime"] != "onnxruntime":
        fail(f"manifest.json: runtime: '{manifest['runtime']}' is unknown to this run.py; use a newer one")
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda x: np.asarray(session.run(None, {"image": x})[0])


def read_photo(path: str | Path) -> np.ndarray:
    """Decode a photo to RGB uint8 (H, W, 3), rotated by its EXIF orientation.

    Of 16 bits a channel the upper 8 are used. An alpha channel is dropped, except in TIFF, where it is applied.
    """
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            if opened.format == "TIFF" and image.mode == "RGBA":
                rgba = np.asarray(image).astype(np.uint16)
                return ((rgba[:, :, :3] * rgba[:, :, 3:] + 127) // 255).astype(np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        fail(f"{path}: cannot be read as an image: {error}")
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        grey = np.asarray(image)
        if image.mode == "F" or grey.min() < 0 or grey.max() > 65535 or (opened.format == "TIFF" and image.mode == "I"):
            fail(f"{path}: has 32 bits a channel; convert it to 8")
        return np.repeat((grey >> 8).astype(np.uint8)[:, :, None], 3, 2)
    return np.array(image.convert("RGB"))


def clip_box(box: Box, width: int, height: int) -> Box:
    """Return the part of a box that is inside the photo."""
    left, top, right, bottom = (
        max(box[0], 0.0),
        max(box[1], 0.0),
        min(box[0] + box[2], width),
        min(box[1] + box[3], height),
    )
    if right - left < 1 or bottom - top < 1:
        given = ",".join(f"{value:g}" for value in box)
        fail(f"--bbox {given}: less than 1 px of it is inside the photo; give x,y,w,h in px within {width} x {height}")
    return left, top, right - left, bottom - top


def resample(pixels: np.ndarray, start: float, step: float, size: int, fine: int) -> np.ndarray:
    """Sample along the first axis: place i is the sum of `fine` samples between start + i * step and the next place.

    A sample interpolates two pixels linearly with weights that sum to 256; pixel k has its centre at k + 0.5, and pixels
    beyond the ends are 0. Integers make the result equal on all machines and in all languages.

    Returns:
        (size, ...) int32, 256 * fine times the mean.
    """
    total = np.zeros((size, *pixels.shape[1:]), np.int32)
    at = np.floor((start + (np.arange(size * fine) + 0.5) * (step / fine) - 0.5) * 256 + 0.5).astype(np.int64)
    low, share = at >> 8, at & 255
    for index, weight in ((low, 256 - share), (low + 1, share)):
        weight = np.where((index >= 0) & (index < len(pixels)), weight, 0).astype(np.int32)
        index = np.clip(index, 0, len(pixels) - 1)
        for part in range(fine):
            total += pixels[index[part::fine]] * weight[part::fine].reshape(-1, *[1] * (pixels.ndim - 1))
    return total


def sample_square(photo: np.ndarray, left: float, top: float, side: float, size: int) -> np.ndarray:
    """Scale a square of a photo (H, W, 3) uint8 to (size, size, 3) by area averaging; black outside the photo.

    This is the definition of a crop without augmentation, in training's evaluation, `predict`, this file and the
    measuring program. Photos with a side of at most 256 px get finer samples, because they are sharper.

    Args:
        left, top, side: px of the photo.
    """
    height, width = photo.shape[:2]
    shrink = side / size
    fine = min(max(int(shrink * 1.1) if min(height, width) > 256 else round(shrink), 1), 8)
    x0, y0 = max(math.floor(left) - 1, 0), max(math.floor(top) - 1, 0)
    part = photo[y0 : math.ceil(top + side) + 1, x0 : math.ceil(left + side) + 1]
    rows = resample(part, top - y0, shrink, size, fine)
    square = resample(np.ascontiguousarray(rows.transpose(1, 0, 2)), left - x0, shrink, size, fine)
    whole = (256 * fine) ** 2
    return np.ascontiguousarray(((square + whole // 2) // whole).astype(np.uint8).transpose(1, 0, 2))


def crop(photo: np.ndarray, box: Box, size: int, padding: float) -> tuple[np.ndarray, float, float, float]:
    """Return the square around a box as RGB uint8 (size, size, 3), and its left, top and side in px of the photo.

    The box (x, y, w, h px) is clipped to the photo (H, W, 3) first.
    """
    photo = np.asarray(photo)
    x, y, width, height = clip_box(box, photo.shape[1], photo.shape[0])
    side = max(width, height) * padding
    left, top = x + width / 2 - side / 2, y + height / 2 - side / 2
    return sample_square(photo, left, top, side, size), left, top, side


def normalise(image: np.ndarray, rules: dict[str, Any]) -> np.ndarray:
    """Return (RGB / 255 - mean) / std as (1, 3, S, S) float32."""
    rgb = np.asarray(image, np.float32) / 255
    scaled = (rgb - np.array(rules["mean"], np.float32)) / np.array(rules["std"], np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])


def softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    result: np.ndarray = weights / weights.sum(-1, keepdims=True)
    return result


def decode(raw: np.ndarray, rules: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Decode a raw output to joints (J, 3), x and y as fractions of the crop and z of the depth range; and confidence (J,)."""
    cells, bins = rules["heatmap"], rules["depth_bins"]
    along = (np.arange(cells) + 0.5) / cells
    depth = (np.arange(bins) + 0.5) / bins
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


def predict(network: Network, manifest: dict[str, Any], photo: np.ndarray, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """Predict one person: joints (J, 3) in px, px and mm behind the root joint; and confidence (J,)."""
    before, after = manifest["preprocessing"], manifest["postprocessing"]
    image, left, top, side = crop(photo, box, before["size"], before["box_padding"])
    joints, confidence = decode(network(normalise(image, before)), after)
    return to_photo(joints, left, top, side, after["depth_range_mm"]), confidence


def to_photo(joints: np.ndarray, left: float, top: float, side: float, depth_range: float) -> np.ndarray:
    """Convert joints (J, 3) as `decode` returns them to px, px and mm."""
    return (joints - (0, 0, 0.5)) * (side, side, depth_range) + (left, top, 0)


def to_camera(joints: np.ndarray, root_depth: float, focal: float, centre: tuple[float, float]) -> np.ndarray:
    """Convert joints (J, 3) in px, px and mm to camera coordinates in mm: x right, y down, z forward."""
    z = joints[:, 2:] + root_depth
    return np.concatenate([(joints[:, :2] - centre) / focal * z, z], 1)


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


def parse_box(text: str) -> Box:
    values = [float(part) for part in text.split(",")]
    if len(values) != 4 or not all(map(math.isfinite, values)) or min(values[2:]) < 1:
        raise argparse.ArgumentTypeError(f"'{text}': give x,y,w,h in px, with w and h of at least 1")
    return values[0], values[1], values[2], values[3]


def check(network: Network, manifest: dict[str, Any]) -> bool:
    """Repeat the stored prediction, print the largest deviations and return whether all are within their limits."""
    with np.load(HERE / GOLDEN) as stored:
        golden = {name: stored[name] for name in stored.files}
    photo, (x, y, w, h) = read_photo(HERE / GOLDEN_PHOTO), golden["bbox"].tolist()
    before, after = manifest["preprocessing"], manifest["postprocessing"]
    image, left, top, side = crop(photo, (x, y, w, h), before["size"], before["box_padding"])
    passed = report("crop", [("grey levels", np.abs(image.astype(int) - golden["crop"]).max(), 0)])
    root_depth, focal, centre = (
        float(golden["root_depth_mm"]),
        max(photo.shape[:2]),
        (photo.shape[1] / 2, photo.shape[0] / 2),
    )
    limit = float(golden["limit_mm"])
    for name, pixels in (("stored crop to joints", golden["crop"]), ("photo to joints", image)):
        raw = network(normalise(pixels, before))
        sample = raw.ravel()[:: int(golden["raw_step"])]
        largest = np.abs(sample - golden["raw"]).max() if sample.shape == golden["raw"].shape else np.nan
        joints = to_photo(decode(raw, after)[0], left, top, side, after["depth_range_mm"])
        px = np.linalg.norm(joints[:, :2] - golden["joints_px"], axis=1).max()
        mm = np.linalg.norm(to_camera(joints, root_depth, focal, centre) - golden["joints_mm"], axis=1).max()
        deviations = [("px", px, limit * focal / root_depth), ("mm", mm, limit)]
        passed = report(name, [*deviations, ("of the raw output", largest, math.inf)]) and passed
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser._negative_number_matcher = re.compile(r"^-\.?\d")  # so that argparse reads "-5,10,80,200" as a value
    parser.add_argument("photo", metavar="PHOTO", nargs="?")
    parser.add_argument(
        "--bbox",
        type=parse_box,
        action="append",
        metavar="X,Y,W,H",
        help="box of a person, px; may be repeated (default: the whole photo)",
    )
    parser.add_argument("--root-depth", type=float, metavar="MM", help="distance of the root joint from the camera")
    parser.add_argument(
        "--focal", type=float, metavar="PX", help="focal length (default: the longer side of the photo)"
    )
    parser.add_argument("--draw", metavar="FILE", help="write the photo with the skeletons to FILE")
    parser.add_argument("--check", action="store_true", help="compare this machine with the stored prediction")
    given = parser.parse_args()
    if bool(given.photo) == given.check:
        parser.error("give either PHOTO or --check")
    manifest = read_manifest()
    if given.check:
        if not manifest.get("golden"):
            fail("--check: this bundle has no stored prediction; export it again with edgepose 0.2 or later")
        sys.exit(0 if check(load(manifest), manifest) else 1)
    photo = read_photo(given.photo)
    height, width = photo.shape[:2]
    boxes = [clip_box(box, width, height) for box in given.bbox or [(0.0, 0.0, float(width), float(height))]]
    network = load(manifest)
    focal, centre = given.focal or max(width, height), (width / 2, height / 2)
    people = []
    for box in boxes:
        joints, confidence = predict(network, manifest, photo, box)
        person = {"bbox": box, "joints_px_mm": joints.round(2).tolist(), "confidence": confidence.round(4).tolist()}
        if given.root_depth:
            person["camera_mm"] = to_camera(joints, given.root_depth, focal, centre).round(1).tolist()
        people.append((joints, person))
    print(json.dumps({"joints": manifest["skeleton"]["joints"], "people": [person for _, person in people]}))
    if given.draw:
        draw(photo, [joints for joints, _ in people], manifest["skeleton"]["edges"]).save(given.draw)


if __name__ == "__main__":
    main()
