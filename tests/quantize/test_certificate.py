"""Certificates: deviations, checks, and keys of version 0.1."""

from __future__ import annotations

import numpy as np
import pytest

from arch.space import preset
from quantize.certificate import Certificate, Increase, certify, current_names, deviation, float_share
from quantize.recipes import recipe
from quantize.runtimes import ModelSummary

ARCH = preset("paper-XS-relu@64")
INT8 = {"operators": {"CONV_2D int8": 59}, "macs": 100, "int8_macs": 100, "bytes": 10}
JOINTS = np.random.default_rng(0).normal(size=(6, 18, 3)) * 100


def made(
    summary: ModelSummary, name: str = "int8-static", float_off: float = 0.0, increase: Increase | None = None
) -> Certificate:
    return certify(
        ARCH,
        recipe(name),
        summary,
        weight_bits=7,
        torch_mm=JOINTS,
        float_mm=JOINTS + float_off,
        file_mm=JOINTS + 1,
        float_summary=ModelSummary(bytes=40),
        increase=increase,
    )


def test_all_checks_pass() -> None:
    found = made(ModelSummary(**INT8))
    assert found.passed and len(found.checks) == 4
    assert found.weight_bits == 7
    assert found.deviations["torch to file"]["mean"] == pytest.approx(3**0.5)
    assert found.deviations["torch to float file"]["max"] == 0
    assert len(found.deviations["float file to file"]["joint_p95"]) == 18
    assert Certificate.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(
    ("changes", "name", "fix"),
    [
        ({"transposes": 2, "operators": {"TRANSPOSE int8": 2}}, "no transpose between convolutions", "2 TRANSPOSE"),
        (
            {"partitions": 42, "fallbacks": {"AVERAGE_POOL_2D int8": 41}},
            "one delegate partition",
            ": 41 AVERAGE_POOL_2D",
        ),
        (
            {"int8_macs": 98, "operators": {"CONV float32": 1}},
            "MACs in INT8, without float fallback layers",
            "1 CONV float32",
        ),
    ],
)
def test_failed_check_names_operators_and_fix(changes: dict[str, object], name: str, fix: str) -> None:
    found = made(ModelSummary(**(INT8 | changes)))  # type: ignore[arg-type]
    failed = [each for each in found.checks if not each.passed]
    assert not found.passed and [each.name for each in failed] == [name]
    assert fix in failed[0].fix and "; " in failed[0].fix


def test_the_transpose_of_the_head_is_its_own() -> None:
    for head, transposes, passed in (("simcc", 1, True), ("simcc", 2, False), ("volumetric", 1, False)):
        summary = ModelSummary(**(INT8 | {"transposes": transposes}))  # type: ignore[arg-type]
        arch = ARCH.replace(head=head)
        found = certify(arch, recipe("int8-static"), summary, weight_bits=8, torch_mm=JOINTS, file_mm=JOINTS)
        assert found.passed is passed


def test_wrong_float_file_fails() -> None:
    assert [each.name for each in made(ModelSummary(**INT8), float_off=0.2).checks if not each.passed] == [
        "float file matches the network"
    ]


def test_float_fallback_layers_are_excluded() -> None:
    share = float_share(ARCH, recipe("int8-float-stem"))
    assert 0.05 < share < 0.2
    summary = ModelSummary(macs=10_000, int8_macs=round(10_000 * (1 - share)))
    assert made(summary, "int8-float-stem").passed
    assert not made(summary, "int8-static").passed


def test_float_recipe_has_no_int8_check() -> None:
    found = certify(ARCH, recipe("float"), ModelSummary(macs=5), weight_bits=7, torch_mm=JOINTS, file_mm=JOINTS)
    assert found.passed and len(found.checks) == 3 and found.float_bytes is None
    assert found.weight_bits is None


@pytest.mark.parametrize(
    ("increase", "float_mpjpe", "passed"),
    [(48, 100, False), (5.1, 100, False), (4.9, 100, True), (-2, 100, True), (8, 300, True), (10, 300, False)],
)
def test_the_increase_of_the_error_is_checked(increase: float, float_mpjpe: float, passed: bool) -> None:
    found = made(ModelSummary(**INT8), increase=Increase(increase, increase - 1, increase + 1, float_mpjpe))
    check = found.checks[-1]
    assert check.name == "MPJPE increase over the float file" and check.measured == increase
    assert found.passed == check.passed == passed
    assert "--max-drop" in check.fix and check.target.startswith(f"at most {max(5, 0.03 * float_mpjpe):.1f} mm")
    assert found.mpjpe_increase_mm is not None and found.mpjpe_increase_mm["high"] == increase + 1
    assert Certificate.model_validate_json(found.model_dump_json()) == found


def test_an_error_that_is_no_number_fails() -> None:
    assert not made(ModelSummary(**INT8), increase=Increase(float("nan"), None, None, 100)).checks[-1].passed


def test_keys_of_version_0_1() -> None:
    found = made(ModelSummary(**INT8))
    values = found.model_dump(mode="json")
    checks = values.pop("checks")
    names = {"target": "asked", "passed": "holds"}
    values["gates"] = [{names.get(key, key): value for key, value in check.items()} for check in checks]
    assert Certificate.model_validate(current_names(values)) == found


def test_deviation_is_the_distance_of_each_joint() -> None:
    reference = np.zeros((10, 2, 3))
    ours = reference.copy()
    ours[:, 1] = (3, 4, 0)
    ours[0, 0, 2] = 10
    found = deviation(ours, reference)
    assert found.joint_mean == [1, 5] and found.joint_max == [10, 5]
    assert found.mean == 3 and found.max == 10
    assert found.joint_p95[1] == 5 and 0 < found.joint_p95[0] < 10


def test_deviation_needs_equal_shapes() -> None:
    for ours, reference in (((1, 2, 3), (1, 3, 3)), ((0, 2, 3), (0, 2, 3)), ((2, 3), (2, 3))):
        with pytest.raises(ValueError, match="deviation: shapes"):
            deviation(np.zeros(ours), np.zeros(reference))
