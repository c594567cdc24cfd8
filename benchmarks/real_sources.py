"""Data with independent ground truth for the benchmark `real`: recordings of Pose2Sim, Human3.6M and MPI-INF-3DHP.

The ground truth of Pose2Sim is triangulated from the joints that BlazePose heavy finds in three cameras. The camera
under test is left out, so that no error of a network in an image can be in the truth of that image.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from arch.errors import InputError
from arch.files import atomic_dir, content_hash, sha256_file
from explore.data import Human36MOptions, open_dataset
from explore.data.config import PROTOCOLS
from explore.data.label import views as label_views
from explore.data.label.annotations import Labelled, write_annotations
from explore.data.label.dataset import header_of, label_shots
from explore.data.label.filters import MARGIN
from explore.data.label.journal import Journal, ShotRecord
from explore.data.label.mapping import JointMap, joint_map
from explore.data.label.teacher import open_teacher
from explore.data.label.triangulation import triangulate
from explore.data.mix import to_skeleton
from explore.data.readers import custom
from explore.data.sample import Dataset, evenly_spread
from explore.data.skeleton import H36M18
from explore.host import default_cache
from explore.predict.detector import Detector
from explore.predict.people import VideoShots, video_facts

Progress = Callable[[float], None]

WHEEL = "pose2sim==0.10.49"
WHEEL_SHA256 = "403e0dc4065898ba6a595e72a8970950310979253d60e24c2e00b16b36bf21e1"
RECORDINGS = {"SinglePerson": "Pose2Sim, one person", "MultiPerson": "Pose2Sim, two people"}
CALIBRATION, CAMERAS = "Calib.qca.txt", 4
TRUTH_TEACHER = "blazepose-heavy"
MIN_VIEWS = 3  # that show the person, without the camera under test
MIN_AGREEING = 2  # of them that must agree on a joint
MIN_JOINTS = 0.75  # fraction of the joints that a person must have
STORED_SIDE = 1920  # px
FETCH_S = 900


@dataclass(frozen=True)
class Source:
    """One data set with ground truth, in the joints of h36m18. public: whether its images may be published."""

    name: str
    data: Dataset
    public: bool = False


def cache_folder() -> Path:
    return default_cache() / "bench-real"


# ---- Pose2Sim ----


def pose2sim(given: Path | None, every: int, progress: Progress) -> list[Source]:
    """Return the recordings with triangulated joints. given: folder of the recordings; None: fetched with pip.

    Raises:
        InputError: a folder without the recordings, or a wheel that cannot be fetched or is another one.
    """
    root = pose2sim_folder(given)
    sources = []
    count = len(RECORDINGS)
    for index, (name, title) in enumerate(RECORDINGS.items()):
        folder = root / name
        if not (folder / CALIBRATION).is_file():
            raise InputError(f"--pose2sim {root}: no {name}/{CALIBRATION}; give the folder that holds {name}")
        progress(index / count)
        sources.append(Source(title, recording(folder, name, every), public=True))
    return sources


def pose2sim_folder(given: Path | None) -> Path:
    """Return the folder of the recordings, which are fetched with pip if none is given."""
    return given or _fetched()


def recording(folder: Path, name: str, every: int) -> Dataset:
    """Return the people of one recording, whose frames are labelled once and kept in `cache_folder`.

    Raises:
        InputError: videos that cannot be read, or a calibration of other cameras.
    """
    files = sorted(folder.glob("*.mp4"))
    views = label_views.open_views(folder / CALIBRATION, [video_facts(file) for file in files])
    digest = content_hash([sha256_file(folder / CALIBRATION), *(video.key for video in views.videos)], 8)
    place = cache_folder() / f"{name}-{digest}"
    teacher = open_teacher(TRUTH_TEACHER)
    detector = Detector()
    with closing(Journal(place, header_of(teacher))) as journal:
        for view, file in enumerate(files):
            video = VideoShots(file, detector, every, None)
            wanted = {f"{video.key}#{frame}" for frame in range(0, video.count or 0, every)}
            if not wanted or not wanted <= journal.keys:
                shots = label_views.undistorted(video.shots(journal.keys), views, view)
                label_shots(shots, teacher, journal, place, STORED_SIDE)
        records = [record for record in journal.records() if int(record.key.rpartition("#")[2]) % every == 0]
    people = leave_one_out(records, views, joint_map(teacher.skeleton, H36M18.name))
    write_annotations(place, H36M18, people, test_fraction=1.0)
    data = custom.load(place, "test")
    return replace(to_skeleton(data, H36M18), name=f"pose2sim-{name}")


def leave_one_out(records: list[ShotRecord], views: label_views.Views, joints: JointMap) -> list[Labelled]:
    """Return the people in each view, triangulated from the other views, of which at least MIN_VIEWS show the person.

    A moment, seen by all cameras, is one action, so that it is one unit of the intervals.
    """
    frames, _ = label_views.observations(records, views, joints)
    views.check(frames)
    unit_mm = label_views.reconstruct(frames, views.cameras, joints.skeleton).unit_mm
    people = []
    for record in records:
        frame, view = int(record.key.rpartition("#")[2]), views.view_of(record.key)
        if not record.image:
            continue
        others = [person for person in frames.get(frame, []) if person.view != view]
        camera = views.cameras[view]
        for group in label_views.people_of(others, views.cameras, joints.skeleton):
            if len(group) < MIN_VIEWS:
                continue
            found = triangulate(group, views.cameras)
            known = found.agree.sum(0) >= MIN_AGREEING
            cam = camera.to_camera(np.where(known[:, None], found.points, 0)) * unit_mm
            known &= cam[:, 2] > 0
            if known.mean() < MIN_JOINTS or not known[joints.skeleton.root]:
                continue
            f, c = camera.f * record.scale, camera.c * record.scale
            px = cam[known, :2] / cam[known, 2:] * f + c
            size = (record.width, record.height)
            if not ((px >= 0) & (px <= size)).all():
                continue
            low, high = px.min(0), px.max(0)
            margin = MARGIN * float((high - low).max())
            people.append(
                Labelled(
                    record.image, size, f, c, np.concatenate([low - margin, high - low + 2 * margin]), cam,
                    known.astype(float), depth_weight=1.0, unit=1,
                    extra={"subject": 1, "action": f"frame {frame}", "views": found.agree.sum(0).tolist()},
                )
            )  # fmt: skip
    return people


def _fetched() -> Path:
    """Return the folder of the recordings, which is filled with the user's pip on first use."""
    place = cache_folder() / "pose2sim-0.10.49"
    if place.is_dir():
        return place
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", temporary, WHEEL]
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_S)
        wheels = list(Path(temporary).glob("*.whl"))
        if done.returncode or not wheels:
            reason = (done.stderr.strip().splitlines() or ["no wheel"])[-1]
            raise InputError(
                f"{WHEEL}: cannot be fetched with pip ({reason}); give --pose2sim a folder of its recordings"
            )
        if (found := sha256_file(wheels[0])) != WHEEL_SHA256:
            raise InputError(f"{wheels[0].name}: sha256 {found[:12]}, not {WHEEL_SHA256[:12]}; check pip's index")
        with zipfile.ZipFile(wheels[0]) as wheel, atomic_dir(place) as folder:
            for name in RECORDINGS:
                demo, own = f"Pose2Sim/Demo_{name}", folder / name
                own.mkdir()
                (own / CALIBRATION).write_bytes(wheel.read(f"{demo}/calibration/{CALIBRATION}"))
                for camera in range(1, CAMERAS + 1):
                    (own / f"cam{camera:02}.mp4").write_bytes(wheel.read(f"{demo}/videos/cam{camera:02}.mp4"))
    return place


# ---- folders of the user ----


def human36m(folder: Path, images: int) -> Source:
    """Return the test subjects of protocol 2, or all subjects that the folder has if these are missing.

    Raises:
        InputError: the folder is not Human3.6M.
    """
    files = (folder / "annotations").glob("Human36M_subject*_data.json")
    present = {int(file.name.split("_")[1].removeprefix("subject")) for file in files}
    _, _, test, step = PROTOCOLS[2]
    tested = tuple(subject for subject in test if subject in present)
    options = Human36MOptions(test_subjects=tested or tuple(sorted(present)), test_step=step if tested else 1)
    data = open_dataset(f"human36m:{folder}", "test", options)
    return Source("Human3.6M", chosen(data, images))


def mpi_inf_3dhp(folder: Path, images: int) -> Source:
    """Return the test sequences. InputError: the folder is not MPI-INF-3DHP."""
    return Source("MPI-INF-3DHP", chosen(open_dataset(f"mpi_inf_3dhp:{folder}", "test"), images))


def chosen(data: Dataset, images: int) -> Dataset:
    """Return at most `images` people, evenly chosen, with the joints of h36m18."""
    return to_skeleton(data.take(evenly_spread(len(data), images)), H36M18)
