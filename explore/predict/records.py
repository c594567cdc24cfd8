"""Predictions as JSON values, for the written files and `--json`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from explore.data.framing import Region
from explore.predict.camera import Camera
from explore.predict.pipeline import Person, Prediction
from quantize.bundle import Bundle


def photo_record(prediction: Prediction, bundle: Bundle) -> dict[str, Any]:
    """Return the bundle, the camera, the assumptions and each person's joints of a photo."""
    height, width = prediction.image.shape[:2]
    estimated = any(person.root_depth_from != "given" for person in prediction.people)
    return {
        "photo": str(prediction.photo),
        "size_px": [width, height],
        **header(prediction.camera, bundle),
        "assumed": assumptions("photo", prediction.camera, prediction.full_image, estimated),
        "people": people_records(prediction.people, bundle),
    }


def header(camera: Camera, bundle: Bundle) -> dict[str, Any]:
    """Return the values that are the same for every frame of a video."""
    manifest = bundle.manifest
    return {
        "bundle": {
            "path": str(bundle.path),
            "arch": manifest.arch.name,
            "arch_id": manifest.arch_id,
            "runtime": manifest.runtime,
            "recipe": manifest.recipe.name,
            "trained_on": manifest.data.name,
            "sha256": manifest.files[0].sha256,
        },
        "camera": {
            "focal_px": _rounded(camera.f, 2),
            "focal_from": camera.focal_from,
            "principal_px": _rounded(camera.c, 2),
            "principal_from": camera.principal_from,
        },
        "axes": "px: x right, y down, from the photo's top left corner; mm: x right, y down, z away from the camera",
        "confidence": "largest probability of one heatmap cell; comparable within one model only",
        **_probability_texts(bundle),
        "skeleton": {"name": manifest.skeleton.name, "edges": [list(edge) for edge in manifest.skeleton.edges]},
    }


def _probability_texts(bundle: Bundle) -> dict[str, str]:
    if bundle.manifest.postprocessing.confidence is None:
        return {}
    return {
        "presence": "probability that the crop shows a person",
        "visibility": "probability that the joint is in the image and not covered",
    }


def assumptions(image: str, camera: Camera, full_image: bool, root_depth_estimated: bool) -> list[str]:
    """Describe the values that the user did not give. image: "photo" or "frame"."""
    texts = [f"the whole {image} is one person's box"] if full_image else []
    texts += camera.assumed
    if root_depth_estimated:
        texts.append("root depth (the square that is cropped spans 2 m)")
    return texts


def people_records(people: Sequence[Person], bundle: Bundle) -> list[dict[str, Any]]:
    """Return the box, root depth and joints of each person; presence and visibility if the bundle is calibrated."""
    return [_person_record(person, bundle) for person in people]


def _person_record(person: Person, bundle: Bundle) -> dict[str, Any]:
    calibration = bundle.manifest.postprocessing.confidence
    presence: dict[str, float] = {}
    visibility: list[dict[str, float]] = [{}] * len(person.confidence)
    if calibration is not None:
        presence = {"presence": round(float(calibration.presence_of(person.confidence)), 4)}
        visibility = [{"visibility": round(float(value), 4)} for value in calibration.visibility_of(person.confidence)]
    return {
        "person": person.number,
        "bbox": _rounded(person.bbox, 2),
        "root_depth_mm": round(person.root_depth, 1),
        "root_depth_from": person.root_depth_from,
        "confidence": round(float(person.confidence.mean()), 4),
        **presence,
        "ms": round(person.ms, 3),
        **_region_record(person.region),
        "joints": [
            {
                "name": name,
                "px": _rounded(person.px[index], 2),
                "mm": _rounded(person.mm[index], 1),
                "confidence": round(float(person.confidence[index]), 4),
                **visibility[index],
            }
            for index, name in enumerate(bundle.manifest.skeleton.joints)
        ],
    }


def _region_record(region: Region | None) -> dict[str, Any]:
    """Return the region of the crop, with framing roi: centre and side in px, clockwise rotation in degrees."""
    if region is None:
        return {}
    rotation = round(math.degrees(region.rotation), 2)
    return {"region": {"centre": _rounded(region.centre, 2), "side": round(region.size, 2), "rotation_deg": rotation}}


def _rounded(values: np.ndarray, digits: int) -> list[float]:
    return [round(float(value), digits) for value in values]
