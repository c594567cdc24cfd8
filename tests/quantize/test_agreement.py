"""Agreement of raw outputs: equal bits, steps of the INT8 scale, mm, and the words for them."""

from __future__ import annotations

import numpy as np
import pytest

from quantize import bundle
from quantize.agreement import Agreement, compare, output_step, summary_of
from tests.helpers.layouts import REFERENCE_BUNDLE


@pytest.fixture(scope="module")
def found() -> bundle.Bundle:
    return bundle.load(REFERENCE_BUNDLE)


@pytest.fixture(scope="module")
def raw(found: bundle.Bundle) -> np.ndarray:
    session = found.session()
    crops = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    outputs = session.run(found.normalise(crops))
    session.close()
    return outputs


def agreement(found: bundle.Bundle, raw: np.ndarray, other: np.ndarray, cpu: str = "cortex-a76") -> Agreement:
    about = {"cpu": cpu, "kernels": "DOTPROD", "emulator": "QEMU 10", "path": found.model}
    return compare(other, raw, arch=found.arch, runtime="litert", **about)  # type: ignore[arg-type]


def test_identical_outputs(found: bundle.Bundle, raw: np.ndarray) -> None:
    same = agreement(found, raw, np.asfortranarray(raw))
    assert same.is_identical and same.text == "identical" and same.max_steps == 0.0 and same.max_mm == 0.0
    assert "identical to this machine's" in summary_of([same, same])


def test_the_step_is_that_of_the_last_int8_value(found: bundle.Bundle, raw: np.ndarray) -> None:
    step = output_step(found.model, "litert")
    assert step is not None and step > 0
    levels = raw / step
    assert np.abs(levels - levels.round()).max() < 1e-3, "raw outputs are multiples of the step"
    assert output_step(found.model, "openvino") is None


def test_a_difference_is_told_in_steps_and_millimetres(found: bundle.Bundle, raw: np.ndarray) -> None:
    step = output_step(found.model, "litert")
    assert step is not None
    other = raw.copy()
    other.flat[np.argmax(raw)] -= np.float32(3 * step)
    moved = agreement(found, raw, other)
    assert moved.max_steps == pytest.approx(3, abs=0.01) and not moved.is_identical
    assert 0 < moved.mean_mm < moved.max_mm and "3 steps" in moved.text
    assert moved.equal == pytest.approx(1 - 1 / raw.size) and moved.digest != agreement(found, raw, raw).digest
    both = summary_of([moved, moved.model_copy(update={"cpu": "max"})])
    assert both.startswith("identical to one another; cortex-a76 (DOTPROD)") and "max (DOTPROD)" in both
    assert summary_of([moved, agreement(found, raw, raw)]).startswith("different from one another")
