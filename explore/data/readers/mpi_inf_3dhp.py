"""MPI-INF-3DHP as published: eight actors before a green screen for training, six test sequences.

Training   ROOT/S1..S8/Seq1,2/annot.mat                 annot2, annot3: a cell per camera of frames x 28 * 2 px, * 3 mm;
                                                         MATLAB 7.3 needs h5py
           ROOT/S1..S8/Seq1,2/camera.calibration         one `intrinsic` line per camera
           ROOT/S1..S8/Seq1,2/imageFrames/video_N/frame_000001.jpg  (extracted from imageSequence/video_N.avi)
Test       ROOT/mpi_inf_3dhp_test_set/TS1..TS6/annot_data.mat       annot2, annot3, valid_frame; MATLAB 7.3: needs h5py
           ROOT/mpi_inf_3dhp_test_set/TS1..TS6/imageSequence/img_000001.jpg

Joints are ordered as the 21 of MuCo-3DHP; the test split has no hands and toes. The data set has no boxes: they are
the joints' extent, a tenth wider on each side. The test files have no camera: f and c are fitted to annot2 and annot3.
The action of a test sample is its sequence. Training frames of videos that were not extracted, and test sequences that are
absent, are left out and counted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from arch.errors import InputError
from explore.data.config import MpiInf3dhpOptions
from explore.data.readers.common import DatasetBuilder, ImageEntry, Person, check_exists, check_finite, check_subjects
from explore.data.readers.mupots import ANNOTATED, VISIBLE, pad
from explore.data.sample import Dataset
from explore.data.sample_errors import SampleError, SampleErrors, SplitNotFound
from explore.data.skeleton import MUCO21

# Index into the 28 joints of annot.mat for each joint of MUCO21
FROM_28 = (7, 5, 14, 15, 16, 9, 10, 11, 23, 24, 25, 18, 19, 20, 4, 3, 6, 17, 12, 27, 22)
HDF5 = b"\x89HDF\r\n\x1a\n"
TEST_SEQUENCES = 6
MARGIN = 0.1  # added on each side, as a fraction of the joints' extent


def load(
    root: str | Path, split: str, options: MpiInf3dhpOptions | None = None, errors: SampleErrors | None = None
) -> Dataset:
    """Read one split. Raises InputError by the rule of explore.data.sample_errors."""
    options = options or MpiInf3dhpOptions()
    builder = DatasetBuilder("mpi_inf_3dhp", split, Path(root), MUCO21, errors or SampleErrors())
    pattern = builder.file_of_split({"train": "S*/Seq*/annot.mat", "test": "mpi_inf_3dhp_test_set/TS*/annot_data.mat"})
    files = sorted(builder.root.glob(pattern))
    if not files:
        raise SplitNotFound(f"{root}: no {pattern}; give the folder that holds them")
    if split == "test" and len(files) < TEST_SEQUENCES:
        builder.left_out["test sequences that are absent"] = TEST_SEQUENCES - len(files)
    for path in files:
        if not re.fullmatch(pattern.replace("*", r"\d+"), path.relative_to(root).as_posix()):
            raise InputError(
                f"{path.parent}: * of {pattern} is not a number there; rename the folder, or move it elsewhere"
            )
        if split == "test":
            _collect_test(builder, path)
        elif int(path.parts[-3][1:]) in options.train_subjects:
            _collect_train(builder, path, options)
    data = builder.build(f"{root}: no frame of the {split} split; extract the videos into imageFrames/video_N")
    if split == "train":
        check_subjects(builder.root, split, options.train_subjects, set(data.subject.tolist()))
    return data


@dataclass(frozen=True)
class _Video:
    """The frames of one camera.

    pattern: file of a frame by its number from 1; vis: (21,) joints that are annotated; f, c: (2,) px
    """

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
        """Return the person of (frame from 0, px (21, 2), camera mm (21, 3))."""
        number, px, cam = frame
        where = f"{self.annotations}: camera {self.camera}, frame {number}"
        file = Path(self.pattern.format(number + 1))
        image = ImageEntry({}, file.relative_to(self.root).as_posix(), self.size, where)
        check_exists(image, self.root, where)
        if 0 in self.size:
            raise SampleError("broken", f"{file}: no image of its folder can be decoded; extract the frames again")
        visible = self.vis > 0
        check_finite(px[visible], where)
        low, high = px[visible].min(0), px[visible].max(0)
        margin = MARGIN * (high - low)
        bbox = [*(low - margin), *(high - low + 2 * margin)]
        return Person(
            where, image, bbox, px, cam, self.vis, self.f, self.c, self.subject, self.action, self.camera, number
        )  # fmt: skip


# ---- training split ----


def _collect_train(builder: DatasetBuilder, path: Path, options: MpiInf3dhpOptions) -> None:
    content = read_matlab(path, ("annot2", "annot3"), builder.digest)
    calibration = path.with_name("camera.calibration")
    intrinsics = _calibration(calibration, builder.digest)
    for camera in options.cameras:
        px, cam = (_cell(content, key, camera, path, width) for key, width in (("annot2", 2), ("annot3", 3)))
        if camera >= len(intrinsics):
            raise InputError(f"{calibration}: camera {camera} is missing; add it")
        frames = range(0, min(len(px), len(cam)), options.train_step)
        folder = path.parent / "imageFrames" / f"video_{camera}"
        if not folder.is_dir():
            builder.left_out["in videos without extracted frames"] += len(frames)
            continue
        video = _Video(
            builder.root, path, str(folder / "frame_{:06d}.jpg"), _size_of(folder), np.ones(len(MUCO21)),
            *intrinsics[camera], int(path.parts[-3][1:]), path.parts[-2], camera,
        )  # fmt: skip
        builder.collect(((frame, px[frame, FROM_28], cam[frame, FROM_28]) for frame in frames), video.person)


def _cell(content: dict[str, Cells], key: str, camera: int, path: Path, width: int) -> np.ndarray:
    """Return the values of one camera, (frames, 28, width)."""
    cells = content[key]
    if camera >= len(cells):
        raise InputError(f"{path}: {key} has {len(cells)} cameras, not {camera}; choose other cameras")
    value = cells[camera]
    if value.ndim != 2 or value.shape[1] != 28 * width:
        raise InputError(
            f"{path}: {key} of camera {camera} is {value.shape}, not frames x {28 * width}; fetch the file again"
        )
    return value.reshape(-1, 28, width)


def _calibration(path: Path, digest: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (f, c) px of every camera from the 4 x 4 matrices in the `intrinsic` lines."""
    if not path.is_file():
        raise InputError(f"{path}: missing; copy it from the data set, it belongs to the sequence")
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


# ---- MATLAB files ----

Cells = list[np.ndarray]  # the cells of a cell array, or one plain array


def read_matlab(path: Path, keys: Sequence[str], digest: Any) -> dict[str, Cells]:
    """Return variables of a MATLAB file of any version, with MATLAB's order of axes. Its bytes are added to `digest`.

    Raises:
        InputError: a file that is missing or broken, a missing key, or version 7.3 without h5py.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); restore the file") from None
    digest.update(data)
    read = _read_hdf5 if b"MATLAB 7.3" in data[:128] or data[:1024].find(HDF5) >= 0 else _read_scipy
    try:
        return dict(zip(keys, read(path, keys), strict=True))
    except KeyError as error:
        raise InputError(f"{path}: key {error.args[0]!r} is missing; fetch the file again") from None
    except (ValueError, TypeError, OSError, RuntimeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a valid MATLAB file ({reason}); fetch it again") from None


def _read_scipy(path: Path, keys: Sequence[str]) -> list[Cells]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path)
    except MatReadError as error:
        raise ValueError(str(error)) from None
    found = [content[key] for key in keys]
    return [
        [np.asarray(cell, np.float64) for cell in value.reshape(-1)]
        if value.dtype == object
        else [np.asarray(value, np.float64)]
        for value in found
    ]


def _read_hdf5(path: Path, keys: Sequence[str]) -> list[Cells]:
    try:
        import h5py
    except ImportError:
        raise InputError(f"{path}: saved as MATLAB 7.3, which needs h5py; pip install 'edgepose[h5]'") from None
    with h5py.File(path) as file:
        for key in keys:
            if key not in file:
                raise KeyError(key)
        found = [file[key] for key in keys]
        # HDF5 stores the axes in reverse order, and a cell array as references
        return [
            [np.asarray(file[cell], np.float64).T for cell in np.asarray(value).T.reshape(-1)]
            if value.dtype == h5py.ref_dtype
            else [np.asarray(value, np.float64).T]
            for value in found
        ]


# ---- test split ----


def _collect_test(builder: DatasetBuilder, path: Path) -> None:
    keys = ("annot2", "annot3", "valid_frame")
    px, cam, valid = (cells[0].T for cells in read_matlab(path, keys, builder.digest).values())
    valid = valid.reshape(-1) > 0
    if any(joints.size != len(valid) * ANNOTATED * width for joints, width in ((px, 2), (cam, 3))):
        raise InputError(f"{path}: annot2, annot3 are not {len(valid)} frames x {ANNOTATED}; fetch the file again")
    px, cam = (joints.reshape(len(valid), ANNOTATED, -1) for joints in (px, cam))
    folder = path.parent / "imageSequence"
    video = _Video(
        builder.root, path, str(folder / "img_{:06d}.jpg"), _size_of(folder), VISIBLE,
        *fit_camera(px[valid], cam[valid]), 0, path.parent.name, 0,
    )  # fmt: skip
    frames = np.nonzero(valid)[0].tolist()
    builder.collect(((n, pad(px[n], 0.0), pad(cam[n], np.nan)) for n in frames), video.person)


def fit_camera(px: np.ndarray, cam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return f, c (2,) px of the pinhole camera that projects cam (..., 3) mm closest to px (..., 2): least squares."""
    pairs = []
    for axis in (0, 1):
        slope = (cam[..., axis] / cam[..., 2]).ravel()
        pairs.append(np.linalg.lstsq(np.stack([slope, np.ones_like(slope)], 1), px[..., axis].ravel(), rcond=None)[0])
    return np.array([pairs[0][0], pairs[1][0]]), np.array([pairs[0][1], pairs[1][1]])


def _size_of(folder: Path) -> tuple[int, int]:
    """Return (width, height) px of the images of one video, or (0, 0) if none can be decoded."""
    for file in sorted(folder.glob("*.jpg"))[:3]:
        image = cv2.imread(str(file), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if image is not None:
            return image.shape[1], image.shape[0]
    return 0, 0
