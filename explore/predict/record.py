"""A prediction as plain values, for PHOTO-pose.json and --json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from explore.predict.camera import Camera
from explore.predict.pipeline import Person, Prediction
from quantize.bundle import Bundle


def as_record(prediction: Prediction, bundle: Bundle) -> dict[str, Any]:
    """JSON-able: the bundle, the camera, what was assumed, and every person's joints."""
    height, width = prediction.image.shape[:2]
    return {
        "photo": str(prediction.photo),
        "size_px": [width, height],
        **header(prediction.camera, bundle),
        "assumed": assumptions(prediction),
        "people": of_people(prediction.people, bundle),
    }


def header(camera: Camera, bundle: Bundle) -> dict[str, Any]:
    """What does not change from picture to picture."""
    about = bundle.manifest
    return {
        "bundle": {
            "path": str(bundle.path),
            "arch": about.arch.name,
            "arch_id": about.arch_id,
            "runtime": about.runtime,
            "recipe": about.recipe.name,
            "trained_on": about.data.name,
            "sha256": about.files[0].sha256,
        },
        "camera": {
            "focal_px": _rounded(camera.f, 2),
            "focal_from": camera.focal_from,
            "principal_px": _rounded(camera.c, 2),
            "principal_from": camera.principal_from,
        },
        "axes": "px: x right, y down, from the photo's top left corner; mm: x right, y down, z away from the camera",
        "confidence": "largest share of probability in one heatmap cell; compare within one model only",
        "skeleton": {"name": about.skeleton.name, "edges": [list(edge) for edge in about.skeleton.edges]},
    }


def of_people(people: Sequence[Person], bundle: Bundle) -> list[dict[str, Any]]:
    return [_person(person, bundle.manifest.skeleton.joints) for person in people]


def assumptions(prediction: Prediction) -> list[str]:
    """What the user did not give, in words."""
    said = ["the whole photo is one person's box"] if prediction.whole else []
    said += prediction.camera.assumed
    if any(person.root_depth_from != "given" for person in prediction.people):
        said.append("root depth (the padded box spans 2 m)")
    return said


def _person(person: Person, joints: tuple[str, ...]) -> dict[str, Any]:
    return {
        "person": person.number,
        "bbox": _rounded(person.bbox, 2),
        "root_depth_mm": round(person.root_depth, 1),
        "root_depth_from": person.root_depth_from,
        "confidence": round(float(person.confidence.mean()), 4),
        "ms": round(person.ms, 3),
        "joints": [
            {
                "name": name,
                "px": _rounded(person.px[index], 2),
                "mm": _rounded(person.mm[index], 1),
                "confidence": round(float(person.confidence[index]), 4),
            }
            for index, name in enumerate(joints)
        ],
    }


def _rounded(values: np.ndarray, digits: int) -> list[float]:
    return [round(float(value), digits) for value in values]
