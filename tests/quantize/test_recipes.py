from __future__ import annotations

from pathlib import Path

import pytest

from arch.errors import InputError
from arch.space import preset
from quantize import audit
from quantize.recipes import RECIPES, Recipe, recipe


def test_names_are_keys_and_say_what_they_are() -> None:
    assert all(made.name == name for name, made in RECIPES.items())
    assert not recipe("float").int8
    assert recipe("int8-static").int8 and recipe("int8-static").calibration_images == 24


def test_from_yaml(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("weights: int8\nactivations: int8\ncalibration_images: 8\nfloat_islands: [stem]\n")
    made = recipe(path)
    assert made == Recipe(
        name="mine", weights="int8", activations="int8", calibration_images=8, float_islands=("stem",)
    )
    assert Recipe.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("wieghts: int8", "wieghts: unknown key; the keys are name, weights"),
        ("weights: int4", "weights: "),
        ("weights: int8", "set activations"),
        ("activations: int8", "int8 activations need int8 weights"),
        ("{weights: int8, activations: int8}", "calibration_images: int8 activations need at least one picture"),
        ("float_islands: [stem]", "only an int8 recipe"),
        ("float_first: 1", "only an int8 recipe"),
        ("- a list", "should hold keys and values"),
        ("weights: [", "cannot be read as YAML"),
        ("name: ../../x", "name: "),
    ],
)
def test_wrong_yaml_is_one_line_with_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        recipe(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_unknown_name() -> None:
    with pytest.raises(InputError, match="'int7' is not one of float, fp16, int8-static"):
        recipe("int7")
    with pytest.raises(InputError, match="cannot be read"):
        recipe("no-such-file.yaml")


@pytest.mark.parametrize("activation", ["prelu", "prelu_shared", "leaky_relu", "hardswish"])
def test_audit_refuses_what_litert_cannot_quantize(activation: str) -> None:
    arch = preset(f"paper-XS-{activation}@64")
    with pytest.raises(InputError, match=f"activation: {activation} has no INT8 kernel in LiteRT .*take relu"):
        audit.check(arch, "litert", recipe("int8-static"))
    audit.check(arch, "litert", recipe("float"))
    audit.check(arch, "openvino", recipe("int8-static"))


def test_audit_passes_relu_and_names_unknown_islands() -> None:
    arch = preset("paper-XS-relu@64")
    assert audit.reasons(arch, "litert", recipe("int8-static")) == []
    island = recipe("int8-static").model_copy(update={"float_islands": ("steam",)})
    assert "'steam' is no step of this network; take stem, stage0" in audit.reasons(arch, "litert", island)[0]
