"""The quantities that a search can minimise and limit: their names, units and, where there is one, their closed form.

A further quantity is one entry of `QUANTITIES`, a column of `explore.report.columns`, and a value in
`explore.search.costs.objectives.figures`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from arch.cost import cost
from arch.errors import did_you_mean
from arch.space import Arch, preset
from explore.measure.emulated.cpus import COUNTED
from quantize.recipes import Recipe

AMOUNT = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*([A-Za-z]*)")
BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1024.0, "MiB": 1024.0**2}
COUNTS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
LOCAL = "local"
LARGEST_FRACTION = 100  # a number of MACs without unit up to this is a fraction of paper-L's MACs

ClosedForm = Callable[[Arch, Recipe], float]

# Where a latency is from: a measurement ("under load": EDGEPOSE_BACKGROUND_LOAD allowed other processes); or, if other
# processes disturbed every attempt, the latency of the network's candidate, the latency predictor, or MACs.
LatencySource = Literal["measured", "measured under load", "candidate", "predictor", "MACs"]


def is_measured(source: LatencySource) -> bool:
    return source.startswith("measured")


@dataclass(frozen=True)
class Quantity:
    """One quantity.

    name: as users write it, with `@` and the address for a quantity of a device
    column: key of its values in results and tables, in the unit that values have there
    unit, scale, digits: for messages; one of the unit is `scale` of the values
    units: accepted units of a limit, each as a multiple of the values'; `default` is taken where none is written
    closed_form: the value, or a lower bound of it, that a network's description determines
    argument: what may follow `@`; empty: nothing
    address: what followed `@`
    example: a limit, for messages
    """

    name: str
    column: str
    unit: str
    scale: float
    digits: int
    units: Mapping[str, float]
    default: str | None = None
    closed_form: ClosedForm | None = None
    argument: str = ""
    address: str = ""
    example: str = ""

    @property
    def kind(self) -> str:
        """The name without what follows `@`."""
        return self.name.partition("@")[0]

    def text(self, value: float) -> str:
        """Return a value for people, such as `80.0 M MACs`."""
        return f"{value / self.scale:.{self.digits}f} {self.unit}"


@dataclass(frozen=True)
class Limit:
    """The largest allowed value of a quantity. unit `L`: a fraction of paper-L's MACs at the study's input size"""

    quantity: Quantity
    amount: float
    unit: str

    @property
    def text(self) -> str:
        return f"{self.quantity.name}={self.amount:.15g}{self.unit}"

    def value(self, input_size: int) -> float:
        """Return the limit in the unit of the quantity's values."""
        if self.unit != "L":
            return self.amount * self.quantity.units[self.unit]
        return self.amount * _preset_macs(f"paper-L@{input_size}")


@cache
def _preset_macs(name: str) -> int:
    return cost(preset(name)).macs


def _weight_bytes(arch: Arch, recipe: Recipe) -> float:
    """Return the bytes of the weights; the file also contains the graph, a few hundred kB."""
    found = cost(arch)
    if recipe.weights == "int8":
        return found.weight_bytes_int8
    return found.weight_bytes_float / (2 if recipe.weights == "float16" else 1)


def peak_memory(arch: Arch, recipe: Recipe) -> float:
    """Return the largest sum of activations alive at the same time, bytes."""
    found = cost(arch)
    integers = {"int8": 1, "int16": 2}.get(recipe.activations) if recipe.calibrated else None
    return integers * found.peak_activation_bytes_int8 if integers else found.peak_activation_bytes_float


ERROR = "mpjpe"
INSTRUCTIONS = "instructions"
_ALL = (
    Quantity(ERROR, "mpjpe_mm", "mm", 1, 1, {"mm": 1.0, "cm": 10.0}, "mm", example="100mm"),
    Quantity(
        *("latency", "latency_ms", "ms", 1, 3, {"us": 1e-3, "ms": 1.0, "s": 1e3}, "ms"),
        argument="DEVICE",
        address=LOCAL,
        example="20ms",
    ),
    Quantity(*(INSTRUCTIONS, "instructions", "M instructions", 1e6, 2, COUNTS, ""), argument="CPU", example="50M"),
    Quantity(
        "macs", "macs", "M MACs", 1e6, 1, COUNTS | {"L": 0.0}, "", lambda arch, recipe: cost(arch).macs, example="80M"
    ),
    Quantity("params", "params", "M params", 1e6, 2, COUNTS, "", lambda arch, recipe: cost(arch).params, example="2M"),
    Quantity("size", "bytes", "MB", 1e6, 2, BYTES, None, _weight_bytes, example="2MB"),
    Quantity("peak-memory", "memory", "MB memory", 1e6, 3, BYTES, None, peak_memory, example="1MB"),
)
QUANTITIES = {quantity.name: quantity for quantity in _ALL}


def quantity(name: str) -> Quantity:
    """Return the quantity of a name such as `macs`, `latency@ssh://pi@raspberrypi.local` or `instructions@cortex-a76`.

    Raises:
        ValueError: an unknown name, a device where there can be none, or no processor that instructions are counted on.
    """
    kind, at, address = name.partition("@")
    found = QUANTITIES.get(kind)
    if found is None:
        raise ValueError(f"'{name}' is not one of {', '.join(QUANTITIES)}{did_you_mean(kind, QUANTITIES)}")
    if kind == INSTRUCTIONS and address not in COUNTED:
        raise ValueError(f"'{name}': write {kind}@CPU; the processors are {', '.join(COUNTED)}")
    if at and not found.argument:
        raise ValueError(f"'{name}': {kind} is the same on every device; write {kind}")
    if at and not address:
        raise ValueError(f"'{name}': no {found.argument}; write {kind}@{found.argument}, such as {kind}@ssh://pi@board")
    if not at or address == found.address:
        return found
    return replace(found, name=name, column=f"{found.column} {address.partition('?')[0]}", address=address)


def parse_limit(text: str) -> Limit:
    """Return the limit of a text such as `latency=20ms`.

    Raises:
        ValueError: an unknown quantity or unit, or no number.
    """
    name, equals, amount = text.rpartition("=")
    if not equals:
        raise ValueError(f"'{text}': write NAME=VALUE, such as latency=20ms, size=2MB or macs=80M")
    found = quantity(name.strip())
    match = AMOUNT.fullmatch(amount.strip())
    if match is None or float(match[1]) == 0:
        raise ValueError(f"'{text}': '{amount}' is not a number above 0 with a unit; write {_example(found)}")
    number, unit = float(match[1]), match[2]
    if not unit and found.column == "macs" and number <= LARGEST_FRACTION:
        return Limit(found, number, "L")
    if not unit and found.default is None:
        raise ValueError(f"'{text}': no unit; write {_example(found)} ({', '.join(found.units)})")
    known = {unit.lower(): unit for unit in found.units}
    unit = unit or found.default or ""
    if unit.lower() not in known:
        units = ", ".join(unit for unit in found.units if unit)
        raise ValueError(f"'{text}': '{unit}' is not a unit of {found.name} ({units}); write {_example(found)}")
    return Limit(found, number, known[unit.lower()])


def _example(found: Quantity) -> str:
    return f"{found.name}={found.example}"
