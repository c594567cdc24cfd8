"""What a run shows while it lasts: test error and a sheet of predictions at each evaluation, all of it in the logs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from arch.files import write_atomic
from arch.network import PoseNet
from explore.data.crop import to_picture
from explore.data.sheet import Frame, contact_sheet
from explore.judge import Judge
from explore.metrics import root_aligned
from explore.progress import Display
from explore.train.logs import Logs
from explore.train.loop import predict

FRAMES = 500  # of the test part, evenly chosen, at an evaluation before the end
SHOWN = 18  # of those, on a sheet


@dataclass
class Watch:
    """sheets: folder of the pictures, `STEP.png`; logs: None without; rows: (step, mm) of the evaluations."""

    judge: Judge
    display: Display
    sheets: Path
    logs: Logs | None = None
    device: torch.device | None = None
    loss: float = float("nan")
    rows: list[tuple[int, float]] = field(default_factory=list)

    @cached_property
    def _part(self) -> Judge:
        test = self.judge.test
        if len(test) <= FRAMES:
            return self.judge
        return Judge(self.judge.train, test.take(_spread(len(test), FRAMES)), self.judge.size)

    def told_loss(self, step: int, loss: float) -> None:
        """Smoothed for the eye, as it is for the logs."""
        self.loss = loss if self.loss != self.loss else 0.95 * self.loss + 0.05 * loss
        if self.logs:
            self.logs.scalars(step, train__loss=loss)

    def progress(self, done: int, total: int) -> None:
        error = f", test error {self.rows[-1][1]:.1f} mm" if self.rows else ""
        self.display.update(done / total, f"loss {self.loss:.4f}{error}")

    def evaluate(self, net: PoseNet, step: int) -> None:
        part = self._part
        pred = predict(net, part.evaluation.images, device=self.device)
        found = part.score(pred)
        self.rows.append((step, found.mpjpe))
        path = self.show(pred, step)
        note = f" on {len(part.test)} frames" if part is not self.judge else ""
        self.display.log(f"step {step}: test error {found.mpjpe:.1f} mm{note}, PA {found.pa_mpjpe:.1f} mm; {path}")
        if self.logs:
            self.logs.scalars(step, test__mpjpe_mm=found.mpjpe, test__pa_mpjpe_mm=found.pa_mpjpe)

    def show(self, pred: NDArray[np.float32], step: int) -> Path:
        """Write the sheet of predictions (N, J, 3), normalised, of the part that evaluations judge."""
        data, evaluation = self._part.test, self._part.evaluation
        chosen = _spread(len(data), SHOWN)
        px = to_picture(pred[chosen], evaluation.matrix[chosen], evaluation.size)
        cam, true = evaluation.to_camera(pred)[chosen], data.joints_cam[chosen]
        root = data.skeleton.root
        errors = np.linalg.norm(root_aligned(cam, root) - root_aligned(true, root), axis=-1)
        frames = [
            Frame(
                data.path(index), data.bbox[index], px[place], f"{np.nanmean(errors[place]):.0f} mm {data.action[index]}",
                np.where(data.vis[index][:, None] > 0, data.joints_img[index, :, :2], np.nan),
            )
            for place, index in enumerate(chosen)
        ]  # fmt: skip
        png = contact_sheet(frames, data.skeleton)
        path = self.sheets / f"{step:07d}.png"
        write_atomic(path, png)
        if self.logs:
            picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR_RGB)
            assert picture is not None  # written two lines above
            self.logs.picture(step, "test/predictions", picture)
        return path


def _spread(of: int, count: int) -> NDArray[np.int_]:
    return np.unique(np.linspace(0, of - 1, count).round().astype(int))
