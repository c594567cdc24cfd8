"""Runs this bundle on a photo: `python run.py photo.jpg --bbox x,y,w,h`. One file; nothing of edgepose is needed.

It needs numpy, Pillow and the runtime that manifest.json names: ai-edge-litert, openvino or onnxruntime. Each --bbox
(px; the whole photo without one) is a person. Prints JSON: joints in px of the photo, depth in mm behind the root
joint, confidence; with --root-depth also camera coordinates in mm. --draw FILE paints the skeletons over the photo.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageOps, UnidentifiedImageError

HERE = Path(__file__).resolve().parent
SCHEMA = 1
SIMCC_SPLIT = 2  # bins a heatmap cell along x and y
Box = tuple[float, float, float, float]
Network = Callable[[np.ndarray], np.ndarray]


def read_manifest() -> dict[str, Any]:
    """The manifest next to this file, after checking that nobody edited it and the model is the one it speaks of."""
    manifest: dict[str, Any] = json.loads((HERE / "manifest.json").read_text())
    checksum = manifest.pop("checksum", None)
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    if manifest["schema_version"] != SCHEMA:
        sys.exit(f"manifest.json: schema_version is {manifest['schema_version']}, this run.py reads {SCHEMA}")
    if checksum != hashlib.sha256(text.encode()).hexdigest()[:16]:
        sys.exit("manifest.json: was changed after it was written; export the bundle again")
    for file in manifest["files"]:
        if hashlib.sha256((HERE / file["name"]).read_bytes()).hexdigest() != file["sha256"]:
            sys.exit(f"{file['name']}: not the file that manifest.json speaks of")
    return manifest


def load(manifest: dict[str, Any]) -> Network:
    """A function from the input (1, 3, S, S) to the raw output, channels first."""
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
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda x: np.asarray(session.run(None, {"image": x})[0])


def crop(photo: Image.Image, box: Box, size: int, padding: float) -> tuple[Image.Image, float, float, float]:
    """The square around a box, black outside the photo, scaled to `size`; its left, top and side in px."""
    x, y, width, height = box
    side = max(width, height) * padding
    left, top = x + width / 2 - side / 2, y + height / 2 - side / 2
    x0, y0 = math.floor(left) - 2, math.floor(top) - 2
    around = photo.crop((x0, y0, math.ceil(left + side) + 2, math.ceil(top + side) + 2))
    inside = (left - x0, top - y0, left - x0 + side, top - y0 + side)
    return around.resize((size, size), Image.Resampling.BILINEAR, box=inside), left, top, side


def normalise(picture: Image.Image, rules: dict[str, Any]) -> np.ndarray:
    """(1, 3, S, S) float32: (RGB / 255 - mean) / std."""
    rgb = np.asarray(picture, np.float32) / 255
    scaled = (rgb - np.array(rules["mean"], np.float32)) / np.array(rules["std"], np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])


def softmax(scores: np.ndarray) -> np.ndarray:
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    result: np.ndarray = shares / shares.sum(-1, keepdims=True)
    return result


def decode(raw: np.ndarray, rules: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Raw output to joints (J, 3), x and y as shares of the crop, z of the depth range; and confidence (J,)."""
    cells, bins = rules["heatmap"], rules["depth_bins"]
    along = (np.arange(cells) + 0.5) / cells
    depth = (np.arange(bins) + 0.5) / bins
    if rules["head"] == "simcc":
        fine = SIMCC_SPLIT * cells
        places = (np.arange(fine) + 0.5) / fine
        px, py, pz = softmax(raw[0, :, :fine]), softmax(raw[0, :, fine : 2 * fine]), softmax(raw[0, :, 2 * fine :])
        return np.stack([px @ places, py @ places, pz @ depth], 1), px.max(1) * py.max(1)
    if rules["head"] == "volumetric":
        joints = raw.shape[1] // bins
        volume = softmax(raw.reshape(joints, -1)).reshape(joints, bins, cells * cells)
        plane, z = volume.sum(1), volume.sum(2) @ depth
    else:
        joints = raw.shape[1] // 2
        plane = softmax(raw[0, :joints].reshape(joints, -1))
        z = (plane * raw[0, joints:].reshape(joints, -1)).sum(1) / rules["depth_gain"] + 0.5
    maps = plane.reshape(joints, cells, cells)
    return np.stack([maps.sum(1) @ along, maps.sum(2) @ along, z], 1), plane.max(1)


def find(network: Network, manifest: dict[str, Any], photo: Image.Image, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """One person: joints (J, 3) as px, px and mm behind the root joint; and confidence (J,)."""
    before, after = manifest["preprocessing"], manifest["postprocessing"]
    picture, left, top, side = crop(photo, box, before["size"], before["box_padding"])
    shares, confidence = decode(network(normalise(picture, before)), after)
    return shares_to_photo(shares, left, top, side, after["depth_range_mm"]), confidence


def shares_to_photo(shares: np.ndarray, left: float, top: float, side: float, depth_range: float) -> np.ndarray:
    return (shares - (0, 0, 0.5)) * (side, side, depth_range) + (left, top, 0)


def to_camera(joints: np.ndarray, root_depth: float, focal: float, centre: tuple[float, float]) -> np.ndarray:
    """Camera coordinates (J, 3) in mm, x right, y down, z away, by a pinhole camera."""
    z = joints[:, 2:] + root_depth
    return np.concatenate([(joints[:, :2] - centre) / focal * z, z], 1)


def draw(photo: Image.Image, people: list[np.ndarray], edges: list[list[int]]) -> Image.Image:
    painted = photo.copy()
    pen = ImageDraw.Draw(painted)
    width = max(2, max(photo.size) // 200)
    for joints in people:
        for a, b in edges:
            pen.line([*joints[a, :2], *joints[b, :2]], fill=(255, 140, 0), width=width)
        for x, y, _ in joints:
            pen.ellipse([x - width, y - width, x + width, y + width], fill=(0, 120, 255))
    return painted


def parse_box(text: str) -> Box:
    values = [float(part) for part in text.split(",")]
    if len(values) != 4 or not all(map(math.isfinite, values)) or min(values[2:]) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' should be x,y,w,h in px with w and h of at least 1")
    return values[0], values[1], values[2], values[3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo")
    parser.add_argument("--bbox", type=parse_box, action="append", help="x,y,w,h of a person, px; once a person")
    parser.add_argument("--root-depth", type=float, help="mm from the camera to the root joint")
    parser.add_argument("--focal", type=float, help="focal length, px; the photo's longer side without it")
    parser.add_argument("--draw", metavar="FILE", help="write the photo with the skeletons")
    given = parser.parse_args()
    manifest = read_manifest()
    try:
        photo = ImageOps.exif_transpose(Image.open(given.photo)).convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        sys.exit(f"{given.photo}: cannot be read as a picture: {error}")
    network = load(manifest)
    boxes = given.bbox or [(0.0, 0.0, float(photo.width), float(photo.height))]
    focal, centre = given.focal or max(photo.size), (photo.width / 2, photo.height / 2)
    people = []
    for box in boxes:
        joints, confidence = find(network, manifest, photo, box)
        person = {"bbox": box, "joints_px_mm": joints.round(2).tolist(), "confidence": confidence.round(4).tolist()}
        if given.root_depth:
            person["camera_mm"] = to_camera(joints, given.root_depth, focal, centre).round(1).tolist()
        people.append((joints, person))
    print(json.dumps({"joints": manifest["skeleton"]["joints"], "people": [person for _, person in people]}))
    if given.draw:
        draw(photo, [joints for joints, _ in people], manifest["skeleton"]["edges"]).save(given.draw)


if __name__ == "__main__":
    main()
