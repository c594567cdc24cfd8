from __future__ import annotations

import numpy as np
import pytest

from arch.space import preset
from quantize.certificate import Certificate, certify, float_share
from quantize.recipes import recipe
from quantize.runtimes import FileAudit

ARCH = preset("paper-XS-relu@64")
WHOLE = {"operators": {"CONV_2D int8": 59}, "macs": 100, "int8_macs": 100, "bytes": 10}
JOINTS = np.random.default_rng(0).normal(size=(6, 18, 3)) * 100


def made(audit: FileAudit, name: str = "int8-static", float_off: float = 0.0) -> Certificate:
    return certify(
        ARCH,
        recipe(name),
        audit,
        torch_mm=JOINTS,
        float_mm=JOINTS + float_off,
        file_mm=JOINTS + 1,
        float_audit=FileAudit(bytes=40),
    )


def test_a_good_file() -> None:
    found = made(FileAudit(**WHOLE))
    assert found.holds and len(found.gates) == 4
    assert found.deviations["torch to file"]["mean"] == pytest.approx(3**0.5)
    assert found.deviations["torch to float file"]["max"] == 0
    assert len(found.deviations["float file to file"]["joint_p95"]) == 18
    assert Certificate.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(
    ("changes", "gate", "fix"),
    [
        ({"transposes": 2, "operators": {"TRANSPOSE int8": 2}}, "no transpose between convolutions", "2 TRANSPOSE"),
        ({"partitions": 42, "operators": {"PRELU float32": 41}}, "one delegate partition", "41 PRELU float32"),
        ({"int8_macs": 98, "operators": {"CONV float32": 1}}, "MACs in INT8, float islands aside", "1 CONV float32"),
    ],
)
def test_a_gate_that_fails_names_operators_and_fix(changes: dict[str, object], gate: str, fix: str) -> None:
    found = made(FileAudit(**(WHOLE | changes)))  # type: ignore[arg-type]
    failed = [each for each in found.gates if not each.holds]
    assert not found.holds and [each.name for each in failed] == [gate]
    assert fix in failed[0].fix and "; " in failed[0].fix


def test_a_float_file_that_is_another_network() -> None:
    assert [each.name for each in made(FileAudit(**WHOLE), float_off=0.2).gates if not each.holds] == [
        "float file is the network"
    ]


def test_float_islands_are_not_counted_against_a_file() -> None:
    share = float_share(ARCH, recipe("int8-float-stem"))
    assert 0.05 < share < 0.2
    audit = FileAudit(macs=10_000, int8_macs=round(10_000 * (1 - share)))
    assert made(audit, "int8-float-stem").holds
    assert not made(audit, "int8-static").holds


def test_a_float_recipe_asks_for_no_int8() -> None:
    found = certify(ARCH, recipe("float"), FileAudit(macs=5), torch_mm=JOINTS, file_mm=JOINTS)
    assert found.holds and len(found.gates) == 3 and found.float_bytes is None
