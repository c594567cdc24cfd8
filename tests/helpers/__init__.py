"""Helpers that several test files share."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]  # of the repository


def free_port() -> int:
    """Return a port of the loopback interface that no process listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def mostly_slow(values: Iterable[Any], *quick: Any) -> list[Any]:
    """Return the parameters of a test, of which those that are not `quick` are marked slow."""
    return [value if value in quick else pytest.param(value, marks=pytest.mark.slow) for value in values]
