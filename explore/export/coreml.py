"""Core ML packages of a network, with their certificate; converted, not run: Core ML needs Apple's systems."""

from __future__ import annotations

import importlib.util
import json
from importlib import metadata
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from arch.decode import decode, to_normalised
from arch.errors import InputError
from arch.files import atomic_dir
from arch.space import Arch
from explore.export.child import outputs_of
from explore.export.exporter import Exporter, Predictions, evaluate_predictions, normalise
from quantize.certificate import deviation, max_increase
from quantize.convert import ConversionError

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
            arguments = (str(weights.absolute()), kind, str(path.absolute()))
            raw, printed = outputs_of(
                "quantize.coreml_child", f"coreml: {path.name}", images, *arguments, timeout_s=exporter.config.timeout
            )
            found = evaluate_predictions(exporter.evaluator, to_normalised(decode(raw, arch, 1.0), arch))
            moved = deviation(found.mm, network.mm)
            increase = found.accuracy.mpjpe - network.accuracy.mpjpe
            agrees = moved.mean <= FLOAT16_MM if kind == "float16" else increase <= max_increase(network.accuracy.mpjpe)
            if not agrees:
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
                    operators=json.loads(printed.splitlines()[-1]),
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
