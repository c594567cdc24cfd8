"""The embedded data set: rendered people with exact joints, stored in the Human3.6M layout.

The validation part has subjects of its own and is stored in a folder below the set, so that it can be added to sets
rendered without it. The 33 landmarks of BlazePose are stored beside the joints, so that the same images serve both
skeletons. Sets that were rendered before landmarks were stored get them on first use, from the geometry alone.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from arch.documents import load_written
from arch.errors import InputError
from arch.files import content_hash, remove_leftovers, write_atomic
from explore.data.config import Human36MOptions
from explore.data.crop import project
from explore.data.images import jpeg_is_complete
from explore.data.readers import human36m
from explore.data.sample import Dataset
from explore.data.sample_errors import SplitNotFound
from explore.data.skeleton import BLAZEPOSE33
from explore.data.synthetic.config import SPLITS, TRAIN_SUBJECTS, VALIDATION, VERSIONS, SyntheticConfig
from explore.data.synthetic.frame import cameras, compose_frame, render_jpeg
from explore.interrupts import starting_children


def render_dataset(
    root: Path,
    config: SyntheticConfig,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Render the set into a folder below `root` that is named by the configuration's hash; return the folder.

    A finished set is reused; an interrupted one is continued. Annotations are written after all images, and
    dataset.json, which marks the set as finished, after them. progress(done, total) is called after each frame. With
    more than one worker, the caller's __main__ must be importable, because processes are spawned.

    Raises:
        InputError: a folder that cannot be written or holds another configuration.
    """
    return _render(Path(root) / config.name, config, ("train", "test"), config.facts, workers, progress)


def render_validation(
    root: Path,
    config: SyntheticConfig,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Render the validation part of a set into a folder of its own within the set's; otherwise as `render_dataset`."""
    facts = config.facts | {"validation": config.val_frames}
    return _render(config.validation_folder(Path(root)), config, ("validation",), facts, workers, progress)


def _render(
    folder: Path,
    config: SyntheticConfig,
    splits: tuple[str, ...],
    facts: dict[str, Any],
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> Path:
    """Render splits into a folder; facts: what its images depend on."""
    finished = folder / "dataset.json"
    counts = {"train": config.train_frames, "test": config.test_frames, "validation": config.val_frames}
    tasks = [(folder, config, split, index) for split in splits for index in range(counts[split])]
    total = len(tasks)
    rendered = finished.is_file()
    if rendered:
        _check_same(finished, facts)
        if config.skeleton != BLAZEPOSE33.name or all(landmark_file(folder, split).is_file() for split in splits):
            if progress:
                progress(total, total)
            return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder, recursive=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); point EDGEPOSE_CACHE elsewhere") from error
    records = []
    for record in _map(_composed_record if rendered else _frame_on_disk, tasks, workers):
        records.append(record)
        if progress:
            progress(len(records), total)
    _write_landmarks(folder, splits, records)
    if rendered:
        return folder
    _write_annotations(folder, config, splits, records)
    summary = {"version": VERSIONS[config.level], "config": facts, "frames": total, "name": config.name}
    write_atomic(finished, json.dumps(summary, indent=1))
    return folder


def _check_same(finished: Path, facts: dict[str, Any]) -> None:
    try:
        made_with = load_written(finished)["config"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{finished}: damaged ({error}); delete the folder to render it again") from error
    if made_with != facts:
        raise InputError(f"{finished}: config differs from the requested one; delete the folder to render it again")


# ---- work ----

Task = tuple[Path, SyntheticConfig, str, int]


def _map(work: Callable[[Task], dict[str, Any]], tasks: list[Task], workers: int) -> Iterator[dict[str, Any]]:
    if workers <= 1:
        yield from map(work, tasks)
        return
    with _single_threaded_children(), starting_children():
        context = multiprocessing.get_context("spawn")
        executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
        records = executor.map(work, tasks, chunksize=8)
    try:
        yield from records
    finally:
        executor.shutdown(cancel_futures=True)


def _start_worker() -> None:
    cv2.setNumThreads(1)
    for number in (signal.SIGINT, signal.SIGHUP):  # the parent receives them too and ends the work
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Exit when the parent process dies, which cannot end its workers if it is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _single_threaded_children() -> Iterator[None]:
    """Limit the linear algebra of processes started inside to one thread, because the workers share the cores."""
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _frame_on_disk(task: Task) -> dict[str, Any]:
    """Render one frame unless its file exists; return its annotation."""
    folder, config, split, index = task
    frame = compose_frame(config, split, index)
    path = folder / "images" / frame.file
    if not (path.is_file() and jpeg_is_complete(path.read_bytes())):
        write_atomic(path, render_jpeg(config, split, index, frame), durable=False)
    return frame.record


def _composed_record(task: Task) -> dict[str, Any]:
    """Return the annotation of one frame, without rendering it."""
    _, config, split, index = task
    return compose_frame(config, split, index).record


# ---- annotations ----


def _write_annotations(
    folder: Path, config: SyntheticConfig, splits: tuple[str, ...], records: list[dict[str, Any]]
) -> None:
    for subject in (subject for split in splits for subject in SPLITS[split]):
        mine = [record for record in records if record["subject"] == subject]
        tree: dict[str, dict[str, dict[str, Any]]] = {}
        for record in mine:
            image = record["image"]
            frames = tree.setdefault(str(image["action_idx"]), {}).setdefault("1", {})
            frames[str(image["frame_idx"])] = record["world"]
        content = {
            "data": {
                "images": [{"id": number, **record["image"]} for number, record in enumerate(mine)],
                "annotations": [
                    {"id": number, "image_id": number, "keypoints_vis": [True] * 17, "bbox": record["bbox"]}
                    for number, record in enumerate(mine)
                ],
            },
            "camera": {
                str(number + 1): {
                    "R": camera.rotation.tolist(), "t": camera.shift.tolist(),
                    "f": camera.f.tolist(), "c": camera.c.tolist(),
                }
                for number, camera in enumerate(cameras(config.seed, subject, config.size, config.level))
            },
            "joint_3d": tree,
        }  # fmt: skip
        for kind, value in content.items():
            write_atomic(folder / "annotations" / f"Human36M_subject{subject}_{kind}.json", json.dumps(value))


def landmark_file(folder: Path, split: str) -> Path:
    """Return the file of the landmarks of BlazePose: (frames, 33, 3) float32, camera mm, by the number of the frame."""
    return folder / "annotations" / f"{BLAZEPOSE33.name}_{split}.npy"


def _write_landmarks(folder: Path, splits: tuple[str, ...], records: list[dict[str, Any]]) -> None:
    for split in splits:
        buffer = BytesIO()
        np.save(buffer, np.stack([record["landmarks"] for record in records if record["split"] == split]))
        write_atomic(landmark_file(folder, split), buffer.getvalue())


def load(folder: Path, split: str, val_frames: int | None = None, skeleton: str = "") -> Dataset:
    """Read all frames of a split of a rendered set with the Human3.6M reader.

    val_frames: of the validation part to read, if several were rendered; by default the largest
    skeleton: blazepose33 for the landmarks of BlazePose; else the 18 joints of the reader

    Raises:
        SplitNotFound: the set has no validation part.
        InputError: an unfinished or damaged set, or one without landmarks.
    """
    part, folder = split, Path(folder)
    if split == "validation":
        part, folder = "test", _validation_part(folder, val_frames)
    finished = folder / "dataset.json"
    if not finished.is_file():
        raise InputError(f"{finished}: missing, the set is not finished; render it again")
    try:
        made_with = {key: str(value) for key, value in load_written(finished)["config"].items()}
        level = made_with["level"]
    except (KeyError, TypeError, AttributeError):
        raise InputError(f"{finished}: config: missing or damaged; render the set again") from None
    kinds = re.sub(r":\w+", "", made_with["poses"]) if "poses" in made_with else ""
    name = "-".join(filter(None, ("synthetic", level, kinds)))
    options = Human36MOptions(
        train_subjects=TRAIN_SUBJECTS, test_subjects=SPLITS["test" if part == split else split], train_step=1,
        test_step=1,
    )  # fmt: skip
    data = replace(human36m.load(folder, part, options, name=name), split=split)
    return _with_landmarks(data, folder, split) if skeleton == BLAZEPOSE33.name else data


def _with_landmarks(data: Dataset, folder: Path, split: str) -> Dataset:
    """Return the frames with the landmarks of BlazePose in place of the joints."""
    path = landmark_file(folder, split)
    if not path.is_file():
        raise InputError(f"{path}: missing; render the set again with --dataset.skeleton {BLAZEPOSE33.name}")
    try:
        cam = np.load(path).astype(np.float64)[data.frame]
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"{path}: damaged ({error}); delete the file to write it again") from error
    reference = BLAZEPOSE33.reference_depth(cam)
    px = project(cam, data.f[:, None], data.c[:, None])
    return replace(
        data,
        skeleton=BLAZEPOSE33,
        hash=content_hash({"joints": data.hash, "skeleton": BLAZEPOSE33.name}),
        joints_img=np.concatenate([px, cam[..., 2:] - reference[:, None, None]], -1),
        joints_cam=cam,
        vis=np.ones(cam.shape[:2], np.float32),
        root_depth=reference,
    )


def _validation_part(folder: Path, val_frames: int | None) -> Path:
    """Return the folder of a finished validation part of a set."""
    counts = {int(path.parent.name.removeprefix(VALIDATION)) for path in folder.glob(f"{VALIDATION}*/dataset.json")}
    if not counts:
        raise SplitNotFound(f"{folder}: has no validation part; render the set again")
    return folder / f"{VALIDATION}{val_frames if val_frames in counts else max(counts)}"
