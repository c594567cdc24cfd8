"""real-128 in MediaPipe itself: the Python package in an environment of its own, and tasks-vision in Chromium.

Set EDGEPOSE_MEDIAPIPE to a Python that has mediapipe for the quick test; the slow ones install it themselves.
"""

from __future__ import annotations

import contextlib
import json
import mimetypes
import os
import queue
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from explore.data import open_dataset
from explore.data.synthetic.config import SyntheticConfig
from explore.export import task_verify
from explore.export.task import export_task
from explore.predict.detector import MODEL as DETECTOR
from quantize import bundle, task
from quantize.bundle import Bundle
from quantize.convert import Converter
from quantize.recipes import recipe
from tests.helpers import ROOT, browser

REAL = ROOT / "results" / "real-128"
TASKS_VISION = "@mediapipe/tasks-vision@1.1.0"
FRAMES, BLANK = 48, range(30, 36)  # of the video, and those without a person
SIDE = 384  # px of the images
GPU_PX = 4.0  # mean deviation, px of 128: the GPU delegate crops by another method
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu-sandbox", "--use-gl=angle", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--no-first-run", "--disable-background-networking",
)  # fmt: skip


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has mediapipe."""
    if os.environ.get(task_verify.VARIABLE):
        return task_verify.mediapipe_python()
    folder = tmp_path_factory.mktemp("mediapipe")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [folder / "bin" / "pip", "install", "-q", f"mediapipe=={task_verify.TESTED}"]
    done = subprocess.run(install, capture_output=True, text=True, timeout=500)
    if done.returncode:
        pytest.skip(f"pip cannot install mediapipe: {done.stderr.strip().splitlines()[-1][:200]}")
    return folder / "bin" / "python"


@dataclass(frozen=True)
class Exported:
    """A LiteRT bundle of real-128 and its .task file."""

    bundle: Bundle
    file: Path


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("int8")
    opened = bundle.load(REAL / "litert")
    with Converter(folder / "log") as converter:
        export_task(opened, folder / "a.task", converter, None, 300, force=True)
    return Exported(opened, folder / "a.task")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    """Rendered people, RGB."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPOSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        config = SyntheticConfig.model_validate({"level": "easy", "size": 256, "train_frames": 1, "test_frames": 12})
        data = open_dataset("synthetic:easy", "test", config)
        images = [cv2.imread(str(data.path(index)))[..., ::-1] for index in range(len(data))]
    return [cv2.resize(image, (SIDE, SIDE)) for image in images]


def deviation(exported: Exported, images: list[np.ndarray], regions: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    crops = [task_verify.crop_like_mediapipe(*each, 128) for each in zip(images, regions, strict=True)]
    return task_verify.deviations(exported.bundle, np.stack(crops), regions, landmarks)


@pytest.mark.skipif(not os.environ.get(task_verify.VARIABLE), reason=f"{task_verify.VARIABLE} is not set")
def test_images(python: Path, int8: Exported, people: list[np.ndarray]) -> None:
    found = task_verify.verify(int8.bundle, int8.file, people)
    assert found["people"] >= 6 and found["mean_px"] < 1 and found["max_px"] < 5


@pytest.mark.slow
def test_float_landmarks_agree_to_a_twentieth_of_a_pixel(
    python: Path, people: list[np.ndarray], tmp_path: Path
) -> None:
    stored = bundle.load(REAL / "litert").manifest
    with Converter(tmp_path / "log") as converter:
        model = converter.export(
            stored.arch, REAL / "net.safetensors", "litert", recipe("float"), None, tmp_path / "made"
        )
        about = {"skeleton": stored.skeleton, "recipe": recipe("float"), "data": stored.data}
        opened = bundle.write(tmp_path / "bundle", model, arch=stored.arch, runtime="litert", **about)
        export_task(opened, tmp_path / "a.task", converter, None, 300, force=True)
    found = task_verify.verify(opened, tmp_path / "a.task", people)
    assert found["people"] >= 6 and found["max_px"] < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["VIDEO", "LIVE_STREAM"])
def test_a_video_is_tracked_lost_and_recovered(
    mode: str, python: Path, int8: Exported, people: list[np.ndarray]
) -> None:
    """The person wanders, turns by up to 25 degrees, grows, and is gone for a few frames."""
    seen = np.flatnonzero(task_verify.run_landmarker(python, int8.file, people).found)
    video, moves = wandering(people[seen[0]])
    result = task_verify.run_landmarker(python, int8.file, video, mode, step_ms=33)
    lost = set(np.flatnonzero(~result.found).tolist())
    assert set(BLANK) <= lost <= {*BLANK, 0, BLANK.stop, BLANK.stop + 1}
    hips = result.landmarks[:, [23, 24], :2].mean(1)
    inverse = np.stack([cv2.invertAffineTransform(move) for move in moves])
    still = np.einsum("nab,nb->na", inverse[:, :, :2], hips) + inverse[:, :, 2]  # in the picture that moves
    assert np.nanstd(still, axis=0).max() < 0.03 * SIDE


def wandering(picture: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Return a video of a moved picture, and the movements (N, 2, 3)."""
    frames, moves = [], []
    for frame in range(FRAMES):
        angle, zoom = 25 * np.sin(frame / 12), 0.8 + 0.25 * np.sin(frame / 15)
        move = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), angle, zoom)
        move[0, 2] += 0.1 * SIDE * np.sin(frame / 10)
        moved = cv2.warpAffine(picture, move, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
        frames.append(np.full_like(moved, 128) if frame in BLANK else moved)
        moves.append(move)
    return frames, np.stack(moves)


# ---- browser ----


@pytest.fixture(scope="module")
def tasks_vision(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tasks-vision in node_modules."""
    if shutil.which("npm") is None:
        pytest.skip("no npm here (Debian: npm)")
    folder = tmp_path_factory.mktemp("web")
    done = subprocess.run(["npm", "install", "--silent", TASKS_VISION], cwd=folder, capture_output=True, timeout=300)
    if done.returncode:
        pytest.skip("npm cannot install tasks-vision")
    return folder


PAGE = """<!doctype html><script type="module">
import { FilesetResolver, PoseLandmarker } from "./node_modules/@mediapipe/tasks-vision/vision_bundle.mjs";
const send = (value) => fetch("/result", { method: "POST", body: JSON.stringify(value) });
try {
  const { delegate, tasks, images } = await (await fetch("/request.json")).json();
  const files = await FilesetResolver.forVisionTasks("./node_modules/@mediapipe/tasks-vision/wasm");
  const found = [];
  for (const task of tasks) {
    const options = { baseOptions: { modelAssetPath: task, delegate }, runningMode: "IMAGE" };
    const landmarker = await PoseLandmarker.createFromOptions(files, options);
    for (const name of images) {
      const image = new Image();
      image.src = name;
      await image.decode();
      const [points] = landmarker.detect(image).landmarks;
      found.push(points ? points.map((p) => [p.x * image.width, p.y * image.height]) : null);
    }
    landmarker.close();
  }
  await send(found);
} catch (error) {
  await send({ error: `${error} ${error.stack}` });
}
</script>"""


class Handler(browser.Quiet):
    """Puts posted results into a queue."""

    results: queue.Queue[Any] = queue.Queue()

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
        self.results.put(json.loads(content))


@pytest.mark.slow
@pytest.mark.parametrize("delegate", ["CPU", "GPU"])
def test_browser(delegate: str, int8: Exported, people: list[np.ndarray], tasks_vision: Path, tmp_path: Path) -> None:
    """Landmarks agree with our decode of the regions that the same delegate crops. The GPU is rendered in software."""
    program = browser.chromium()
    chosen = people[:3]
    for index, image in enumerate(chosen):
        cv2.imwrite(str(tasks_vision / f"{index}.png"), image[..., ::-1])
    shutil.copyfile(int8.file, tasks_vision / "pose_landmarker.task")
    (tasks_vision / "region.task").write_bytes(task.archive(DETECTOR.read_bytes(), task.region_model(128)))
    names = [f"{index}.png" for index in range(len(chosen))]
    request = {"delegate": delegate, "tasks": ["pose_landmarker.task", "region.task"], "images": names}
    (tasks_vision / "request.json").write_text(json.dumps(request))
    (tasks_vision / "index.html").write_text(PAGE)
    mimetypes.add_type("text/javascript", ".mjs")
    with browser.served(tasks_vision, Handler) as address, open(tmp_path / "chromium.log", "wb") as log:
        command = [program, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", address]
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            found = Handler.results.get(timeout=400)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
    assert isinstance(found, list), found
    pairs = [(i, own, where) for i, (own, where) in enumerate(zip(found[:3], found[3:], strict=True)) if own and where]
    assert len(pairs) >= 2
    corners = np.array([where[:3] for _, _, where in pairs])
    regions = np.stack([corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], corners[:, 0]], 2)
    moved = deviation(int8, [chosen[i] for i, _, _ in pairs], regions, np.array([own for _, own, _ in pairs]))
    assert moved.mean() < (1.0 if delegate == "CPU" else GPU_PX)
