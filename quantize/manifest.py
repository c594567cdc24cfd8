"""The manifest of a bundle: everything that someone needs to know to run the model file and to trust it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, field_validator

from arch.decode import DEPTH_RANGE_MM
from arch.errors import InputError
from arch.files import content_hash
from arch.space import Arch
from quantize.recipes import Recipe

SCHEMA = 1
FILE = "manifest.json"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
BOX_PADDING = 1.25


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Preprocessing(Part):
    """From a photo to the network's input: (crop / 255 - mean) / std, float32, channels in the order given."""

    size: int = Field(description="side of the square crop, px")
    channels: Literal["RGB"] = "RGB"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    box_padding: float = Field(default=BOX_PADDING, description="side of the crop / longer side of the person's box")


class Postprocessing(Part):
    """From the raw output to coordinates: x and y as shares of the crop's side, z within the depth range."""

    head: str
    heatmap: int = Field(description="cells of a side")
    depth_bins: int = Field(description="cells in depth")
    depth_gain: float = Field(
        default=1.0, description="a depthmap's depths leave the file this many times larger", gt=0
    )
    depth_range_mm: float = Field(default=DEPTH_RANGE_MM, description="nearest to farthest cell; root in the middle")


class Skeleton(Part):
    """Joints in the order of the output; edges pair their indices."""

    name: str
    joints: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    root: int

    @field_validator("joints")
    @classmethod
    def _some(cls, joints: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(joints)) != len(joints):
            raise ValueError("two joints have the same name")
        return joints


class Camera(Part):
    """What turns pixels and depth into camera millimetres: a pinhole, the root's depth from outside the network."""

    model: Literal["pinhole"] = "pinhole"
    focal: str = "given with the photo, in px; else its longer side"
    principal_point: str = "given with the photo, in px; else its centre"
    root_depth: str = "given with the box, in mm; else from the box's size"


class Calibration(Part):
    """Where the INT8 ranges came from."""

    count: int
    seed: int
    hash: str


class Data(Part):
    """What the weights were trained on."""

    name: str
    hash: str = ""


class File(Part):
    """A file of the bundle, by its bare name."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int


class Manifest(Part):
    """The content of manifest.json. `files[0]` is the one that the runtime loads."""

    schema_version: Literal[1] = 1
    arch_id: str
    arch: Arch
    runtime: str
    recipe: Recipe
    files: tuple[File, ...] = Field(min_length=1)
    preprocessing: Preprocessing
    postprocessing: Postprocessing
    skeleton: Skeleton
    camera: Camera = Camera()
    data: Data
    calibration: Calibration | None = None
    metrics: dict[str, FiniteFloat] = Field({}, description="of the file itself; units in the names")
    certificate: dict[str, Any] = Field({}, description="deviations and gates; see quantize.certificate")
    versions: dict[str, str] = Field({}, description="of the packages that made it")
    machine: dict[str, Any] = Field({}, description="that made it")
    config_hash: str = ""
    seed: int = 0
    licence: str = "Apache-2.0"


def dump(manifest: Manifest) -> str:
    """The text of manifest.json; `checksum` covers the rest, so that an edit by hand is noticed."""
    values = manifest.model_dump(mode="json")
    return json.dumps(values | {"checksum": content_hash(values, 16)}, indent=2) + "\n"


def parse(path: Path) -> Manifest:
    """Read and verify a manifest.json.

    Raises:
        InputError: not a manifest, of another schema version, edited by hand, or of a network that cannot be.
    """
    try:
        values = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path}: is no readable manifest ({' '.join(str(error).split())}); export it again") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: is no manifest; export it again")
    version = values.get("schema_version")
    if version != SCHEMA:
        raise InputError(f"{path}: schema_version: {version!r}, this edgepose reads {SCHEMA}; export it again")
    checksum = values.pop("checksum", None)
    if checksum != content_hash(values, 16):
        raise InputError(f"{path}: checksum: the manifest was changed after it was written; export it again")
    try:
        manifest = Manifest.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {key}: {first['msg'].removeprefix('Value error, ')}; export it again") from None
    if manifest.arch.id != manifest.arch_id:
        raise InputError(f"{path}: arch_id: {manifest.arch_id} is not the id of the arch; made by another edgepose")
    if len(manifest.skeleton.joints) != manifest.arch.joints:
        joints = len(manifest.skeleton.joints)
        raise InputError(f"{path}: skeleton: {joints} joints, the arch has {manifest.arch.joints}")
    return manifest
