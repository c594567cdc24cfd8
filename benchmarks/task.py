"""Our networks beside BlazePose lite in MediaPipe's Pose Landmarker, on the same videos of real people.

Both run as .task files in the mode for videos, with the same detector, tracking and smoothing. The latency is that of a
call of the Pose Landmarker on a tracked frame. Errors are those of frames in which all files find the person: MPJPE and
PA-MPJPE of the world landmarks, root-aligned, and the 2D error relative to the longer side of the box. The truth is
triangulated, see benchmarks.real_sources. mediapipe is taken from the Python that EDGEPOSE_MEDIAPIPE names.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from arch.errors import InputError
from arch.files import write_atomic
from benchmarks import Claim, at_least, at_most, claims_table, markdown_table
from benchmarks.real_networks import stored_bundles
from benchmarks.real_options import RealOptions
from benchmarks.real_sources import CALIBRATION, pose2sim_folder, recording
from explore.data.label import views as label_views
from explore.data.label.fetch import model_file
from explore.data.label.mapping import JointMap, joint_map
from explore.data.label.shot import Shot
from explore.data.landmarks import from_blazepose33
from explore.data.sample import Dataset
from explore.data.sheet import Frame, contact_sheet
from explore.data.skeleton import BLAZEPOSE33, H36M18
from explore.evaluation.metrics import aligned_errors, frame_errors, sample_means, scored_joints
from explore.export import task_verify
from explore.export.task import export_bundle_file
from explore.predict.detector import MODEL as DETECTOR
from explore.predict.inputs import VideoReader, VideoSource
from explore.predict.people import video_facts
from quantize import task
from quantize.tflite_metadata import ImageInput, add_metadata, image_metadata

OPTIONS = RealOptions
BLAZEPOSE = "blazepose-lite"
CONFIG: dict[str, Any] = {"recording": "SinglePerson", "side": 960, "blazepose": BLAZEPOSE, "sheet": 6}
SHEET = Path("results/bench/task.png")
COLUMNS = ("tracked %", "MPJPE mm", "PA-MPJPE mm", "2D error %", "latency ms")


@dataclass(frozen=True, eq=False)
class File:
    """A .task file. joints: map from its landmarks to h36m18; ours: whether it has a network of this project."""

    name: str
    path: Path
    joints: JointMap
    ours: bool


@dataclass(frozen=True, eq=False)
class Result:
    """Predictions of one file for the N people with ground truth: px (N, 18, 2), mm (N, 18, 3), NaN where not found.

    found: fraction of all frames in which a person was found; ms: of tracked frames
    """

    file: File
    px: np.ndarray
    mm: np.ndarray
    found: float
    ms: np.ndarray


def run(
    progress: Callable[[float], None], options: RealOptions | None = None
) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Return a row for each file; claims are about the first bundle. Writes a sheet of tracked frames.

    Raises:
        InputError: no mediapipe, a bundle that cannot be used, or a recording that cannot be read.
    """
    options = options or RealOptions()
    python = task_verify.mediapipe_python()
    folder = pose2sim_folder(options.folder("pose2sim")) / CONFIG["recording"]
    if not (folder / CALIBRATION).is_file():
        raise InputError(f"--pose2sim: {folder}: no {CALIBRATION}; give the folder that holds {folder.name}")
    with tempfile.TemporaryDirectory() as scratch:
        files = open_files(options, Path(scratch))
        progress(0.1)
        data = recording(folder, CONFIG["recording"], options.every)
        progress(0.5)
        videos = sorted(folder.glob("*.mp4"))
        views = label_views.open_views(folder / CALIBRATION, [video_facts(video) for video in videos])
        tracked: dict[tuple[str, int], task_verify.Tracked] = {}
        for view, video in enumerate(videos):
            frames = undistorted_frames(video, views, view)
            for file in files:
                tracked[file.name, view] = task_verify.run_landmarker(python, file.path, frames, "VIDEO", step_ms=17)
            progress(0.5 + 0.45 * (view + 1) / len(videos))
    results = [collect(file, [tracked[file.name, view] for view in range(len(videos))], videos, data) for file in files]
    write_sheet(results, data)
    rows = rows_of(results, data)
    return rows, claims_of(rows)


def open_files(options: RealOptions, folder: Path) -> list[File]:
    """Return BlazePose lite and the bundles as .task files, also bundles with framing box."""
    bundles = [Path(text.strip()) for text in options.models.split(",") if text.strip()] or stored_bundles()[:1]
    if not bundles:
        raise InputError("results: no LiteRT bundle; give --models the bundles to evaluate")
    image = ImageInput("image", "square of a person", 256, (0.0,), (255.0,), (0.0,), (1.0,))
    metadata = image_metadata(BLAZEPOSE, "BlazePose lite (Apache-2.0)", image, task.OUTPUTS)
    lite = folder / f"{BLAZEPOSE}.task"
    landmarks = add_metadata(model_file(BLAZEPOSE).read_bytes(), metadata)
    lite.write_bytes(task.archive(DETECTOR.read_bytes(), landmarks))
    files = [File(BLAZEPOSE, lite, joint_map(BLAZEPOSE33, H36M18.name), False)]
    exact = from_blazepose33().matrix
    for number, bundle in enumerate(bundles):
        path = folder / f"{number}.task"
        export_bundle_file(bundle, path, timeout_s=600, force=True)
        name = bundle.parent.name if bundle.name == "litert" else bundle.stem
        files.append(File(name, path, JointMap(H36M18, exact, exact, np.abs(exact)), True))
    return files


def undistorted_frames(video: Path, views: label_views.Views, view: int) -> list[np.ndarray]:
    """Return the frames of a video without lens distortion, with a longer side of CONFIG["side"] px."""
    frames = []
    with closing(VideoReader(VideoSource(str(video), video))) as reader:

        def shots() -> Any:
            while (image := reader.read()) is not None:
                yield Shot("", str(video), "video/0", 0, [], 1.0, image)

        for shot in label_views.undistorted(shots(), views, view):
            scale = CONFIG["side"] / max(shot.image.shape[:2])
            frames.append(cv2.resize(shot.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    return frames


def collect(file: File, tracked: Sequence[task_verify.Tracked], videos: Sequence[Path], data: Dataset) -> Result:
    """Return the predictions of a file for the people of a data set. tracked: of each video"""
    px, mm = np.full((len(data), len(H36M18), 2), np.nan), np.full((len(data), len(H36M18), 3), np.nan)
    for index in range(len(data)):
        frame, _, name = data.path(index).stem.partition("-")  # as label_views.undistorted names images
        view = next(number for number, video in enumerate(videos) if name.startswith(video.stem))
        found = tracked[view]
        px[index] = file.joints.image @ found.landmarks[int(frame), :, :2] * (max(data.size[index]) / CONFIG["side"])
        mm[index] = 1000 * file.joints.world @ found.world[int(frame)]
    every = np.concatenate([each.found for each in tracked])
    # the first frames load the model and search the person
    ms = np.concatenate([each.ms[5:][each.found[5:]] for each in tracked])
    return Result(file, px, mm, float(every.mean()), ms)


def rows_of(results: Sequence[Result], data: Dataset) -> list[dict[str, Any]]:
    """Return a row for each file, with the errors of the people whom all files find.

    Raises:
        InputError: there are none.
    """
    common = np.flatnonzero(np.all([np.isfinite(result.mm).all((1, 2)) for result in results], 0))
    if not len(common):
        raise InputError("no person is found by all files; use another recording or another bundle")
    people = data.take(common)
    mask = scored_joints(people)
    true = np.where(mask[..., None], people.joints_cam, np.nan)
    rows = []
    for result in results:
        px, mm = result.px[common], result.mm[common]
        distance = np.linalg.norm(px - people.joints_img[..., :2], axis=-1) / people.bbox[:, None, 2:].max(-1)
        rows.append(
            {
                "network": result.file.name,
                "ours": result.file.ours,
                "people": len(common),
                "of_people": len(data),
                "tracked_percent": round(100 * result.found, 1),
                "mpjpe_mm": round(float(frame_errors(mm, people).mean()), 1),
                "pa_mpjpe_mm": round(float(sample_means(aligned_errors(mm, true), mask).mean()), 1),
                "error_2d_percent": round(100 * float(sample_means(distance, mask).mean()), 2),
                "latency_ms": round(float(np.median(result.ms)), 2),
                "load": round(os.getloadavg()[0], 1),
            }
        )
    return rows


def claims_of(rows: Sequence[dict[str, Any]]) -> list[Claim]:
    """Return the claims about the first bundle, relative to BlazePose lite."""
    lite = next(row for row in rows if not row["ours"])
    own = next(row for row in rows if row["ours"])
    name = own["network"]
    return [
        at_least(f"{name}: frames in which the person is tracked, %", 95.0, own["tracked_percent"]),
        at_most(f"{name}: latency in the Pose Landmarker relative to {BLAZEPOSE}", 0.5,
                own["latency_ms"] / lite["latency_ms"]),
        at_most(f"{name}: MPJPE relative to {BLAZEPOSE}", 1.0, own["mpjpe_mm"] / lite["mpjpe_mm"]),
    ]  # fmt: skip


def write_sheet(results: Sequence[Result], data: Dataset) -> None:
    """Write frames of one camera, evenly spaced in time, with the joints of each file; the truth is thin and white."""
    order = sorted(range(len(data)), key=lambda index: (data.path(index).stem.partition("-")[2], data.path(index).stem))
    frames = []
    for result in results:
        for index in (order[int(at)] for at in np.linspace(0, len(order) - 1, CONFIG["sheet"])):
            sample = data[index]
            truth = np.where(sample.vis[:, None] > 0, sample.joints_img[:, :2], np.nan)
            frames.append(Frame(sample.image, sample.bbox, result.px[index], result.file.name, truth))
    write_atomic(SHEET, contact_sheet(frames, H36M18, columns=CONFIG["sheet"]))


def markdown(rows: Sequence[dict[str, Any]], claims: Sequence[Claim]) -> str:
    """Return results/bench/task.md."""
    cells = [
        (row["network"], *(f"{row[key]:.1f}" for key in ("tracked_percent", "mpjpe_mm", "pa_mpjpe_mm", "error_2d_percent")),
         f"{row['latency_ms']:.2f}")
        for row in rows
    ]  # fmt: skip
    return (
        "\n\n".join(
            [
                "# Pose Landmarker",
                (__doc__ or "").strip(),
                f"{rows[0]['people']} of {rows[0]['of_people']} people with ground truth are found by all files.",
                markdown_table(("network", *COLUMNS), cells),
                f"## Images\n\nEvenly spaced frames; the ground truth is thin and white.\n\n![images]({SHEET.name})",
                "## Targets",
                claims_table(claims),
            ]
        )
        + "\n"
    )
