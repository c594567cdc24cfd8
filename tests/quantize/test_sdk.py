"""Decoders for apps: the languages that can be compiled here agree with Python and with the golden vectors of a bundle."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from arch.errors import InputError
from explore.export import golden
from quantize import bundle, sdk
from quantize.sdk import edgepose_decoder as decoder
from tests.helpers.layouts import OLD_BUNDLE

SOURCES = Path(sdk.__file__).parent
DRIVERS = Path(__file__).with_name("sdk")
ROI = {"hips": [1, 2], "shoulders": [3], "reach": 1.09, "scale": 2.5}
TOLERANCE = 1e-4  # as a fraction of the crop, of the depth range, or of a person of 2 m
CALIBRATED: dict[str, Any] = {
    "confidence": {"presence": (2.5, 6.0)},
    "scale": {
        "edges": [(0, 1), (1, 2), (0, 3)],
        "flat": [-0.3, 0.1, 0.05],
        "deep": [0.05, -0.2, 0.01],
        **{"size": -0.4, "offset": 7.5, "low": 6.5, "high": 8.5},
    },
}  # also in the drivers
NORMALISE = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@dataclass(frozen=True)
class Case:
    """A photo, a region of it, and a raw output; with everything that a decoder needs."""

    photo: np.ndarray
    region: decoder.Region
    size: int
    border: str
    rules: dict[str, Any]
    layout: str
    raw: np.ndarray
    box: tuple[float, float, float, float] = (4.5, -3.0, 40.0, 30.25)
    root_depth: float = 2800.0
    focal: float = 410.0

    @property
    def joints(self) -> int:
        return int(self.rules["joints"])

    @property
    def centre(self) -> tuple[float, float]:
        return self.photo.shape[1] / 2, self.photo.shape[0] / 2

    def text(self) -> str:
        """Return the content of a case file, in the order in which drivers read it."""
        rules, region = self.rules, self.region
        values: list[Any] = [*self.photo.shape[1::-1], self.size, int(self.border == "replicate")]
        values += [
            region.x, region.y, region.side, region.rotation, *self.box, 1.25, decoder.HEADS.index(rules["head"]),
        ]  # fmt: skip
        values += [int(self.layout == "NCHW"), self.joints, rules["heatmap"], rules["depth_bins"], rules["depth_scale"]]
        values += [rules["depth_range_mm"], self.root_depth, self.focal, *self.centre]
        values += [*NORMALISE["mean"], *NORMALISE["std"]]
        values += [2, *ROI["hips"], 1, *ROI["shoulders"], ROI["reach"], ROI["scale"]]  # type: ignore[misc]
        values += [*self.photo.ravel().tolist(), self.raw.size, *np.float64(self.raw).ravel().tolist()]
        return " ".join(map(repr, values)) + "\n"


@dataclass(frozen=True)
class Results:
    """Results of a decoder for one case."""

    box_region: np.ndarray
    crop: np.ndarray
    input: np.ndarray
    joints: np.ndarray  # (J, 4), with confidence
    calibrated: np.ndarray  # presence, visibility of each joint, mm per side
    photo: np.ndarray
    next_region: np.ndarray
    circle_region: np.ndarray
    root_depth: np.ndarray
    camera: np.ndarray
    smoothed: np.ndarray

    @staticmethod
    def parse(values: Iterator[float], case: Case) -> Results:
        def take(*shape: int) -> np.ndarray:
            return np.array([next(values) for _ in range(int(np.prod(shape)))]).reshape(shape)

        pixels, joints = 3 * case.size**2, case.joints
        return Results(
            take(4), take(pixels), take(pixels), take(joints, 4), take(joints + 2), take(joints, 3),
            take(4), take(4), take(1), take(joints, 3), take(joints, 3),
        )  # fmt: skip


def by_python(case: Case) -> Results:
    """Return the results of the Python decoder."""

    def numbers(region: decoder.Region) -> np.ndarray:
        return np.array([region.x, region.y, region.side, region.rotation])

    height, width = case.photo.shape[:2]
    crop = decoder.sample_region(case.photo, case.region, case.size, case.border)
    x = decoder.normalise(crop, NORMALISE)
    joints, confidence = decoder.decode(case.raw, case.rules, case.layout)
    lines = [(1.5 + 0.25 * joint, 4 - 0.5 * joint) for joint in range(case.joints)]
    calibrated = case.rules | CALIBRATED | {"confidence": CALIBRATED["confidence"] | {"visibility": lines}}
    photo = decoder.to_photo(joints, case.region, case.rules["depth_range_mm"])
    camera = decoder.to_camera(photo, case.root_depth, case.focal, case.centre)
    filtered, smoothed = decoder.OneEuro(), camera
    for frame in range(20):
        wiggle = 30 * np.sin(0.7 * frame + np.arange(case.joints)[:, None] + np.arange(3))
        smoothed = filtered.filter(camera + wiggle, (6 if frame == 7 else frame) / 30, 2000)
    return Results(
        numbers(decoder.region_of_box(case.box, width, height, 1.25)),
        crop.ravel(),
        (x if case.layout == "NCHW" else x.transpose(0, 2, 3, 1)).ravel(),
        np.concatenate([joints, confidence[:, None]], 1),
        np.concatenate(
            [
                [decoder.presence(confidence, CALIBRATED)],
                decoder.visibility(confidence, calibrated),
                [decoder.mm_per_side(joints, calibrated)],
            ]
        ),
        photo,
        numbers(decoder.region_of_joints(photo, ROI)),
        numbers(decoder.region_of_circle(photo[0], photo[1])),  # type: ignore[arg-type]
        np.array([decoder.root_depth(case.region, case.focal)]),
        camera,
        smoothed,
    )


def drawn_cases() -> dict[str, Case]:
    """Return cases of every head, layout, border and framing; regions reach over the edges of the photo."""
    rng = np.random.default_rng(0)
    small, large = (rng.integers(0, 256, (height, width, 3), np.uint8) for height, width in ((50, 70), (270, 300)))
    regions = {
        "upright": decoder.Region(30.2, 20.7, 51.0),
        "rotated": decoder.Region(61.3, 44.1, 47.5, 0.7),
        "outside": decoder.Region(-40.0, 130.0, 60.0, -2.5),
        "enlarged": decoder.Region(30.2, 20.7, 9.0, 3.0),
    }
    cells, bins, joints = 6, 5, 4
    base = {"heatmap": cells, "depth_bins": bins, "depth_range_mm": 2000.0, "depth_scale": 1.0, "joints": joints}
    shapes = {"volumetric": joints * bins, "heatmap-2.5d": 2 * joints}
    cases = {}
    for head in decoder.HEADS:
        shape = (1, shapes[head], cells, cells) if head in shapes else (1, joints, 4 * cells + bins)
        raw = rng.normal(0, 3, shape).astype(np.float32)
        rules = base | {"head": head} | ({"depth_scale": 16.0} if head == "heatmap-2.5d" else {})
        for layout in ("NCHW", "NHWC") if raw.ndim == 4 else ("NCHW",):
            given = raw.transpose(0, 2, 3, 1) if layout == "NHWC" else raw
            cases[f"{head} {layout}"] = Case(small, regions["rotated"], 12, "black", rules, layout, given)
    for name, region in regions.items():
        for border in ("black", "replicate"):
            cases[f"{name} {border}"] = replace(cases["simcc NCHW"], region=region, border=border)
    wide = decoder.Region(150.0, 120.0, 210.0, 0.2)  # fewer samples, because the photo is large
    cases["large"] = replace(cases["simcc NCHW"], photo=large, region=wide, size=32)
    return cases


CASES = drawn_cases()


@pytest.fixture(scope="module")
def golden_vectors(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Case], list[dict[str, Any]]]:
    """The golden vectors of a bundle as cases, and as they are stored."""
    folder = tmp_path_factory.mktemp("golden") / "b"
    shutil.copytree(OLD_BUNDLE, folder)
    opened = bundle.load(folder)
    files = golden.stored_predictions(opened)
    about = json.loads(files["golden.json"])
    bundle.add_golden(opened, files)
    photo = np.array(Image.open(folder / about["photo"]).convert("RGB"))
    manifest = opened.manifest
    rules = manifest.postprocessing.model_dump() | {"joints": len(manifest.skeleton.joints)}
    cases = []
    for vector in about["vectors"]:
        raw = np.fromfile(folder / vector["raw"], "<f4").reshape(vector["raw_shape"])
        region = decoder.Region(**vector["region"])
        given = {"root_depth": vector["root_depth_mm"], "focal": about["focal_px"], "box": tuple(vector["box"])}
        size = manifest.preprocessing.size
        crop = np.array(Image.open(folder / vector["crop"])).ravel()
        vector["crop_values"] = crop
        cases.append(Case(photo, region, size, "black", rules, vector["raw_layout"], raw, **given))
    return cases, about["vectors"]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str] | None]:
    """The command of the driver in each language, compiled; None without the compiler."""
    made = tmp_path_factory.mktemp("programs")

    def run(*command: str | Path) -> None:
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr + done.stdout

    found: dict[str, list[str] | None] = dict.fromkeys(("javascript", "c", "c++", "java", "csharp"))
    if shutil.which("node"):
        found["javascript"] = ["node", str(DRIVERS / "driver.mjs"), str(SOURCES / "edgepose_decoder.js")]
    for language, compiler in (("c", "gcc"), ("c++", "g++")):
        if shutil.which(compiler):
            flags = [
                "-O2", "-Wall", "-Wextra", "-Werror", *(["-std=c99", "-pedantic"] if language == "c" else ["-xc++"]),
            ]  # fmt: skip
            run(compiler, *flags, f"-I{SOURCES}", DRIVERS / "driver.c", "-o", made / language, "-lm")
            found[language] = [str(made / language)]
    if shutil.which("javac"):
        run("javac", "-Xlint:all", "-Werror", "-d", made, SOURCES / "EdgeposeDecoder.java", DRIVERS / "Driver.java")
        found["java"] = ["java", "-cp", str(made), "Driver"]
    if shutil.which("mcs") and shutil.which("mono"):
        target = made / "driver.exe"
        run("mcs", "-warnaserror", f"-out:{target}", SOURCES / "EdgeposeDecoder.cs", DRIVERS / "Driver.cs")
        found["csharp"] = ["mono", str(target)]
    return found


MISSING = {
    "javascript": "no node here (Debian: nodejs)",
    "c": "no C compiler here (Debian: gcc)",
    "c++": "no C++ compiler here (Debian: g++)",
    "java": "no Java compiler here (Debian: default-jdk-headless)",
    "csharp": "no C# compiler here (Debian: mono-mcs, mono-runtime)",
}


def results(programs: dict[str, list[str] | None], language: str, cases: list[Case], folder: Path) -> list[Results]:
    """Return the results of a driver, or skip the test where its compiler is missing."""
    command = programs[language]
    if command is None:
        pytest.skip(MISSING[language])
    paths = []
    for number, case in enumerate(cases):
        paths.append(folder / f"{number}.txt")
        paths[-1].write_text(case.text())
    done = subprocess.run([*command, *map(str, paths)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    values = iter([float(word) for word in done.stdout.split()])
    found = [Results.parse(values, case) for case in cases]
    assert next(values, None) is None
    return found


@pytest.mark.parametrize("language", MISSING)
def test_languages_agree_with_python(language: str, programs: dict[str, list[str] | None], tmp_path: Path) -> None:
    for (name, case), found in zip(
        CASES.items(), results(programs, language, list(CASES.values()), tmp_path), strict=True
    ):
        expected = by_python(case)
        assert (found.crop == expected.crop).all(), name
        for field, tolerance in (("box_region", 1e-9), ("input", 1e-5), ("joints", 1e-6), ("photo", 1e-4)):
            np.testing.assert_allclose(
                getattr(found, field), getattr(expected, field), rtol=0, atol=tolerance, err_msg=f"{name} {field}"
            )
        np.testing.assert_allclose(found.calibrated, expected.calibrated, rtol=1e-5, err_msg=name)
        for field in ("next_region", "circle_region", "root_depth", "camera", "smoothed"):
            np.testing.assert_allclose(
                getattr(found, field), getattr(expected, field), rtol=1e-6, atol=1e-2, err_msg=f"{name} {field}"
            )


@pytest.mark.parametrize("language", ["python", *MISSING])
def test_languages_repeat_the_golden_vectors(
    language: str,
    golden_vectors: tuple[list[Case], list[dict[str, Any]]],
    programs: dict[str, list[str] | None],
    tmp_path: Path,
) -> None:
    cases, vectors = golden_vectors
    found = (
        [by_python(case) for case in cases] if language == "python" else results(programs, language, cases, tmp_path)
    )
    for case, vector, result in zip(cases, vectors, found, strict=True):
        assert vector["raw_joints"] == case.joints  # the raw output of a small network is stored as a whole
        assert (result.crop == vector["crop_values"]).all()
        np.testing.assert_allclose(result.box_region, list(vector["region"].values()), atol=1e-6)
        np.testing.assert_allclose(result.joints[:, :3], vector["joints"], atol=TOLERANCE)
        np.testing.assert_allclose(result.joints[:, 3], vector["confidence"], atol=TOLERANCE)
        px, side = np.array(vector["joints_px_mm"]), case.region.side
        assert np.abs(result.photo - px)[:, :2].max() < TOLERANCE * side
        assert np.abs(result.photo - px)[:, 2].max() < TOLERANCE * 2000
        assert np.abs(result.camera - vector["camera_mm"]).max() < TOLERANCE * 2000


def test_rotated_region_is_where_its_matrix_says() -> None:
    """A crop of a ramp has the values of the ramp at the places of its pixels."""
    y, x = np.mgrid[:300, :300]
    photo = np.stack([x // 2, y // 2, 0 * x], 2).astype(np.uint8)
    region = decoder.Region(150.0, 140.0, 120.0, 0.6)
    crop = decoder.sample_region(photo, region, 30).astype(float)
    cells = (np.arange(30) + 0.5) / 30
    joints = np.stack([*np.meshgrid(cells, cells), np.full((30, 30), 0.5)], 2).reshape(-1, 3)
    places = decoder.to_photo(joints, region, 2000.0).reshape(30, 30, 3)
    assert np.abs(crop[:, :, :2] - (places[:, :, :2] - 0.5) / 2).max() < 0.8


def test_replicated_border_continues_the_last_pixel() -> None:
    photo = np.zeros((40, 40, 3), np.uint8)
    photo[:, -1] = (10, 20, 30)
    for rotation in (0.0, 1e-9):  # the fast path of upright squares, and that of all others
        region = decoder.Region(70.0, 20.0, 20.0, rotation)
        assert (decoder.sample_region(photo, region, 8, "replicate") == (10, 20, 30)).all()
        assert not decoder.sample_region(photo, region, 8, "black").any()
        inside = decoder.Region(20.0, 20.0, 30.0, rotation)
        noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
        assert (decoder.sample_region(noise, inside, 8) == decoder.sample_region(noise, inside, 8, "replicate")).all()


def test_names_of_languages() -> None:
    assert sdk.parse("c,js") == ("c", "javascript") and sdk.parse("C#,cs,csharp") == ("csharp",)
    for language in sdk.LANGUAGES:
        assert (
            b"Apache-2.0" in sdk.path(language).read_bytes() and b"docs/decoder.md" in sdk.path(language).read_bytes()
        )
    with pytest.raises(InputError, match=r"^sdk: 'rust' is not one of python, javascript, c"):
        sdk.parse("c,rust")
    for language in ("kotlin", "swift"):
        assert b"Not compiled by the tests" in sdk.path(language).read_bytes()
