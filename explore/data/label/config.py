"""The options of `data label`: teachers, skeletons and thresholds. Imports nothing heavy, to keep help fast."""

from __future__ import annotations

from pydantic import Field

from explore.config import Strict

# Module of each teacher; its function `load(name, place)` returns the Teacher. place: text after the colon of the name.
TEACHERS = {
    "blazepose-lite": "explore.data.label.blazepose",
    "blazepose-full": "explore.data.label.blazepose",
    "blazepose-heavy": "explore.data.label.blazepose",
    "bundle": "explore.data.label.bundle",
}
SKELETONS = ("h36m18", "blazepose33")


class LabelFilters(Strict):
    """Thresholds of the filters. A person that misses one is left out and counted."""

    min_presence: float = Field(0.9, ge=0, le=1, description="least probability of a person, by the teacher")
    min_visibility: float = Field(0.5, ge=0, le=1, description="least mean visibility of shoulders, hips and limbs")
    min_inside: float = Field(0.8, ge=0, le=1, description="least fraction of joints inside the image")
    min_size: float = Field(40, ge=0, description="least extent of the joints", json_schema_extra={"unit": "px"})
    max_flip: float = Field(
        0.05, gt=0, description="largest mean 2D distance between image and mirror image, relative to the extent"
    )
    max_flip_mm: float = Field(
        100,
        gt=0,
        description="largest mean 3D distance between image and mirror image",
        json_schema_extra={"unit": "mm"},
    )
    max_bone_ratio: float = Field(
        1.6, gt=1, description="largest ratio of an arm or leg bone to its median over the set, or its inverse"
    )
    max_label_error: float = Field(
        0.08, gt=0, description="largest median 2D distance from the labels of --keypoints, relative to the extent"
    )
