"""Certificate of a model file: deviations from the network in mm, operators, and checks with their results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from arch.cost import step_counts
from arch.space import Arch
from arch.spec import AxisClassifier
from quantize.confidence import Reliability
from quantize.recipes import Recipe
from quantize.runtimes import ModelSummary
from quantize.scale import ScaleError

FLOAT_DEVIATION_MM = 0.1
INT8_SHARE = 0.99
DROP_MM, DROP_SHARE = 5.0, 0.03  # largest increase of MPJPE over the float file: mm, or share of the float file's MPJPE
RENAMED = {"gates": "checks", "asked": "target", "holds": "passed"}  # keys of version 0.1


class Check(BaseModel):
    """One requirement of a file: the target, the measured value, and what to do if the check failed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    target: str
    measured: float
    passed: bool
    fix: str


class Certificate(BaseModel):
    """Certificate of one model file.

    Attributes:
        deviations: by "STAGE to STAGE", each a `Deviation` as a dict.
        operators: number of operators by "KIND dtype".
        int8_share: fraction of the MACs that are computed in INT8.
        delegated: fraction of the operators that the fast backend runs, in `partitions` parts.
        fallbacks: number of operators by "KIND dtype" that do not run in the fast backend on the CPU, see
            `ModelSummary`.
        transposes: changes of memory layout between convolutions.
        weight_bits: bits of the INT8 weights; None for float files and in version 0.1.
        quantizer: options that the quantizer ran with (`quantize.recipes.OPTIONS`); empty for float files and in
            version 0.1.
        mpjpe_increase_mm: MPJPE minus that of the float file on the same images, with its 95% interval, as a dict of
            `Increase`; None for float files and in version 0.1.
        steps_mm: simulated error of INT8 in each step of the network alone, the costliest first.
        reliability: of the calibrated probabilities `presence` and `visibility`, on crops that they were not fitted to;
            empty where they are not calibrated.
        scale_error: of the scale that is estimated from the pose; None where it is not.
        arm: agreement of the raw outputs on emulated ARM processors with those on the machine that exported the file,
            each a `quantize.agreement.Agreement` as a dict; empty if not checked. No real ARM processor was used.
        delegates: LiteRT's GPU and NPU delegates by rules from their sources, each a
            `quantize.delegates.DelegateReport` as a dict; empty if not checked. Nothing was run on such hardware.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    deviations: dict[str, dict[str, Any]]
    operators: dict[str, int]
    int8_share: float
    delegated: float
    partitions: int
    transposes: int
    bytes: int
    float_bytes: int | None
    weight_bits: int | None = None
    quantizer: dict[str, str] = {}
    mpjpe_increase_mm: dict[str, Any] | None = None
    steps_mm: dict[str, float] = {}
    fallbacks: dict[str, int] = {}
    arm: tuple[dict[str, Any], ...] = ()
    delegates: tuple[dict[str, Any], ...] = ()
    reliability: dict[str, Reliability] = {}
    scale_error: ScaleError | None = None
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)


def current_names(certificate: dict[str, Any]) -> dict[str, Any]:
    """Replace the keys of version 0.1 in the plain values of a certificate."""
    values = {RENAMED.get(key, key): value for key, value in certificate.items()}
    if isinstance(values.get("checks"), list):
        values["checks"] = [
            {RENAMED.get(key, key): value for key, value in check.items()} if isinstance(check, dict) else check
            for check in values["checks"]
        ]
    return values


def max_increase(float_mpjpe: float) -> float:
    """Return the largest increase of the MPJPE over the float file's that a certificate accepts, mm."""
    return max(DROP_MM, DROP_SHARE * float_mpjpe)


@dataclass(frozen=True)
class Increase:
    """Increase of the MPJPE of a file over that of the float file of the same runtime, mm.

    low, high: 95% interval of the paired difference; None with fewer than two independent images
    float_mpjpe: MPJPE of the float file
    """

    value: float
    low: float | None
    high: float | None
    float_mpjpe: float


@dataclass(frozen=True)
class Deviation:
    """Distances between joints in mm: over all joints together, and for each joint."""

    mean: float
    p95: float
    max: float
    joint_mean: list[float]
    joint_p95: list[float]
    joint_max: list[float]


def deviation(joints: NDArray[Any], reference: NDArray[Any]) -> Deviation:
    """Return the distances between joints (N, J, 3) in mm and the same joints of a reference, without alignment.

    Raises:
        ValueError: the shapes differ, or there are no joints.
    """
    if joints.shape != reference.shape or joints.ndim != 3 or not len(joints):
        raise ValueError(f"deviation: shapes {joints.shape} and {reference.shape}; both must be (N, J, 3) with N > 0")
    distances = np.linalg.norm(joints.astype(np.float64) - reference.astype(np.float64), axis=2)
    return Deviation(
        mean=float(distances.mean()),
        p95=float(np.quantile(distances, 0.95)),
        max=float(distances.max()),
        joint_mean=distances.mean(0).round(4).tolist(),
        joint_p95=np.quantile(distances, 0.95, axis=0).round(4).tolist(),
        joint_max=distances.max(0).round(4).tolist(),
    )


def certify(
    arch: Arch,
    recipe: Recipe,
    summary: ModelSummary,
    *,
    weight_bits: int,
    quantizer: dict[str, str] | None = None,
    torch_mm: NDArray[Any],
    file_mm: NDArray[Any],
    float_mm: NDArray[Any] | None = None,
    float_summary: ModelSummary | None = None,
    increase: Increase | None = None,
    steps_mm: dict[str, float] | None = None,
) -> Certificate:
    """Return the certificate of a model file.

    Args:
        summary: contents of the file.
        weight_bits: bits of INT8 weights, see `quantize.runtimes.protocol.Runtime`.
        quantizer: see `Certificate`.
        torch_mm, file_mm, float_mm: joints of the same images at each stage, camera coordinates (N, J, 3) in mm.
            `float_mm` and `float_summary` belong to the float file of the same runtime, if `recipe` is not float.
        increase: of the MPJPE over the float file's; None for a float recipe.
        steps_mm: see `quantize.sensitivity.step_costs`.
    """
    deviations = {"torch to file": asdict(deviation(file_mm, torch_mm))}
    if float_mm is not None:
        deviations["torch to float file"] = asdict(deviation(float_mm, torch_mm))
        deviations["float file to file"] = asdict(deviation(file_mm, float_mm))
    conversion = deviations.get("torch to float file", None if recipe.quantized else deviations["torch to file"])
    return Certificate(
        deviations=deviations,
        operators=summary.operators,
        int8_share=round(summary.int8_share, 4),
        delegated=round(summary.delegated, 4),
        partitions=summary.partitions,
        fallbacks=summary.fallbacks,
        transposes=summary.transposes,
        bytes=summary.bytes,
        float_bytes=float_summary.bytes if float_summary else None,
        weight_bits=(weight_bits if recipe.int8 else 8) if recipe.quantized else None,
        quantizer=quantizer or {},
        mpjpe_increase_mm=asdict(increase) if increase else None,
        steps_mm={name: round(mm, 3) for name, mm in (steps_mm or {}).items()},
        checks=tuple(_checks(arch, recipe, summary, conversion, increase)),
    )


def _checks(
    arch: Arch,
    recipe: Recipe,
    summary: ModelSummary,
    conversion: dict[str, Any] | None,
    increase: Increase | None,
) -> list[Check]:
    transposes = _listed(summary.operators, lambda name: "transpose" in name.lower())
    floats = _listed(summary.operators, lambda name: name.endswith(("float32", "f32")))

    def check(name: str, target: str, measured: float, passed: bool, fix: str) -> Check:
        return Check(name=name, target=target, measured=measured, passed=passed, fix=fix)

    fix = f"the converter changed the memory layout ({transposes}); use another runtime"
    own = _map_layers(arch)
    target = f"0, besides {own} of the small map that the head reads" if own else "0"
    checks = [check("no transpose between convolutions", target, summary.transposes, summary.transposes <= own, fix)]
    fix = f"the fast backend does not run: {_listed(summary.fallbacks)}; use relu, or another recipe or runtime"
    checks.append(check("one delegate partition", "1", summary.partitions, summary.partitions == 1, fix))
    if recipe.int8:
        name, target = "MACs in INT8, without float fallback layers", f"at least {INT8_SHARE:.0%}"
        fix = f"layers that stayed in float: {floats}; use relu, or a recipe that quantizes them"
        share = 1 - float_share(arch, recipe)
        measured = summary.int8_share / share if share else 1.0
        checks.append(check(name, target, round(measured, 4), measured >= INT8_SHARE, fix))
    if conversion:
        name, target = "float file matches the network", f"mean deviation at most {FLOAT_DEVIATION_MM} mm"
        fix = "the converter changed the network; report this as a bug, and use another runtime"
        mean = conversion["mean"]
        checks.append(check(name, target, round(mean, 4), mean <= FLOAT_DEVIATION_MM, fix))
    if increase:
        # The mean decides: an interval of a few images would reject good files, or accept bad ones.
        limit = max_increase(increase.float_mpjpe)
        target = f"at most {limit:.1f} mm ({DROP_MM:g} mm, or {DROP_SHARE:.0%} of the float file's MPJPE)"
        fix = "use --max-drop, --quantization int8-float-stem or int8-qat, or train the network longer"
        passed = increase.value <= limit
        checks.append(check("MPJPE increase over the float file", target, round(increase.value, 4), passed, fix))
    return checks


def float_share(arch: Arch, recipe: Recipe) -> float:
    """Return the fraction of the MACs in the steps that the recipe keeps in float."""
    macs = {
        node.name: sum(tally.macs for tally in tallies)
        for node, (tallies, _) in zip(arch.plan.nodes, step_counts(arch), strict=True)
    }
    return sum(macs[name] for name in recipe.float_steps(arch)) / sum(macs.values())


def _map_layers(arch: Arch) -> int:
    """Return the number of layers that are linear in the cells of a joint's map, as those of the head SimCC.

    A channels-last file transposes the map for each: 0.2 of 107 microseconds of the smallest network of the reference
    study, where a convolution that needs no transpose takes 5 microseconds longer.
    """
    blocks = [block for node in arch.plan.nodes for block in node.blocks]
    return sum(isinstance(op, AxisClassifier) for block in blocks for op in block.main)


def _listed(operators: dict[str, int], chosen: Callable[[str], bool] = lambda name: True) -> str:
    """List the operators whose "KIND dtype" is chosen, with their number."""
    return ", ".join(f"{count} {name}" for name, count in operators.items() if chosen(name)) or "none"
