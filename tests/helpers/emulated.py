"""Emulated ARM processors for tests: those of EDGEPOSE_QEMU or of the user's caches; tests skip where there are none."""

from __future__ import annotations

from functools import cache

import pytest

from arch.errors import InputError
from explore.measure.emulated.emulator import Emulator
from explore.measure.emulated.setup import default_folder

FOLDER = default_folder()  # found at import, because fixtures move the folder of caches


def emulated() -> Emulator:
    """Return the set-up of this machine, or skip the test with the reason."""
    found = _open()
    if isinstance(found, str):
        pytest.skip(found)
    return found


@cache
def _open() -> Emulator | str:
    try:
        emulator = Emulator.open(FOLDER)
        emulator.require("litert")
    except InputError as error:
        return str(error)
    return emulator
