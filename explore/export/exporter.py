"""Export and evaluation of a network: as it is in torch, as a float file, and as quantized files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arch.decode import decode_with_confidence, to_normalised
from arch.files import content_hash, sha256_file, write_atomic
from arch.network import PoseNet
from arch.space import Arch
from explore.evaluation.evaluator import Accuracy, Evaluator
from explore.export.config import ExportConfig
from explore.export.output_calibration import CalibrationCrops, OutputCalibration, calibrate_outputs
from explore.measure.latency import Disturbed, Latency, measure, retry_disturbed
from explore.train.loop import predict, to_input
from quantize import runtimes
from quantize.checkpoint import TrainedOn
from quantize.convert import Converter
from quantize.recipes import Recipe
from quantize.runtimes import Array, ModelSummary

BATCH = 50
RESULT, JOINTS = "evaluated.json", "joints.npy"
Lock = Callable[[], AbstractContextManager[None]]
Convert = Callable[[], Path]


@dataclass(frozen=True)
class Predictions:
    """Predicted joints of the evaluated part, camera coordinates (N, J, 3) in mm, and their accuracy."""

    mm: NDArray[Any]
    accuracy: Accuracy


@dataclass(frozen=True)
class ExportedModel(Predictions):
    """A model file with its own predictions. `seconds` is the duration of the export."""

    runtime: str
    recipe: Recipe
    model: Path
    summary: ModelSummary
    seconds: float


@dataclass(frozen=True)
class Exporter:
    """Exports networks into `folder` and evaluates the files. Files that exist there already are not made again.

    lock: context that is entered around conversion and inference, so that they do not disturb latency measurements
    trained_on: training data of the network, for bundles; by default the training part of `evaluator`
    config_hash: goes into the manifests of bundles; by default that of `config`
    """

    folder: Path
    evaluator: Evaluator
    converter: Converter
    config: ExportConfig
    lock: Lock = nullcontext
    config_hash: str = ""
    trained_on: TrainedOn | None = None

    def calibration_images(self, recipe: Recipe) -> Array:
        """Return normalised training crops (N, 3, S, S) to calibrate with, the same for the same seed."""
        return normalise(self.evaluator.calibration(recipe.calibration_images, self.config.seed))

    def export(
        self, arch: Arch, weights: Path, runtime: str, recipe: Recipe, key: str, convert: Convert | None = None
    ) -> ExportedModel:
        """Convert a network into the folder `key` and evaluate the file.

        convert: makes the file in that folder, in place of `Exporter.convert`

        Raises:
            InputError, ConversionError: see `Converter.export`.
        """
        source = self.source_hash(weights, runtime, recipe)
        if existing := self.load(runtime, recipe, key, source):
            return existing
        started = time.monotonic()
        model = convert() if convert else self.convert(arch, weights, runtime, recipe, key)
        return self.evaluate(arch, runtime, recipe, model, time.monotonic() - started, source)

    def convert(self, arch: Arch, weights: Path, runtime: str, recipe: Recipe, key: str, trained: bool = False) -> Path:
        """Return the model file that the converter process makes in the folder `key`."""
        images = self.calibration_images(recipe) if recipe.calibrated else None
        folder = self.folder / key
        with self.lock():
            model = self.converter.export(arch, weights, runtime, recipe, images, folder, self.config.timeout, trained)
        return folder / model.name  # the converter returns an absolute path

    def source_hash(self, weights: Path, runtime: str, recipe: Recipe) -> str:
        """Hash everything that a file of one network depends on: weights, recipe, data and seed."""
        data = {"data": self.evaluator.train.hash, "test": self.evaluator.data.hash, "seed": self.config.seed}
        bits = {"weight_bits": runtimes.get(runtime).WEIGHT_BITS} if recipe.int8 else {}
        return content_hash({"weights": sha256_file(weights), "recipe": recipe.identity, **data, **bits})

    def load(self, runtime: str, recipe: Recipe, key: str, source: str) -> ExportedModel | None:
        """Return the evaluated file in the folder `key` if it was made from the same `source_hash`."""
        folder = self.folder / key
        if not (folder / RESULT).exists():
            return None
        facts = json.loads((folder / RESULT).read_text())
        if facts.get("source") != source:
            return None
        return ExportedModel(
            np.load(folder / JOINTS, allow_pickle=False),
            Accuracy(**facts["accuracy"]),
            runtime,
            recipe,
            folder / facts["model"],
            ModelSummary(**facts["summary"]),
            facts["seconds"],
        )

    def evaluate(
        self, arch: Arch, runtime: str, recipe: Recipe, model: Path, seconds: float, source: str
    ) -> ExportedModel:
        """Evaluate a file on the whole evaluated part; its predictions and its accuracy are stored beside it."""
        with closing(runtimes.get(runtime).load(model, self.config.measure.threads)) as session:
            joints = predict_file(session, runtime, arch, self.evaluator.evaluation.images, self.lock)
        found = evaluate_predictions(self.evaluator, joints)
        summary, seconds = runtimes.get(runtime).inspect(model), round(seconds, 2)
        np.save(model.parent / JOINTS, found.mm)
        facts = {"accuracy": asdict(found.accuracy), "summary": asdict(summary), "seconds": seconds}
        write_atomic(model.parent / RESULT, json.dumps(facts | {"model": model.name, "source": source}, indent=2))
        return ExportedModel(found.mm, found.accuracy, runtime, recipe, model, summary, seconds)

    def evaluate_torch(self, net: PoseNet) -> Predictions:
        """Evaluate the network itself on the evaluated part."""
        return evaluate_predictions(self.evaluator, predict(net, self.evaluator.evaluation.images))

    def calibrate_outputs(self, arch: Arch, file: ExportedModel, crops: CalibrationCrops) -> OutputCalibration:
        """Calibrate presence, visibility and scale of a file."""
        with closing(runtimes.get(file.runtime).load(file.model, self.config.measure.threads)) as session:
            return calibrate_outputs(crops, lambda images: predict_with_confidence(session, file.runtime, arch, images))

    def measure_latency(self, files: dict[str, ExportedModel], reference: str) -> dict[str, Latency] | str:
        """Time all files in interleaved rounds; returns the reason instead if other processes disturb every attempt."""
        image = normalise(self.evaluator.evaluation.images[:1])
        settings = self.config.measure.for_count(len(files))
        threads = settings.threads
        calls = {name: runtimes.get(f.runtime).load(f.model, threads).prepare(image) for name, f in files.items()}
        try:
            return retry_disturbed(lambda: measure(calls, settings, reference))
        except Disturbed as error:
            return str(error)


def predict_file(
    session: runtimes.Session, runtime: str, arch: Arch, images: NDArray[np.uint8], lock: Lock = nullcontext
) -> Array:
    """Return the joints (N, J, 3) that a loaded file predicts for RGB crops (N, S, S, 3).

    x and y are fractions of the crop's side, z of the depth range. `lock` is entered around each batch, see `Exporter`.
    """
    return predict_with_confidence(session, runtime, arch, images, lock)[0]


def predict_with_confidence(
    session: runtimes.Session, runtime: str, arch: Arch, images: NDArray[np.uint8], lock: Lock = nullcontext
) -> tuple[Array, Array]:
    """Return the joints (N, J, 3), as `predict_file` does, and their confidences (N, J)."""
    found, depth_scale = [], runtimes.depth_scale(runtime, arch)
    for begin in range(0, len(images), BATCH):
        with lock():
            raw = session.run(normalise(images[begin : begin + BATCH]))
            found.append(decode_with_confidence(raw, arch, depth_scale))
    cells, confidence = (np.concatenate(column) for column in zip(*found, strict=True))
    return to_normalised(cells, arch), confidence


def evaluate_predictions(evaluator: Evaluator, joints: NDArray[np.float32]) -> Predictions:
    """Evaluate joints (N, J, 3) as `predict_file` returns them."""
    return Predictions(evaluator.evaluation.to_camera(joints), evaluator.evaluate(joints))


def normalise(images: NDArray[np.uint8]) -> Array:
    """Normalise RGB images (N, S, S, 3) to the input of a session (N, 3, S, S)."""
    return np.ascontiguousarray(to_input(images).numpy())
