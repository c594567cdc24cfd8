"""Options of the benchmark `real`. EDGEPOSE_POSE2SIM, _HUMAN36M, _MPI_INF_3DHP and _PHOTOS replace absent folders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import Field

from explore.config import Strict

FOLDER: dict[str, Any] = {"metavar": "FOLDER"}


class RealOptions(Strict):
    """What `python -m benchmarks real` evaluates, and on what. Sources without a folder are fetched or left out."""

    models: str = Field(
        "",
        description="bundles to evaluate, separated by commas; the claims are about the first; without it those in results/",
        json_schema_extra={"metavar": "BUNDLE,BUNDLE"},
    )
    photos: str = Field(
        "",
        description="set of data label whose test part measures the agreement with its teacher",
        json_schema_extra=FOLDER,
    )
    pose2sim: str = Field(
        "",
        description="recordings SinglePerson and MultiPerson; without it they are fetched with pip (51 MB)",
        json_schema_extra=FOLDER,
    )
    human36m: str = Field("", description="Human3.6M", json_schema_extra=FOLDER)
    mpi_inf_3dhp: str = Field("", description="MPI-INF-3DHP", json_schema_extra=FOLDER)
    every: int = Field(10, ge=1, description="take every n-th frame of the recordings")
    images: int = Field(400, ge=1, description="largest number of people of a source, evenly chosen")

    def folder(self, name: str) -> Path | None:
        """Return the folder given for a source by its option or variable, or None."""
        given = getattr(self, name) or os.environ.get(f"EDGEPOSE_{name.upper()}")
        return Path(given).expanduser() if given else None
