"""Landmarks, region, scale and confidence of a network in MediaPipe's Pose Landmarker."""

from __future__ import annotations

import numpy as np

from arch.decode import DEPTH_RANGE_MM
from explore.data.framing import roi_of
from explore.data.landmarks import to_blazepose33
from explore.data.skeleton import BLAZEPOSE33, Skeleton
from explore.export import training_data
from quantize.checkpoint import JointNames
from quantize.confidence import Confidence
from quantize.manifest import Manifest, Roi
from quantize.runtimes import Array
from quantize.scale import Scale
from quantize.sdk.edgepose_decoder import REGION_SCALE
from quantize.task_tail import Body, Bones

# Sum of the squared lengths of all bones, the mean of rendered people, m^2. Thorax is left out.
BONES_M2, LANDMARK_BONES_M2 = 1.207, 1.784
VISIBILITY, PRESENCE = (2.0, 8.0), (3.0, 11.0)  # of networks without a calibration


def body_of(
    skeleton: Skeleton, roi: Roi | None = None, confidence: Confidence | None = None, scale: Scale | None = None
) -> Body:
    """Return how the joints of a network become landmarks. The last three are of its manifest.

    roi: None: as a network with these joints would have it
    confidence: None: a guess, which separates people from backgrounds for the networks tried so far
    scale: None: from the lengths of the bones

    Raises:
        InputError: the landmarks do not follow from the joints.
    """
    found = to_blazepose33(skeleton.names)
    region = roi or roi_of(skeleton)
    bones = Bones(
        edges=tuple((parent, child) for parent, child in skeleton.edges if skeleton.names[child] != "Thorax"),
        square_m2=LANDMARK_BONES_M2 if skeleton.names == BLAZEPOSE33.names else BONES_M2,
    )
    return Body(
        landmarks=tuple(tuple(row) for row in found.matrix.tolist()),
        derived=tuple(found.derived.tolist()),
        hips=region.hips,
        shoulders=region.shoulders,
        radius=region.reach * region.scale / REGION_SCALE,
        scale=scale or bones,
        confidence=confidence or Confidence(presence=PRESENCE, visibility=(VISIBILITY,) * len(skeleton)),
    )


def body_of_bundle(manifest: Manifest) -> Body:
    """Return how the joints of a bundle's network become landmarks; see `body_of`."""
    rules = manifest.postprocessing
    return body_of(skeleton_of(manifest), manifest.preprocessing.roi, rules.confidence, rules.scale)


def skeleton_of(manifest: Manifest) -> Skeleton:
    """Return the skeleton of a bundle's network."""
    given = manifest.skeleton
    names = JointNames(name=given.name, joints=given.joints, edges=given.edges, flip_pairs=(), root=given.root)
    return training_data.skeleton_of(names)


def landmarks_of(joints: Array, body: Body, size: int) -> tuple[Array, Array]:
    """Return what joints (N, J, 3), fractions of the crop and of the depth range, should become.

    Returns:
        landmarks (N, 33, 2) px of the crop, and their depths (N, 33) mm from the hips' centre.
    """
    points = np.einsum("kj,njc->nkc", np.array(body.landmarks), joints)
    depths = points[..., 2] - joints[:, list(body.hips), 2].mean(1, keepdims=True)
    return points[..., :2] * size, depths * DEPTH_RANGE_MM
