"""The float end of a pose_landmarker.task graph: from the raw output of a head to MediaPipe's five outputs.

Only operators and shapes that the CPU and the GPU delegates of LiteRT have: four axes, batch 1, one value for each
joint and coordinate as (1, joints, 3, 1). Weighted sums are 1x1 convolutions. The WebGL delegate rejects a
concatenation that takes one tensor twice, and maps of 1 x 1.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from arch.decode import DEPTH_RANGE_MM
from arch.heads import HEADS
from arch.heads.axis import centres
from arch.space import Arch
from arch.spec import SIMCC_SPLIT, HeadSpec
from quantize.confidence import Confidence
from quantize.scale import Scale
from quantize.sdk.edgepose_decoder import DEPTH_UNIT_MM, LEAST_CONFIDENCE, REGION_SCALE

FILE = "tail.tflite"
LANDMARKS, AUXILIARY = 33, 6  # the first two auxiliary ones give the next region: its centre and a point of its circle
GROWTH = (0.6, 1.35)  # limits of the next region's side, relative to this one's; the upper one is that of presence 1
GROWTH_AT_HALF = 1.0  # upper limit at presence 0.5, below which MediaPipe searches the person again
SIDE_M = (0.8, 6.0)  # limits of the side of a crop in the plane of the person, m
NEVER = -20.0  # logit of a landmark or pixel that is never visible
TINY = 1e-12
UPWARDS = 1e-3  # fraction of the crop that turns the region upright if hips and shoulders coincide
MASK_SIDE, HEATMAP_SIDE = 8, 2


class Bones(BaseModel):
    """The sum of the squared lengths of bones, m^2, for networks without a fitted scale."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    edges: tuple[tuple[int, int], ...]
    square_m2: float = Field(gt=0)


class Body(BaseModel):
    """How the joints of a network become MediaPipe's landmarks.

    Attributes:
        landmarks: (33, J) weights of the joints; each row sums to 1.
        derived: (33,) whether a landmark follows from the joints; the others have visibility 0.
        hips, shoulders: joints whose means are the centre of the next region, which is the origin of the coordinates in
            metres, and a point above it.
        radius: radius of the circle around the body, in distances from the hips' centre to the farthest joint.
        scale: gives the side of the crop in metres.
        confidence: calibration. The logit of a landmark's visibility is the mean of its joints', by their weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    landmarks: tuple[tuple[float, ...], ...] = Field(min_length=LANDMARKS, max_length=LANDMARKS)
    derived: tuple[bool, ...] = Field(min_length=LANDMARKS, max_length=LANDMARKS)
    hips: tuple[int, ...] = Field(min_length=1)
    shoulders: tuple[int, ...] = Field(min_length=1)
    radius: float = Field(gt=0)
    scale: Scale | Bones
    confidence: Confidence


class Tail(nn.Module):
    """Compute MediaPipe's five outputs from the raw output of a head, (1, C, H, H) or (1, J, bins).

    Returns:
        landmarks (1, 195): 39 times x, y, z in px of the crop, visibility and presence as logits
        presence (1, 1): 0 to 1
        mask (1, 8, 8, 1) and heatmap (1, 2, 2, 39): logits of nothing
        world (1, 117): 39 times x, y, z in m from the hips' centre
    """

    landmarks: Tensor
    shares: Tensor
    average: Tensor
    middle: Tensor
    bones: Tensor
    flat: Tensor
    deep: Tensor
    padding: Tensor
    circle: Tensor
    mask: Tensor
    heatmap: Tensor
    factors: Tensor
    offsets: Tensor
    derived: Tensor
    hidden: Tensor
    upwards: Tensor

    def __init__(self, arch: Arch, body: Body, depth_scale: float) -> None:
        super().__init__()
        self.size, self.joints, self.body = float(arch.input_size), arch.num_joints, body
        self.decode = Decoder(arch.head_spec, depth_scale)
        weights = torch.tensor(body.landmarks)
        middle = torch.zeros(2, self.joints)
        middle[0, list(body.hips)] = 1 / len(body.hips)
        middle[1, list(body.shoulders)] = 1 / len(body.shoulders)
        bones = torch.zeros(len(body.scale.edges), self.joints)
        for row, (parent, child) in enumerate(body.scale.edges):
            bones[row, parent], bones[row, child] = -1, 1
        if isinstance(body.scale, Scale):
            self._weights("flat", torch.tensor([body.scale.flat]))
            self._weights("deep", torch.tensor([body.scale.deep]))
        every = LANDMARKS + AUXILIARY
        circle = torch.zeros(every, 2)
        circle[LANDMARKS:, 0] = 1
        circle[LANDMARKS + 1] = torch.tensor([0.0, 1.0])
        self._weights("landmarks", weights)
        self._weights("shares", weights.abs() / weights.abs().sum(1, keepdim=True))
        self._weights("average", torch.full((1, self.joints), 1 / self.joints))
        self._weights("middle", middle)
        self._weights("bones", bones)
        self._weights("padding", torch.eye(every, LANDMARKS))
        self._weights("circle", circle)
        self._weights("mask", torch.zeros(MASK_SIDE**2, 1))
        self._weights("heatmap", torch.zeros(HEATMAP_SIDE**2 * every, 1))
        lines = torch.tensor(body.confidence.visibility)[None, :, None]  # (1, J, 1, 2)
        derived = torch.tensor(body.derived)[None, :, None, None]
        self.register_buffer("factors", lines[..., :1])
        self.register_buffer("offsets", lines[..., 1:])
        self.register_buffer("derived", derived.float())
        self.register_buffer("hidden", NEVER * (~derived).float())
        self.register_buffer("upwards", torch.tensor([0.0, -UPWARDS])[None, None, :, None])

    def _weights(self, name: str, values: Tensor) -> None:
        """Register the weights (outputs, inputs) of a 1x1 convolution."""
        self.register_buffer(name, values[:, :, None, None])

    def forward(self, raw: Tensor) -> tuple[Tensor, ...]:
        joints, peak = self.decode(raw)
        points = F.conv2d(joints, self.landmarks)  # (1, 33, 3, 1)
        middle = F.conv2d(joints, self.middle)
        confidence = torch.log(peak + LEAST_CONFIDENCE)
        factor, offset = self.body.confidence.presence
        presence = F.conv2d(confidence, self.average) * factor + offset
        presence = torch.clamp(presence, NEVER, -NEVER)
        certain = torch.sigmoid(presence)
        hips = middle[:, 0:1]
        from_hips = points - hips
        side = self._side(joints)
        depth = from_hips[:, :, 2:]
        world = torch.cat([from_hips[:, :, :2] * side, depth], 2)
        px = torch.cat([points[:, :, :2] * self.size, depth * (self.size / side)], 2)
        circle = torch.cat([hips[:, :, :2], self._rim(joints, middle, certain)], 1) * self.size
        circle = torch.cat([circle, middle[:, :, 2:] * 0.0], 2)
        places = F.conv2d(px, self.padding) + F.conv2d(circle, self.circle)

        visibility = F.conv2d(confidence * self.factors + self.offsets, self.shares) * self.derived + self.hidden
        visibility = F.conv2d(visibility, self.padding)
        in_image = torch.clamp(visibility, NEVER, -NEVER)  # another tensor with the same values
        return (
            torch.cat([places, visibility, in_image], 2).reshape(1, -1),
            certain.reshape(1, 1),
            (F.conv2d(presence, self.mask) + NEVER).reshape(1, MASK_SIDE, MASK_SIDE, 1),
            (F.conv2d(presence, self.heatmap) + NEVER).reshape(1, HEATMAP_SIDE, HEATMAP_SIDE, -1),
            F.conv2d(world, self.padding).reshape(1, -1),
        )

    def _rim(self, joints: Tensor, middle: Tensor, presence: Tensor) -> Tensor:
        """Return the point on the circle around the body, in the direction of the shoulders, (1, 1, 2, 1) crop sides.

        MediaPipe stops with an error at a region without area, and a region that grows with every frame never finds the
        person again. So the distance is limited, more so where presence is low, and a direction exists even if hips and
        shoulders coincide.
        """
        hips, shoulders = middle[:, 0:1, :2], middle[:, 1:2, :2]
        upwards = shoulders - hips + self.upwards
        upwards = upwards / torch.sqrt((upwards * upwards).sum(2, keepdim=True) + TINY)
        from_hips = joints[:, :, :2] - hips
        squares = (from_hips * from_hips).sum(2, keepdim=True).permute(0, 2, 1, 3)  # (1, 1, J, 1)
        radius = torch.sqrt(F.max_pool2d(squares, (self.joints, 1))) * self.body.radius
        least, largest = (limit / REGION_SCALE for limit in GROWTH)
        slope = 2 * (largest - GROWTH_AT_HALF / REGION_SCALE)
        return hips + upwards * torch.clamp(torch.minimum(radius, largest - slope * (1 - presence)), min=least)

    def _side(self, joints: Tensor) -> Tensor:
        """Return the side of the crop in the plane of the person, (1, 1, 1, 1) m."""
        scale = self.body.scale
        bones = F.conv2d(joints, self.bones)  # (1, E, 3, 1)
        if isinstance(scale, Bones):
            squares = (bones * bones).sum(1, keepdim=True)
            total, (least, largest) = scale.square_m2, SIDE_M
            plane = torch.clamp(total - squares[:, :, 2:], min=0.25 * total)
            share = squares[:, :, 0:1] + squares[:, :, 1:2] + TINY
            return torch.sqrt(torch.clamp(plane / share, least**2, largest**2))
        offsets = joints[:, :, :2] - F.conv2d(joints, self.average)[:, :, :2]
        size = torch.sqrt(F.conv2d((offsets * offsets).sum(2, keepdim=True), self.average) + TINY)
        lengths = torch.sqrt((bones[:, :, :2] * bones[:, :, :2]).sum(2, keepdim=True) + TINY)
        depths = torch.abs(bones[:, :, 2:]) * (1000 / DEPTH_UNIT_MM)
        bones_of_size = F.conv2d(lengths, self.flat) / size + F.conv2d(depths, self.deep)
        log_mm = bones_of_size + torch.log(size) * scale.size + scale.offset
        return torch.exp(torch.clamp(log_mm - math.log(1000), scale.low - math.log(1000), scale.high - math.log(1000)))


class Decoder(nn.Module):
    """Decode a raw output as `arch.decode` does.

    Returns:
        joints (1, J, 3, 1): x and y as fractions of the crop's side, depth behind the root in m
        peak (1, J, 1, 1): the highest probability of a cell
    """

    cells: Tensor
    places: Tensor
    depths: Tensor

    def __init__(self, spec: HeadSpec, depth_scale: float) -> None:
        super().__init__()
        self.spec, self.metres = spec, DEPTH_RANGE_MM / 1000
        self.depth_factor = self.metres / depth_scale
        side = spec.heatmap_size
        cells = torch.from_numpy(centres(SIMCC_SPLIT * side if spec.name == "simcc" else side, 1))
        bins = (torch.from_numpy(centres(spec.depth_bins, 1)) - 0.5) * self.metres
        plane = torch.stack([cells.repeat(side), cells.repeat_interleave(side)])
        if spec.name == "volumetric":
            plane, bins = plane.repeat(1, spec.depth_bins), bins.repeat_interleave(side * side)
        self.register_buffer("cells", cells[None, :, None, None])
        self.register_buffer("places", plane[:, :, None, None])
        self.register_buffer("depths", bins[None, :, None, None])

    def forward(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        joints, cells, bins = self.spec.num_joints, self.spec.heatmap_size**2, self.spec.depth_bins
        if self.spec.name == "simcc":
            fine = SIMCC_SPLIT * self.spec.heatmap_size
            scores = raw.reshape(1, joints, 1, 2 * fine + bins)
            x, y, z = (F.softmax(part, 3) for part in torch.split(scores, [fine, fine, bins], 3))
            places = [_mean(x, self.cells), _mean(y, self.cells), _mean(z, self.depths)]
            return torch.cat(places, 2), F.max_pool2d(x, (1, fine)) * F.max_pool2d(y, (1, fine))
        if self.spec.name == "heatmap-2.5d":
            plane = F.softmax(raw[:, :joints].reshape(1, joints, 1, cells), 3)
            depth = (plane * raw[:, joints:].reshape(1, joints, 1, cells)).sum(3, keepdim=True) * self.depth_factor
            return torch.cat([_mean(plane, self.places), depth], 2), F.max_pool2d(plane, (1, cells))
        volume = F.softmax(raw.reshape(1, joints, 1, bins * cells), 3)
        plane = volume.reshape(1, joints, bins, cells).sum(2, keepdim=True)
        places = [_mean(volume, self.places), _mean(volume, self.depths)]
        return torch.cat(places, 2), F.max_pool2d(plane, (1, cells))


def _mean(probability: Tensor, places: Tensor) -> Tensor:
    """Return expectations (1, J, K, 1) of probabilities (1, J, 1, N). places: (K, N, 1, 1)."""
    return F.conv2d(probability.permute(0, 3, 1, 2), places).permute(0, 2, 1, 3)


def export(arch: Arch, body: Body, depth_scale: float, folder: Path) -> Path:
    """Write the tail as a .tflite file whose input is the output of a file of `quantize.runtimes.litert`."""
    import litert_torch

    maps = HEADS[arch.head].MAPS
    tail = Tail(arch, body, depth_scale).eval()
    shape = HEADS[arch.head].raw_shape(arch.head_spec)
    if maps:
        shape = (*shape[1:], shape[0])
        tail = litert_torch.to_channel_last_io(tail, args=[0]).eval()
    path = folder / FILE
    litert_torch.convert(tail, (torch.zeros(1, *shape),)).export(str(path))
    return path
