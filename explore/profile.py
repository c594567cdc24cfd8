"""Tables of the command `profile`: costs of networks, comparison with the paper, counts of other tools.

Each function returns rows, which are dataclasses; `render` prints them. The fields of a row are its keys in JSON, in
the units of their docstring; text, CSV and Markdown show them under the title and in the unit of their metadata. Only
`counter_rows` needs torch.
"""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import ValidationError

from arch.cost import cost
from arch.describe import describe
from arch.errors import InputError, not_one_of
from arch.errors import describe as describe_error
from arch.old_names import current_choices
from arch.paper import PaperRow, paper_tables
from arch.search_space import Space
from arch.space import Arch
from explore.config import load_yaml
from explore.search.config import SearchConfig

if TYPE_CHECKING:
    from _typeshed import DataclassInstance as Row

Form = Literal["text", "csv", "json", "markdown"]
FORMS: tuple[Form, ...] = get_args(Form)
Named = tuple[str, Arch]


def column(title: str, form: str = "", scale: float = 1) -> dict[str, Any]:
    """Metadata of a field: its title, the format of its values, and the factor from its unit to that of the title."""
    return {"title": title, "form": form, "scale": scale}


PARAMS, MACS = column("params M", ",.3f", 1e-6), column("MACs M", ",.1f", 1e-6)


def megabytes(title: str) -> dict[str, Any]:
    return column(f"{title} MB", ",.2f", 1e-6)


@dataclass(frozen=True)
class ProfileRow:
    """The cost of one network for one image, as in `arch.cost.Cost`.

    Attributes:
        name: preset, trial or id.
        id: identifies the network.
        input_size: side of the input, px.
        params: number of parameters.
        macs: multiply-accumulates of convolutions and linear layers.
        paper_gflops: FLOPs in billions by the convention of the paper.
        activation_bytes_float, activation_bytes_int8: peak memory of activations, bytes.
        weight_bytes_float, weight_bytes_int8: memory of weights, bytes.
    """

    name: str
    id: str
    input_size: int = field(metadata=column("input px"))
    params: int = field(metadata=PARAMS)
    macs: int = field(metadata=MACS)
    paper_gflops: float = field(metadata=column("paper GFLOPs", ".3f"))
    activation_bytes_float: int = field(metadata=megabytes("peak memory float"))
    activation_bytes_int8: int = field(metadata=megabytes("peak memory INT8"))
    weight_bytes_float: int = field(metadata=megabytes("weights float"))
    weight_bytes_int8: int = field(metadata=megabytes("weights INT8"))


@dataclass(frozen=True)
class StepRow:
    """One step of a network, as in `arch.describe.Step`; the last row holds the sums, and the maxima of memory.

    Attributes:
        network: name and id of the network.
        step, reads: the step and its inputs.
        channels, size: output channels and side of the output map.
        params, macs: parameters and multiply-accumulates.
        memory_float, memory_int8: memory of the activations alive while the step runs, bytes.
    """

    network: str
    step: str
    reads: str
    channels: int | None
    size: int | None
    params: int = field(metadata=PARAMS)
    macs: int = field(metadata=MACS)
    memory_float: int = field(metadata=megabytes("memory float"))
    memory_int8: int = field(metadata=megabytes("memory INT8"))


@dataclass(frozen=True)
class ComparedRow:
    """One row of the paper's tables, compared with this project.

    Attributes:
        table, row: position in the paper.
        params_paper, params: parameters in millions, in the paper and here.
        gflops_paper, gflops: FLOPs in billions by the convention of the paper, in the paper and here.
        params_off, gflops_off: deviation of the printed value, percent of the value here.
        gmacs: multiply-accumulates in billions.
        mpjpe_mm_paper: the paper's error on Human3.6M, protocol 2, mm.
        digits: "equal" if params and FLOPs round to the printed digits, otherwise the ones that differ; empty for a row
            without a network in this project.
        remark: reason of a difference.
    """

    table: str
    row: str
    params_paper: float = field(metadata=column("params M, paper", ".2f"))
    params: float | None = field(metadata=column("params M", ".3f"))
    params_off: float | None = field(metadata=column("params off %", "+.1f"))
    gflops_paper: float | None = field(metadata=column("GFLOPs, paper", ".2f"))
    gflops: float | None = field(metadata=column("GFLOPs", ".3f"))
    gflops_off: float | None = field(metadata=column("GFLOPs off %", "+.1f"))
    gmacs: float | None = field(metadata=column("MACs M", ",.1f", 1e3))
    mpjpe_mm_paper: float = field(metadata=column("MPJPE mm, paper", ".2f"))
    digits: str
    remark: str


@dataclass(frozen=True)
class CounterRow:
    """One difference between the count of another tool and our MACs.

    Attributes:
        name: the network.
        engine: the tool.
        params, operations: its counts.
        macs: our multiply-accumulates.
        difference, amount, reason: the kind of operation, the operations that the tool counts in addition, and why.
    """

    name: str
    engine: str
    params: int = field(metadata=PARAMS)
    operations: int = field(metadata=column("operations M", ",.1f", 1e-6))
    macs: int = field(metadata=MACS)
    difference: str
    amount: int | None = field(metadata=column("amount M", ",.1f", 1e-6))
    reason: str


def rows(archs: Iterable[Arch | Named]) -> list[ProfileRow]:
    """Return the cost of each network; by default a network is called by its `Arch.name`."""
    return [ProfileRow(name, arch.id, arch.input_size, *astuple(cost(arch))) for name, arch in map(_named, archs)]


def step_rows(name: str, arch: Arch) -> list[StepRow]:
    """Return the steps of a network and a row of totals."""
    network = name if name == arch.id else f"{name} ({arch.id})"
    steps = [
        StepRow(network, s.name, s.reads, s.channels, s.size, s.params, s.macs, s.memory_float, s.memory_int8)
        for s in describe(arch)
    ]
    params, macs = sum(step.params for step in steps), sum(step.macs for step in steps)
    memory = max(step.memory_float for step in steps), max(step.memory_int8 for step in steps)
    return [*steps, StepRow(network, "total", "", None, None, params, macs, *memory)]


def sample_rows(space: Space, count: int, seed: int) -> list[ProfileRow]:
    """Return the cost of `count` different networks of a space, or of fewer if 10 * count draws contain fewer."""
    rng, found = random.Random(seed), dict[str, Arch]()
    for _ in range(10 * count):
        if len(found) == count:
            break
        arch = space.sample(rng)
        found.setdefault(arch.id, arch)
    return rows((arch.id, arch) for arch in found.values())


def study_archs(folder: str | Path) -> list[Named]:
    """Return the name and the network of each trial of a study, from its files if it is finished, else its storage.

    Raises:
        InputError: the folder contains no study.
    """
    folder = Path(folder)
    from explore.report.tables import TRIALS

    if (folder / TRIALS).is_file():
        return _reported_archs(folder)
    for name in ("config.yaml", "study.db"):
        if not (folder / name).is_file():
            raise InputError(f"{folder}: has no {TRIALS} and no {name}; give the folder of a study")
    return _stored_archs(folder)


def _reported_archs(folder: Path) -> list[Named]:
    """Return the networks of trials.csv that `page/`, the bundles or the names of presets describe."""
    from explore.report.study_folder import read_summary

    summary = read_summary(folder)
    networks = summary.snapshot.networks
    rows = [row for row in summary.trials if row.arch_id in networks]
    return [(row.name if row.baseline else f"trial {row.trial:g}", networks[row.arch_id]) for row in rows]


def _stored_archs(folder: Path) -> list[Named]:
    """Return the networks of the trials in the storage of a study without reports."""
    from explore.search.study import open_stored

    path = folder / "config.yaml"
    try:  # not `parse`, which prints a notice for keys of version 0.1
        config = SearchConfig(**{key: value for key, value in load_yaml(path).items() if key != "hash"})
    except ValidationError as error:
        raise InputError(f"{path}: {describe_error(error, SearchConfig)}") from None
    kept = folder / "space.yaml"
    space = (Space.load(kept) if kept.is_file() else Space.named(config.space)).at(config.input_size)
    made = []
    for trial in open_stored(folder).get_trials(deepcopy=False):
        choices = current_choices(trial.params)
        try:
            arch = space.suggest(lambda key, _, choices=choices: choices[key])  # type: ignore[misc]
        except (KeyError, InputError):  # the choices are incomplete or impossible
            continue
        made.append((str(trial.user_attrs.get("baseline", f"trial {trial.number}")), arch))
    return made


def paper_rows() -> list[ComparedRow]:
    """Return every row of the paper's Tables 2 to 6 and 10 with the values of this project."""
    return [_compared(row) for row in paper_tables()]


def _compared(row: PaperRow) -> ComparedRow:
    params = gflops = gmacs = None
    differing = []
    if row.arch is not None:
        one = cost(row.arch)
        params, gflops, gmacs = one.params / 1e6, one.paper_gflops, one.macs / 1e9
        differing += [] if _same_digits(params, row.params) else ["params"]
        differing += [] if row.gflops is None or _same_digits(gflops, row.gflops) else ["FLOPs"]
    digits = "" if row.arch is None else " and ".join(differing) + " differ" if differing else "equal"
    ours = (gflops, _deviation(row.gflops, gflops), gmacs, row.mpjpe_mm, digits, row.remark)
    return ComparedRow(row.table, row.row, row.params, params, _deviation(row.params, params), row.gflops, *ours)


def _same_digits(ours: float, paper: float) -> bool:
    """Whether both are equal after rounding to the two digits that the paper prints."""
    return f"{ours:.2f}" == f"{paper:.2f}"


def _deviation(paper: float | None, ours: float | None) -> float | None:
    return None if paper is None or ours is None else 100 * (paper - ours) / ours


def counter_rows(archs: Iterable[Arch | Named], engine: str) -> list[CounterRow]:
    """Return one row per difference between the count of `engine` (fvcore, ptflops, torch) and ours.

    Raises:
        InputError: unknown engine, or its package is not installed.
    """
    from arch.counters import count_operations

    made = []
    for name, arch in map(_named, archs):
        count = count_operations(arch, engine)
        head = (name, engine, count.params, count.operations, count.macs)
        made += [CounterRow(*head, one.operation, one.amount, one.reason) for one in count.differences]
        made.append(CounterRow(*head, "not counted", None, "; ".join(count.not_counted) or "nothing"))
    return made


def _named(given: Arch | Named) -> Named:
    return given if isinstance(given, tuple) else (given.name, given)


def render(given: Sequence[Row], form: Form = "text") -> str:
    """Render rows as aligned text, CSV, JSON or a Markdown table.

    JSON has exact values under the names of the fields and may mix kinds of rows; the other forms need rows of one kind
    and show titles and units of the columns. CSV values are not rounded.

    Raises:
        InputError: unknown form.
    """
    if form not in FORMS:
        raise InputError(f"form: {not_one_of(form, FORMS)}")
    if form == "json":
        return json.dumps([asdict(row) for row in given], indent=1)
    if not given:
        return "no rows"
    columns = fields(given[0])
    titles = [one.metadata.get("title", one.name) for one in columns]
    if form == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(titles)
        writer.writerows([_scaled(getattr(row, one.name), one.metadata) for one in columns] for row in given)
        return text.getvalue().rstrip("\n")
    cells = [[_cell(getattr(row, one.name), one.metadata) for one in columns] for row in given]
    left = [all(not isinstance(getattr(row, one.name), int | float) for row in given) for one in columns]
    return _markdown(titles, cells, left) if form == "markdown" else _text(titles, cells, left)


def _scaled(value: Any, metadata: Any) -> Any:
    scale = metadata.get("scale", 1)
    return value if scale == 1 or value is None else round(value * scale, 6)


def _cell(value: Any, metadata: Any) -> str:
    return "" if value is None else format(_scaled(value, metadata), metadata.get("form", ""))


def _text(titles: list[str], cells: list[list[str]], left: list[bool]) -> str:
    widths = [max(len(row[column]) for row in [titles, *cells]) for column in range(len(titles))]
    lines = []
    for row in [titles, ["-" * width for width in widths], *cells]:
        padded = [
            cell.ljust(width) if is_left else cell.rjust(width)
            for cell, width, is_left in zip(row, widths, left, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _markdown(titles: list[str], cells: list[list[str]], left: list[bool]) -> str:
    rule = ["---" if is_left else "---:" for is_left in left]
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in cells]
    return "\n".join("| " + " | ".join(row) + " |" for row in [titles, rule, *escaped])
