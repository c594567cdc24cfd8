"""The tables that `profile` prints: networks and their cost, the paper's tables beside ours, second opinions.

Every function returns rows (dataclasses); `render` makes them text, CSV, JSON or Markdown. Without torch, but for
`opinion_rows`.
"""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from arch.cost import cost
from arch.errors import InputError
from arch.paper import PaperRow, paper_tables
from arch.search_space import Space
from arch.space import Arch
from explore.config import SearchConfig, load_yaml, parse

if TYPE_CHECKING:
    from _typeshed import DataclassInstance as Row

Form = Literal["text", "csv", "json", "markdown"]
FORMS: tuple[Form, ...] = ("text", "csv", "json", "markdown")


@dataclass(frozen=True)
class ProfileRow:
    """One network: `macs` of convolutions and linear layers, memory of activations and weights in bytes.

    `paper_gflops` is the paper's FLOPs column by its own convention; see `arch.cost`.
    """

    name: str
    id: str
    input: int
    params: int
    macs: int
    paper_gflops: float
    activation_bytes_float: int
    activation_bytes_int8: int
    weight_bytes_float: int
    weight_bytes_int8: int


@dataclass(frozen=True)
class ComparedRow:
    """One row of the paper beside ours: params in millions, MACs and FLOPs in billions, deviations in percent of ours.

    `digits`: "equal" where params and FLOPs round to what is printed, else which differ; empty without comparison.
    """

    table: str
    row: str
    params_paper: float
    params: float | None
    params_off: float | None
    gflops_paper: float | None
    gflops: float | None
    gflops_off: float | None
    gmacs: float | None
    mpjpe_mm_paper: float
    digits: str
    remark: str


@dataclass(frozen=True)
class OpinionRow:
    """What an engine counts in one network, and by how much and why that differs from our MACs."""

    name: str
    engine: str
    params: int
    operations: int
    macs: int
    what: str
    amount: int | None
    why: str


def rows(archs: Iterable[Arch | tuple[str, Arch]]) -> list[ProfileRow]:
    """The cost of each network; an Arch may come with a name of its own, such as a trial's."""
    made = []
    for given in archs:
        name, arch = given if isinstance(given, tuple) else (given.name, given)
        one = cost(arch)
        made.append(
            ProfileRow(
                name,
                arch.id,
                arch.input,
                one.params,
                one.macs,
                one.paper_gflops,
                one.peak_activation_bytes_float,
                one.peak_activation_bytes_int8,
                one.weight_bytes_float,
                one.weight_bytes_int8,
            )
        )
    return made


def sample_rows(space: Space, count: int, seed: int) -> list[ProfileRow]:
    """The cost of `count` different networks of a space, or of all it gives in ten times as many draws."""
    rng, found = random.Random(seed), dict[str, Arch]()
    for _ in range(10 * count):
        if len(found) == count:
            break
        arch = space.sample(rng)
        found.setdefault(arch.id, arch)
    return rows((arch.id, arch) for arch in found.values())


def study_archs(folder: str | Path) -> list[tuple[str, Arch]]:
    """Every trial of a study as its name and network, from the study's own configuration and storage.

    Raises:
        InputError: the folder holds no study.
    """
    folder = Path(folder)
    for name in ("config.yaml", "study.db"):
        if not (folder / name).is_file():
            raise InputError(f"{folder}: has no {name}; give the folder that a search left")
    import optuna

    values = {key: value for key, value in load_yaml(folder / "config.yaml").items() if key != "hash"}
    config = parse(SearchConfig, values, str(folder / "config.yaml"))
    space = Space.named(config.space).at(config.scale)
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{(folder / 'study.db').resolve()}")
    made = []
    for trial in study.get_trials(deepcopy=False):
        try:
            arch = space.suggest(lambda field, _, params=trial.params: params[field])  # type: ignore[misc]
        except (KeyError, InputError):  # not yet chosen, or an impossible choice
            continue
        made.append((str(trial.user_attrs.get("baseline", f"trial {trial.number}")), arch))
    return made


def paper_rows() -> list[ComparedRow]:
    """Every row of the paper's Tables 2 to 6 and 10 beside ours."""
    return [_compared(row) for row in paper_tables()]


def _compared(row: PaperRow) -> ComparedRow:
    params = gflops = gmacs = None
    differing = []
    if row.arch is not None:
        one = cost(row.arch)
        params, gflops, gmacs = one.params / 1e6, one.paper_gflops, one.macs / 1e9
        differing += [] if _printed(params, row.params) else ["params"]
        differing += [] if row.gflops is None or _printed(gflops, row.gflops) else ["FLOPs"]
    digits = "" if row.arch is None else " and ".join(differing) + " differ" if differing else "equal"
    return ComparedRow(
        row.table,
        row.row,
        row.params,
        params,
        _off(row.params, params),
        row.gflops,
        gflops,
        _off(row.gflops, gflops),
        gmacs,
        row.mpjpe_mm,
        digits,
        row.remark,
    )


def _printed(ours: float, paper: float) -> bool:
    """Whether ours, rounded to the two digits that the paper prints, is what it prints."""
    return f"{ours:.2f}" == f"{paper:.2f}"


def _off(paper: float | None, ours: float | None) -> float | None:
    return None if paper is None or ours is None else 100 * (paper - ours) / ours


def opinion_rows(archs: Iterable[Arch | tuple[str, Arch]], engine: str) -> list[OpinionRow]:
    """What `engine` (fvcore, ptflops or torch) counts: a row for each difference, then what it leaves out.

    Raises:
        InputError: no such engine, or it is not installed.
    """
    from arch.opinions import opinion

    made = []
    for given in archs:
        name, arch = given if isinstance(given, tuple) else (given.name, given)
        said = opinion(arch, engine)
        head = (name, engine, said.params, said.operations, said.macs)
        made += [OpinionRow(*head, one.what, one.amount, one.why) for one in said.differences]
        made.append(OpinionRow(*head, "not counted", None, "; ".join(said.not_counted) or "nothing"))
    return made


# How text and Markdown show a column: its title and the format of its values.
SHOWN: dict[str, tuple[str, str]] = {
    "params": ("params", ","),
    "macs": ("MACs (M)", "e6"),
    "operations": ("operations (M)", "e6"),
    "amount": ("amount (M)", "e6"),
    "paper_gflops": ("paper GFLOPs", ".3f"),
    "activation_bytes_float": ("act. float (MiB)", "MiB"),
    "activation_bytes_int8": ("act. int8 (MiB)", "MiB"),
    "weight_bytes_float": ("weights float (MiB)", "MiB"),
    "weight_bytes_int8": ("weights int8 (MiB)", "MiB"),
    "params_paper": ("params (M), paper", ".2f"),
    "params_off": ("off %", "+.1f"),
    "gflops_paper": ("GFLOPs, paper", ".2f"),
    "gflops": ("ours", ".3f"),
    "gflops_off": ("off %", "+.1f"),
    "gmacs": ("GMACs", ".3f"),
    "mpjpe_mm_paper": ("MPJPE mm, paper", ".2f"),
}


def render(given: Sequence[Row], form: Form = "text") -> str:
    """The rows as an aligned table, CSV, JSON or a Markdown table; CSV and JSON keep exact values and field names.

    Raises:
        InputError: no such form.
    """
    if form not in FORMS:
        raise InputError(f"form: '{form}' is not one of {', '.join(FORMS)}")
    if form == "json":
        return json.dumps([asdict(row) for row in given], indent=1)
    if not given:
        return "no rows"
    names = [field.name for field in fields(given[0])]
    if form == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([getattr(row, name) for name in names] for row in given)
        return text.getvalue().rstrip("\n")
    cells = [[_cell(name, getattr(row, name)) for name in names] for row in given]
    titles = [_title(name, isinstance(given[0], ComparedRow)) for name in names]
    left = [all(not isinstance(getattr(row, name), int | float) for row in given) for name in names]
    return _markdown(titles, cells, left) if form == "markdown" else _text(titles, cells, left)


def _title(name: str, compared: bool) -> str:
    if name == "params" and compared:
        return "ours"
    return SHOWN[name][0] if name in SHOWN else name


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    how = SHOWN[name][1] if name in SHOWN else ""
    if name == "params" and isinstance(value, float):  # in millions, beside the paper's
        how = ".3f"
    if how == "e6":
        return f"{value / 1e6:,.1f}"
    if how == "MiB":
        return f"{value / 2**20:.2f}"
    return format(value, how)


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
