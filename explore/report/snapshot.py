"""page/study.json: what the page shows of a study beyond its tables, so that a copied folder needs no storage.

Files in `page/` are pydantic models as JSON; `read_model` reads them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, field_serializer, field_validator

from arch.errors import InputError, describe
from arch.files import write_atomic
from arch.old_names import current_key
from arch.space import Arch, make_arch
from explore.report.comparisons import Comparison

FILE = "page/study.json"
Model = TypeVar("Model", bound=BaseModel)


class Snapshot(BaseModel):
    """Content of page/study.json.

    networks: by id; written as the fields that differ from the defaults
    minutes: when a trial ended, by its number; the clock stands still while the study does
    importances: share of each parameter in an objective, by objective
    mean_pose_mm: error of the mean-pose baseline on the test part
    validation_mean_pose_mm: the same on the validation part; None in studies of version 0.1
    comparisons: differences of files' errors on the same frames
    """

    model_config = ConfigDict(frozen=True)

    networks: dict[str, Arch] = {}
    minutes: dict[int, float] = {}
    importances: dict[str, dict[str, float]] = {}
    mean_pose_mm: float | None = None
    validation_mean_pose_mm: float | None = None
    comparisons: list[Comparison] = []

    @field_validator("networks", mode="before")
    @classmethod
    def _by_current_id(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        archs = [
            value if isinstance(value, Arch) else make_arch(value, f"networks: {key[:40]}")
            for key, value in values.items()
        ]
        return {arch.id: arch for arch in archs}

    @field_validator("importances", mode="after")
    @classmethod
    def _by_current_name(cls, importances: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        return {
            objective: {current_key(key): share for key, share in shares.items()}
            for objective, shares in importances.items()
        }

    @field_serializer("networks")
    def _as_short_fields(self, networks: dict[str, Arch]) -> dict[str, dict[str, Any]]:
        return {key: short_fields(arch) for key, arch in networks.items()}


def save_snapshot(folder: Path, snapshot: Snapshot) -> None:
    """Write page/study.json of a study."""
    write_atomic(folder / FILE, snapshot.model_dump_json())


def load_snapshot(folder: Path) -> Snapshot:
    """Read page/study.json of a study; an empty snapshot if there is none.

    Raises:
        InputError: the file is broken.
    """
    return read_model(folder / FILE, Snapshot)


def short_fields(arch: Arch) -> dict[str, Any]:
    """Return the fields of a network that differ from the defaults; `make_arch` reads them."""
    values = arch.model_dump(mode="json")
    return {key: values[key] for key, field in Arch.model_fields.items() if getattr(arch, key) != field.default}


def read_model(path: Path, model: type[Model]) -> Model:
    """Read a JSON file; an empty `model` if there is none.

    Raises:
        InputError: the file is broken.
    """
    if not path.is_file():
        return model()
    try:
        return model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InputError(f"{path}: {describe(error, model)}; delete the file, `report` writes it again") from None
    except InputError as error:
        raise InputError(f"{path}: {error}; delete the file, `report` writes it again") from None
