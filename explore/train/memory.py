"""Memory of the training process."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # parameters of mallopt(3)
NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Let the C library keep freed memory of this process for later allocations; without effect if it is not glibc.

    Otherwise, each large tensor is memory that the system maps, fills with zeros and unmaps again, in every training step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, NEVER)
        mallopt(M_MMAP_MAX, 0)
