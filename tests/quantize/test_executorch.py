"""ExecuTorch beyond the contract of runtimes: what is rejected, and which operators XNNPACK runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from arch.errors import InputError
from quantize import runtimes
from quantize.checkpoint import save_network
from quantize.convert import Converter
from quantize.operator_check import reasons
from quantize.recipes import recipe
from quantize.runtimes import executorch
from tests.helpers.networks import settled_net, small_arch, smooth_images
from tests.helpers.runtimes import needs_executorch


def test_missing_library_is_named_before_the_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(executorch, "is_installed", lambda: False)
    (reason,) = reasons(small_arch(), "executorch", recipe("int8-static"))
    assert reason == "executorch: not installed; run pip install 'edgepose[executorch]'"
    for open_file in (executorch.load, executorch.inspect):
        with pytest.raises(InputError, match="executorch: not installed"):
            open_file(tmp_path / "model.pte")


def test_other_recipes_and_inputs_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executorch, "is_installed", lambda: True)
    arch = small_arch()
    assert "use float or int8-static" in reasons(arch, "executorch", recipe("fp16"))[0]
    assert "omit --input-dtype" in reasons(arch, "executorch", recipe("int8-static").with_input("uint8"))[0]
    assert "not implemented for executorch" in reasons(arch, "executorch", recipe("w8a16"))[0]
    assert reasons(arch, "executorch", recipe("int8-float-stem")) == []


@needs_executorch
def test_average_pooling_is_lowered_completely(converter: Converter, tmp_path: Path) -> None:
    arch = small_arch().replace(concat="residual", depths=None)
    images = smooth_images(24, arch.input_size, 0)
    weights = tmp_path / "weights.safetensors"
    save_network(weights, settled_net(arch, images))
    for name in ("float", "int8-static"):
        chosen = recipe(name)
        path = converter.export(
            arch, weights, "executorch", chosen, images if chosen.calibrated else None, tmp_path / name
        )
        summary = executorch.inspect(path)
        assert summary.operators["AvgPooling2d float32"] == 5
        assert (summary.partitions, summary.delegated) == (1, 1.0)
        assert summary.int8_share == chosen.int8 and not runtimes.get("executorch").failed_checks(arch, chosen)
