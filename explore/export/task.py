"""pose_landmarker.task of a LiteRT bundle: written only if its landmarks agree with the bundle's own decode."""

from __future__ import annotations

import tempfile
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arch.errors import InputError
from arch.files import check_output, write_atomic
from arch.network import PoseNet
from explore.data.crop import crop
from explore.data.images import read_image
from explore.data.sample import evenly_spread
from explore.data.skeleton import Skeleton
from explore.export import task_verify
from explore.export.exporter import Exporter, Predictions, evaluate_predictions
from explore.export.golden import draw_photo
from explore.export.task_body import body_of, body_of_bundle, landmarks_of, skeleton_of
from explore.predict.detector import MODEL as DETECTOR
from explore.train.loop import predict
from quantize import bundle as bundles
from quantize import task
from quantize.bundle import Bundle
from quantize.certificate import Check
from quantize.convert import Converter
from quantize.manifest import Manifest
from quantize.runtimes import Array, depth_scale
from quantize.runtimes.litert import inspect, interpreter
from quantize.task_tail import Body

IMAGES = 100  # crops that the checks use
PX, MM = 0.05, 0.5  # tolerated largest deviation of landmarks from our decode
DRAWN = 8  # crops of a drawn figure, for bundles, which have no data
SLOW = "head volumetric: its softmax over a volume is slow in MediaPipe; heatmap-2.5d and simcc are faster"


@dataclass(frozen=True)
class FloatNetwork:
    """The network that a bundle was exported from.

    model: its float LiteRT file; crops: (N, S, S, 3) uint8; joints: (N, J, 3) fractions, what torch predicts for them
    """

    model: Path
    crops: NDArray[np.uint8]
    joints: Array


@dataclass(frozen=True)
class TaskFile:
    """A .task file and the checks of its landmark model.

    written: whether the file was written; note: on a network that runs, but not well; empty without one
    """

    path: str
    written: bool
    bytes: int
    checks: list[Check]
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"checks": [check.model_dump() for check in self.checks]}


def check(where: Path, path: Path, framing: str, skeleton: Skeleton | None, force: bool) -> None:
    """Check everything that can be checked before a network is exported.

    where: checkpoint or bundle; path: of the .task file; skeleton: None in version 0.1, where it is not recorded

    Raises:
        InputError: the network does not fit MediaPipe, or the file cannot be written.
    """
    check_output(path, "task", ".task")
    try:
        if skeleton:
            body_of(skeleton)
    except InputError as error:
        raise InputError(f"{where}: task: {error}") from None
    if framing != "roi" and not force:
        raise InputError(
            f"{where}: task: the network was trained with framing box, but MediaPipe crops regions of interest; train it "
            "with --dataset.framing roi, or accept the loss with --force, which measures it where a checkpoint is exported"
        )


def export_task(
    bundle: Bundle, path: Path, converter: Converter, network: FloatNetwork | None, timeout_s: float, force: bool
) -> TaskFile:
    """Write a LiteRT bundle as a .task file. It is not written if a check fails, unless `force` is set.

    network: that the bundle was exported from; None if there is the bundle only

    Raises:
        InputError: not a LiteRT bundle with float input, or its joints cannot fill the landmarks.
        ConversionError: the converter failed.
    """
    manifest, arch = bundle.manifest, bundle.arch
    if manifest.runtime != "litert":
        raise InputError(f"{bundle.path}: task: a bundle for {manifest.runtime}; give one for litert")
    if manifest.recipe.input_dtype != "float32":
        raise InputError(f"{bundle.path}: task: its input is {manifest.recipe.input_dtype}; export it with float32")
    body = body_of_bundle(manifest)
    with tempfile.TemporaryDirectory() as scratch:
        tail = converter.export_task_tail(arch, body, depth_scale("litert", arch), Path(scratch, "tail"), timeout_s)
        model = Path(scratch, "model.tflite")
        model.write_bytes(_landmark_model(manifest, bundle.model, tail))
        checks = _bundle_checks(bundle, model, body, network)
        if network:
            float_model = Path(scratch, "float.tflite")
            float_model.write_bytes(_landmark_model(manifest, network.model, tail))
            checks += [_float_check(float_model, body, network, arch.input_size)]
        content = task.archive(DETECTOR.read_bytes(), model.read_bytes())
    write = force or all(check.passed for check in checks)
    if write:
        write_atomic(path, content)
    return TaskFile(str(path), write, len(content), checks, SLOW if arch.head == "volumetric" else "")


def export_bundle_file(source: Path, path: Path, timeout_s: float, force: bool) -> TaskFile:
    """Write a LiteRT bundle, a folder or a .zip, as a .task file.

    Raises:
        InputError: not such a bundle, or its network does not fit MediaPipe.
        ConversionError: the converter failed.
    """
    bundle = bundles.load(source)
    check(source, path, bundle.manifest.preprocessing.framing, skeleton_of(bundle.manifest), force)
    bundle.verify()
    with Converter(log := Path(f"{path}.log")) as converter:  # stays where the converter fails
        made = export_task(bundle, path, converter, None, timeout_s, force)
    log.unlink()
    return made


def export_network(
    exporter: Exporter,
    net: PoseNet,
    network: Predictions,
    float_model: Path,
    bundle: Path,
    path: Path,
    force: bool,
    verify: bool,
) -> dict[str, Any]:
    """Write the LiteRT bundle of a network as a .task file, as `export_task`, and return the facts about it.

    A network trained with framing box is evaluated on regions of interest, too.

    network: predictions of `net`; float_model: its LiteRT file; verify: whether to run it in MediaPipe
    """
    evaluator, opened = exporter.evaluator, bundles.load(bundle)
    images = evaluator.evaluation.images
    crops = images[evenly_spread(len(images), IMAGES)]
    own = FloatNetwork(float_model, crops, predict(net, crops))
    made = export_task(opened, path, exporter.converter, own, exporter.config.timeout, force)
    facts = made.as_dict()
    if evaluator.data.framing != "roi":
        framed = replace(evaluator, data=evaluator.data.framed("roi"))
        found = evaluate_predictions(framed, predict(net, framed.evaluation.images))
        facts["framing_mpjpe_mm"] = {"box": network.accuracy.mpjpe, "roi": found.accuracy.mpjpe}
    if verify and made.written:
        chosen = evenly_spread(len(evaluator.data), task_verify.IMAGES)
        facts["mediapipe"] = task_verify.verify(opened, path, [read_image(evaluator.data.path(i)) for i in chosen])
    return facts


def _landmark_model(manifest: Manifest, model: Path, tail: Path) -> bytes:
    rules = manifest.preprocessing
    text = f"{manifest.arch.name}, {manifest.recipe.name}, trained on {manifest.data.name}"
    return task.landmark_model(model, tail, rules.mean, rules.std, text, manifest.licence)


# ---- checks ----


def run_landmark_model(model: Path, crops: NDArray[np.uint8]) -> tuple[Array, Array]:
    """Return the landmarks (N, 39, 5) and world landmarks (N, 39, 3) of a landmark model for crops (N, S, S, 3)."""
    runner = interpreter(model, 1)
    entry = runner.get_input_details()[0]["index"]
    first, *_, last = (output["index"] for output in runner.get_output_details())
    landmarks, world = [], []
    for image in crops:
        runner.set_tensor(entry, image[None].astype(np.float32) / 255)
        runner.invoke()
        landmarks.append(runner.get_tensor(first).reshape(-1, 5))
        world.append(runner.get_tensor(last).reshape(-1, 3))
    return np.stack(landmarks), np.stack(world)


def drawn_crops(size: int) -> NDArray[np.uint8]:
    """Return crops (N, size, size, 3) of a drawn figure, with boxes around all of it and around parts."""
    photo = draw_photo(3 * size)
    height, width = photo.shape[:2]
    rng = np.random.default_rng(0)
    sides = rng.uniform(0.3, 0.9, DRAWN) * height
    corners = rng.uniform(0, 1, (DRAWN, 2)) * (np.array([width, height]) - sides[:, None])
    return np.stack(
        [crop(photo, np.array([*at, side, side]), size)[0] for at, side in zip(corners, sides, strict=True)]
    )


def _bundle_checks(bundle: Bundle, model: Path, body: Body, network: FloatNetwork | None) -> list[Check]:
    """Compare the landmark model with the decode of the bundle, and both with the float network."""
    size = bundle.arch.input_size
    crops = network.crops if network else drawn_crops(size)
    with closing(bundle.session()) as session:
        joints, _ = bundle.run_crops(crops, session)
    (landmarks, world), (px, depths) = run_landmark_model(model, crops), landmarks_of(joints, body, size)
    moved = np.linalg.norm(landmarks[:, :33, :2] - px, axis=2)
    deeper = np.abs(1000 * world[:, :33, 2] - depths)
    partitions = inspect(model).partitions
    checks = [
        _at_most("landmarks match the decode of the bundle, px", PX, moved.max()),
        _at_most("depths of the world landmarks match, mm", MM, deeper.max()),
        _at_most("delegate partitions", 1, partitions),
    ]
    if network:
        true, _ = landmarks_of(network.joints, body, size)
        own = np.linalg.norm(px - true, axis=2).mean()
        found = np.linalg.norm(landmarks[:, :33, :2] - true, axis=2).mean()
        checks += [_at_most("mean deviation from the float network, that of the bundle, px", own + PX, found)]
    return checks


def _float_check(model: Path, body: Body, network: FloatNetwork, size: int) -> Check:
    """Compare the landmark model with the float file inside with the decode of torch's output."""
    landmarks, _ = run_landmark_model(model, network.crops)
    px, _ = landmarks_of(network.joints, body, size)
    moved = np.linalg.norm(landmarks[:, :33, :2] - px, axis=2)
    return _at_most("float landmarks match the decode of the network, px", PX, moved.max())


def _at_most(name: str, target: float, measured: float) -> Check:
    return Check(
        name=name,
        target=f"at most {target:.3g}",
        measured=round(float(measured), 4),
        passed=bool(measured <= target),
        fix="the converter changed the network; report this as a bug",
    )
