"""A photo: its people, their joints in PHOTO-pose.json, the figure in PHOTO-pose.png."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from arch.errors import InputError
from arch.files import write_atomic
from explore.data.crop import read_image
from explore.predict import draw, pipeline, record
from explore.predict.boxes import Box, boxes_of
from explore.predict.camera import choose_camera, equivalent_focal
from explore.predict.clock import Clock
from explore.predict.detect import Detector
from explore.predict.pipeline import Model, Prediction
from explore.predict.wish import Wish


def given_boxes(photo: Path, image: np.ndarray, wish: Wish) -> list[Box]:
    """Boxes that the user gave for a photo (H, W, 3), inside it.

    Raises:
        InputError: a box without area, or outside the photo.
    """
    height, width = image.shape[:2]
    return boxes_of(wish.entries, wish.option, str(photo), 0, width, height)


def predict_photo(
    photo: Path, models: Sequence[Model], wish: Wish, detector: Detector | None, clock: Clock
) -> list[dict[str, Any]]:
    """A record a model, `files` among its values.

    Raises:
        InputError: it cannot be read, a box lies outside, or the files cannot be written.
    """
    with clock("read"):
        image = read_image(photo)
        equivalent = equivalent_focal(photo) if wish.focal is None else None
    height, width = image.shape[:2]
    camera = choose_camera(width, height, wish.focal, wish.principal, equivalent)
    if wish.entries:
        boxes = given_boxes(photo, image, wish)
    elif detector is None:
        boxes = [Box(1, np.array([0.0, 0, width, height]), wish.root_depth)]
    else:
        with clock("detect"):
            boxes = [Box(number, box) for number, box in enumerate(detector.everyone(image), 1)]
    found = []
    for model in models:
        places, depths, numbers = ([getattr(box, key) for box in boxes] for key in ("bbox", "root_depth", "number"))
        people = pipeline.find_people(
            model.bundle, model.session, image, places, camera, depths, numbers, clock, model.label
        )
        found.append(Prediction(photo, image, camera, people, whole=wish.whole))
    clock.frames += 1
    return _write(wish.out, found, models, clock)


def _write(folder: Path, found: Sequence[Prediction], models: Sequence[Model], clock: Clock) -> list[dict[str, Any]]:
    stem = found[0].photo.stem
    with clock("draw"):
        drawn = [
            draw.draw(one, model.bundle.manifest.skeleton, model.title)
            for one, model in zip(found, models, strict=True)
        ]
        picture = drawn[0] if len(drawn) == 1 else _under_each_other(drawn)
    records = []
    with clock("write"):
        try:
            place = folder / f"{stem}-pose.png"
            write_atomic(place, picture)
            for one, model in zip(found, models, strict=True):
                values = record.as_record(one, model.bundle)
                text = folder / f"{stem}-pose{f'-{model.label}' if len(models) > 1 else ''}.json"
                write_atomic(text, json.dumps(values, indent=1) + "\n")
                records.append(values | {"model": model.label, "files": [str(place), str(text)]})
        except OSError as error:
            raise InputError(f"--out {folder}: cannot be written ({error.strerror}); choose another folder") from error
    return records


def _under_each_other(drawn: Sequence[bytes]) -> bytes:
    pictures: list[Any] = [cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_COLOR) for one in drawn]
    return bytes(cv2.imencode(".png", np.concatenate(pictures))[1])
