"""Your own data set: a COCO-style JSON file with 3D joints and camera intrinsics. A minimal file:

    {"categories": [{"keypoints": ["Pelvis", "R_Hip", "L_Hip", "Neck"], "skeleton": [[1, 2], [1, 3], [1, 4]]}],
     "images": [
      {"id": 1, "file_name": "a/0001.jpg", "width": 1280, "height": 720, "f": [1100, 1100], "c": [640, 360]}],
     "annotations": [
      {"id": 1, "image_id": 1, "bbox": [410, 80, 300, 600],
       "keypoints_cam": [[0, 0, 4000], [-130, 10, 4000], [130, 10, 4000], [0, -520, 4020]],
       "keypoints_vis": [1, 1, 1, 1],
       "subject": 3, "action": "Walking"}]}

The files are ROOT/annotations/{train,test}.json, the images lie in ROOT/images. Units are px, and mm in camera
coordinates (x right, y down, z forward). Bones (`skeleton`) number the joints from 1, as COCO does. `root` in the
category names the joint that depths are relative to, by default the first.

Left and right follow from the names: R_Hip, r_hip, Hip.R, hip_right, "right hip", RightHip, rHip and similar.
`flip_pairs` in the category, a list of pairs of names or of numbers from 1, replaces this. If a joint may belong to a
side but has no counterpart, images are not flipped, and training and `data check` say so.

keypoints_vis, subject and action are optional. A joint with visibility 0 has no coordinates, whatever the file has in
their place. The root must be visible. Pseudo-labels (`data label`) have further optional keys:

- "visibility" of an annotation: weight of each joint in the loss, from 0 (not annotated) to 1
- "depth_weight" of an annotation: weight of its depths in the loss, from 0 (2D only) to 1
- "mask" of an annotation: grey image below ROOT/masks, white on the person, that covers the whole image at any
  resolution; training can then replace the background
- "negative": true of an image: it shows no people, and no annotation refers to it; f and c are not needed

An annotation with COCO's flat `keypoints` [x, y, visibility, ...] instead of keypoints_cam has no depth, its depth is
left out of the loss, and its image needs no f and c. With both, `keypoints` are the joints in px, and `data check`
compares the two.

A plain export of COCO keypoints works. Bones that are missing are known for the joints of COCO, Human3.6M, MPII,
MuCo-3DHP and MediaPipe. The joints of COCO, whose bones form rings, get Thorax and Pelvis as midpoints, like the reader
mscoco. Every joint needs a bone.

If there are several categories, people belong to the one with keypoints (named person, if several have them), and
annotations of the others are left out, as are crowds and people without a visible joint. In a test split with 3D,
people in 2D only are left out too.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from arch.errors import InputError, shortened
from explore.data.crop import project
from explore.data.readers import common
from explore.data.readers.mpii import FOCAL
from explore.data.sample import Dataset
from explore.data.sample_errors import SampleError, SampleErrors
from explore.data.skeleton import (
    BLAZEPOSE33,
    COCO17,
    COCO19,
    H36M17,
    H36M18,
    MPII16,
    MUCO21,
    Skeleton,
    joint_keys,
    mapping,
    skeleton_from_edges,
)


def load(root: str | Path, split: str, options: None = None, errors: SampleErrors | None = None) -> Dataset:
    """Read one split. Raises InputError by the rule of explore.data.sample_errors."""
    builder = common.DatasetBuilder("custom", split, Path(root), Skeleton("", (), (), ()), errors or SampleErrors())
    path = builder.root / "annotations" / f"{split}.json"
    content = common.read_object(path, builder.digest, _advice(path))
    category = find_category(content, path)
    skeleton = read_skeleton(category, path)
    joints, coco = len(skeleton), coco_order(skeleton)
    builder.skeleton = COCO19 if coco is not None else skeleton
    known = [entry["id"] for entry in content["categories"] if isinstance(entry, dict) and "id" in entry]
    subjects: dict[int, str] = {}

    def person(annotation: Any, image: common.ImageEntry, where: str) -> common.Person | None:
        if image.entry.get("negative"):
            raise InputError(
                f"{where}: its image {image.file} is marked negative; drop the annotation or the key negative"
            )
        if "id" in category and "category_id" in annotation:
            number = common.require_id(annotation, "category_id", where)
            if number not in known:
                raise InputError(f"{where}: category_id {number!r} is not among the categories; correct it")
            if number != category["id"]:
                builder.left_out["of another category"] += 1
                return None
        if "keypoints_cam" in annotation or "f" in image.entry or "c" in image.entry:
            f, c = (_camera_values(image, key) for key in ("f", "c"))
        else:
            f, c = np.full(2, FOCAL), np.array(image.size) / 2
        vis, px, cam = np.ones(joints), None, None
        if "keypoints" in annotation:
            px, vis = common.flat_keypoints(annotation, joints, where)
        if "keypoints_vis" in annotation:
            vis = vis * (common.require_array(annotation, "keypoints_vis", (joints,), where) > 0)
        if "visibility" in annotation:
            vis = vis * _weights(annotation, "visibility", joints, where)
        depth_weight = float(_weights(annotation, "depth_weight", 1, where)[0]) if "depth_weight" in annotation else 1.0
        if px is None or ("keypoints_cam" in annotation and depth_weight > 0):
            cam = common.require_array(annotation, "keypoints_cam", (joints, 3), where)
            if px is None:
                px = project(np.where(cam[:, 2:] > 0, cam, [0.0, 0.0, 1.0]), f, c)
        if coco is not None:
            px, vis, cam = common.with_coco_midpoints(px[coco], vis[coco], None if cam is None else cam[coco])
        subject, text = _subject(annotation.get("subject"), where)
        if subjects.setdefault(subject, text) != text:
            raise InputError(
                f"{where}: subjects {subjects[subject]} and {text} have the same number; number them apart"
            )
        return common.Person(
            where, image, common.require(annotation, "bbox", where), px, cam, vis, f, c,
            subject, str(annotation.get("action") or ""),
            depth_weight=depth_weight, mask=_mask(annotation, builder.root, where),
        )  # fmt: skip

    folder = builder.root / "images"
    builder.collect_coco(path, folder, person, content)
    negative = [entry for entry in content["images"] if entry.get("negative")]
    if split == "train":
        builder.collect_negatives(common.image_table({"images": negative}, path, folder, builder.root).values())
    elif negative:
        builder.left_out["without people"] += len(negative)
    return builder.build(f"{path}: no person in it can be used; write annotations")


def _advice(path: Path) -> str:
    """Return what to do if the annotations of a split are missing."""
    others = sorted(file.name for file in path.parent.glob("*.json")) if path.parent.is_dir() else []
    if "train.json" in others:
        return "write it, or name another set with --dataset.test-on READER:PATH"
    if others:
        return f"{path.parent} has {', '.join(others[:3])}: rename the file of this split"
    return f"give the folder that holds {path.parent.name}/{path.name} and images/"


def _weights(annotation: Any, key: str, count: int, where: str) -> np.ndarray:
    """Return the weights (count,) of an annotation."""
    found = common.require_array(annotation, key, (count,), where)
    if not ((found >= 0) & (found <= 1)).all():  # NaN too
        raise InputError(f"{where}: {key} is not between 0 and 1; correct it")
    return found


def _mask(annotation: Any, root: Path, where: str) -> str:
    """Return the file of the person's mask, relative to the root, or an empty string without one."""
    name = annotation.get("mask")
    if not name:
        return ""
    path = root / "masks" / str(name)
    if ".." in path.parts or not path.is_relative_to(root / "masks"):
        raise InputError(f"{where}: mask is not a path below {root / 'masks'}: {shortened(repr(name))}; correct it")
    if not os.path.isfile(path):
        raise SampleError("missing", f"{path}: mask missing, {where} names it; restore it or drop the key")
    return path.relative_to(root).as_posix()


def _camera_values(image: common.ImageEntry, key: str) -> np.ndarray:
    """Return the image's f or c, (2,) px."""
    found = common.require_array(image.entry, key, (2,), image.where)
    if not np.isfinite(found).all() or (key == "f" and (found <= 0).any()):
        raise InputError(f"{image.where}: {key} is not two {'positive ' if key == 'f' else ''}numbers; give px")
    return found


def _subject(value: Any, where: str) -> tuple[int, str]:
    """Return the number of a subject given as a number or as text such as S1 (0 without one), and its text."""
    if value is None or value == "":
        return 0, "0"
    number = common.whole_number(value)
    if (
        number is None
        and isinstance(value, str)
        and (match := re.fullmatch(r"([^\W\d]*)[ _.-]*([0-9]{1,9})", value.strip()))
    ):
        number = int(match[2])
        return number, match[1].lower() + str(number) if match[1] else str(number)
    if number is None or abs(number) > 2**31:
        raise InputError(f"{where}: subject {value!r} has no number; give a whole number or text such as S1")
    return number, str(number)


def find_category(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the category with keypoints; of several, the one that is named person or human."""
    categories = common.require_list(content, "categories", path)
    if not categories:
        raise InputError(f"{path}: categories: empty; describe the joints in one")
    found = [entry for entry in categories if isinstance(entry, dict) and entry.get("keypoints")]
    if not found and (people := [entry for entry in categories if _is_person(entry)]) and _has_coco_keypoints(content):
        return people[0] | {"keypoints": list(COCO17.names)}
    if not found:
        raise InputError(f"{path}: categories: none has the key 'keypoints'; list the joint names in one")
    named = [entry for entry in found if _is_person(entry)] or found
    if len(named) > 1:
        names = ", ".join(repr(entry.get("name", entry.get("id"))) for entry in named)
        raise InputError(f"{path}: categories: {names} have keypoints; name the one of the people person")
    return dict(named[0])


def _is_person(category: Any) -> bool:
    return isinstance(category, dict) and str(category.get("name", "")).lower() in ("person", "human")


def _has_coco_keypoints(content: dict[str, Any]) -> bool:
    """Return whether the first annotation with keypoints has as many as COCO."""
    entries = content.get("annotations") or []
    keypoints = (entry["keypoints"] for entry in entries if isinstance(entry, dict) and entry.get("keypoints"))
    return isinstance(first := next(keypoints, None), list) and len(first) == 3 * len(COCO17)


def coco_order(skeleton: Skeleton) -> np.ndarray | None:
    """Return the index of each of COCO's 17 joints if these are the joints, and their bones were rings or missing."""
    return mapping(skeleton, COCO17) if skeleton.name == COCO17.name else None


def _known_bones(names: list[str]) -> list[tuple[int, int]] | None:
    """Return the bones (index pairs) of a known skeleton with these joints in any order, or None."""
    keys = joint_keys(names)
    for known in (H36M17, H36M18, MPII16, MUCO21, BLAZEPOSE33):
        if sorted(joint_keys(known.names)) == sorted(keys):
            place = [keys.index(key) for key in joint_keys(known.names)]
            return [(place[a], place[b]) for a, b in known.edges]
    return None


def read_skeleton(category: dict[str, Any], path: Path) -> Skeleton:
    """Return the skeleton that a category describes."""
    names = common.require_list(category, "keypoints", f"{path}: category")
    if len(names) < 2 or not all(isinstance(name, str) and name for name in names):
        raise InputError(f"{path}: category: keypoints: not joint names; list at least two")
    try:
        edges = [(int(a) - 1, int(b) - 1) for a, b in category.get("skeleton") or []]
        is_coco = sorted(joint_keys(names)) == sorted(joint_keys(COCO17.names))
        if is_coco and len(edges) != len(names) - 1:  # a tree has one bone less than joints; COCO's own bones are rings
            return replace(COCO17, names=tuple(names), parents=(), flip_pairs=())
        edges = edges or _known_bones(names) or []
        skeleton = skeleton_from_edges("custom", names, edges, category.get("root", names[0]))
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{path}: category: {error}; correct keypoints, skeleton or root") from None
    alone = sorted(set(range(len(names))) - {joint for edge in edges for joint in edge})
    if alone:
        raise InputError(
            f"{path}: category: skeleton: joint {names[alone[0]]} has no bone; add the pair of its number "
            f"({alone[0] + 1}) and its parent's"
        )
    for known in (H36M18, BLAZEPOSE33):  # H36M18 does not score Thorax
        if (skeleton.names, skeleton.parents, skeleton.root) == (known.names, known.parents, known.root):
            skeleton = known
    if "flip_pairs" not in category:
        return skeleton
    places = {joint: index for index, name in enumerate(names) for joint in (name, index + 1)}
    try:
        pairs = tuple((places[right], places[left]) for right, left in category["flip_pairs"])
    except (ValueError, TypeError, KeyError):
        raise InputError(f"{path}: category: flip_pairs: not pairs of joints; give [right, left] names") from None
    if len({joint for pair in pairs for joint in pair}) != 2 * len(pairs):
        raise InputError(f"{path}: category: flip_pairs: a joint repeats; give each joint one counterpart")
    return replace(skeleton, flip_pairs=pairs, unpaired=())
