"""Accuracy on real people, beside a constant mean pose and BlazePose, with latencies measured in the same run.

The depth of the root joint and the box are those of the ground truth. Networks with regions of interest take the first
one from the person detector in the box, as `predict` does. MPJPE and PA-MPJPE are root-aligned and in mm.
The 2D error is the mean distance of the joints relative to the longer side of the box. PCK is the fraction of joints,
without the root, within 150 mm. The latency is that of the network alone, in one thread of one core.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arch.errors import InputError
from arch.files import write_atomic
from benchmarks import Claim, at_most, claims_table, markdown_table
from benchmarks.real_networks import (
    BLAZEPOSE,
    MEAN_POSE,
    RULES,
    BlazePose,
    BundleNetwork,
    MeanPose,
    Network,
    Timing,
    latencies,
    rendered_mean_pose,
    stored_bundles,
)
from benchmarks.real_options import RealOptions
from benchmarks.real_sources import (
    MIN_VIEWS,
    RECORDINGS,
    TRUTH_TEACHER,
    WHEEL,
    Source,
    cache_folder,
    chosen,
    human36m,
    mpi_inf_3dhp,
    pose2sim,
)
from explore.data import open_dataset
from explore.data.images import read_image
from explore.data.sample import Dataset
from explore.data.sheet import Frame, contact_sheet
from explore.data.skeleton import H36M18
from explore.evaluation.intervals import Interval, bootstrap, independent_units
from explore.evaluation.metrics import (
    PCK_THRESHOLD,
    aligned_errors,
    frame_errors,
    joint_errors,
    sample_means,
    scored_joints,
)
from explore.predict.detector import Detector

OPTIONS = RealOptions
SHEET = Path("results/bench/real.png")  # of recordings that may be published
UPRIGHT = np.cos(
    np.radians(30)
)  # cosine of the angle between the torso and the vertical below which people are upright
TARGET_MM = {"Human3.6M": 170.0, RECORDINGS["SinglePerson"]: 200.0}
AGREEMENT = "photos, agreement with {teacher}"
TARGET_AGREEMENT_MM, TARGET_2D, TARGET_LATENCY = 60.0, 5.0, 0.2
TAKEN = 2  # worst, median and best images of a row of the sheet
COLUMNS = (
    "MPJPE mm", "95% interval", "PA-MPJPE mm", "2D error %", "upright people %", "PCK 150 mm %", "latency ms",
)  # fmt: skip
CONFIG: dict[str, Any] = {
    "truth": {"teacher": TRUTH_TEACHER, "views": MIN_VIEWS, "wheel": WHEEL},
    "rules": RULES.model_dump(),
    "targets": {"mm": TARGET_MM, "agreement_mm": TARGET_AGREEMENT_MM, "2d": TARGET_2D, "latency": TARGET_LATENCY},
}


def run(
    progress: Callable[[float], None], options: RealOptions | None = None
) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Return a row for each network and source; claims are about the first bundle. Writes the sheet of images.

    Raises:
        InputError: a bundle, folder or recording that cannot be used.
    """
    options = options or RealOptions()
    networks = open_networks(options)
    progress(0.05)
    sources = open_sources(options, lambda share: progress(0.05 + 0.35 * share))
    results: list[Result] = []
    for index, source in enumerate(sources):
        results += evaluate(source, networks)
        progress(0.4 + 0.45 * (index + 1) / len(sources))
    timings = latencies(networks)
    write_sheets(results)
    rows = [_row(result, timings) for result in results]
    return rows, claims_of(results, timings)


def open_networks(options: RealOptions) -> list[Network]:
    """Return the networks in the order of the table: mean pose, BlazePose, bundles.

    Raises:
        InputError: no bundle, or one that cannot be used.
    """
    given = [Path(text.strip()) for text in options.models.split(",") if text.strip()] or stored_bundles()
    if not given:
        raise InputError("results: no LiteRT bundle; give --models the bundles to evaluate")
    detector = Detector()
    found: list[Network] = [MeanPose(rendered_mean_pose())]
    found += [BlazePose(name, detector) for name in BLAZEPOSE]
    return found + [BundleNetwork(path, detector) for path in given]


def open_sources(options: RealOptions, progress: Callable[[float], None]) -> list[Source]:
    """Return all sources with ground truth that this machine has, and the photos given by the user."""
    found = []
    if folder := options.folder("human36m"):
        found.append(human36m(folder, options.images))
    if folder := options.folder("mpi_inf_3dhp"):
        found.append(mpi_inf_3dhp(folder, options.images))
    for source in pose2sim(options.folder("pose2sim"), options.every, progress):
        found.append(Source(source.name, chosen(source.data, options.images), source.public))
    if folder := options.folder("photos"):
        data = open_dataset(f"custom:{folder}", "test")
        found.append(Source(AGREEMENT.format(teacher=_teacher_of(folder)), chosen(data, options.images)))
    return found


def _teacher_of(folder: Path) -> str:
    """Return the teacher of a set of `data label`, which its report names."""
    from explore.data.label.dataset import REPORT, LabelReport

    path = folder / REPORT
    if not path.is_file():
        raise InputError(f"--photos {folder}: no {REPORT}; give a set made by data label")
    return LabelReport.model_validate_json(path.read_text()).teacher


# ---- evaluation ----


@dataclass(frozen=True, eq=False)
class Result:
    """The predictions of one network for one source, and its errors.

    px:       (N, J, 2) predicted joints; error_mm: (N,) MPJPE of each person; pa_mm: (N,)
    error_2d: (N,) percent of the longer side of the box; upright: (N,) bool
    pck:      (N,) fraction of joints within PCK_THRESHOLD
    """

    source: Source
    network: Network
    px: np.ndarray
    error_mm: np.ndarray
    pa_mm: np.ndarray
    error_2d: np.ndarray
    pck: np.ndarray
    upright: np.ndarray

    @property
    def interval(self) -> Interval:
        return bootstrap(self.error_mm, independent_units(self.source.data))


def evaluate(source: Source, networks: Sequence[Network]) -> list[Result]:
    """Return the result of each network on all people of a source."""
    data = source.data
    px = np.zeros((len(networks), len(data), len(H36M18), 2))
    cam = np.zeros((len(networks), len(data), len(H36M18), 3))
    for index in range(len(data)):
        sample = data[index]
        image = read_image(sample.image)
        for row, network in enumerate(networks):
            px[row, index], cam[row, index] = network.predict(image, sample)
    return [_result(source, network, px[row], cam[row]) for row, network in enumerate(networks)]


def _result(source: Source, network: Network, px: np.ndarray, cam: np.ndarray) -> Result:
    data = source.data
    mask = scored_joints(data)
    true = np.where(mask[..., None], data.joints_cam, np.nan)
    distance = np.linalg.norm(px - data.joints_img[..., :2], axis=-1) / data.bbox[:, None, 2:].max(-1)
    without_root = mask & (np.arange(len(H36M18)) != H36M18.root)
    close = joint_errors(cam, true, H36M18.root) < PCK_THRESHOLD
    return Result(
        source,
        network,
        px,
        frame_errors(cam, data),
        sample_means(aligned_errors(cam, true), mask),
        100 * sample_means(distance, mask),
        sample_means(close.astype(float), without_root),
        _upright(data),
    )


def _upright(data: Dataset) -> np.ndarray:
    """Return which people (N,) are upright: the torso is within 30 degrees of the image's vertical."""
    torso = data.joints_cam[:, H36M18.index("Neck")] - data.joints_cam[:, H36M18.root]
    return np.asarray(-torso[:, 1] > UPRIGHT * np.linalg.norm(torso, axis=1))


def _row(result: Result, timings: dict[str, Timing]) -> dict[str, Any]:
    interval, upright = result.interval, result.error_2d[result.upright]
    row = {
        "source": result.source.name,
        "network": result.network.name,
        "people": len(result.error_mm),
        "mpjpe_mm": round(interval.value, 1),
        "mpjpe_low_mm": round(interval.low, 1),
        "mpjpe_high_mm": round(interval.high, 1),
        "units": f"{interval.units} {interval.unit}s",
        "pa_mpjpe_mm": round(float(result.pa_mm.mean()), 1),
        "error_2d_percent": round(float(result.error_2d.mean()), 2),
        "error_2d_upright_percent": round(float(upright.mean()), 2) if len(upright) else None,
        "upright_people": len(upright),
        "pck": round(float(result.pck.mean()), 3),
    }
    if timing := timings.get(result.network.name):
        latency = timing.latency
        row |= {
            "latency_ms": round(latency.median_ms, 3),
            "latency_low_ms": round(latency.low_ms, 3),
            "latency_high_ms": round(latency.high_ms, 3),
            "busy": timing.busy,
        }
    return row


# ---- claims ----


def claims_of(results: Sequence[Result], timings: dict[str, Timing]) -> list[Claim]:
    """Return the targets of the first bundle: errors, agreement with the teacher, 2D error, latency."""
    name = next(result.network.name for result in results if result.network.ours)
    own = {result.source.name: result for result in results if result.network.name == name}
    agreement = AGREEMENT.partition("{")[0]
    claims = []
    for source, result in own.items():
        interval = result.interval
        bounds: dict[str, Any] = {"low": interval.low, "high": interval.high} if np.isfinite(interval.low) else {}
        if source.startswith(agreement):
            claims.append(at_most(f"{name}: {source}, mm", TARGET_AGREEMENT_MM, interval.value, **bounds))
            continue
        if source in TARGET_MM:
            claims.append(at_most(f"{name}: MPJPE on {source}, mm", TARGET_MM[source], interval.value, **bounds))
        mean = next(r for r in results if r.source.name == source and r.network.name == MEAN_POSE)
        claims.append(
            at_most(f"{name}: MPJPE on {source} relative to the mean pose", 1.0, interval.value / mean.error_mm.mean())
        )
    upright = [
        error
        for source, result in own.items()
        if not source.startswith(agreement)
        for error in result.error_2d[result.upright]
    ]
    if upright:
        claims.append(at_most(f"{name}: 2D error of upright people, % of the box", TARGET_2D, float(np.mean(upright))))
    if name in timings and BLAZEPOSE[0] in timings:
        ours, lite = timings[name], timings[BLAZEPOSE[0]]
        ratio = ours.latency.median_ms / lite.latency.median_ms
        busy = ", busy machine" if ours.busy else ""
        text = f"{ratio:.3f} ({ours.latency.median_ms:.2f} of {lite.latency.median_ms:.2f} ms{busy})"
        claims.append(at_most(f"{name}: latency relative to {BLAZEPOSE[0]}", TARGET_LATENCY, ratio, text))
    return claims


# ---- sheet and page ----


def write_sheets(results: Sequence[Result]) -> None:
    """Write a sheet of all sources to the cache, and one of the sources that may be published to results/bench."""
    for path, chosen_results in (
        (cache_folder() / SHEET.name, list(results)),
        (SHEET, [result for result in results if result.source.public]),
    ):
        frames = [frame for result in _shown(chosen_results) for frame in _extremes(result)]
        if frames:
            write_atomic(path, contact_sheet(frames, H36M18, columns=3 * TAKEN))


def _shown(results: Sequence[Result]) -> list[Result]:
    """Return the results of BlazePose full and of the first bundle."""
    first = next((result.network.name for result in results if result.network.ours), "")
    return [result for result in results if result.network.name in (first, BLAZEPOSE[1])]


def _extremes(result: Result) -> list[Frame]:
    """Return the worst, median and best predictions of a row; the ground truth is drawn thin and white below."""
    order = np.argsort(-result.error_mm)
    middle = max(len(order) // 2 - TAKEN // 2, 0)
    parts = {"worst": order[:TAKEN], "median": order[middle : middle + TAKEN], "best": order[::-1][:TAKEN]}
    frames = []
    for part, indices in parts.items():
        for index in indices:
            sample = result.source.data[int(index)]
            truth = np.where(sample.vis[:, None] > 0, sample.joints_img[:, :2], np.nan)
            caption = f"{part} {result.error_mm[index]:.0f} mm {result.network.name}"
            frames.append(Frame(sample.image, sample.bbox, result.px[index], caption, truth))
    return frames


def markdown(rows: Sequence[dict[str, Any]], claims: Sequence[Claim]) -> str:
    """Return results/bench/real.md: a table for each source."""
    texts = ["# Real people", (__doc__ or "").strip()]
    for source in dict.fromkeys(row["source"] for row in rows):
        own = [row for row in rows if row["source"] == source]
        texts += [f"## {source}", f"{own[0]['people']} people, intervals over {own[0]['units']}"]
        if source.startswith(AGREEMENT.partition("{")[0]):
            texts.append(
                "Distances from the teacher's labels. This is no accuracy: the teacher's own errors count as correct."
            )
        texts.append(markdown_table(("network", *COLUMNS), [_cells(row) for row in own]))
    if any(row.get("busy") for row in rows):
        texts.append("`*`: other processes disturbed the measurement of latencies.")
    texts += [
        "## Images",
        f"Worst, median and best images; the ground truth is thin and white.\n\n![images]({SHEET.name})",
    ]
    texts += ["## Targets", claims_table(claims)]
    return "\n\n".join(texts) + "\n"


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    upright, latency = row["error_2d_upright_percent"], row.get("latency_ms")
    return (
        row["network"],
        f"{row['mpjpe_mm']:.1f}",
        f"{row['mpjpe_low_mm']:.0f} to {row['mpjpe_high_mm']:.0f}",
        f"{row['pa_mpjpe_mm']:.1f}",
        f"{row['error_2d_percent']:.1f}",
        "" if upright is None else f"{upright:.1f}",
        f"{100 * row['pck']:.0f}",
        "" if latency is None else f"{latency:.2f}{'*' if row['busy'] else ''}",
    )
