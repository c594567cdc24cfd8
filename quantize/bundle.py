"""Bundles: a model file with its manifest, as a folder or one .zip, that runs without torch."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arch.decode import decode_with_confidence, to_normalised
from arch.errors import InputError
from arch.files import atomic_dir, sha256_file, write_atomic
from arch.space import Arch
from quantize import archive, environment, runtimes, sdk, tensors
from quantize.confidence import Confidence
from quantize.manifest import FILE, File, Manifest, Postprocessing, Preprocessing, Roi, Skeleton, dump, parse
from quantize.probe import probe
from quantize.runtimes import Array, Session
from quantize.scale import Scale


@dataclass(frozen=True)
class Bundle:
    """A verified bundle: its folder and its manifest.

    unpacked: temporary folder of a .zip, deleted with this object
    """

    path: Path
    manifest: Manifest
    unpacked: tempfile.TemporaryDirectory[str] | None = field(default=None, compare=False, repr=False)

    @property
    def arch(self) -> Arch:
        return self.manifest.arch

    @property
    def model(self) -> Path:
        """The file that the runtime loads."""
        return self.path / self.manifest.files[0].name

    @property
    def bytes(self) -> int:
        """Size of all files of the model."""
        return sum(file.bytes for file in self.manifest.files)

    def verify(self) -> Bundle:
        """Run the model once in a child process with limits; do this before loading a file from others (1 s).

        Raises:
            InputError: the runtime rejects the file, crashes, hangs or needs too much memory, or the output does not
                fit the manifest.
        """
        probe(self.model, self.manifest.runtime, self.arch)
        return self

    def session(self, threads: int = 1) -> Session:
        """Load the model into this process."""
        return runtimes.get(self.manifest.runtime).load(self.model, threads)

    def normalise(self, crops: NDArray[np.uint8]) -> Array:
        """Normalise RGB crops (N, S, S, 3) to the network's input (N, 3, S, S).

        Raises:
            InputError: crops of another size or type.
        """
        rules = self.manifest.preprocessing
        if crops.dtype != np.uint8 or crops.shape[1:] != (rules.size, rules.size, 3):
            raise InputError(
                f"crops: {crops.dtype} {crops.shape}; this bundle needs uint8 (N, {rules.size}, {rules.size}, 3)"
            )
        mean, std = np.array(rules.mean, np.float32), np.array(rules.std, np.float32)
        scaled = (crops.astype(np.float32) / 255 - mean) / std
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))

    def run_crops(self, crops: NDArray[np.uint8], session: Session) -> tuple[Array, Array]:
        """Predict joints (N, J, 3) and confidence (N, J) for RGB crops (N, S, S, 3).

        x and y are fractions of the crop's side; (z - 0.5) * depth_range_mm is the depth behind the root joint.
        """
        if not len(crops):
            joints = self.arch.num_joints
            return np.zeros((0, joints, 3), np.float32), np.zeros((0, joints), np.float32)
        scale = self.manifest.postprocessing.depth_scale
        cells, confidence = decode_with_confidence(session.run(self.normalise(crops)), self.arch, scale)
        return to_normalised(cells, self.arch), confidence


def write(
    path: str | Path,
    model: str | Path,
    *,
    arch: Arch,
    runtime: str,
    skeleton: Skeleton,
    roi: Roi | None = None,
    confidence: Confidence | None = None,
    scale: Scale | None = None,
    **about: Any,
) -> Bundle:
    """Write a bundle of a model file that `Converter.export` made; on failure `path` stays as it was.

    Args:
        roi: the region of interest of a network trained with framing roi; None: framing box.
        confidence, scale: calibration of the file's outputs.
        about: further fields of `Manifest`: recipe and data; calibration, metrics, evaluation, certificate, seed,
            config_hash and licence if they differ from their defaults.

    Raises:
        InputError: the model file is missing, or the skeleton and the arch have different numbers of joints.
    """
    path, model = Path(path), Path(model)
    names = [model.name, *(name for name in runtimes.get(runtime).FILES if name != model.name)]
    missing = [name for name in names if not (model.parent / name).is_file()]
    if missing:
        raise InputError(f"{model.parent / missing[0]}: no such file; export the model first")
    if len(skeleton.joints) != arch.num_joints:
        raise InputError(f"skeleton: {skeleton.name} has {len(skeleton.joints)} joints, the arch has {arch.num_joints}")
    preprocessing = Preprocessing(size=arch.input_size)
    if roi is not None:
        preprocessing = Preprocessing(size=arch.input_size, framing="roi", roi=roi, border="replicate")
    postprocessing = Postprocessing(
        head=arch.head,
        heatmap=arch.heatmap_size,
        depth_bins=arch.depth_bins,
        depth_scale=runtimes.depth_scale(runtime, arch),
        confidence=confidence,
        scale=scale,
    )
    if not skeleton.parents:
        skeleton = skeleton.model_copy(update={"parents": _parents(skeleton)})
    with atomic_dir(path) as folder:
        for name in names:
            shutil.copyfile(model.parent / name, folder / name)
        manifest = Manifest(
            arch_id=arch.id,
            arch=arch,
            runtime=runtime,
            files=tuple(_describe(folder / name) for name in names),
            inputs=(tensors.describe_input(arch, runtime, about["recipe"].input_dtype),),
            outputs=(tensors.describe_output(arch, runtime, postprocessing.depth_scale),),
            preprocessing=preprocessing,
            postprocessing=postprocessing,
            skeleton=skeleton,
            versions=environment.versions(),
            machine=environment.machine(),
            **about,
        )
        _write_manifest(folder, manifest)
    return Bundle(path, manifest)


def annotate(
    bundle: Bundle, *, metrics: dict[str, float] | None = None, certificate: dict[str, Any] | None = None
) -> Bundle:
    """Add metrics and certificate entries to the manifest of a bundle."""
    about = bundle.manifest.model_copy(
        update={
            "metrics": bundle.manifest.metrics | (metrics or {}),
            "certificate": bundle.manifest.certificate | (certificate or {}),
        }
    )
    _write_manifest(bundle.path, about)
    return Bundle(bundle.path, about)


def add_golden(bundle: Bundle, files: dict[str, bytes]) -> Bundle:
    """Add the files of the stored predictions that `run.py --check` repeats, by name (see `explore.export.golden`)."""
    for name, content in files.items():
        write_atomic(bundle.path / name, content)
    golden = tuple(_describe(bundle.path / name) for name in files)
    about = bundle.manifest.model_copy(update={"golden": golden})
    _write_manifest(bundle.path, about)
    return Bundle(bundle.path, about)


def add_decoders(bundle: Bundle, languages: Sequence[str]) -> None:
    """Copy the decoders in some languages (`quantize.sdk`) into a bundle that is a folder."""
    for language in languages:
        source = sdk.path(language)
        write_atomic(bundle.path / source.name, source.read_bytes())


def load(path: str | Path) -> Bundle:
    """Open and verify a bundle, a folder or a .zip. No code of the bundle is executed.

    Raises:
        InputError: not a bundle, an unknown schema version, or a file is missing or was changed.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        raise InputError(f"{path}: a checkpoint, not a bundle; make one with export {path}")
    if not path.is_file():
        return _load_folder(path)
    unpacked = tempfile.TemporaryDirectory(prefix="edgepose-")
    try:
        archive.unpack(path, Path(unpacked.name))
        opened = _load_folder(Path(unpacked.name))
    except InputError as error:
        unpacked.cleanup()
        raise InputError(str(error).replace(unpacked.name, str(path))) from None
    return Bundle(opened.path, opened.manifest, unpacked)


def save_zip(bundle: Bundle, path: str | Path) -> Path:
    """Write the bundle as one .zip, which `load` opens like a folder; returns `path`."""
    archive.pack(bundle.path, Path(path))
    return Path(path)


def _write_manifest(folder: Path, about: Manifest) -> None:
    """Write the manifest, and the program that reads this version of it."""
    write_atomic(folder / FILE, dump(about))
    write_atomic(folder / "run.py", sdk.run_program())


def _load_folder(path: Path) -> Bundle:
    if not (path / FILE).is_file():
        inside = sorted(found.parent for found in path.glob(f"*/{FILE}"))
        advice = f"give {inside[0]}" if inside else "make one with export"
        raise InputError(f"{path}: not a bundle, because {FILE} is missing; {advice}")
    about = parse(path / FILE)
    runtimes.get(about.runtime)
    for file in (*about.files, *about.golden):
        _verify(path / file.name, file)
    return Bundle(path, about)


def _parents(skeleton: Skeleton) -> tuple[int, ...]:
    """Return the parent of each joint by the edges; -1 for a joint without one."""
    parents = {child: parent for parent, child in skeleton.edges}
    return tuple(parents.get(joint, -1) for joint in range(len(skeleton.joints)))


def _describe(path: Path) -> File:
    return File(name=path.name, sha256=sha256_file(path), bytes=path.stat().st_size)


def _verify(path: Path, file: File) -> None:
    if path.is_symlink() or not path.is_file():
        raise InputError(f"{path}: named in the manifest, but not a regular file of the bundle; export it again")
    if os.path.getsize(path) != file.bytes:
        raise InputError(f"{path}: {os.path.getsize(path)} bytes, {file.bytes} in the manifest; export it again")
    if sha256_file(path) != file.sha256:
        raise InputError(f"{path}: SHA-256 differs from the manifest; the file was changed, export it again")
