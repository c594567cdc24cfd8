"""What a network is worth at each stage on its way: in torch, as a float file, as an INT8 file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arch.decode import decode, to_normalised
from arch.files import content_hash, sha256_file, write_atomic
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
JUDGED, JOINTS = "judged.json", "joints.npy"


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
    """Where files are made and by what they are judged. A file that `folder` holds already is not made again."""

    folder: Path
    judge: Judge
    converter: Converter
    config: SearchConfig
    work: Callable[[], AbstractContextManager[None]] = nullcontext  # entered around whatever disturbs a measurement

    def pictures(self, recipe: Recipe) -> Array:
        """Calibration pictures of the training part, the same for the same seed."""
        return normalised(self.judge.calibration(recipe.calibration_images, self.config.seed))

    def make(self, arch: Arch, weights: Path, runtime: str, recipe: Recipe, key: str) -> MadeFile:
        """Export in the converter's process and judge; files go to a folder called `key`.

        Raises:
            InputError, ConversionError: see `Converter.export`.
        """
        made_of = self.made_of(weights, recipe)
        if kept := self.kept(runtime, recipe, key, made_of):
            return kept
        started = time.monotonic()
        model = self.exported(arch, weights, runtime, recipe, key)
        return self.judged(arch, runtime, recipe, model, time.monotonic() - started, made_of)

    def exported(self, arch: Arch, weights: Path, runtime: str, recipe: Recipe, key: str) -> Path:
        """The model file from the converter's process."""
        pictures = self.pictures(recipe) if recipe.int8 else None
        with self.work():
            model = self.converter.export(
                arch, weights, runtime, recipe, pictures, self.folder / key, self.config.timeout
            )
        return self.folder / key / model.name  # the converter names it from the root

    def made_of(self, weights: Path, recipe: Recipe) -> str:
        """Hash of what a file of one network depends on: its weights, the recipe and the pictures."""
        data = {"data": self.judge.train.hash, "test": self.judge.test.hash, "seed": self.config.seed}
        return content_hash({"weights": sha256_file(weights), "recipe": recipe.model_dump(), **data})

    def kept(self, runtime: str, recipe: Recipe, key: str, made_of: str) -> MadeFile | None:
        """The file that was made and judged before from the same."""
        folder = self.folder / key
        if not (folder / JUDGED).exists():
            return None
        facts = json.loads((folder / JUDGED).read_text())
        if facts.get("made_of") != made_of:
            return None
        return MadeFile(
            np.load(folder / JOINTS, allow_pickle=False),
            Accuracy(**facts["accuracy"]),
            runtime,
            recipe,
            folder / facts["model"],
            FileAudit(**facts["audit"]),
            facts["seconds"],
        )

    def judged(self, arch: Arch, runtime: str, recipe: Recipe, model: Path, seconds: float, made_of: str) -> MadeFile:
        """The file's own joints on the whole test part; left beside it, and with them what it is worth."""
        images = self.judge.evaluation.images
        session = runtimes.get(runtime).load(model, self.config.measure.threads)
        answers = file_answers(session, runtime, arch, images, self.work)
        session.close()
        stage = judged(self.judge, answers)
        made = MadeFile(
            stage.mm, stage.accuracy, runtime, recipe, model, audit.inspect(model, runtime), round(seconds, 2)
        )
        np.save(model.parent / JOINTS, made.mm)
        facts = {"accuracy": asdict(made.accuracy), "audit": asdict(made.audit), "seconds": made.seconds}
        write_atomic(model.parent / JUDGED, json.dumps(facts | {"model": model.name, "made_of": made_of}, indent=2))
        return made

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


def file_answers(
    session: runtimes.Session,
    runtime: str,
    arch: Arch,
    images: NDArray[np.uint8],
    work: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Array:
    """What a loaded file says of RGB crops (N, S, S, 3): (N, J, 3), shares of the crop's side and of the depth range.

    work: entered around each batch, see `Workshop`.
    """
    parts, gain = [], runtimes.depth_gain(runtime, arch)
    for begin in range(0, len(images), BATCH):
        with work():
            parts.append(decode(session.run(normalised(images[begin : begin + BATCH])), arch, gain))
    return to_normalised(np.concatenate(parts), arch)


def judged(judge: Judge, coordinates: NDArray[np.float32]) -> Stage:
    return Stage(judge.evaluation.to_camera(coordinates), judge.score(coordinates))


def normalised(images: NDArray[np.uint8]) -> Array:
    """(B, S, S, 3) RGB bytes to what a session takes."""
    return np.ascontiguousarray(to_input(images).numpy())
