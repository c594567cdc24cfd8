"""How many faulty samples a split may have."""

from __future__ import annotations

import pytest

from arch.errors import InputError
from explore.data.sample_errors import SampleError, SampleErrors


@pytest.mark.parametrize(("samples", "allowed"), [(3, 2), (200, 2), (1000, 10)])
def test_training_skips_a_few_samples_and_aborts_beyond(samples: int, allowed: int) -> None:
    errors = SampleErrors()
    for index in range(allowed):
        errors.add(SampleError("missing", f"{index}.jpg: does not exist"))
    assert errors.check_limit(samples, "train") == {"missing": allowed}
    errors.add(SampleError("box", "annotation 7: bbox: has no area"))
    with pytest.raises(InputError, match=rf"0\.jpg: does not exist \(and {allowed} of {samples} samples more\)"):
        errors.check_limit(samples, "train")


def test_a_test_split_aborts_at_the_first_fault_and_validation_lists_all() -> None:
    errors = SampleErrors(found=[SampleError("missing", "a.jpg: does not exist")])
    with pytest.raises(InputError, match="1 of 1000 samples"):
        errors.check_limit(1000, "test")
    errors.report_all = True
    assert errors.check_limit(1000, "test") == {"missing": 1}
