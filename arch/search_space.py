"""Space: which networks a search may visit, as readable YAML. No torch.

A space is a mapping of dimensions to values. A dimension is asked for only where it means something: where its own
`when` holds and where the network has a place for it (`arch.meaning`). What is not asked takes the value of `base`,
else the default of `Arch`. A key such as `depths.3` is the fourth row of the encoder's table. A field may have several
dimensions, told apart by a label after `#`: the first whose conditions hold is asked.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from arch.canonical import TABLE_OVERRIDES
from arch.encoders import ENCODERS
from arch.errors import InputError
from arch.meaning import Point, field_of, means
from arch.space import Arch, make_arch
from arch.space_check import check_keys, check_values
from arch.space_size import count

Value = bool | int | float | str
Choose = Callable[[str, list[Any]], Any]
SPACES = Path(__file__).parent / "spaces"
SCALED = ("input", "heatmap", "depth_bins")
SAMPLE_TRIES = 1000


class Dimension(BaseModel):
    """The values of one field, asked for where each field of `when` has one of the values listed for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    values: tuple[Value, ...] = Field(min_length=1)
    when: dict[str, tuple[Value, ...]] = {}

    @field_validator("values")
    @classmethod
    def _distinct(cls, values: tuple[Value, ...]) -> tuple[Value, ...]:
        if len(set(values)) < len(values):
            raise ValueError("a value is there twice; keep one of them")
        return values


class Space(BaseModel):
    """A search space; see the module. Heatmaps and depth bins are written for the input size of `base`, else 256 px."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    about: str = ""
    base: dict[str, Any] = {}
    dimensions: dict[str, Dimension] = Field(min_length=1)

    @field_validator("dimensions", mode="before")
    @classmethod
    def _short_form(cls, dimensions: Any) -> Any:
        """A plain list stands for a dimension without conditions."""
        if not isinstance(dimensions, Mapping):
            return dimensions
        return {key: {"values": made} if isinstance(made, list | tuple) else made for key, made in dimensions.items()}

    @staticmethod
    def named(name: str) -> Space:
        """A space that ships with the package, or the file of that path.

        Raises:
            InputError: no such space, or a fault in the file.
        """
        path = SPACES / f"{name}.yaml"
        if path.is_file():
            return Space.load(path)
        if name.endswith((".yaml", ".yml")):
            return Space.load(name)
        raise InputError(f"space: '{name}' is not one of {', '.join(shipped())}; a file's name ends in .yaml")

    @staticmethod
    def load(path: str | Path) -> Space:
        """Read and check a space.

        Raises:
            InputError: one line with the file, the key and the fix.
        """
        try:
            content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; give the path of a space's YAML file") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            problem = " ".join(str(error).split())
            raise InputError(f"{path}: not YAML: {problem}") from None
        if not isinstance(content, dict):
            raise InputError(f"{path}: not a mapping; write the keys name, base and dimensions")
        return make_space({"name": Path(path).stem, **content}, str(path))

    def at(self, scale: int) -> Space:
        """The same space for inputs of `scale` px alone: heatmaps and depth bins shrink or grow with it.

        Raises:
            InputError: a heatmap or a number of depth bins would not be whole.
        """
        default = {key: Arch.model_fields[key].default for key in SCALED}
        now = self.base.get("input", default["input"])

        def scaled(key: str, value: Any) -> Any:
            if key not in SCALED or value == -1:
                return value
            if value * scale % now:
                raise InputError(f"scale: {scale} px makes no whole number of {key} {value}; take a power of two")
            return value * scale // now

        base = {"heatmap": default["heatmap"]} | self.base
        dimensions: dict[str, Any] = {}
        for key, made in self.dimensions.items():
            field = field_of(key)
            if field == "input" or now not in made.when.get("input", (now,)):
                continue
            when = {other: [scaled(other, value) for value in values] for other, values in made.when.items()}
            when.pop("input", None)
            dimensions[key] = {"values": [scaled(field, value) for value in made.values], "when": when}
            base.pop(field, None)
        base = {key: scaled(key, value) for key, value in base.items()} | {"input": scale}
        return make_space(self.model_dump() | {"base": base, "dimensions": dimensions}, f"{self.name}@{scale}")

    @property
    def joints(self) -> int:
        """Of the skeleton that its networks answer."""
        return int(self.base.get("joints", Arch.model_fields["joints"].default))

    def fit(self, joints: int) -> Space:
        """The same space for skeletons of `joints` joints.

        Raises:
            InputError: joints are a dimension of the space.
        """
        if joints == self.joints and "joints" not in self.dimensions:
            return self
        return make_space(self.model_dump() | {"base": self.base | {"joints": joints}}, f"space {self.name}")

    def suggest(self, choose: Choose) -> Arch:
        """The Arch that `choose(key, values)` makes, asked in order and only where a choice means something.

        Raises:
            InputError: the choices do not make a possible network.
        """
        point = dict(self.base)
        for key, dimension in self.dimensions.items():
            if self.asks(key, point):
                point[field_of(key)] = choose(key, list(dimension.values))
        return self.arch(point)

    def sample(self, rng: random.Random) -> Arch:
        """A network from uniform choices, impossible ones thrown away."""
        for _ in range(SAMPLE_TRIES):
            try:
                return self.suggest(lambda _, values: rng.choice(values))
            except InputError as error:
                reason = error
        raise InputError(f"space {self.name}: {SAMPLE_TRIES} random points were all impossible; the last: {reason}")

    def parameters(self, arch: Arch) -> dict[str, Any]:
        """What `suggest` would have to choose to make `arch`.

        Raises:
            InputError: the space does not hold it; says which field is why.
        """
        chosen: dict[str, Any] = {}

        def choose(key: str, values: list[Any]) -> Any:
            chosen[key] = self._value_of(arch, field_of(key), values)
            return chosen[key]

        made = self.suggest(choose)
        for field in Arch.model_fields:
            if getattr(made, field) != getattr(arch, field):
                has, given = getattr(made, field), getattr(arch, field)
                raise InputError(f"space {self.name}: {field} {given} is outside; the space has {has}")
        return chosen

    def contains(self, arch: Arch) -> bool:
        """Whether some choices make `arch`."""
        try:
            self.parameters(arch)
        except InputError:
            return False
        return True

    def size(self) -> int:
        """How many different networks the space holds, exactly; see `arch.space_size`."""
        return count(self)

    def asks(self, key: str, point: Point) -> bool:
        """Whether a choice of `key` means anything where those of `point` were made."""
        field, conditions = field_of(key), self.dimensions[key].when.items()
        if field in point:
            return False
        return all(_lookup(point, other) in values for other, values in conditions) and means(field)[1](point)

    def arch(self, point: Point) -> Arch:
        """The Arch of a point, its keys with a row gathered into the encoder's columns; 0 stands for the row's own."""
        plain = {key: value for key, value in point.items() if "." not in key}
        for name in TABLE_OVERRIDES:
            rows = {int(key.partition(".")[2]): value for key, value in point.items() if key.startswith(f"{name}.")}
            if rows:
                encoder = plain.get("encoder", Arch.model_fields["encoder"].default)
                plain[name] = tuple(rows.get(row, 0) for row in range(len(ENCODERS[encoder].rows)))
        return make_arch(plain, f"space {self.name}")

    def _value_of(self, arch: Arch, field: str, values: list[Any]) -> Any:
        """Which of `values` makes the `field` of `arch`."""
        name, _, row = field.partition(".")
        if row:
            table = getattr(arch, name)
            own = getattr(ENCODERS[arch.encoder].rows[int(row)], TABLE_OVERRIDES[name])
            current = table[int(row)] if table and table[int(row)] else own
            same = [value for value in values if value == current or (value == 0 and current == own)]
        else:
            current = getattr(arch, field)
            same = [value for value in values if value == current and type(value) is type(current)]
            same = same or [value for value in values if _makes(arch, field, value)]
        if not same:
            listed = ", ".join(str(value) for value in values)
            raise InputError(f"space {self.name}: {field} {current} is outside; the space has {listed}")
        return same[0]


def _makes(arch: Arch, field: str, value: Any) -> bool:
    """Whether `value`, however it is written, gives `arch` the field it has."""
    try:
        return arch.replace(**{field: value}) == arch
    except InputError:
        return False


def _lookup(point: Point, field: str) -> Any:
    return point[field] if field in point else Arch.model_fields[field].default


def shipped() -> list[str]:
    """Names of the spaces that come with the package."""
    return sorted(path.stem for path in SPACES.glob("*.yaml"))


def make_space(values: dict[str, Any], where: str) -> Space:
    """A checked space from plain values.

    Raises:
        InputError: one line with `where`, the key and the fix.
    """
    try:
        space = Space(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"] if part not in ("int", "float", "str", "bool"))
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            keys = Dimension.model_fields if len(first["loc"]) > 1 else Space.model_fields
            message = f"unknown key; the keys are {', '.join(keys)}"
        elif first["type"] == "too_short":
            message = "is empty; list at least one value"
        raise InputError(f"{where}: {key}: {message}") from None
    check_keys(space, where)
    check_values(space, where)
    return space
