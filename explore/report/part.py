"""What lies beside a study's tables for its page, each file one model."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from arch.errors import InputError

Model = TypeVar("Model", bound=BaseModel)


def read_part(path: Path, model: type[Model]) -> Model:
    """What the file holds; an empty `model` where there is none.

    Raises:
        InputError: a file that is no such thing.
    """
    if not path.is_file():
        return model()
    try:
        return model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {key}: {first['msg']}; delete the file, report makes it again") from None
