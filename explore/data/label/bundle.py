"""A bundle of this project as a teacher, for example a large network that labels images for a small one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from arch.decode import BOX_PADDING, CROP_SIDE_MM, decode_with_confidence, to_normalised
from explore.data.crop import crop, crop_roi, to_image
from explore.data.framing import Region, region_of_joints
from explore.data.label.teacher import TeacherPose
from explore.data.skeleton import BLAZEPOSE33, skeleton_from_edges
from quantize import bundle as bundles
from quantize.bundle import Bundle
from quantize.sdk.edgepose_decoder import REGION_SCALE

BOX_RADII = 1.88  # side of a person's box in radii of the circle around the person, as of the person detector


class BundleTeacher:
    """A bundle as a teacher. The size of people in mm is assumed, as in `predict`.

    Crops are upright with framing box. With framing roi, a second pass takes the region of interest by the joints of
    the first. A bundle estimates neither presence nor visibility: joints in the crop count as visible, and people as
    present.
    """

    def __init__(self, name: str, bundle: Bundle) -> None:
        self.name, self.fingerprint = name, bundle.manifest.files[0].sha256
        described = bundle.manifest.skeleton
        root = described.joints[described.root]
        self.skeleton = skeleton_from_edges(described.name, described.joints, described.edges, root)
        if described.joints == BLAZEPOSE33.names:
            self.skeleton = BLAZEPOSE33
        self._bundle, self._session = bundle, bundle.session()

    def label(self, image: np.ndarray, roi: Region) -> TeacherPose:
        """Return the pose of the person in the region, or in the upright square around its centre with framing box."""
        rules = self._bundle.manifest.preprocessing
        if rules.roi is None:
            side = roi.size / REGION_SCALE * BOX_RADII
            bbox = np.array([*(roi.centre - side / 2), side, side])
            cropped, matrix = crop(image, bbox, rules.size, scale=rules.box_padding / BOX_PADDING)
            return self._pose(cropped, matrix, CROP_SIDE_MM / (side * rules.box_padding), [self.skeleton.root])
        hips = list(rules.roi.hips)
        first = self._pose(*crop_roi(image, roi, rules.size), CROP_SIDE_MM / roi.size, hips)
        roi = region_of_joints(first.image[:, :2], np.ones(len(self.skeleton), bool), rules.roi) or roi
        return self._pose(*crop_roi(image, roi, rules.size), CROP_SIDE_MM / roi.size, hips)

    def _pose(self, cropped: np.ndarray, matrix: np.ndarray, mm_per_px: float, origin: list[int]) -> TeacherPose:
        """Return the pose in a crop. origin: joints in whose mean `world` has its origin."""
        manifest = self._bundle.manifest
        raw = self._session.run(self._bundle.normalise(cropped[None]))
        cells, _ = decode_with_confidence(raw, self._bundle.arch, manifest.postprocessing.depth_scale)
        coords = to_normalised(cells, self._bundle.arch)[0].astype(np.float64)
        px = to_image(coords[None], matrix[None], manifest.preprocessing.size)[0]
        depth_mm = (coords[:, 2] - 0.5) * manifest.postprocessing.depth_range_mm
        world = np.concatenate([px * mm_per_px, depth_mm[:, None]], 1)
        world -= world[origin].mean(0)
        inside = ((coords[:, :2] > 0) & (coords[:, :2] < 1)).all(1)
        return TeacherPose(np.concatenate([px, world[:, 2:] / mm_per_px], 1), world, inside.astype(float), 1.0)


def load(name: str, place: str) -> BundleTeacher:
    """Return the bundle at `place` as a teacher.

    Raises:
        InputError: no bundle, or a model that does not run.
    """
    return BundleTeacher(f"{name}:{place}", bundles.load(Path(place).expanduser()).verify())
