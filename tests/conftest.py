"""Settings of all tests: latencies are measured while other test files run, and are not kept."""

import os

import pytest

os.environ.setdefault("EDGEPOSE_BACKGROUND_LOAD", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does


@pytest.fixture
def first_fault_aborts(monkeypatch):
    """A small training split aborts at its first faulty sample, too."""
    monkeypatch.setattr("explore.data.sample_errors.ALWAYS_SKIPPED", 0)
