"""The input pipeline against the reference training code's: training images a second, the same frames and cores.

Both load, augment and normalise whole batches of the same pictures at the same input size; rounds take turns, so that
what else the machine does meets both. The reference's loader is run from a clone that EDGEPOSE_REFERENCE names.
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
from explore.bench import Claim
from explore.data import Human36MOptions, jpeg, open_dataset
from explore.data.crop import AUGMENTS
from explore.data.sample import Dataset
from explore.data.synthetic.dataset import SyntheticConfig

ASKED = 3.0  # times the reference's images a second
VARIABLE = "EDGEPOSE_REFERENCE"


def reference_folder() -> Path | None:
    """The clone that the environment names; None where it names none.

    Raises:
        InputError: it names a folder that is no such clone.
    """
    given = os.environ.get(VARIABLE)
    if not given:
        return None
    if not (Path(given) / "data" / "dataset.py").is_file():
        raise InputError(f"{VARIABLE}={given}: no data/dataset.py there; name a clone of the reference training code")
    return Path(given).resolve()


CONFIG: dict[str, Any] = {
    "frames": "1000 px",
    "sizes": (256, 64),
    "batch": 24,
    "workers": (0, 2),
    "rounds": 5,
    "images": 192,
}


def run(progress: Callable[[float], None]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Rows of images a second, and the claims where the reference can be run.

    The frames are those of the Human3.6M folder that EDGEPOSE_HUMAN36M names, over and over, or rendered ones.
    """
    return compare(frames(), progress)


def frames() -> Dataset:
    """CONFIG["images"] samples of about 1000 px."""
    given, images = os.environ.get("EDGEPOSE_HUMAN36M"), int(CONFIG["images"])
    if given:
        found = sorted(Path(given).glob("annotations/Human36M_subject*_data.json"))
        subjects = tuple(int(file.name.removeprefix("Human36M_subject").split("_")[0]) for file in found)
        data = open_dataset(f"human36m:{given}", "train", Human36MOptions(train_subjects=subjects, train_step=1))
    else:
        config = SyntheticConfig(level="full", size=1000, train=24, test=1)
        data = open_dataset("synthetic:full", "train", config)
    return data.take(np.resize(np.arange(len(data)), images))


def compare(data: Dataset, progress: Callable[[float], None]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """`run` on the samples of `data`."""
    reference = reference_folder()
    sizes: tuple[int, ...] = CONFIG["sizes"]
    cases = [(size, workers) for size in sizes for workers in CONFIG["workers"]]
    rows = []
    for index, (size, workers) in enumerate(cases):
        rows.append(_case(data, reference, size, workers))
        progress((index + 1) / len(cases))
    return rows, [_claim(row) for row in rows if "ratio" in row]


def _case(data: Dataset, reference: Path | None, size: int, workers: int) -> dict[str, Any]:
    """Medians over rounds at one input size and number of workers."""
    batch, images = CONFIG["batch"], CONFIG["images"]
    theirs = _Reference(reference, data, size, batch, workers, images) if reference else None
    found: list[tuple[float, float]] = []
    for _ in range(CONFIG["rounds"]):
        rate = _ours(data, size, batch, workers, images)
        found.append((rate, theirs.round() if theirs else float("nan")))
    ours_s, theirs_s = np.array(found).T
    row = {"data": data.name, "workers": workers, "px": size, "ours_images_s": round(float(np.median(ours_s)), 1)}
    row["parts_of_jpegs"] = jpeg.available()
    if theirs:
        theirs.close()
        ratios = ours_s / theirs_s
        row |= {
            "reference_images_s": round(float(np.median(theirs_s)), 1),
            "ratio": round(float(np.median(ratios)), 2),
            "ratios": [round(float(value), 2) for value in ratios],
        }
    return row


def _claim(row: dict[str, Any]) -> Claim:
    return Claim(
        name=f"times the reference loader's images/s, {row['px']} px, {row['workers']} workers",
        asked=f"at least {ASKED:g}",
        measured=f"{row['ratio']:.2f}",
        holds=row["ratio"] >= ASKED,
        low=min(row["ratios"]),
        high=max(row["ratios"]),
        interval_of="all rounds",
    )


def _ours(data: Dataset, size: int, batch: int, workers: int, images: int) -> float:
    """Images a second of one round, from the first batch's arrival on, as the reference's are counted."""
    import cv2
    import torch

    from explore.train.loader import load_batches
    from explore.train.loop import to_input

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
        end = time.perf_counter()  # of the last batch: the workers' leaving is nobody's loading
    rate = count / (end - start)
    torch.set_num_threads(threads)
    cv2.setNumThreads(cv_threads)
    return rate


class _Reference:
    """The child process that runs the reference's loader."""

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
            [sys.executable, "-m", "explore.bench.reference_loader"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parents[2],
        )
        self._say(json.dumps(task))

    def round(self) -> float:
        self._say("go")
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise InputError(
                f"{VARIABLE}: the reference's loader ended with {self.process.wait()}; see its lines above"
            )
        return float(json.loads(line))

    def close(self) -> None:
        self._say("")
        self.process.wait(timeout=60)

    def _say(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
