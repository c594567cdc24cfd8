"""What a network is worth at each stage on its way: in torch, as a float file, as an INT8 file."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arch.decode import decode, to_normalised
from arch.network import PoseNet
from arch.space import Arch
from explore.config import MeasureConfig, SearchConfig
from explore.judge import Accuracy, Judge
from explore.measure.protocol import Disturbed, Latency, measure
from explore.train.loop import predict, to_input
from quantize import audit, runtimes
from quantize.convert import Converter
from quantize.recipes import Recipe
from quantize.runtimes import Array, FileAudit

BATCH = 50
ATTEMPTS = 3


@dataclass(frozen=True)
class Stage:
    """Joints of the test part, camera mm (N, J, 3), and what they are worth."""

    mm: NDArray[Any]
    accuracy: Accuracy


@dataclass(frozen=True)
class MadeFile(Stage):
    """A model file, judged."""

    runtime: str
    recipe: Recipe
    model: Path
    audit: FileAudit
    seconds: float  # that the export took


@dataclass(frozen=True)
class Workshop:
    """Where files are made and by what they are judged; `folder` is for scratch."""

    folder: Path
    judge: Judge
    converter: Converter
    config: SearchConfig

    def pictures(self, recipe: Recipe) -> Array:
        """Calibration pictures of the training part, the same for the same seed."""
        return normalised(self.judge.calibration(recipe.calibration_images, self.config.seed))

    def make(self, arch: Arch, weights: Path, runtime: str, recipe: Recipe, key: str) -> MadeFile:
        """Export in the converter's process and judge; files go to a folder called `key`.

        Raises:
            InputError, ConversionError: see `Converter.export`.
        """
        started = time.monotonic()
        pictures = self.pictures(recipe) if recipe.int8 else None
        model = self.converter.export(arch, weights, runtime, recipe, pictures, self.folder / key, self.config.timeout)
        return self.judged(arch, runtime, recipe, model, time.monotonic() - started)

    def judged(self, arch: Arch, runtime: str, recipe: Recipe, model: Path, seconds: float) -> MadeFile:
        """The file's own joints on the whole test part."""
        images = self.judge.evaluation.images
        session = runtimes.get(runtime).load(model, self.config.measure.threads)
        parts = [session.run(normalised(images[i : i + BATCH])) for i in range(0, len(images), BATCH)]
        session.close()
        stage = judged(self.judge, to_normalised(np.concatenate([decode(part, arch) for part in parts]), arch))
        found = audit.inspect(model, runtime)
        return MadeFile(stage.mm, stage.accuracy, runtime, recipe, model, found, seconds)

    def torch(self, net: PoseNet) -> Stage:
        """The network itself."""
        return judged(self.judge, predict(net, self.judge.evaluation.images))

    def latencies(self, files: dict[str, MadeFile], reference: str) -> dict[str, Latency] | str:
        """All files timed in interleaved rounds; the reason where other processes keep disturbing them."""
        calls: dict[str, Callable[[], None]] = {}
        picture = normalised(self.judge.evaluation.images[:1])
        for name, file in files.items():
            calls[name] = runtimes.get(file.runtime).load(file.model, self.config.measure.threads).prepare(picture)
        budget = self.config.measure.budget * max(1.0, len(calls) / 2)
        settings: MeasureConfig = self.config.measure.model_copy(update={"budget": budget})
        reason = ""
        for _ in range(ATTEMPTS):
            try:
                return measure(calls, settings, reference)
            except Disturbed as error:
                reason = str(error)
        return reason


def judged(judge: Judge, coordinates: NDArray[np.float32]) -> Stage:
    return Stage(judge.evaluation.to_camera(coordinates), judge.score(coordinates))


def normalised(images: NDArray[np.uint8]) -> Array:
    """(B, S, S, 3) RGB bytes to what a session takes."""
    return np.ascontiguousarray(to_input(images).numpy())
