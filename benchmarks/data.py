"""Images per second of the input pipeline, compared with the loader of the reference training code.

Both load, augment and normalise batches of the same images at the same input size, in interleaved rounds. The reference
loader runs from a clone of its repository in EDGEPOSE_REFERENCE.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from arch.errors import InputError
from benchmarks import Claim, at_least
from explore.data import Human36MOptions, jpeg, open_dataset
from explore.data.augment import AUGMENTS
from explore.data.sample import Dataset
from explore.data.synthetic.config import SyntheticConfig

TARGET = 3.0  # speed-up over the reference loader
VARIABLE = "EDGEPOSE_REFERENCE"


def reference_folder() -> Path | None:
    """Return the clone in EDGEPOSE_REFERENCE, or None if the variable is not set.

    Raises:
        InputError: the folder is not a clone of the reference training code.
    """
    given = os.environ.get(VARIABLE)
    if not given:
        return None
    if not (Path(given) / "data" / "dataset.py").is_file():
        raise InputError(
            f"{VARIABLE}={given}: no data/dataset.py there; set it to a clone of the reference training code"
        )
    return Path(given).resolve()


CONFIG: dict[str, Any] = {
    "frames": "1000 px", "sizes": (256, 64), "batch": 24, "workers": (0, 2), "rounds": 5, "images": 192,
}  # fmt: skip


def run(progress: Callable[[float], None]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Return rows of images per second, and claims if the reference is available.

    Frames are read from the Human3.6M folder in EDGEPOSE_HUMAN36M, or rendered.
    """
    return compare(frames(), progress)


def frames() -> Dataset:
    """Return CONFIG["images"] samples of about 1000 px; frames are repeated as needed."""
    given, images = os.environ.get("EDGEPOSE_HUMAN36M"), int(CONFIG["images"])
    if given:
        data = open_human36m(given)
    else:
        config = SyntheticConfig(level="full", size=1000, train_frames=24, test_frames=1)
        data = open_dataset("synthetic:full", "train", config)
    return data.take(np.resize(np.arange(len(data)), images))


def open_human36m(folder: str) -> Dataset:
    """Open all frames of all subjects in a Human3.6M folder."""
    found = sorted(Path(folder).glob("annotations/Human36M_subject*_data.json"))
    subjects = tuple(int(file.name.removeprefix("Human36M_subject").split("_")[0]) for file in found)
    return open_dataset(f"human36m:{folder}", "train", Human36MOptions(train_subjects=subjects, train_step=1))


def compare(data: Dataset, progress: Callable[[float], None]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Return the rows and claims of `run` for `data`."""
    reference = reference_folder()
    sizes: tuple[int, ...] = CONFIG["sizes"]
    cases = [(size, workers) for size in sizes for workers in CONFIG["workers"]]
    rows = []
    for index, (size, workers) in enumerate(cases):
        rows.append(_case(data, reference, size, workers))
        progress((index + 1) / len(cases))
    return rows, [_claim(row) for row in rows if "ratio" in row]


def _case(data: Dataset, reference: Path | None, size: int, workers: int) -> dict[str, Any]:
    """Return medians over rounds at one input size (px) and number of workers."""
    batch, images = CONFIG["batch"], CONFIG["images"]
    reference_loader = _Reference(reference, data, size, batch, workers, images) if reference else None
    found: list[tuple[float, float]] = []
    for _ in range(CONFIG["rounds"]):
        rate = _ours(data, size, batch, workers, images)
        found.append((rate, reference_loader.round() if reference_loader else float("nan")))
    ours_s, reference_loader_s = np.array(found).T
    row = {"data": data.name, "workers": workers, "px": size, "ours_images_s": round(float(np.median(ours_s)), 1)}
    row["partial_jpeg_decoding"] = jpeg.available()
    if reference_loader:
        reference_loader.close()
        ratios = ours_s / reference_loader_s
        row |= {
            "reference_images_s": round(float(np.median(reference_loader_s)), 1),
            "ratio": round(float(np.median(ratios)), 2),
            "ratios": [round(float(value), 2) for value in ratios],
        }
    return row


def _claim(row: dict[str, Any]) -> Claim:
    name = f"speed-up over the reference loader, {row['px']} px, {row['workers']} workers"
    interval = {"low": min(row["ratios"]), "high": max(row["ratios"]), "interval_of": "all rounds"}
    return at_least(name, TARGET, row["ratio"], f"{row['ratio']:.2f}", **interval)


def _ours(data: Dataset, size: int, batch: int, workers: int, images: int) -> float:
    """Return images per second of one round, counted from the arrival of the first batch, as for the reference."""
    import cv2
    import torch

    from explore.host import keep_freed_memory
    from explore.train.loader import load_batches
    from explore.train.loop import to_input

    keep_freed_memory()  # as `train` does
    threads, cv_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    steps = range(images // batch)
    batches = (to_input(b.images) for b in load_batches(data, steps, batch, size, AUGMENTS["paper"], 0, workers))
    next(batches)
    start = end = time.perf_counter()
    count = 0
    for found in batches:
        count += len(found)
        end = time.perf_counter()  # excludes the exit of the workers
    rate = count / (end - start)
    torch.set_num_threads(threads)
    cv2.setNumThreads(cv_threads)
    return rate


class _Reference:
    """Child process that runs the reference loader."""

    def __init__(self, root: Path, data: Dataset, size: int, batch: int, workers: int, images: int) -> None:
        shown = min(len(data), images)
        task = {
            "reference": str(root),
            "size": size,
            "batch": batch,
            "workers": workers,
            "repeat": -(-images // shown),
            "names": data.skeleton.names,
            "flip_pairs": data.skeleton.flip_pairs,
            "samples": [
                {
                    "image": str(sample.image.resolve()),
                    "size": sample.size,
                    "bbox": sample.bbox.tolist(),
                    "joints_img": sample.joints_img.tolist(),
                    "vis": sample.vis.tolist(),
                }
                for sample in (data[index] for index in range(shown))
            ],
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.reference_loader"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parents[1],
        )
        self._send(json.dumps(task))

    def round(self) -> float:
        self._send("go")
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise InputError(
                f"{VARIABLE}: the reference loader exited with {self.process.wait()}; see its output above"
            )
        return float(json.loads(line))

    def close(self) -> None:
        self._send("")
        self.process.wait(timeout=60)

    def _send(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
