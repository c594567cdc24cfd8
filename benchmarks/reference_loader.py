"""Child process of the benchmark `data`: run the data loader of a clone of the reference training code.

Reads one JSON object on standard input (see benchmarks.data). For each further line it runs a round and writes the
images per second as a JSON number. The clone's configuration is replaced by the values that the loader reads, because
importing it creates folders and searches for GPUs. Without torchvision, its two transforms are replaced by equal
arithmetic.
"""

from __future__ import annotations

import json
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch


def main() -> None:
    task = json.loads(sys.stdin.readline())
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    loader = _loader(task)
    while sys.stdin.readline().strip():
        batches = iter(loader)
        next(batches)  # start the workers
        start = end = time.perf_counter()
        images = 0
        for batch in batches:
            images += len(batch[0])
            end = time.perf_counter()  # excludes the exit of the workers
        print(json.dumps(images / (end - start)), flush=True)


def _loader(task: dict[str, Any]) -> Any:
    from torch.utils.data import DataLoader

    root = Path(task["reference"])
    size = task["size"]
    config = types.ModuleType("config")
    config.cfg = types.SimpleNamespace(  # type: ignore[attr-defined]
        input_shape=(size, size), output_shape=(size // 8, size // 8), depth_dim=32, bbox_3d_shape=(2000, 2000, 2000)
    )
    sys.modules["config"] = config
    sys.path[:0] = [str(root / "common"), str(root / "data")]
    from dataset import DatasetLoader  # type: ignore[import-not-found]
    from utils.pose_utils import process_bbox  # type: ignore[import-not-found]

    samples = []
    for sample in task["samples"]:
        width, height = sample["size"]
        samples.append(
            {
                "img_path": sample["image"],
                "bbox": process_bbox(np.array(sample["bbox"]), width, height),
                "joint_img": np.array(sample["joints_img"]),
                "joint_vis": np.array(sample["vis"])[:, None],
            }
        )
    db = types.SimpleNamespace(
        data=samples * task["repeat"],
        joint_num=len(task["names"]),
        skeleton=(),
        flip_pairs=task["flip_pairs"],
        joints_have_depth=True,
        joints_name=tuple(task["names"]),
    )
    source = DatasetLoader(db, None, True, _transform())
    return DataLoader(source, batch_size=task["batch"], shuffle=True, num_workers=task["workers"], drop_last=True)


def _transform() -> Callable[[np.ndarray], torch.Tensor]:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    try:
        from torchvision import transforms  # type: ignore[import-not-found]
    except ImportError:

        def same(image: np.ndarray) -> torch.Tensor:
            tensor = torch.from_numpy(image.transpose((2, 0, 1))).contiguous().clone()
            return tensor.sub_(torch.tensor(mean)[:, None, None]).div_(torch.tensor(std)[:, None, None])

        return same
    found: Callable[[np.ndarray], torch.Tensor] = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize(mean=mean, std=std)]
    )
    return found


if __name__ == "__main__":
    main()
