"""Readers of data sets. A reader module has a function load(root, split, options, errors) -> Dataset.

Adding a reader takes one module and one line in READERS. explore.data.sample_errors has the rule for invalid input.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from explore.data.sample import Dataset


READERS = {
    "human36m": "explore.data.readers.human36m",
    "mpii": "explore.data.readers.mpii",
    "mscoco": "explore.data.readers.mscoco",
    "muco": "explore.data.readers.muco",
    "mupots": "explore.data.readers.mupots",
    "mpi_inf_3dhp": "explore.data.readers.mpi_inf_3dhp",
    "custom": "explore.data.readers.custom",
    "negatives": "explore.data.readers.negatives",
}


def load_function(name: str) -> Callable[..., Dataset]:
    """Import the reader and return its `load`."""
    load: Callable[..., Dataset] = importlib.import_module(READERS[name]).load
    return load
