"""What a judged file proves of itself, as a row: the same for `export`, for a search and for a bench."""

from __future__ import annotations

from typing import Any

from arch.network import PoseNet
from arch.space import Arch
from explore.ship.files import MadeFile, Stage, Workshop, normalised
from quantize.certificate import certify
from quantize.sensitivity import step_costs

SIMULATED_PIXELS = 16 * 64 * 64  # of the pictures that rank the steps


def certified(arch: Arch, whole: Stage, file: MadeFile, plain: MadeFile, costs: dict[str, float]) -> dict[str, Any]:
    """Figures of `file` beside its runtime's float file `plain` and the network in torch, `whole`; the certificate."""
    proof = certify(
        arch,
        file.recipe,
        file.audit,
        torch_mm=whole.mm,
        file_mm=file.mm,
        float_mm=None if file is plain else plain.mm,
        float_audit=None if file is plain else plain.audit,
        steps_mm=costs,
    )
    return {
        "runtime": file.runtime,
        "recipe": file.recipe.name,
        "float_islands": list(file.recipe.float_islands),
        "bytes": file.audit.bytes,
        "float_bytes": plain.audit.bytes,
        "mpjpe_mm": file.accuracy.mpjpe,
        "pa_mpjpe_mm": file.accuracy.pa_mpjpe,
        "float_mpjpe_mm": whole.accuracy.mpjpe,
        "float_file_mpjpe_mm": plain.accuracy.mpjpe,
        "export_s": file.seconds,
        "certificate": proof.model_dump(mode="json"),
        "gates_hold": proof.holds,
        "gates_failed": [gate.name for gate in proof.gates if not gate.holds],
    }


def simulated_costs(workshop: Workshop, net: PoseNet) -> dict[str, float]:
    """What 8 bits cost in each step alone, on a few pictures of the training part."""
    count = max(2, SIMULATED_PIXELS // net.arch.input**2)
    return step_costs(net, normalised(workshop.judge.calibration(count, workshop.config.seed)))
