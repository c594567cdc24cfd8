"""The manifest of a bundle: everything needed to run its model file, and where the file came from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, field_validator

from arch.decode import BOX_PADDING, DEPTH_RANGE_MM, IMAGENET_MEAN, IMAGENET_STD
from arch.documents import load_mapping
from arch.errors import InputError, describe
from arch.files import content_hash
from arch.old_names import current_names
from arch.space import Arch
from quantize import certificate
from quantize.confidence import Confidence
from quantize.recipes import Recipe
from quantize.runner import MAX_MANIFEST_BYTES, SCHEMA, fault_of
from quantize.scale import Scale

FILE = "manifest.json"


class Part(BaseModel):
    """Base class: immutable, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Roi(Part):
    """The region of interest of a person, as MediaPipe's PoseLandmarker crops.

    A circle around the hips' centre encloses the body; its radius is `reach` times the largest distance of a joint from
    the hips' centre in the image. The region is a square around the same centre, `scale` times as wide as the radius
    and rotated so that the shoulders' centre is above the hips' centre.
    """

    hips: tuple[int, ...] = Field(min_length=1, description="joints whose mean is the hips' centre")
    shoulders: tuple[int, ...] = Field(min_length=1, description="joints whose mean is the shoulders' centre")
    reach: float = Field(gt=0, description="radius of the body's circle / largest distance of a joint from its centre")
    scale: float = Field(default=2.5, gt=0, description="side of the region / radius of the body's circle")


class Preprocessing(Part):
    """From an image to the network's input: (crop / 255 - mean) / std as float32."""

    size: int = Field(description="side of the square crop, px")
    framing: Literal["box", "roi"] = Field("box", description="upright square around the box, or region of interest")
    roi: Roi | None = Field(None, description="the region of interest of framing roi")
    border: Literal["black", "replicate"] = Field("black", description="the crop beyond the borders of the image")
    channels: Literal["RGB"] = "RGB"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    box_padding: float = Field(default=BOX_PADDING, description="side of the crop / longer side of the person's box")


class Postprocessing(Part):
    """From the raw output to coordinates: x and y as fractions of the crop's side, z of the depth range."""

    head: str
    heatmap: int = Field(description="cells along x and y")
    depth_bins: int = Field(description="cells along z")
    depth_scale: float = Field(
        default=1.0,
        description="factor by which the file scales the depths of a heatmap-2.5d head",
        gt=0,
        validation_alias=AliasChoices("depth_scale", "depth_gain"),
    )
    depth_range_mm: float = Field(default=DEPTH_RANGE_MM, description="depth covered, with the root in the middle")
    confidence: Confidence | None = Field(None, description="from confidences to probabilities; none: not calibrated")
    scale: Scale | None = Field(None, description="from joints to mm per side of the crop; none: not fitted")

    @field_validator("head", mode="before")
    @classmethod
    def _current_head(cls, value: Any) -> Any:
        """Accept the head's name in bundles of version 0.1."""
        return current_names({"head": value})["head"]


class Channels(Part):
    """A part of an output along its axis of channels (of bins, for simcc): values from `first` on."""

    name: str
    first: int
    count: int
    unit: str
    scale: float = Field(1.0, description="the file's values are this factor times the unit")


class Tensor(Part):
    """The input or an output of the model file.

    N is 1, C the channels, H and W rows and columns, J the joints, B the bins of an axis.
    """

    name: str
    description: str
    dtype: Literal["float32", "uint8"]
    layout: Literal["NHWC", "NCHW", "NJB"]
    shape: tuple[int, ...]
    range: tuple[float, float] | None = Field(None, description="least and largest value; None: unbounded")
    parts: tuple[Channels, ...] = ()


class Skeleton(Part):
    """Joints in the order of the output; an edge is a pair of their indices, the parent first.

    parents: of each joint, -1 for one without; empty in version 0.1
    flip_pairs: (right, left) joints that a mirrored image exchanges; empty in version 0.1 and without sides
    """

    name: str
    joints: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    root: int
    parents: tuple[int, ...] = ()
    flip_pairs: tuple[tuple[int, int], ...] = ()

    @field_validator("joints")
    @classmethod
    def _unique_joints(cls, joints: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(joints)) != len(joints):
            raise ValueError("two joints have the same name")
        return joints


class Camera(Part):
    """Parameters for the conversion of pixels and depth to camera coordinates."""

    model: Literal["pinhole"] = "pinhole"
    focal: str = "given with the photo, in px; else its longer side"
    principal_point: str = "given with the photo, in px; else its centre"
    root_depth: str = "given with the box, in mm; else from the box's size"


class Calibration(Part):
    """The images that the INT8 ranges were calibrated on."""

    count: int
    seed: int
    hash: str


class Data(Part):
    """The training data."""

    name: str
    hash: str = ""


class Interval(Part):
    """A 95% interval, mm. It resamples `units` independent units: subjects, clips or frames."""

    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat
    unit: str
    units: int


class Evaluation(Part):
    """The data that the errors in `metrics` were measured on.

    part: test, or validation for files that a choice was made with; hash: of its annotations
    """

    data: str
    part: str
    hash: str = ""
    mpjpe_interval: Interval | None = Field(None, description="of the file's MPJPE; none with fewer than two units")


class File(Part):
    """A file of the bundle, by its name without a folder."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int


class Manifest(Part):
    """The content of manifest.json. The runtime loads `files[0]`."""

    schema_version: Literal[1] = 1
    arch_id: str
    arch: Arch
    runtime: str
    recipe: Recipe
    files: tuple[File, ...] = Field(min_length=1)
    golden: tuple[File, ...] = Field((), description="a photo and its predictions, which `run.py --check` repeats")
    inputs: tuple[Tensor, ...] = Field((), description="of files[0]; empty in version 0.1, whose input is float32")
    outputs: tuple[Tensor, ...] = Field((), description="of files[0]; empty in version 0.1")
    preprocessing: Preprocessing
    postprocessing: Postprocessing
    skeleton: Skeleton
    camera: Camera = Camera()
    data: Data
    calibration: Calibration | None = None
    metrics: dict[str, FiniteFloat] = Field({}, description="measured on the file itself; units are in the names")
    evaluation: Evaluation | None = Field(None, description="of the errors in metrics; none in version 0.1")
    certificate: dict[str, Any] = Field({}, description="see quantize.certificate")
    versions: dict[str, str] = Field({}, description="of the packages that made the file")
    machine: dict[str, Any] = Field({}, description="that made the file")
    config_hash: str = ""
    seed: int = 0
    licence: str = Field("", description="licence or terms of the training data; empty if unknown")

    @field_validator("certificate")
    @classmethod
    def _current_certificate(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Accept the certificates in bundles of version 0.1."""
        return certificate.current_names(value)


def dump(manifest: Manifest) -> str:
    """Return the text of manifest.json, with a checksum that reveals later changes."""
    values = manifest.model_dump(mode="json")
    return json.dumps(values | {"checksum": content_hash(values, 16)}, indent=2) + "\n"


def parse(path: Path) -> Manifest:
    """Read and verify a manifest.json.

    Raises:
        InputError: not a manifest, another schema version, changed after it was written, or an invalid value.
    """
    try:
        values = load_mapping(path, "a manifest", MAX_MANIFEST_BYTES)
    except InputError as error:
        reason = str(error).removeprefix(f"{path}: ").partition(";")[0]
        raise InputError(f"{path}: not a readable manifest ({reason}); export it again") from None
    version = values.get("schema_version")
    if version != SCHEMA:
        raise InputError(f"{path}: schema_version: {version!r}, but this version reads {SCHEMA}; export it again")
    checksum = values.pop("checksum", None)
    if checksum != content_hash(values, 16):
        raise InputError(f"{path}: checksum: the manifest was changed after it was written; export it again")
    try:
        manifest = Manifest.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path}: {describe(error, Manifest)}; export it again") from None
    if manifest.arch.id != manifest.arch_id:
        raise InputError(f"{path}: arch_id: {manifest.arch_id} is not the id of the arch; export it again")
    arch, decoding = manifest.arch, manifest.postprocessing
    if (decoding.head, decoding.heatmap, decoding.depth_bins) != (arch.head, arch.heatmap_size, arch.depth_bins):
        raise InputError(f"{path}: postprocessing: head, heatmap or depth_bins differ from the arch; export it again")
    joints = len(manifest.skeleton.joints)
    if joints != arch.num_joints:
        raise InputError(f"{path}: skeleton: {joints} joints, the arch has {arch.num_joints}; export it again")
    if manifest.preprocessing.size != arch.input_size:
        raise InputError(f"{path}: preprocessing.size: differs from the arch's {arch.input_size} px; export it again")
    if fault := fault_of(manifest.model_dump(mode="json")):
        raise InputError(f"{path}: {fault}; export it again")
    return manifest
