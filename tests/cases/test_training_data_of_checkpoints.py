"""A checkpoint records its training data, skeleton and licence, and `train` prints commands that use the same data."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import pytest
import torch
import yaml

from arch.errors import InputError
from explore.cli import main
from explore.commands.train import RunConfig, data_arguments
from explore.data.config import DataConfig
from explore.evaluation.evaluator import Evaluator
from explore.options import add_options, take
from explore.train.config import TrainConfig
from explore.train.loop import train_and_evaluate
from explore.train.provenance import licence
from quantize.checkpoint import load_network, read_trained_on
from tests.helpers.layouts import custom_with
from tests.helpers.training import rendered_evaluator, tiny_arch

JOINTS = ("Pelvis", "R_Hip", "L_Hip", "Neck")


def test_a_checkpoint_records_the_data_it_was_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(1)
    arch = tmp_path / "arch.yaml"
    arch.write_text(yaml.safe_dump(tiny_arch().model_dump(mode="json")))
    out = tmp_path / "four joints.safetensors"
    data = custom_with(tmp_path / "own set", 8, JOINTS)
    command = ["train", "--arch", str(arch), "--data", data, "--samples", "16", "--evaluations", "0", "--out", str(out)]
    assert main([*command, "--dataset.val-fraction", "0.25"]) == 0
    net, facts = load_network(out)
    record = read_trained_on(facts, out)
    assert record is not None and net.arch.num_joints == 4
    assert (record.data, record.name, record.hash) == (data, "custom", facts["data_hash"])
    assert record.dataset["val_fraction"] == 0.25 and record.dataset["protocol"] == 2
    skeleton = record.skeleton
    assert skeleton.joints == JOINTS and skeleton.root == 0 and skeleton.flip_pairs == ((1, 2),)
    assert skeleton.edges == ((0, 1), (0, 2), (0, 3))
    assert (record.input_size, record.preset, record.licence) == (64, "ours", "")
    printed = capsys.readouterr().out.strip().splitlines()[-1]
    assert shlex.split(printed) == ["next:", "python", "explore.py", "export", str(out)]


def test_checkpoints_of_a_search_record_their_data(tmp_path: Path) -> None:
    given = rendered_evaluator(tmp_path, 16, 4)
    evaluator = Evaluator(given.train, given.data, 64, "validation", DataConfig(data="synthetic:easy"))
    weights = tmp_path / "weights.safetensors"
    train_and_evaluate(tiny_arch(), evaluator, TrainConfig(samples=8), 0, weights)
    record = read_trained_on(load_network(weights)[1], weights)
    assert record is not None and record.data == "synthetic:easy" and record.hash == given.train.hash
    assert record.licence == "Apache-2.0"


def test_the_record_of_version_0_1_is_absent_and_damaged_ones_are_rejected() -> None:
    assert read_trained_on({"arch": {}, "data": "synthetic-easy"}, "net.safetensors") is None
    with pytest.raises(InputError, match=r"net\.safetensors: trained_on: name: "):
        read_trained_on({"trained_on": {"data": "synthetic:easy", "dataset": {}, "hash": ""}}, "net.safetensors")


def test_licences_of_several_sets_are_joined_and_unknown_ones_are_not_claimed(tmp_path: Path) -> None:
    for name in ("human36m", "mpii", "custom"):
        (tmp_path / name).mkdir()
    assert licence(f"human36m:{tmp_path / 'human36m'}").startswith("Human3.6M")
    both = licence(f"human36m:{tmp_path / 'human36m'}+mpii:{tmp_path / 'mpii'}")
    assert "Human3.6M" in both and "MPII" in both
    assert licence(f"human36m:{tmp_path / 'human36m'}+custom:{tmp_path / 'custom'}") == ""
    (tmp_path / "custom" / "licence.txt").write_text("CC BY 4.0, A. Author\nfull text follows\n")
    assert licence(f"synthetic:easy+custom:{tmp_path / 'custom'}") == "Apache-2.0; CC BY 4.0, A. Author"


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"data": "custom:/some folder", "input_size": 96},
        {"data": "human36m:/a", "dataset": {"train_subjects": (1, 5), "val_subjects": (8,), "detected": "b c.json"}},
    ],
)
def test_printed_options_open_the_same_data(values: dict[str, object]) -> None:
    options = RunConfig.model_validate(values)
    parser = argparse.ArgumentParser()
    add_options(parser, DataConfig, only=tuple(DataConfig.model_fields))
    parsed = take(parser.parse_args(shlex.split(shlex.join(data_arguments(options)))), DataConfig, {})
    assert parsed == DataConfig.model_validate(options.model_dump(include=set(DataConfig.model_fields)))
