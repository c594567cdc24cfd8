"""Search spaces: which networks a search may visit, as readable YAML. No torch.

A space maps dimensions to their values. A dimension is suggested only if it applies: its own `when` holds, and the
field has an effect on the network (`arch.conditions`). Any other field takes the value of `base`, or else the default
of `Arch`. A key such as `depths.3` is the fourth row of the encoder's table. A field may have several dimensions, with
different labels after `#`; the first that applies is suggested.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import cache
from itertools import product
from math import prod
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from arch.conditions import STRUCTURE, Point, condition_of, field_of, value_of
from arch.documents import load_mapping
from arch.encoders import ENCODERS
from arch.errors import InputError, describe, did_you_mean, not_one_of, unknown_key
from arch.fields import DEFAULTS
from arch.heads import HEADS
from arch.normalise import TABLE_OVERRIDES
from arch.old_names import current_dimension, current_key, current_names, note_old_names
from arch.plan import encoder_rows, encoder_stages, encoder_stride
from arch.space import Arch, make_arch
from arch.spec import Block

Value = bool | int | float | str
Choose = Callable[[str, list[Any]], Any]
SPACES = Path(__file__).parent / "spaces"
SCALED = ("input_size", "heatmap_size", "depth_bins")
SAMPLE_TRIES = 1000


class Dimension(BaseModel):
    """The values of one field; suggested only if each field in `when` has one of the values listed for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    values: tuple[Value, ...] = Field(min_length=1)
    when: dict[str, tuple[Value, ...]] = {}

    @field_validator("values", mode="before")
    @classmethod
    def _plain(cls, values: Any) -> Any:
        if isinstance(values, list | tuple) and not all(isinstance(value, Value) for value in values):
            raise ValueError("contains a value that is not a number, text, true or false; correct it")
        return values

    @field_validator("values")
    @classmethod
    def _distinct(cls, values: tuple[Value, ...]) -> tuple[Value, ...]:
        if len(set(values)) < len(values):
            raise ValueError("contains a value twice; keep one of them")
        return values


class Space(BaseModel):
    """A search space. Heatmap sizes and depth bins refer to the input size of `base` (default: 256 px)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    about: str = ""
    base: dict[str, Any] = {}
    dimensions: dict[str, Dimension] = Field(min_length=1)

    @field_validator("name")
    @classmethod
    def _printable(cls, name: str) -> str:
        if not 0 < len(name) <= 100 or not name.isprintable():
            raise ValueError("is not 1 to 100 printable characters; write another name")
        return name

    @field_validator("base", mode="before")
    @classmethod
    def _current_base(cls, base: Any) -> Any:
        return current_names(base) if isinstance(base, dict) else base

    @field_validator("dimensions", mode="before")
    @classmethod
    def _long_form(cls, dimensions: Any) -> Any:
        """Accept a plain list as a dimension without conditions, and names of version 0.1."""
        if not isinstance(dimensions, Mapping):
            return dimensions
        return {current_key(key): current_dimension(key, made) for key, made in dimensions.items()}

    @staticmethod
    def named(name: str) -> Space:
        """Return the built-in space of that name, or the space in the YAML file of that path.

        Names of version 0.1 in the file are accepted with a notice.

        Raises:
            InputError: unknown space, or a fault in the file.
        """
        path = SPACES / f"{name}.yaml"
        if path.is_file():
            return Space.load(path)
        if name.endswith((".yaml", ".yml")):
            return Space.load(name, notice=True)
        known = builtin_spaces()
        hint = did_you_mean(name, known)
        raise InputError(f"space: '{name}' is not one of {', '.join(known)} and not a path ending in .yaml{hint}")

    @staticmethod
    def load(path: str | Path, notice: bool = False) -> Space:
        """Read and check a space; with `notice`, print a notice for each name of version 0.1.

        Raises:
            InputError: one line with the file, the key and the fix.
        """
        content = load_mapping(path, "the keys name, base and dimensions")
        if notice:
            note_old_names(content, str(path))
        return make_space({"name": Path(path).stem, **content}, str(path))

    def at(self, input_size: int) -> Space:
        """Return the same space for inputs of `input_size` px only; heatmaps and depth bins scale with it.

        Raises:
            InputError: a heatmap size or a number of depth bins would not be whole.
        """
        current = value_of(self.base, "input_size")

        def scaled(field: str, value: Any) -> Any:
            if field not in SCALED or value == -1:
                return value
            if value * input_size % current:
                raise InputError(
                    f"input_size: {input_size} px scales {field} {value} to a fraction; use a power of two"
                )
            return value * input_size // current

        base = {"heatmap_size": DEFAULTS["heatmap_size"]} | self.base
        dimensions: dict[str, Any] = {}
        for key, dimension in self.dimensions.items():
            field = field_of(key)
            if field == "input_size" or current not in dimension.when.get("input_size", (current,)):
                continue
            when = {other: [scaled(other, value) for value in values] for other, values in dimension.when.items()}
            when.pop("input_size", None)
            dimensions[key] = {"values": [scaled(field, value) for value in dimension.values], "when": when}
            base.pop(field, None)
        base = {key: scaled(key, value) for key, value in base.items()} | {"input_size": input_size}
        return make_space(self.model_dump() | {"base": base, "dimensions": dimensions}, f"{self.name}@{input_size}")

    @property
    def num_joints(self) -> int:
        """Joints of the skeleton that the networks predict."""
        return int(value_of(self.base, "num_joints"))

    def with_num_joints(self, num_joints: int) -> Space:
        """Return the same space for skeletons of `num_joints` joints.

        Raises:
            InputError: num_joints is a dimension of the space.
        """
        if num_joints == self.num_joints and "num_joints" not in self.dimensions:
            return self
        return make_space(self.model_dump() | {"base": self.base | {"num_joints": num_joints}}, f"space {self.name}")

    def suggest(self, choose: Choose) -> Arch:
        """Build a network from the choices of `choose(key, values)`, called in order for each dimension that applies.

        Raises:
            InputError: the choices do not make a possible network.
        """
        point = dict(self.base)
        for key, dimension in self.dimensions.items():
            if self.applies(key, point):
                point[field_of(key)] = choose(key, list(dimension.values))
        return self.arch(point)

    def sample(self, rng: random.Random) -> Arch:
        """Draw a network by uniform choices, with rejection of impossible ones."""
        for _ in range(SAMPLE_TRIES):
            try:
                return self.suggest(lambda _, values: rng.choice(values))
            except InputError as error:
                reason = error
        raise InputError(f"space {self.name}: {SAMPLE_TRIES} random networks were all impossible; the last: {reason}")

    def parameters(self, arch: Arch) -> dict[str, Any]:
        """Return the choices with which `suggest` builds `arch`.

        Raises:
            InputError: the space does not contain it; names the field.
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
        """Whether the space contains `arch`."""
        try:
            self.parameters(arch)
        except InputError:
            return False
        return True

    def size(self) -> int:
        """The exact number of different networks."""
        return _count_networks(self)

    def applies(self, key: str, point: Point) -> bool:
        """Whether a choice of `key` has an effect, given the choices made so far."""
        field = field_of(key)
        if field in point:
            return False
        when = self.dimensions[key].when.items()
        return all(value_of(point, other) in values for other, values in when) and condition_of(field).applies(point)

    def arch(self, point: Point) -> Arch:
        """Build the network of a point; rows of the encoder's table that it leaves out keep their values."""
        plain = {key: value for key, value in point.items() if "." not in key}
        for name in TABLE_OVERRIDES:
            rows = {int(key.partition(".")[2]): value for key, value in point.items() if key.startswith(f"{name}.")}
            if rows:
                count = len(ENCODERS[value_of(point, "encoder")].rows)
                plain[name] = tuple(rows.get(row, 0) for row in range(count))
        return make_arch(plain, f"space {self.name}")

    def _value_of(self, arch: Arch, field: str, values: list[Any]) -> Any:
        """Return the one of `values` that gives `arch` its `field`."""
        name, _, row = field.partition(".")
        if row:
            table = getattr(arch, name)
            own = getattr(ENCODERS[arch.encoder].rows[int(row)], TABLE_OVERRIDES[name])
            current = table[int(row)] if table and table[int(row)] else own
            same = [value for value in values if value == current or (value == 0 and current == own)]
        else:
            current = getattr(arch, field)
            same = [value for value in values if value == current and type(value) is type(current)]
            same = same or [value for value in values if _leaves_unchanged(arch, field, value)]
        if not same:
            listed = ", ".join(str(value) for value in values)
            raise InputError(f"space {self.name}: {field} {current} is outside; the space has {listed}")
        return same[0]


def _leaves_unchanged(arch: Arch, field: str, value: Any) -> bool:
    """Whether `value` is another way to write the field of `arch`, such as -1 for a derived value."""
    try:
        return arch.replace(**{field: value}) == arch
    except InputError:
        return False


def builtin_spaces() -> list[str]:
    """Names of the spaces that come with the package."""
    return sorted(path.stem for path in SPACES.glob("*.yaml"))


def make_space(values: dict[str, Any], where: str) -> Space:
    """Build and check a space from plain values; names of version 0.1 are accepted.

    Raises:
        InputError: one line with `where`, the key and the fix.
    """
    try:
        space = Space(**values)
    except ValidationError as error:
        raise InputError(f"{where}: {describe(error, Space)}") from None
    _check_keys(space, where)
    _check_values(space, where)
    return space


# ---- Checks: every key is a field, every value is used by a possible network ----


def _check_keys(space: Space, where: str) -> None:
    """Check that keys are fields of Arch and stand below the fields that their conditions read."""

    def check_field(name: str, key: str) -> None:
        if name not in Arch.model_fields:
            raise InputError(f"{where}: {key}: {unknown_key(name, Arch.model_fields)}")

    for key in space.base:
        check_field(key, f"base.{key}")
        if key in map(field_of, space.dimensions):
            raise InputError(f"{where}: base.{key}: is also a dimension; keep one of the two")
    keys = list(space.dimensions)
    for index, (key, dimension) in enumerate(space.dimensions.items()):
        field = field_of(key)
        name, dot, row = field.partition(".")
        if name in TABLE_OVERRIDES and not row.isdigit():
            raise InputError(f"{where}: dimensions.{key}: write {name}.0, {name}.1, ... for the rows of the encoder")
        check_field(name if name in TABLE_OVERRIDES or not dot else field, f"dimensions.{key}")
        for other in dimension.when:
            check_field(other, f"dimensions.{key}.when.{other}")
        below = {field_of(other) for other in keys[index:]}
        for other in (*dimension.when, *condition_of(field).reads):
            if other in below:
                raise InputError(f"{where}: dimensions.{key}: depends on {other}; write {other} above it")


def _check_values(space: Space, where: str) -> None:
    """Check each value by itself, then that a possible network uses it."""
    for field, value in space.base.items():
        _check_value(field, value, f"{where}: base.{field}")
    for key, dimension in space.dimensions.items():
        for value in dimension.values:
            _check_value(field_of(key), value, f"{where}: dimensions.{key}")
        for other, values in dimension.when.items():
            for value in values:
                _check_value(other, value, f"{where}: dimensions.{key}.when.{other}")
    unused = {(key, value) for key, dimension in space.dimensions.items() for value in dimension.values}
    rng = random.Random(0)
    for key, value in sorted(unused, key=str):
        if (key, value) not in unused:
            continue
        reason = _find_use(space, key, value, rng, unused)
        if (key, value) in unused:
            raise InputError(f"{where}: dimensions.{key}: no possible network has {value} ({reason}); remove it")


def _check_value(field: str, value: Any, where: str) -> None:
    name, dot, _ = field.partition(".")
    registries: dict[str, Mapping[str, Any]] = {"encoder": ENCODERS, "head": HEADS}
    if name in registries and str(value) not in registries[name]:
        raise InputError(f"{where}: {not_one_of(str(value), registries[name])}")
    try:
        _field_adapter(name).validate_python((value,) if dot else value, strict=False)
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise InputError(f"{where}: {value!r} is not possible: {message[0].lower()}{message[1:]}") from None


@cache
def _field_adapter(field: str) -> TypeAdapter[Any]:
    """Validator of a single field of Arch."""
    info = Arch.model_fields[field]
    return TypeAdapter(Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation)


def _find_use(space: Space, key: str, value: Any, rng: random.Random, unused: set[tuple[str, Any]]) -> str:
    """Search a possible network with `value` and remove its choices from `unused`; return the last obstacle."""
    obstacle = f"{key} never applies"

    def attempt(choose: Choose) -> bool:
        nonlocal obstacle
        chosen: list[tuple[str, Any]] = []

        def record(name: str, values: list[Any]) -> Any:
            taken = value if name == key else choose(name, values)
            chosen.append((name, taken))
            return taken

        try:
            space.suggest(record)
        except InputError as error:
            obstacle = str(error)
            return False
        unused.difference_update(chosen)
        return (key, value) not in unused

    if any(attempt(lambda name, values: rng.choice(values)) for _ in range(20)):
        return ""
    names = [name for name in space.dimensions if field_of(name) in STRUCTURE and name != key]
    for chosen in product(*(space.dimensions[name].values for name in names)):
        fixed = dict(zip(names, chosen, strict=True))
        if attempt(lambda name, values, fixed=fixed: fixed.get(name, rng.choice(values))):  # type: ignore[misc]
            return ""
    return obstacle


# ---- Size: structural fields are enumerated; the others are counted independently of each other ----
#
# Given the structural fields, the fields of decoder and head are independent of each other and of the encoder's. Within
# the encoder, the fields of each row are enumerated for each width and squeeze-excite, because two combinations may
# make the same blocks (an expansion that rounding hides, for example).

ENCODER_FIELDS = ("width", "squeeze_excite", *TABLE_OVERRIDES)
VARIES_WITH = {"depth_bins": ("head", "heatmap_size", "input_size")}  # fields that change the count of another


def _count_networks(space: Space) -> int:
    mentioned = {field for dimension in space.dimensions.values() for field in dimension.when}
    enumerated = [key for key in space.dimensions if field_of(key) in STRUCTURE or field_of(key) in mentioned]
    total, seen = 0, set()
    counts: dict[Any, int] = {}
    for point, arch, applying in _structures(space, enumerated):
        if arch.id in seen:
            continue
        seen.add(arch.id)
        free = {field_of(key): key for key in applying if key not in enumerated}
        encoder = {field: key for field, key in free.items() if field.partition(".")[0] in ENCODER_FIELDS}
        fixed = [point.get(field_of(key)) for key in enumerated if field_of(key) not in STRUCTURE]
        trunk = arch.encoder, arch.stem_stride, encoder_stride(arch), arch.concat == "residual"
        part: Any = (trunk, *encoder.values(), *fixed)
        if part not in counts:
            counts[part] = _count_encoders(space, point, encoder)
        networks = counts[part]
        for field, key in free.items():
            if field in encoder:
                continue
            part = (key, *(getattr(arch, other) for other in VARIES_WITH.get(field, ())))
            if part not in counts:
                values = space.dimensions[key].values
                counts[part] = len({space.arch(point | {field: value}).id for value in values})
            networks *= counts[part]
        total += networks
    return total


def _structures(space: Space, enumerated: list[str]) -> list[tuple[Point, Arch, list[str]]]:
    """Every possible choice of the `enumerated` keys, the rest at their first values, with the keys that apply."""
    found = []
    for values in product(*(space.dimensions[key].values for key in enumerated)):
        point, chosen, repeated = dict(space.base), dict(zip(enumerated, values, strict=True)), False
        applying = []
        for key, dimension in space.dimensions.items():
            if space.applies(key, point):
                point[field_of(key)] = chosen.get(key, dimension.values[0])
                applying.append(key)
            elif key in chosen and chosen[key] != dimension.values[0]:
                repeated = True  # the key does not apply, so that one of its values represents all
        if repeated:
            continue
        try:
            found.append((point, space.arch(point), applying))
        except InputError:
            continue
    return found


def _count_encoders(space: Space, point: Point, fields: dict[str, str]) -> int:
    """Count the different encoders that the values of `fields` (field: key) make, the others as in `point`."""
    outer = [field for field in fields if "." not in field]
    rows = {int(field.partition(".")[2]) for field in fields if "." in field}
    total, seen = 0, set()
    for chosen in product(*(space.dimensions[fields[field]].values for field in outer)):
        fixed = {field: value for field, value in point.items() if field not in fields or "." not in field}
        arch = space.arch(fixed | dict(zip(outer, chosen, strict=True)))
        trunk = tuple(node.blocks for node in arch.plan.nodes[: len(encoder_stages(arch))])
        if trunk in seen:
            continue
        seen.add(trunk)
        total += prod(_count_stages(space, arch, row, fields) for row in rows)
    return total


def _count_stages(space: Space, arch: Arch, row: int, fields: dict[str, str]) -> int:
    """Count the different stages that the values of one row's fields make in `arch`."""
    columns = {f"{name}.{row}": column for name, column in TABLE_OVERRIDES.items() if f"{name}.{row}" in fields}
    nodes, table = arch.plan.nodes, encoder_rows(arch)
    index = next(index for index, node in enumerate(nodes) if node.name == f"stage{row}")
    sources = [source for source, _ in nodes[index].inputs]
    cin = sum(3 if source < 0 else nodes[source].channels for source in sources)
    stride = (arch.input_size if sources[-1] < 0 else nodes[sources[-1]].size) // nodes[index].size
    stages: set[tuple[Block, ...]] = set()
    for chosen in product(*(space.dimensions[fields[field]].values for field in columns)):
        own = {column: value for column, value in zip(columns.values(), chosen, strict=True) if value}
        rows = (*table[:row], table[row]._replace(**own), *table[row + 1 :])
        stages.add(encoder_stages(arch, rows)[index].blocks(cin, stride))
    return len(stages)
