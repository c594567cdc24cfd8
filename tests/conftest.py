"""Settings of all tests: latencies are measured while other test files run, and are not kept."""

import os

import pytest

os.environ.setdefault("EDGEPOSE_BACKGROUND_LOAD", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the command line does


@pytest.fixture
def first_fault_aborts(monkeypatch):
    """A small training split aborts at its first faulty sample, too."""
    monkeypatch.setattr("explore.data.sample_errors.ALWAYS_SKIPPED", 0)
