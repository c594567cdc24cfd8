"""Fault injection into real processes, files and databases of a search: no trial is lost."""

from __future__ import annotations

import pytest

from benchmarks.faults import CASES, Unavailable, run_case
from tests.helpers import mostly_slow

QUICK = ("database-killed",)


@pytest.mark.parametrize("name", mostly_slow(CASES, *QUICK))
def test_search_survives_fault(name: str) -> None:
    try:
        outcome = run_case(name)
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert outcome.passed, outcome
    expected = {"memory": "memory", "memory-killer": "died 3 times", "converter-hangs": "took longer"}
    assert len(outcome.failed) == (name in expected)
    for reason in outcome.failed.values():
        assert expected[name] in reason
