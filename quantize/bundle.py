"""The artefact: model file and manifest, a folder or one .zip, that runs without torch; verified before it does."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arch.decode import decode_with_confidence, to_normalised
from arch.errors import InputError
from arch.files import atomic_dir, sha256_file, write_atomic
from arch.space import Arch
from quantize import archive, environment, manifest, runtimes
from quantize.manifest import Calibration, Data, File, Manifest, Postprocessing, Preprocessing, Skeleton
from quantize.probe import probe
from quantize.recipes import Recipe
from quantize.runtimes import Array, Session

RUNNER = Path(__file__).with_name("runner.py")


@dataclass(frozen=True)
class Bundle:
    """A verified bundle: where its files are and what its manifest says. `scratch` holds those of a .zip."""

    path: Path
    manifest: Manifest
    scratch: tempfile.TemporaryDirectory[str] | None = field(default=None, compare=False, repr=False)

    @property
    def arch(self) -> Arch:
        return self.manifest.arch

    @property
    def model(self) -> Path:
        """The file that the runtime loads."""
        return self.path / self.manifest.files[0].name

    @property
    def bytes(self) -> int:
        """Size of the model, all its files together."""
        return sum(file.bytes for file in self.manifest.files)

    def verify(self, timeout_s: float = 60.0) -> Bundle:
        """Run the model once in a child process with limits, before this process opens a file that others made (1 s).

        Raises:
            InputError: the runtime refuses it, crashes, hangs or needs too much; its answer is none of this network's.
        """
        probe(self.model, self.manifest.runtime, self.arch.input, timeout_s, self.arch)
        return self

    def session(self, threads: int = 1) -> Session:
        """The model, loaded into this process; `verify` first where it came from elsewhere."""
        return runtimes.get(self.manifest.runtime).load(self.model, threads)

    def normalise(self, crops: NDArray[np.uint8]) -> Array:
        """RGB crops (N, S, S, 3), 0 to 255, to the network's input (N, 3, S, S).

        Raises:
            InputError: crops of another size or type.
        """
        rules = self.manifest.preprocessing
        if crops.dtype != np.uint8 or crops.shape[1:] != (rules.size, rules.size, 3):
            raise InputError(
                f"crops: {crops.dtype} {crops.shape} given, this bundle takes uint8 (N, {rules.size}, {rules.size}, 3)"
            )
        mean, std = np.array(rules.mean, np.float32), np.array(rules.std, np.float32)
        scaled = (crops.astype(np.float32) / 255 - mean) / std
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))

    def run_crops(self, crops: NDArray[np.uint8], session: Session) -> tuple[Array, Array]:
        """RGB crops (N, S, S, 3) uint8 to joints (N, J, 3) and confidence (N, J).

        x and y are shares of the crop's side; (z - 0.5) * depth_range_mm is the depth behind the root joint.
        """
        if not len(crops):
            joints = self.arch.joints
            return np.zeros((0, joints, 3), np.float32), np.zeros((0, joints), np.float32)
        gain = self.manifest.postprocessing.depth_gain
        cells, confidence = decode_with_confidence(session.run(self.normalise(crops)), self.arch, gain)
        return to_normalised(cells, self.arch), confidence


def write(
    path: str | Path,
    model: str | Path,
    *,
    arch: Arch,
    runtime: str,
    recipe: Recipe,
    skeleton: Skeleton,
    data: Data,
    calibration: Calibration | None = None,
    metrics: dict[str, float] | None = None,
    certificate: dict[str, Any] | None = None,
    seed: int = 0,
    config_hash: str = "",
    licence: str = "Apache-2.0",
) -> Bundle:
    """Make a bundle of a model file as `Converter.export` left it; `path` appears whole, or stays as it was.

    Raises:
        InputError: the model file is missing, or the skeleton has another number of joints.
    """
    path, model = Path(path), Path(model)
    names = [model.name, *(name for name in runtimes.get(runtime).FILES if name != model.name)]
    missing = [name for name in names if not (model.parent / name).is_file()]
    if missing:
        raise InputError(f"{model.parent / missing[0]}: no such file; export the model first")
    if len(skeleton.joints) != arch.joints:
        raise InputError(f"skeleton: {skeleton.name} has {len(skeleton.joints)} joints, the arch has {arch.joints}")
    with atomic_dir(path) as made:
        for name in names:
            shutil.copyfile(model.parent / name, made / name)
        about = Manifest(
            arch_id=arch.id,
            arch=arch,
            runtime=runtime,
            recipe=recipe,
            files=tuple(_describe(made / name) for name in names),
            preprocessing=Preprocessing(size=arch.input),
            postprocessing=Postprocessing(
                head=arch.head,
                heatmap=arch.heatmap,
                depth_bins=arch.depth_bins,
                depth_gain=runtimes.depth_gain(runtime, arch),
            ),
            skeleton=skeleton,
            data=data,
            calibration=calibration,
            metrics=metrics or {},
            certificate=certificate or {},
            versions=environment.versions(),
            machine=environment.machine(),
            config_hash=config_hash,
            seed=seed,
            licence=licence,
        )
        (made / manifest.FILE).write_text(manifest.dump(about))
        shutil.copyfile(RUNNER, made / "run.py")  # for its reader's use: nothing here ever runs it
    return Bundle(path, about)


def annotate(
    bundle: Bundle, *, metrics: dict[str, float] | None = None, certificate: dict[str, Any] | None = None
) -> Bundle:
    """The bundle with more metrics and certificate entries in its manifest: they are measured on the file itself."""
    about = bundle.manifest.model_copy(
        update={
            "metrics": bundle.manifest.metrics | (metrics or {}),
            "certificate": bundle.manifest.certificate | (certificate or {}),
        }
    )
    write_atomic(bundle.path / manifest.FILE, manifest.dump(about))
    return Bundle(bundle.path, about)


def load(path: str | Path) -> Bundle:
    """Open a bundle, a folder or a .zip, after verifying it; no code of the bundle runs.

    Raises:
        InputError: no bundle, an unknown schema version, or a file that is missing or was changed.
    """
    path = Path(path)
    if not path.is_file():
        return _load_folder(path)
    scratch = tempfile.TemporaryDirectory(prefix="edgepose-")
    try:
        archive.unpack(path, Path(scratch.name))
        opened = _load_folder(Path(scratch.name))
    except InputError as error:
        scratch.cleanup()
        raise InputError(str(error).replace(scratch.name, str(path))) from None
    return Bundle(opened.path, opened.manifest, scratch)


def save_zip(bundle: Bundle, path: str | Path) -> Path:
    """The bundle as one .zip, which `load` opens like the folder. Returns `path`."""
    archive.pack(bundle.path, Path(path))
    return Path(path)


def _load_folder(path: Path) -> Bundle:
    if not (path / manifest.FILE).is_file():
        raise InputError(f"{path}: is no bundle, it holds no {manifest.FILE}; make one with export")
    about = manifest.parse(path / manifest.FILE)
    runtimes.get(about.runtime)
    for file in about.files:
        _verify(path / file.name, file)
    return Bundle(path, about)


def _describe(path: Path) -> File:
    return File(name=path.name, sha256=sha256_file(path), bytes=path.stat().st_size)


def _verify(path: Path, file: File) -> None:
    if path.is_symlink() or not path.is_file():
        raise InputError(f"{path}: named in the manifest but not a file of the bundle; export it again")
    if os.path.getsize(path) != file.bytes:
        raise InputError(f"{path}: {os.path.getsize(path)} bytes, the manifest says {file.bytes}; export it again")
    if sha256_file(path) != file.sha256:
        raise InputError(f"{path}: its SHA-256 is not the manifest's; the file was changed, export it again")
