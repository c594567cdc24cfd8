"""Freed memory is kept for the next picture instead of being handed back to the system."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
LARGEST, KEPT = 1 << 26, 1 << 28  # bytes


def keep_freed_memory() -> bool:
    """Let glibc keep blocks up to LARGEST bytes, KEPT in all; True where that could be set.

    A decoded frame of a megapixel is three megabytes, which glibc asks the system for and gives back every time: new
    pages are cleared at their first touch, and that takes longer than the decoding. Other C libraries: no effect.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(M_MMAP_THRESHOLD, LARGEST)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT))
