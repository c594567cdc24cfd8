"""Monitoring of a training run: progress, error, sheets of predictions, TensorBoard logs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from arch.errors import InputError
from arch.files import write_atomic
from arch.network import PoseNet
from explore.data.crop import to_image
from explore.data.sample import evenly_spread
from explore.data.sheet import Frame, contact_sheet
from explore.evaluation.evaluator import Evaluator
from explore.evaluation.metrics import root_aligned
from explore.progress import Display
from explore.train.config import TrainConfig
from explore.train.loop import TrainResult, predict

MAX_FRAMES = 500  # evenly spaced frames of an evaluation during training
SHEET_FRAMES = 18


def open_tensorboard(folder: Path) -> Any:
    """Return a `SummaryWriter` for `tensorboard --logdir FOLDER`; a resumed run appends to the same folder.

    Raises:
        InputError: tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError("--logs needs tensorboard; pip install 'edgepose[logs]', or omit the option") from None
    return SummaryWriter(str(folder), flush_secs=10)  # type: ignore[no-untyped-call]


@dataclass
class TrainingMonitor:
    """Callbacks of `train` that show and log a run.

    sheets:  folder of the sheets of predictions, `STEP.png`
    logger:  result of `open_tensorboard`, or None
    history: (step, MPJPE in mm) of the evaluations
    loss:    exponentially smoothed training loss
    """

    evaluator: Evaluator
    display: Display
    sheets: Path = Path()
    logger: Any = None
    device: torch.device | None = None
    loss: float = float("nan")
    history: list[tuple[int, float]] = field(default_factory=list)

    @cached_property
    def _subset(self) -> Evaluator:
        test = self.evaluator.data
        if len(test) <= MAX_FRAMES:
            return self.evaluator
        return replace(self.evaluator, data=test.take(evenly_spread(len(test), MAX_FRAMES)))

    def on_loss(self, step: int, loss: float) -> None:
        self.loss = loss if self.loss != self.loss else 0.95 * self.loss + 0.05 * loss  # the first one is nan
        if self.logger:
            self.logger.add_scalar("train/loss", loss, step)

    def progress(self, done: int, total: int) -> None:
        error = f", {self.evaluator.part} error {self.history[-1][1]:.1f} mm" if self.history else ""
        self.display.update(done / total, f"loss {self.loss:.4f}{error}")

    def evaluate(self, net: PoseNet, step: int) -> None:
        """Evaluate on up to MAX_FRAMES frames and write a sheet of predictions."""
        subset = self._subset
        pred = predict(net, subset.evaluation.images, device=self.device)
        accuracy = subset.evaluate(pred)
        self.history.append((step, accuracy.mpjpe))
        path = self._write_sheet(pred, step)
        note = f" on {len(subset.data)} frames" if subset is not self.evaluator else ""
        self.display.log(
            f"step {step}: {subset.part} error{note}: MPJPE {accuracy.mpjpe:.1f} mm, PA-MPJPE {accuracy.pa_mpjpe:.1f} mm; {path}"
        )
        if self.logger:
            self.logger.add_scalar(f"{subset.part}/mpjpe_mm", accuracy.mpjpe, step)
            self.logger.add_scalar(f"{subset.part}/pa_mpjpe_mm", accuracy.pa_mpjpe, step)

    def _write_sheet(self, pred: NDArray[np.float32], step: int) -> Path:
        """Draw normalised predictions (N, J, 3) of the evaluated frames beside the ground truth."""
        data, evaluation = self._subset.data, self._subset.evaluation
        chosen = evenly_spread(len(data), SHEET_FRAMES)
        px = to_image(pred[chosen], evaluation.matrix[chosen], evaluation.size)
        cam, true = evaluation.to_camera(pred)[chosen], data.joints_cam[chosen]
        root = data.skeleton.root
        errors = np.linalg.norm(root_aligned(cam, root) - root_aligned(true, root), axis=-1)
        frames = [
            Frame(
                data.path(index), data.bbox[index], px[place], f"{np.nanmean(errors[place]):.0f} mm {data.action[index]}",
                np.where(data.vis[index][:, None] > 0, data.joints_img[index, :, :2], np.nan),
                data.region(index) if data.framing == "roi" else None,
            )
            for place, index in enumerate(chosen)
        ]  # fmt: skip
        png = contact_sheet(frames, data.skeleton)
        path = self.sheets / f"{step:07d}.png"
        write_atomic(path, png)
        if self.logger:
            image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR_RGB)
            assert image is not None
            self.logger.add_image(f"{self._subset.part}/predictions", image, step, dataformats="HWC")
        return path


def run_facts(evaluator: Evaluator, result: TrainResult, config: TrainConfig, seed: int) -> dict[str, Any]:
    """Return the facts about a run that every checkpoint has."""
    return {
        "data": evaluator.train.name,
        "data_hash": evaluator.train.hash,
        "part": evaluator.part,
        "samples": result.samples,
        "seconds": round(result.seconds, 1),
        "loss": result.loss,
        "skipped_steps": result.skipped_steps,
        "mean_pose_mm": evaluator.mean_pose_mm,
        "seed": seed,
        "config": config.model_dump(mode="json"),
    }
