"""MPI-INF-3DHP as it is published: eight actors before a green screen to train on, six test sequences.

Training   ROOT/S1..S8/Seq1,2/annot.mat                  annot2, annot3: a cell per camera of frames x 28 * 2 px, * 3 mm
           ROOT/S1..S8/Seq1,2/camera.calibration         `intrinsic` lines, a camera each
           ROOT/S1..S8/Seq1,2/imageFrames/video_N/frame_000001.jpg  (extracted from imageSequence/video_N.avi)
Test       ROOT/mpi_inf_3dhp_test_set/TS1..TS6/annot_data.mat       annot2, annot3, valid_frame; MATLAB 7.3: needs h5py
           ROOT/mpi_inf_3dhp_test_set/TS1..TS6/imageSequence/img_000001.jpg

Joints stand in the order of MuCo-3DHP's 21; the test part knows no hands and toes. Boxes are drawn around the joints,
a tenth wider on each side, since the set has none. The test files tell no camera: f and c are fitted to annot2 and
annot3. Test sequences are the samples' actions. The cameras of the training part are 0, 1, 2, 4, 5, 6, 7, 8, those at
the height of a person, unless the options name others; those whose videos were not extracted are left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from arch.errors import InputError
from explore.data.faults import Absent, Faults, SampleFault
from explore.data.mupots import ANNOTATED, padded
from explore.data.sample import Dataset
from explore.data.skeleton import MUCO21
from explore.data.table import Collector, Person, Picture, box, finite, in_front, only, present

# Index into the 28 joints of annot.mat of each of MUCO21's
FROM_28 = (7, 5, 14, 15, 16, 9, 10, 11, 23, 24, 25, 18, 19, 20, 4, 3, 6, 17, 12, 27, 22)
MARGIN = 0.1  # of the joints' extent, around it
CAMERAS = (0, 1, 2, 4, 5, 6, 7, 8)


class MpiInf3dhpOptions(BaseModel):
    """Which actors, cameras, and every how many frames (25 or 50 a second) are trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train_subjects: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    cameras: tuple[int, ...] = CAMERAS
    train_step: int = Field(default=5, ge=1)


def load(
    root: str | Path,
    split: str,
    options: MpiInf3dhpOptions | None = None,
    name: str = "mpi_inf_3dhp",
    faults: Faults | None = None,
) -> Dataset:
    """Read one split. Raises InputError by the rule of explore.data.faults."""
    root, options = Path(root), options or MpiInf3dhpOptions()
    people = Collector(name, split, root, MUCO21, faults or Faults())
    part = only(split, {"train": "S*/Seq*/annot.mat", "test": "mpi_inf_3dhp_test_set/TS*/annot_data.mat"}, name)
    files = sorted(root.glob(part))
    if not files:
        raise Absent(f"{root}: no {part} there; give the folder that holds them")
    for path in files:
        if split == "test":
            _collect_test(people, path)
        elif int(path.parts[-3][1:]) in options.train_subjects:
            _collect_train(people, path, options)
    return people.dataset(f"{root}: no frame of the {split} part; extract the videos into imageFrames/video_N")


@dataclass(frozen=True)
class _Video:
    """The frames of one camera. pattern: file of a frame by its number from 1; vis: (21,) joints that are annotated."""

    root: Path
    annotations: Path
    pattern: str
    size: tuple[int, int]
    vis: np.ndarray
    f: np.ndarray
    c: np.ndarray
    subject: int
    action: str
    camera: int

    def person(self, frame: tuple[int, np.ndarray, np.ndarray]) -> Person:
        """The person of (frame from 0, px (21, 2), camera mm (21, 3))."""
        number, px, cam = frame
        where = f"{self.annotations}: camera {self.camera}, frame {number}"
        file = Path(self.pattern.format(number + 1))
        picture = Picture({}, file.relative_to(self.root).as_posix(), self.size, where)
        present(self.root, picture, where)
        if 0 in self.size:
            raise SampleFault("broken", f"{file}: no picture there can be decoded; extract the frames again")
        seen = self.vis > 0
        finite(px[seen], where)
        in_front(finite(cam[seen], where), where)
        low, high = px[seen].min(0), px[seen].max(0)
        margin = MARGIN * (high - low)
        bbox = box({"bbox": [*(low - margin), *(high - low + 2 * margin)]}, where, picture)
        return Person(picture, bbox, px, cam, self.vis, self.f, self.c, self.subject, self.action, self.camera, number)


# ---- training part ----


def _collect_train(people: Collector, path: Path, options: MpiInf3dhpOptions) -> None:
    content = _matlab(path, people.digest)
    calibration = path.with_name("camera.calibration")
    intrinsics = _calibration(calibration, people.digest)
    for camera in options.cameras:
        px, cam = (_cell(content, key, camera, path, width) for key, width in (("annot2", 2), ("annot3", 3)))
        if camera >= len(intrinsics):
            raise InputError(f"{calibration}: camera {camera} is missing; add it")
        folder = path.parent / "imageFrames" / f"video_{camera}"
        if not folder.is_dir():
            continue
        video = _Video(
            people.root, path, str(folder / "frame_{:06d}.jpg"), _size_of(folder), np.ones(len(MUCO21)),
            *intrinsics[camera], int(path.parts[-3][1:]), path.parts[-2], camera,
        )  # fmt: skip
        frames = range(0, min(len(px), len(cam)), options.train_step)
        people.collect(((frame, px[frame, FROM_28], cam[frame, FROM_28]) for frame in frames), video.person)


def _matlab(path: Path, digest: Any) -> dict[str, Any]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    digest.update(path.read_bytes())
    try:
        return dict(loadmat(path))
    except (MatReadError, ValueError, TypeError, OSError) as error:
        raise InputError(f"{path}: not a whole MATLAB file ({error}); fetch it again") from None


def _cell(content: dict[str, Any], key: str, camera: int, path: Path, width: int) -> np.ndarray:
    """(frames, 28, width) of one camera."""
    if key not in content:
        raise InputError(f"{path}: key {key!r} is missing; fetch the file again")
    cell = content[key]
    if camera >= cell.size:
        raise InputError(f"{path}: {key} has {cell.size} cameras, not {camera}; choose others")
    value = np.asarray(cell.reshape(-1)[camera], np.float64)
    if value.ndim != 2 or value.shape[1] != 28 * width:
        raise InputError(
            f"{path}: {key} of camera {camera} is {value.shape}, not frames x {28 * width}; fetch it again"
        )
    return value.reshape(-1, 28, width)


def _calibration(path: Path, digest: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """(f, c) px of every camera, of the 4 x 4 matrices in `intrinsic` lines."""
    if not path.is_file():
        raise InputError(f"{path}: missing; it comes with the sequence")
    text = path.read_text(errors="replace")
    digest.update(text.encode())
    found = []
    for line in re.findall(r"^\s*intrinsic\s+(.*)$", text, re.MULTILINE):
        try:
            matrix = np.array(line.split(), np.float64).reshape(4, 4)
        except ValueError:
            raise InputError(f"{path}: an intrinsic line is not 16 numbers; fetch the file again") from None
        found.append((matrix[[0, 1], [0, 1]], matrix[[0, 1], 2]))
    return found


# ---- test part ----


def _collect_test(people: Collector, path: Path) -> None:
    content = _hdf5(path, people.digest)
    valid = content["valid_frame"].reshape(-1) > 0
    px, cam = (content[key].reshape(len(valid), ANNOTATED, -1) for key in ("annot2", "annot3"))
    folder = path.parent / "imageSequence"
    video = _Video(
        people.root, path, str(folder / "img_{:06d}.jpg"), _size_of(folder), padded(np.ones((ANNOTATED, 1)), 0.0)[:, 0],
        *fitted_camera(px[valid], cam[valid]), 0, path.parent.name, 0,
    )  # fmt: skip
    frames = np.nonzero(valid)[0].tolist()
    people.collect(((n, padded(px[n], 0.0), padded(cam[n], np.nan)) for n in frames), video.person)


def _hdf5(path: Path, digest: Any) -> dict[str, np.ndarray]:
    try:
        import h5py
    except ImportError:
        raise InputError(f"{path}: MATLAB 7.3 files need h5py; pip install 'edgepose[h5]'") from None
    digest.update(path.read_bytes())
    try:
        with h5py.File(path) as file:
            return {key: np.array(file[key], np.float64) for key in ("annot2", "annot3", "valid_frame")}
    except (OSError, KeyError) as error:
        raise InputError(f"{path}: not a whole MATLAB 7.3 file ({error}); fetch it again") from None


def fitted_camera(px: np.ndarray, cam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """f, c (2,) px of the pinhole camera that takes cam (..., 3) mm nearest to px (..., 2), by least squares."""
    pairs = []
    for axis in (0, 1):
        slope = (cam[..., axis] / cam[..., 2]).ravel()
        pairs.append(np.linalg.lstsq(np.stack([slope, np.ones_like(slope)], 1), px[..., axis].ravel(), rcond=None)[0])
    return np.array([pairs[0][0], pairs[1][0]]), np.array([pairs[0][1], pairs[1][1]])


def _size_of(folder: Path) -> tuple[int, int]:
    """(width, height) of the pictures in a folder, those of one video; (0, 0) where none can be decoded."""
    for file in sorted(folder.glob("*.jpg"))[:3]:
        image = cv2.imread(str(file), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if image is not None:
            return image.shape[1], image.shape[0]
    return 0, 0
