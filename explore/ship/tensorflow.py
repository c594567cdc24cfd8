"""TensorFlow's opinion of the files that LiteRT runs, in millimetres; and a SavedModel of the float network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from arch.decode import decode, to_normalised
from arch.errors import InputError
from arch.files import atomic_dir
from arch.network import PoseNet
from arch.space import Arch
from explore.data.crop import Evaluation
from explore.ship.files import MadeFile, Stage, Workshop, normalised
from quantize import runtimes as known
from quantize import tensorflow_files
from quantize.convert import ConversionError
from quantize.parity import deviation
from quantize.runtimes import Array

PICTURES = 100  # of the test part, evenly spread
FLOAT_MM, INT8_MM = 0.1, 1.0  # mean deviation that still counts as the same: INT8 kernels may round a tie otherwise


def check(verify: str | None, runtimes: tuple[str, ...]) -> None:
    """Refuse what cannot be done.

    Raises:
        InputError: another name than tensorflow, no .tflite to verify, or TensorFlow is not installed.
    """
    if verify not in (None, "tensorflow"):
        raise InputError(f"verify: '{verify}' is not tensorflow, the only second opinion")
    if verify and "litert" not in runtimes:
        raise InputError("verify: tensorflow runs .tflite files; add litert to --runtimes")
    tensorflow_files.check()


def verified(workshop: Workshop, files: Iterable[MadeFile], arch: Arch) -> dict[str, dict[str, float]]:
    """By recipe how far `tf.lite.Interpreter` moves joints from what LiteRT says: mean and max, mm.

    Raises:
        ConversionError: it disagrees.
    """
    part = _part(workshop)
    found = {}
    for file in files:
        raw = tensorflow_files.run_tflite(file.model, normalised(part.images))
        apart = deviation(_mm(part, raw, arch, known.depth_gain("litert", arch)), file.mm[:: _step(workshop)])
        found[file.recipe.name] = {"mean": apart.mean, "max": apart.max}
        if apart.mean > (INT8_MM if file.recipe.int8 else FLOAT_MM):
            raise ConversionError(
                f"tensorflow: {file.recipe.name}: tf.lite.Interpreter moves joints by {apart.mean:.2f} mm "
                f"({apart.max:.2f} at most) from LiteRT; one of the two computes another network, do not ship the file"
            )
    return found


def saved_model(workshop: Workshop, net: PoseNet, whole: Stage, folder: Path) -> dict[str, Any]:
    """Write the network as a SavedModel into `folder`: how far that moves joints from torch, mean and max, mm.

    Raises:
        ConversionError: TensorFlow failed, or computes another network.
    """
    part = _part(workshop)
    with atomic_dir(folder) as made:
        raw = tensorflow_files.save_model(net, made, normalised(part.images))
        apart = deviation(_mm(part, raw, net.arch), whole.mm[:: _step(workshop)])
        if apart.mean > FLOAT_MM:
            raise ConversionError(
                f"tensorflow: the SavedModel moves joints by {apart.mean:.2f} mm from torch; report it"
            )
    return {"path": str(folder), "mean": apart.mean, "max": apart.max}


def _step(workshop: Workshop) -> int:
    return -(-len(workshop.judge.evaluation.images) // PICTURES)


def _part(workshop: Workshop) -> Evaluation:
    whole, step = workshop.judge.evaluation, _step(workshop)
    arrays = {field.name: getattr(whole, field.name)[::step] for field in fields(whole) if field.name != "size"}
    return replace(whole, **arrays)


def _mm(part: Evaluation, raw: Array, arch: Arch, depth_gain: float = 1.0) -> Any:
    return part.to_camera(to_normalised(decode(raw, arch, depth_gain), arch))
