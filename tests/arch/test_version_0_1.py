"""Compatibility with version 0.1: ids of networks, and old names of fields and values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from arch.search_space import Space, make_space
from arch.space import make_arch, named_arch, preset

IDS = {
    "paper-L": "2a84e96ea2",
    "paper-S-relu@64": "5eae6ea308",
    "paper-XS@128": "3324ccb5bc",
    "moon-resnet50": "d54568dac6",
    "movnect-sized": "9a10cf7c64",
}
REFERENCE: dict[str, Any] = {  # from the manifest of results/version-0.1/bundles/eb2e4fe42a
    "encoder": "mobilenet_v4", "width": 1.0, "early_stride": 1, "depths": None, "expansions": None, "kernels": None,
    "squeeze_excite": None, "inter": 256, "concat": "skip", "activation": "relu", "decoder": "deconv",
    "decoder_width": 96, "decoder_conv": "separable", "decoder_stages": 2, "upsample": "half_pixel", "head": "depthmap",
    "heatmap": 16, "depth_bins": 16, "input": 64, "joints": 18,
}  # fmt: skip
OLD_SPACE: dict[str, Any] = {
    "base": {"input": 64, "joints": 17},
    "dimensions": {
        "heatmap#small": {"values": [8, 16], "when": {"input": [64]}},
        "head": ["volumetric", "depthmap"],
        "inter": {"values": [128, 256], "when": {"head": ["depthmap"]}},
    },
}
NEW_SPACE: dict[str, Any] = {
    "base": {"input_size": 64, "num_joints": 17},
    "dimensions": {
        "heatmap_size#small": {"values": [8, 16], "when": {"input_size": [64]}},
        "head": ["volumetric", "heatmap-2.5d"],
        "intermediate_channels": {"values": [128, 256], "when": {"head": ["heatmap-2.5d"]}},
    },
}


def note(path: Path, old: str, new: str) -> str:
    return f"note: {path}: '{old}' is now called '{new}'; the old name works until version 0.3"


@pytest.mark.parametrize("name", IDS)
def test_ids_of_presets(name: str) -> None:
    assert preset(name).id == IDS[name]


def test_recorded_values_are_read_without_a_notice(capsys: pytest.CaptureFixture[str]) -> None:
    arch = make_arch(REFERENCE)
    assert arch.id == "eb2e4fe42a"
    assert (arch.head, arch.decoder, arch.intermediate_channels, arch.num_joints) == (
        "heatmap-2.5d",
        "upsample",
        256,
        18,
    )
    assert make_space({"name": "s", **OLD_SPACE}, "s") == make_space({"name": "s", **NEW_SPACE}, "s")
    assert capsys.readouterr().err == ""


def test_replace_derives_the_same_fields_with_old_names() -> None:
    arch = preset("paper-L")
    assert arch.replace(input=128, heatmap=32) == arch.replace(input_size=128, heatmap_size=32)


def test_a_network_file_with_old_names_is_read_with_one_notice_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(yaml.safe_dump({"inter": 256, "head": "depthmap", "width": 0.5}))
    assert (
        named_arch(str(path))
        == named_arch(str(path))
        == make_arch({"intermediate_channels": 256, "head": "heatmap-2.5d", "width": 0.5})
    )
    assert sorted(capsys.readouterr().err.splitlines()) == [
        note(path, "depthmap", "heatmap-2.5d"),
        note(path, "inter", "intermediate_channels"),
    ]


def test_a_space_file_with_old_names_is_read_with_one_notice_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"name": "s", **OLD_SPACE}))
    assert Space.named(str(path)) == make_space({"name": "s", **NEW_SPACE}, "s")
    names = {
        "input": "input_size",
        "joints": "num_joints",
        "heatmap": "heatmap_size",
        "inter": "intermediate_channels",
        "depthmap": "heatmap-2.5d",
    }
    assert sorted(capsys.readouterr().err.splitlines()) == sorted(note(path, old, new) for old, new in names.items())


def test_a_space_in_a_study_folder_is_read_without_a_notice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump({"name": "s", **OLD_SPACE}))
    assert Space.load(path) == make_space({"name": "s", **NEW_SPACE}, "s")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["elastic", "full", "mobile", "narrow", "paper"])
def test_builtin_spaces_use_current_names(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Space.named(name)
    assert capsys.readouterr().err == ""
