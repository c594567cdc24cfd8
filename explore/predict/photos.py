"""Prediction of one photo, written as PHOTO-pose.json and PHOTO-pose.png."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np

from arch.files import write_atomic
from explore.data.images import read_image
from explore.predict import pipeline
from explore.predict.camera import choose_camera, equivalent_focal
from explore.predict.detector import Detector
from explore.predict.inputs import PhotoSource
from explore.predict.photo_figure import render_figure
from explore.predict.pipeline import Model, Prediction, PredictOptions, StageTimer
from explore.predict.records import photo_record


def predict_photo(
    source: PhotoSource, models: Sequence[Model], options: PredictOptions, detector: Detector | None, timer: StageTimer
) -> list[dict[str, Any]]:
    """Predict a photo, write the results, and return the record of each model with the written `files`.

    Without a detector, the boxes are given or the full photo is one. With one, models of framing roi take the first
    region of a person from it.

    Raises:
        InputError: the photo cannot be read, a box lies outside, or the files cannot be written.
    """
    photo = source.path
    with timer.stage("read"):
        image = read_image(photo)
        equivalent = equivalent_focal(photo) if options.focal is None else None
    height, width = image.shape[:2]
    camera = choose_camera(width, height, options.focal, options.principal, equivalent)
    with timer.stage("detect"):
        boxes = pipeline.choose_boxes(str(photo), 0, image, options, detector.detect if detector else None)
    find = partial(pipeline.find_region, detector) if detector else None
    found = [pipeline.predict_people(model, image, boxes, camera, timer, find) for model in models]
    predictions = [Prediction(photo, image, camera, people, options.full_image) for people in found]
    timer.frames += 1
    with timer.stage("draw"):
        figures = [
            render_figure(prediction, model.bundle.manifest.skeleton, model.title)
            for prediction, model in zip(predictions, models, strict=True)
        ]
        figure = cv2.imencode(".png", np.concatenate(figures)[..., ::-1])[1].tobytes()
    records = []
    with timer.stage("write"):
        try:
            figure_path = options.out / f"{source.stem}-pose.png"
            write_atomic(figure_path, figure)
            for prediction, model in zip(predictions, models, strict=True):
                record = photo_record(prediction, model.bundle)
                json_path = options.out / f"{source.stem}-pose{f'-{model.label}' if len(models) > 1 else ''}.json"
                write_atomic(json_path, json.dumps(record, indent=1) + "\n")
                records.append(record | {"model": model.label, "files": [str(figure_path), str(json_path)]})
        except OSError as error:
            raise pipeline.output_error(options.out, error) from error
    return records
