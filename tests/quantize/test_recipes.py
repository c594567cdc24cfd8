"""Quantization recipes, from YAML files too, and the operator check."""

from __future__ import annotations

from pathlib import Path

import pytest

from arch.errors import InputError
from arch.space import preset
from quantize import operator_check
from quantize.recipes import RECIPES, Recipe, recipe


def test_names_are_keys() -> None:
    assert all(made.name == name for name, made in RECIPES.items())
    assert not recipe("float").int8
    assert recipe("int8-static").int8 and recipe("int8-static").calibration_images == 24


def test_from_yaml(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("weights: int8\nactivations: int8\ncalibration_images: 8\nfloat_fallback_layers: [stem]\n")
    made = recipe(path)
    assert made == Recipe(
        name="mine", weights="int8", activations="int8", calibration_images=8, float_fallback_layers=("stem",)
    )
    assert Recipe.model_validate_json(made.model_dump_json()) == made


def test_key_of_version_0_1_gives_a_notice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "old.yaml"
    path.write_text("weights: int8\nactivations: int8\ncalibration_images: 8\nfloat_islands: [stem]\n")
    assert recipe(path).float_fallback_layers == ("stem",)
    assert "'float_islands' is now called 'float_fallback_layers'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wieghts: int8", "wieghts: unknown key; did you mean 'weights'.; the keys are name, weights"),
        ("float: true", "float: unknown key"),
        ("weights: int4", "weights: "),
        ("activations: int8", "int8 activations need int8 weights"),
        ("activations: int16", "int16 activations need int8 weights"),
        ("{weights: int8, activations: int16}", "calibration_images: int16 activations need at least one image"),
        ("dynamic: true", "dynamic: possible with int8 activations only"),
        ("float_budget_mm: 1", "float_budget_mm: possible with int8 weights"),
        (
            "{weights: int8, activation_range: minmax}",
            "activation_range: the recipe quantizes no activations with stored",
        ),
        ("weight_granularity: tensor", "weight_granularity: the recipe quantizes no weights"),
        ("{weights: int8, activations: int8}", "calibration_images: int8 activations need at least one image"),
        ("float_fallback_layers: [stem]", "float_fallback_layers: possible with int8 weights only"),
        ("float_first: 1", "possible with int8 weights only"),
        ("- a list", "not a mapping; write lines of the form"),
        ("weights: [", "not YAML: "),
        ("name: ../../x", "name: "),
        ("{name: float, weights: int8}", "name: float is a built-in recipe of other values; write another name"),
    ],
)
def test_wrong_yaml_is_one_line_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        recipe(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_identity_is_that_of_version_0_1_without_new_options() -> None:
    static = recipe("int8-static")
    old = {
        "name", "weights", "activations", "calibration_images", "float_first", "float_fallback_layers", "qat_samples",
    }  # fmt: skip
    assert static.identity.keys() == old
    changed = static.model_copy(update={"activation_range": "minmax", "float_budget_mm": 1.0})
    assert changed.identity.keys() == old | {"activation_range", "float_budget_mm"}


def test_unknown_name() -> None:
    with pytest.raises(InputError, match="'int7' is not one of float, fp16, int8-static"):
        recipe("int7")
    with pytest.raises(InputError, match=r"no-such-file\.yaml: No such file or directory; give the path"):
        recipe("no-such-file.yaml")


@pytest.mark.parametrize("activation", ["prelu", "prelu_shared", "leaky_relu", "hardswish"])
def test_operator_check_rejects_activations_without_int8_kernel(activation: str) -> None:
    arch = preset(f"paper-XS-{activation}@64")
    with pytest.raises(InputError, match=f"activation: {activation} has no INT8 kernel in LiteRT .*use relu"):
        operator_check.check(arch, "litert", recipe("int8-static"))
    operator_check.check(arch, "litert", recipe("float"))
    operator_check.check(arch, "openvino", recipe("int8-static"))


def test_operator_check_accepts_relu_and_names_unknown_layers() -> None:
    arch = preset("paper-XS-relu@64")
    assert operator_check.reasons(arch, "litert", recipe("int8-static")) == []
    wrong = recipe("int8-static").with_float_layers(("steam",))
    assert "'steam' is not a step of this network; use stem, stage0" in operator_check.reasons(arch, "litert", wrong)[0]
