"""Rows of the benchmark `real`: the mean pose, BlazePose and bundles, behind one function from a box to joints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from arch.errors import InputError
from explore.data.label.fetch import model_file
from explore.data.label.mapping import joint_map
from explore.data.label.teacher import open_teacher
from explore.data.landmarks import from_blazepose33
from explore.data.sample import Sample
from explore.data.skeleton import BLAZEPOSE33, H36M18
from explore.evaluation.metrics import mean_pose
from explore.measure.config import MeasureConfig
from explore.measure.latency import Disturbed, Latency, measure
from explore.measure.probe.protocol import ProtocolSettings, TimedCall, summarise, time_rounds
from explore.predict import BUNDLED
from explore.predict.boxes import Box
from explore.predict.camera import Camera
from explore.predict.detector import Detector
from explore.predict.pipeline import Model, find_region, predict_people
from quantize import bundle as bundles
from quantize import runtimes
from quantize.runtimes.litert import interpreter

BLAZEPOSE = ("blazepose-lite", "blazepose-full", "blazepose-heavy")
MEAN_POSE = "mean pose of synthetic:easy"
RULES = MeasureConfig(rounds=12, calls=20, max_seconds=30.0)

Joints = tuple[np.ndarray, np.ndarray]  # px (18, 2) and camera mm (18, 3)


class Network(Protocol):
    """One row. name: shown in the table; ours: whether it is a bundle of this project."""

    @property
    def name(self) -> str: ...

    @property
    def ours(self) -> bool: ...

    def predict(self, image: np.ndarray, sample: Sample) -> Joints:
        """Return the joints of the person in the sample's box of an image (H, W, 3) RGB uint8.

        The depth of the root joint is the sample's.
        """
        ...

    def call(self) -> Callable[[], None] | None:
        """Return a function that runs the network once in one thread, or None if there is nothing to run."""
        ...


@dataclass(frozen=True, eq=False)
class MeanPose:
    """The mean root-relative pose (18, 3) mm, placed at the true root joint."""

    pose: np.ndarray
    name: str = MEAN_POSE
    ours: bool = False

    def predict(self, image: np.ndarray, sample: Sample) -> Joints:
        cam = self.pose + sample.joints_cam[H36M18.root]
        return cam[:, :2] / cam[:, 2:] * sample.f + sample.c, cam

    def call(self) -> None:
        return None


class BlazePose:
    """BlazePose as MediaPipe runs it: region of the detector, then two passes; joints by the fitted map."""

    ours = False

    def __init__(self, name: str, detector: Detector) -> None:
        self.name, self._detector = name, detector
        self._teacher = open_teacher(name)
        self._map = joint_map(self._teacher.skeleton, H36M18.name)

    def predict(self, image: np.ndarray, sample: Sample) -> Joints:
        pose = self._teacher.label(image, find_region(self._detector, image, sample.bbox))
        world = self._map.world @ pose.world
        return self._map.image @ pose.image[:, :2], world - world[H36M18.root] + sample.joints_cam[H36M18.root]

    def call(self) -> Callable[[], None]:
        own = interpreter(model_file(self.name), 1)
        entry = own.get_input_details()[0]
        own.set_tensor(entry["index"], np.random.default_rng(0).random(entry["shape"], np.float32))
        invoke: Callable[[], None] = own.invoke
        return invoke


class BundleNetwork:
    """A bundle, as `predict` runs it: with framing roi, the first region is the detector's. The joints of h36m18 are derived
    from the landmarks of blazepose33.

    Raises:
        InputError: not a bundle, or its joints are neither of h36m18 nor of blazepose33.
    """

    ours = True

    def __init__(self, path: Path, detector: Detector) -> None:
        self._bundle = bundles.load(path).verify()
        joints = self._bundle.manifest.skeleton.joints
        if joints not in (H36M18.names, BLAZEPOSE33.names):
            raise InputError(
                f"--models {path}: its joints are neither those of h36m18 nor of blazepose33; evaluate it with its own data "
                "set"
            )
        self._matrix = np.eye(len(H36M18)) if joints == H36M18.names else from_blazepose33().matrix
        self.name = _name(path)
        self._model = Model(self.name, self._bundle, self._bundle.session(1))
        self._find = partial(find_region, detector)

    def predict(self, image: np.ndarray, sample: Sample) -> Joints:
        camera = Camera(sample.f, sample.c, "given", "given")
        box = Box(1, sample.bbox, float(sample.root_depth))
        person = predict_people(self._model, image, [box], camera, find=self._find)[0]
        return self._matrix @ person.px, self._matrix @ person.mm

    def call(self) -> Callable[[], None]:
        side = self._bundle.manifest.preprocessing.size
        x = self._bundle.normalise(np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8))
        return runtimes.get(self._bundle.manifest.runtime).load(self._bundle.model, 1).prepare(x)


def stored_bundles(root: Path = Path("results")) -> list[Path]:
    """Return the LiteRT bundles in results/: the one that `predict` uses first, those of the reference study last."""
    found = [path.parent for path in root.glob("**/manifest.json") if path.parent.name == "litert"]
    found += [path.parent for path in root.glob("*/manifest.json")]
    default = BUNDLED.resolve()
    return sorted(dict.fromkeys(found), key=lambda p: (p.resolve() != default, "reference" in p.parts, p.parts))


def _name(path: Path) -> str:
    """Return the name of a bundle: its folder, or the folder above if that is named by the runtime."""
    stem = path.with_suffix("") if path.suffix == ".zip" else path
    return stem.parent.name if stem.name in runtimes.RUNTIMES else stem.name


def rendered_mean_pose() -> np.ndarray:
    """Return the mean root-relative pose (18, 3) mm of rendered people; a small set is rendered on first use."""
    from explore.data import open_dataset
    from explore.data.synthetic.config import SyntheticConfig

    small = SyntheticConfig.model_validate({"level": "easy", "size": 64, "train_frames": 1000, "test_frames": 10})
    return mean_pose(open_dataset("synthetic:easy", "train", small))


@dataclass(frozen=True)
class Timing:
    """Latency of one network. busy: whether other processes disturbed the measurement."""

    latency: Latency
    busy: bool


def latencies(networks: Sequence[Network], rules: MeasureConfig = RULES) -> dict[str, Timing]:
    """Time all networks in interleaved rounds, one thread each, without pre- and post-processing.

    On a busy machine, disturbed rounds are kept and the result is marked.
    """
    calls = {network.name: call for network in networks if (call := network.call()) is not None}
    reference = next(iter(calls))
    try:
        return {name: Timing(latency, False) for name, latency in measure(calls, rules, reference).items()}
    except Disturbed:
        settings = ProtocolSettings(
            rules.rounds,
            rules.calls,
            rules.ci_width,
            rules.max_seconds,
            min_cpu_share=0.0,
            max_background_load=float("inf"),
        )
        timed = {name: TimedCall(call, rules.calls) for name, call in calls.items()}
        blocks, dropped = time_rounds(timed, reference, settings)
        return {
            name: Timing(Latency(**summarise(own, blocks[reference], dropped, rules.ci_width), threads=1), True)
            for name, own in blocks.items()
        }
