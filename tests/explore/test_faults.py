"""Real processes, files and databases are broken while a search runs; nothing may be lost."""

from __future__ import annotations

import pytest

from explore.bench.faults import CASES, Unavailable, run_case

QUICK = ("worker-killed", "database-killed")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CASES]
)
def test_nothing_is_lost(name: str) -> None:
    try:
        outcome = run_case(name)
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert outcome.holds, outcome
    expected = {"memory": "memory", "memory-killer": "died 3 times", "converter-hangs": "took longer"}
    assert len(outcome.failed) == (name in expected)
    for reason in outcome.failed.values():
        assert expected[name] in reason
