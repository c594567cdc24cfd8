"""Core ML packages of a network, with their certificate; converted, not run: Core ML needs Apple's systems."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from arch.decode import decode, to_normalised
from arch.errors import InputError
from arch.files import atomic_dir
from arch.space import Arch
from explore.export.exporter import Exporter, Predictions, evaluate_predictions, normalise
from quantize import child_process
from quantize.certificate import DROP_MM, DROP_SHARE, deviation
from quantize.convert import ConversionError
from quantize.runtimes import Array

WEIGHTS = {"float16": "float16", "int8": "int8-weights"}  # of a package, and its name
STATUS = "converted, not run"
NOTE = (
    "The predictions are those of the saved package, computed by torch operator by operator. Core ML itself was not run, so "
    "there is no latency. Arithmetic is float16 in both packages; INT8 is the storage of the weights only."
)
FLOAT16_MM = 1.0  # largest mean deviation of the float16 package from the network


class Package(BaseModel):
    """One .mlpackage. mpjpe_mm: of the saved package's operators; mpjpe_increase_mm: minus that of the network."""

    model_config = ConfigDict(frozen=True)

    path: str
    weights: str
    bytes: int
    mpjpe_mm: float
    mpjpe_increase_mm: float
    deviation_mm: dict[str, float]
    operators: dict[str, int]
    passed: bool


class CoreMLCertificate(BaseModel):
    """`certificate.json` beside the packages."""

    model_config = ConfigDict(frozen=True)

    status: str = STATUS
    note: str = NOTE
    network: str
    data: str
    part: str
    images: int
    network_mpjpe_mm: float
    versions: dict[str, str]
    packages: list[Package]


def check() -> None:
    """Check that the converter is installed.

    Raises:
        InputError: it is not.
    """
    if importlib.util.find_spec("coremltools") is None:
        raise InputError("coreml: coremltools is not installed; run pip install 'edgepose[coreml]'")


def write_packages(
    exporter: Exporter, arch: Arch, weights: Path, network: Predictions, folder: Path
) -> CoreMLCertificate:
    """Write a package with float16 and one with INT8 weights into `folder`, with `certificate.json`.

    Raises:
        ConversionError: the conversion failed, or a package predicts other joints than the network.
    """
    evaluation = exporter.evaluator.evaluation
    images = normalise(evaluation.images)
    with atomic_dir(folder) as made:
        packages = []
        for kind, name in WEIGHTS.items():
            path = made / f"{name}.mlpackage"
            raw, operators = _convert(weights, kind, path, images, exporter.config.timeout)
            found = evaluate_predictions(exporter.evaluator, to_normalised(decode(raw, arch, 1.0), arch))
            moved = deviation(found.mm, network.mm)
            increase = found.accuracy.mpjpe - network.accuracy.mpjpe
            passed = (
                moved.mean <= FLOAT16_MM
                if kind == "float16"
                else increase <= max(DROP_MM, DROP_SHARE * network.accuracy.mpjpe)
            )
            if not passed:
                raise ConversionError(
                    f"coreml: {path.name}: its joints are {moved.mean:.2f} mm from the network's, its MPJPE "
                    f"{increase:+.2f} mm; do not deploy it, use the LiteRT bundle"
                )
            packages.append(
                Package(
                    path=path.name,
                    weights=kind,
                    bytes=sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
                    mpjpe_mm=found.accuracy.mpjpe,
                    mpjpe_increase_mm=increase,
                    deviation_mm={"mean": moved.mean, "p95": moved.p95, "max": moved.max},
                    operators=operators,
                    passed=passed,
                )
            )
        certificate = CoreMLCertificate(
            network=arch.name,
            data=exporter.evaluator.data.name,
            part=exporter.evaluator.part,
            images=len(images),
            network_mpjpe_mm=network.accuracy.mpjpe,
            versions={name: metadata.version(name) for name in ("coremltools", "torch")},
            packages=packages,
        )
        (made / "certificate.json").write_text(certificate.model_dump_json(indent=2))
    return certificate


def _convert(weights: Path, kind: str, package: Path, images: Array, timeout_s: float) -> tuple[Array, dict[str, int]]:
    """Write a package in a child process; returns the raw outputs of the saved package and its operators by type."""
    with tempfile.TemporaryDirectory() as scratch:
        given, outputs = Path(scratch, "images.npy"), Path(scratch, "outputs.npy")
        np.save(given, images, allow_pickle=False)
        arguments = (str(weights.absolute()), kind, str(package.absolute()), str(given), str(outputs))
        try:
            done = child_process.run_module("quantize.coreml_child", *arguments, timeout_s=timeout_s)
        except subprocess.TimeoutExpired:
            raise ConversionError(f"coreml: {package.name}: took longer than {timeout_s:g} s and was stopped") from None
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
            raise ConversionError(f"coreml: {package.name}: {last[0][:300]}")
        raw: Array = np.load(outputs, allow_pickle=False)
        operators: dict[str, int] = json.loads(outputs.with_suffix(".json").read_text())
    return raw, operators
