"""How many networks a space holds, exactly, without making them all. No torch.

The gates (what others' validity and meaning rest on) are enumerated. Given those, the fields of decoder and head are
independent of each other and of the encoder's. Within the encoder each row's own fields are enumerated for each width
and squeeze-excite, since two of them may make the same blocks (an expansion that rounding hides, say).
"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

from arch.canonical import TABLE_OVERRIDES
from arch.errors import InputError
from arch.meaning import GATES, Point, field_of
from arch.plan import encoder_rows, encoder_stages
from arch.space import Arch
from arch.spec import Block

if TYPE_CHECKING:
    from arch.search_space import Space

ENCODER_FIELDS = ("width", "squeeze_excite", *TABLE_OVERRIDES)
VARIES_WITH = {"depth_bins": ("head", "heatmap", "input")}  # on what a field's number of networks rests


def count(space: Space) -> int:
    """The number of different networks."""
    mentioned = {field for made in space.dimensions.values() for field in made.when}
    gated = [key for key in space.dimensions if field_of(key) in GATES or field_of(key) in mentioned]
    total, seen = 0, set()
    counts: dict[Any, int] = {}
    for point, arch, asked in gate_points(space, gated):
        if arch.id in seen:
            continue
        seen.add(arch.id)
        free = {field_of(key): key for key in asked if key not in gated}
        encoder = {field: key for field, key in free.items() if field.partition(".")[0] in ENCODER_FIELDS}
        fixed = [point.get(field_of(key)) for key in gated if field_of(key) not in GATES]
        part: Any = (_trunk_key(arch), *encoder.values(), *fixed)
        if part not in counts:
            counts[part] = encoders(space, point, encoder)
        networks = counts[part]
        for field, key in free.items():
            if field in encoder:
                continue
            part = (key, *(getattr(arch, gate) for gate in VARIES_WITH.get(field, ())))
            if part not in counts:
                values = space.dimensions[key].values
                counts[part] = len({space.arch(point | {field: value}).id for value in values})
            networks *= counts[part]
        total += networks
    return total


def gate_points(space: Space, gated: list[str]) -> list[tuple[Point, Arch, list[str]]]:
    """Every possible choice of the gates, the rest at its first values, and the keys that are asked for."""
    made = []
    for chosen in product(*(space.dimensions[key].values for key in gated)):
        point, gates, twice = dict(space.base), dict(zip(gated, chosen, strict=True)), False
        asked = []
        for key, dimension in space.dimensions.items():
            if space.asks(key, point):
                point[field_of(key)] = gates.get(key, dimension.values[0])
                asked.append(key)
            elif key in gates and gates[key] != dimension.values[0]:
                twice = True  # not asked: one choice stands for all
        if twice:
            continue
        try:
            made.append((point, space.arch(point), asked))
        except InputError:
            continue
    return made


def _trunk_key(arch: Arch) -> tuple[Any, ...]:
    """What the blocks of an encoder rest on besides its own fields: strides, and which inputs are joined."""
    total = arch.input * 2**arch.decoder_stages // arch.heatmap
    return arch.encoder, arch.early_stride, total, arch.concat == "residual"


def encoders(space: Space, point: Point, fields: dict[str, str]) -> int:
    """How many different encoders the values of `fields` (field: key) make, the others as in `point`."""
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
        total += prod(_rows(space, arch, row, fields) for row in rows)
    return total


def _rows(space: Space, arch: Arch, row: int, fields: dict[str, str]) -> int:
    """How many different stages the values of one row's fields make in `arch`; 0 stands for the row's own value."""
    columns = {f"{name}.{row}": column for name, column in TABLE_OVERRIDES.items() if f"{name}.{row}" in fields}
    index, cin, stride = _place(arch, row)
    table = encoder_rows(arch)
    made: set[tuple[Block, ...]] = set()
    for chosen in product(*(space.dimensions[fields[field]].values for field in columns)):
        own = {column: value for column, value in zip(columns.values(), chosen, strict=True) if value}
        rows = (*table[:row], table[row]._replace(**own), *table[row + 1 :])
        made.add(encoder_stages(arch, rows)[index].blocks(cin, stride))
    return len(made)


def _place(arch: Arch, row: int) -> tuple[int, int, int]:
    """Of a row's stage in `arch`: its index among the steps, its input channels and its stride."""
    nodes = arch.plan.nodes
    index = next(index for index, node in enumerate(nodes) if node.name == f"stage{row}")
    sources = [source for source, _ in nodes[index].inputs]
    cin = sum(3 if source < 0 else nodes[source].channels for source in sources)
    before = arch.input if sources[-1] < 0 else nodes[sources[-1]].size
    return index, cin, before // nodes[index].size
