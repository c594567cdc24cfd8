"""Framing roi: regions by joints, their crops in training and evaluation, and the settings that carry the framing."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from arch.errors import InputError
from arch.space import preset
from explore.data import open_dataset
from explore.data.augment import AUGMENTS, ROI_JITTER, AugmentParams, sample_params, training_crop, with_jitter
from explore.data.batches import batch_at, evaluation_arrays, sample_crop
from explore.data.config import DataConfig
from explore.data.crop import crop_roi, region_matrix, training_target
from explore.data.framing import Region, region_of_box, region_of_joints, roi_of
from explore.data.sample import Dataset
from explore.data.skeleton import BLAZEPOSE33, COCO17, H36M17, H36M18, MPII16, MUCO21, Skeleton, skeleton_from_edges
from explore.data.synthetic.config import SyntheticConfig
from explore.data.synthetic.frame import compose_frame
from explore.export.config import ExportConfig
from explore.export.training_data import training_data
from explore.options import add_options, take
from explore.search.config import SearchConfig
from explore.train.distill import Teacher, _check_skeleton
from quantize.checkpoint import TRAINED_ON, TrainedOn
from quantize.sdk import edgepose_decoder
from tests.helpers import layouts

SIZE = 64
JOINTS = {"name": "a", "joints": ["a"], "edges": [], "flip_pairs": [], "root": 0}
RECORD = {"data": "synthetic:easy", "dataset": {}, "name": "a", "hash": "", "skeleton": JOINTS, "input_size": 64}
PERSON = np.array([  # x, y of H36M18, upright, hips' centre in the origin, in units of the leg
    [0, 0], [-0.2, 0], [-0.2, 0.5], [-0.2, 1], [0.2, 0], [0.2, 0.5], [0.2, 1], [0, -0.3], [0, -0.55], [0, -0.6], [0, -0.8],
    [0.25, -0.5], [0.4, -0.2], [0.4, 0.1], [-0.25, -0.5], [-0.4, -0.2], [-0.4, 0.1], [0, -0.5],
])  # fmt: skip


def turned(degrees: float) -> np.ndarray:
    """Return the person, turned clockwise, with legs of 100 px and the hips' centre at (200, 160) px."""
    turn = np.radians(degrees)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return 100 * PERSON @ rotation.T + (200, 160)


def dataset(tmp_path: Path, px: np.ndarray, image: np.ndarray | None = None, **changes: Any) -> Dataset:
    """Return a data set of one person with joints (18, 2) px, in framing roi."""
    image = np.full((320, 400, 3), 90, np.uint8) if image is None else image
    cv2.imwrite(str(tmp_path / "a.png"), image[..., ::-1])
    f, c, depth = np.array([[500.0, 520.0]]), np.array([[190.0, 170.0]]), np.linspace(3000, 3400, 18)
    cam = np.concatenate([(px - c) / f * depth[:, None], depth[:, None]], 1)[None]
    low, high = px.min(0), px.max(0)
    data = Dataset(
        name="one", split="train", root=tmp_path, skeleton=H36M18, hash="0", files=("a.png",),
        size=np.array([[image.shape[1], image.shape[0]]]), bbox=np.concatenate([low, high - low])[None],
        joints_img=np.concatenate([px, (depth - depth[0])[:, None]], 1)[None], joints_cam=cam,
        vis=np.ones((1, 18), np.float32), depth_weight=np.ones(1), root_depth=depth[:1], f=f, c=c,
        subject=np.zeros(1, int), action=("",), camera=np.zeros(1, int), frame=np.zeros(1, int),
    )  # fmt: skip
    return replace(data, **changes).framed("roi")


# ---- regions ----


@pytest.mark.parametrize("degrees", [0, 30, -100, 180])
def test_region_is_centred_on_the_hips_and_upright(degrees: float) -> None:
    px, roi = turned(degrees), roi_of(H36M18)
    region = region_of_joints(px, np.ones(18, bool), roi)
    assert region is not None
    farthest = 100 * np.hypot(0.2, 1)
    np.testing.assert_allclose(region.centre, (200, 160), atol=1e-9)
    assert region.size == pytest.approx(2.5 * roi.reach * farthest)
    assert np.degrees(region.rotation) == pytest.approx(degrees) or abs(degrees) == 180
    inside = px @ region_matrix(region, SIZE)[:, :2].T + region_matrix(region, SIZE)[:, 2]
    np.testing.assert_allclose(inside[0], SIZE / 2)
    assert inside[8, 0] == pytest.approx(SIZE / 2) and inside[8, 1] < SIZE / 2 < inside[3, 1]


def test_decoders_take_the_same_region() -> None:
    region = region_of_joints(turned(25), np.ones(18, bool), roi_of(H36M18))
    other = edgepose_decoder.region_of_joints(turned(25), roi_of(H36M18).model_dump())
    assert region is not None
    assert (other.x, other.y, other.side, other.rotation) == pytest.approx(
        (*region.centre, region.size, region.rotation)
    )


@pytest.mark.parametrize("skeleton", [H36M17, H36M18, MPII16, COCO17, MUCO21, BLAZEPOSE33], ids=lambda s: s.name)
def test_joints_that_describe_the_region(skeleton: Skeleton) -> None:
    roi = roi_of(skeleton)
    assert {skeleton.names[joint].lower() for joint in roi.hips} == {"r_hip", "l_hip"}
    assert {skeleton.names[joint].lower() for joint in roi.shoulders} == {"r_shoulder", "l_shoulder"}
    assert (roi.reach < 1.1) == (skeleton in (MUCO21, BLAZEPOSE33))  # their toes are nearer to the circle


def test_skeletons_with_other_joints() -> None:
    trunk = skeleton_from_edges("trunk", ["Pelvis", "Neck", "Head"], [(0, 1), (1, 2)], "Pelvis")
    assert (roi_of(trunk).hips, roi_of(trunk).shoulders) == ((0,), (1,))
    head = skeleton_from_edges("head", ["Neck", "Head"], [(0, 1)], "Neck")
    with pytest.raises(
        InputError, match=r"^framing roi: the skeleton head \(Neck, Head\) has no hips; use framing box"
    ):
        roi_of(head)


def test_samples_without_hips_or_shoulders_have_the_square_around_their_box(tmp_path: Path) -> None:
    px, vis = turned(20), np.ones((1, 18), np.float32)
    vis[0, H36M18.index("L_Shoulder")] = 0
    data = dataset(tmp_path, px, vis=vis)
    expected = region_of_box(data.bbox[0])
    found = data.region(0)
    assert (found.size, found.rotation) == (expected.size, 0) and (found.centre == expected.centre).all()


# ---- crops ----


def test_crop_is_that_of_the_decoders() -> None:
    rng = np.random.default_rng(0)
    photo = cv2.resize(rng.integers(0, 255, (24, 32, 3), np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC)
    for region in (Region(np.array([300.3, 200.7]), 420.0, 0.4), Region(np.array([610.0, 30.0]), 300.0, -2.0)):
        found, _ = crop_roi(photo, region, SIZE)
        place = edgepose_decoder.Region(*region.centre, region.size, region.rotation)
        expected = edgepose_decoder.sample_region(photo, place, SIZE, "replicate")
        assert np.abs(found.astype(int) - expected).max() <= 1


def test_evaluation_maps_back_through_the_rotated_crop(tmp_path: Path) -> None:
    data = dataset(tmp_path, turned(70))
    evaluation = evaluation_arrays(data, SIZE)
    np.testing.assert_allclose(evaluation.to_camera(evaluation.target), data.joints_cam, atol=0.05)
    upright = evaluation.target[0, :, :2] - 0.5
    assert abs(upright[H36M18.index("Thorax"), 0]) < 1e-6 and upright[H36M18.index("Thorax"), 1] < 0


def test_joints_lie_on_the_person_in_augmented_crops(tmp_path: Path) -> None:
    px = turned(-50)
    image = np.zeros((320, 400, 3), np.uint8)
    for joint in ("Head", "L_Wrist", "R_Ankle"):
        cv2.circle(image, tuple(round(value) for value in px[H36M18.index(joint)]), 9, (255, 255, 255), -1)
    data = dataset(tmp_path, px, image)
    augment = with_jitter(replace(AUGMENTS["light"], colour=0.0, flip_p=0.5))
    rng, order = np.random.default_rng(0), H36M18.flip_order
    for _ in range(20):
        found, target, vis = training_crop(
            image, data.bbox[0], data.joints_img[0], data.vis[0], SIZE, augment, rng, order, region=data.region(0)
        )
        for joint in ("Head", "L_Wrist", "R_Wrist", "R_Ankle", "L_Ankle"):
            x, y, _ = (target[H36M18.index(joint)] * SIZE).astype(int)
            if vis[H36M18.index(joint)]:
                white = found[y, x].mean() > 150
                mirrored = found[int(target[H36M18.index("R_Wrist"), 1] * SIZE), int(target[16, 0] * SIZE)].mean() > 150
                assert white == (joint == "Head" or (joint in ("R_Wrist", "L_Ankle")) == mirrored)


@pytest.mark.parametrize("side", ["bottom", "top", "left", "right"])
def test_truncation_ends_the_image_but_not_the_region(side: str) -> None:
    image = np.zeros((320, 400, 3), np.uint8)
    image[..., 0] = np.arange(400) // 2
    image[..., 1] = np.arange(320)[:, None] // 2
    px, rng = turned(0), np.random.default_rng(0)
    low, high = px.min(0), px.max(0)
    box, region = np.concatenate([low, high - low]), region_of_joints(px, np.ones(18, bool), roi_of(H36M18))
    assert region is not None
    plain = {"scale": 1.0, "shift": (0.0, 0.0), "rotation": 0.0, "flip": False, "occlude": False}
    joints = np.concatenate([px, np.zeros((18, 1))], 1)
    crops = [
        training_crop(
            image, box, joints, np.ones(18), SIZE, AUGMENTS["none"], rng, np.arange(18),
            AugmentParams(**plain, cut=cut), region=region,  # type: ignore[arg-type]
        )
        for cut in (None, (side, 0.4))
    ]  # fmt: skip
    (whole, target, _), (cut, same, _) = crops
    np.testing.assert_allclose(same, target)
    channel, limit = (0, low[0] + 0.4 * (high - low)[0]) if side == "left" else (0, 0)
    if side == "right":
        limit = low[0] + 0.6 * (high - low)[0]
    if side in ("top", "bottom"):
        channel, limit = 1, low[1] + (0.4 if side == "top" else 0.6) * (high - low)[1]
    values, bound = cut[..., channel], limit / 2
    assert (values >= bound - 2).all() if side in ("left", "top") else (values <= bound + 2).all()
    inside = whole[..., channel] > bound + 3 if side in ("left", "top") else whole[..., channel] < bound - 3
    assert np.abs(cut[inside].astype(int) - whole[inside]).max() <= 1


def test_least_jitter() -> None:
    jitter = with_jitter(AUGMENTS["paper"])
    assert jitter.shift == ROI_JITTER.shift and jitter.rotation == 30 and jitter.scale == (0.75, 1.25)
    assert with_jitter(AUGMENTS["light"]).rotation == ROI_JITTER.rotation


def test_some_training_crops_are_upright_as_those_of_the_first_pass(tmp_path: Path) -> None:
    """Without a detector, the first region is the upright square around the box, however the person lies in it."""
    data = replace(dataset(tmp_path, turned(90)), vis=np.ones((1, 18), np.float32))
    augment = replace(AUGMENTS["none"], colour=1e-9)  # not `none`, which has no jitter
    batch = batch_at(data, 0, 300, 32, augment, 0)
    body = batch.target[:, H36M18.index("Thorax"), :2] - batch.target[:, 0, :2]
    angle = np.degrees(np.arctan2(body[:, 0], -body[:, 1]))
    assert (abs(angle) < 21).mean() == pytest.approx(1 - ROI_JITTER.box_p, abs=0.08)
    assert ((abs(angle) < 21) | (abs(angle - 90) < 21)).all()


def test_some_crops_of_the_preset_real_have_any_rotation() -> None:
    rng, real = np.random.default_rng(0), AUGMENTS["real"]
    angles = np.array([sample_params(real, rng).rotation for _ in range(2000)])
    turned_far = abs(angles) > 2 * real.rotation
    assert turned_far.mean() == pytest.approx(real.turn_p * (1 - 4 * real.rotation / 360), abs=0.02)
    assert angles.min() < -150 and angles.max() > 150


def test_negatives_and_masks_in_a_mix(tmp_path: Path) -> None:
    """Images without people are cropped by their own rule, and batches depend on the arguments only."""
    path = layouts.custom(tmp_path, 4)
    root = path.parents[1]
    content = json.loads(path.read_text())
    content["images"].append({**content["images"][0], "id": 999, "negative": True})
    path.write_text(json.dumps(content))
    data = open_dataset(f"custom:{root}", "train", framing="roi")
    assert data.negative.any() and data.region(int(data.negative.argmax())).rotation == 0
    first, second = (batch_at(data, 0, 8, SIZE, AUGMENTS["real"], 0) for _ in range(2))
    assert (first.images == second.images).all() and not first.errors
    picture, matrix = sample_crop(data, 0, SIZE)
    assert picture.shape == (SIZE, SIZE, 3)
    target, _ = training_target(data.joints_img[0], data.vis[0], matrix, SIZE)
    hips = [data.skeleton.index("R_Hip"), data.skeleton.index("L_Hip")]
    np.testing.assert_allclose(target[hips, :2].mean(0), 0.5, atol=1e-6)


def test_rendered_frames_hold_whole_regions() -> None:
    outside = {"box": 0.0, "roi": 0.0}
    for framing in outside:
        config = SyntheticConfig(level="full", size=128, framing=framing)  # type: ignore[arg-type]
        for index in range(25):
            frame = compose_frame(config, "train", index)
            world = np.array(frame.record["world"]) / 1000
            view = frame.figure.view
            places = np.array(frame.record["landmarks"]) / 1000
            px = places[:, :2] / places[:, 2:] * view.f + view.c
            region = region_of_joints(px, np.ones(33, bool), roi_of(BLAZEPOSE33))
            assert region is not None and len(world) == 17
            low, high = region.centre - region.extent / 2, region.centre + region.extent / 2
            outside[framing] += float(np.maximum(np.maximum(-low, high - 128), 0).max() / region.size) / 25
    assert outside["roi"] < 0.03 < 0.08 < outside["box"]


# ---- settings ----


def test_option_key_and_hash(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, DataConfig)
    for option in ("--framing", "--dataset.framing"):
        assert take(parser.parse_args([option, "roi"]), DataConfig, {}).dataset.framing == "roi"
    with pytest.raises(InputError, match=r"dataset\.framing"):
        take(parser.parse_args(["--framing", "circle"]), DataConfig, {})
    data = dataset(tmp_path, turned(0))
    assert data.hash != "0" and data.framed("roi") is data and data.take([0]).framing == "roi"
    assert SyntheticConfig().name != SyntheticConfig(framing="roi").name


def test_studies_of_framing_box_keep_their_identity() -> None:
    assert "framing" not in SearchConfig().identity()["dataset"]
    framed = SearchConfig.model_validate({"dataset": {"framing": "roi"}})
    assert framed.identity()["dataset"]["framing"] == "roi" and framed.hash != SearchConfig().hash


def test_records_without_the_key_mean_box() -> None:
    assert TrainedOn.model_validate(RECORD).framing == "box"
    assert TrainedOn.model_validate(RECORD | {"dataset": {"framing": "roi"}}).framing == "roi"


def test_teachers_and_exports_of_another_framing_are_refused(tmp_path: Path) -> None:
    arch = preset("paper-XS-relu@64")
    teacher = Teacher("t.safetensors", "0", arch, (), "", "box", lambda images: torch.empty(0))
    with pytest.raises(
        InputError, match="trained with framing box, but the data has roi; give a teacher with the same"
    ):
        _check_skeleton(teacher, dataset(tmp_path, turned(0)))
    facts = {TRAINED_ON: RECORD | {"dataset": {"framing": "roi"}}}
    assert training_data(tmp_path, arch, facts, ExportConfig()).config.dataset.framing == "roi"
    other = ExportConfig(data=f"custom:{tmp_path}")  # another reader: of the record, only the framing holds
    assert training_data(tmp_path, arch, facts, other).config.dataset.framing == "roi"
    with pytest.raises(InputError, match="--framing box: the network was trained with framing roi; omit it"):
        training_data(tmp_path, arch, facts, ExportConfig.model_validate({"dataset": {"framing": "box"}}))
