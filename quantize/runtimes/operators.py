"""From a runtime's list of operators to what a certificate needs to know about a model file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple

INTEGER = ("int8", "uint8", "i8", "u8")


class Operator(NamedTuple):
    """One operator as it runs; `macs` of a convolution or matrix product, tensors by any names."""

    kind: str
    dtype: str
    inputs: tuple[Hashable, ...]
    outputs: tuple[Hashable, ...]
    macs: int = 0


@dataclass
class FileAudit:
    """What a model file is made of, as its own runtime runs it.

    `operators` counts operators by "KIND dtype"; `transposes` counts changes of layout between two convolutions;
    `delegated` is the share of operators that run in the fast backend, in `partitions` pieces (one is best).
    """

    operators: dict[str, int] = field(default_factory=dict)
    convolutions: int = 0
    int8_convolutions: int = 0
    macs: int = 0
    int8_macs: int = 0
    transposes: int = 0
    partitions: int = 1
    delegated: float = 1.0
    bytes: int = 0

    @property
    def int8_share(self) -> float:
        """Share of the MACs that are computed in INT8."""
        return self.int8_macs / self.macs if self.macs else 0.0


def macs_of(output: Iterable[int], weights: Iterable[int], output_channels: int) -> int:
    """MACs of a convolution or matrix product: every output value takes the weights of one output channel."""
    return prod(output) * prod(weights) // output_channels


def summarise(operators: Iterable[Operator], bytes: int) -> FileAudit:
    """Counts over operators in the order in which they run."""
    audit = FileAudit(bytes=bytes)
    counts: Counter[str] = Counter()
    after_convolution: set[Hashable] = set()  # tensors that a convolution has had a part in
    pending: set[Hashable] = set()  # those of them that a transpose has had a part in, no convolution since
    for operator in operators:
        integer, is_transpose = operator.dtype in INTEGER, operator.kind.lower() == "transpose"
        counts[f"{operator.kind} {operator.dtype}"] += 1
        if operator.macs:
            audit.convolutions += 1
            audit.int8_convolutions += integer
            audit.macs += operator.macs
            audit.int8_macs += operator.macs * integer
            audit.transposes += not pending.isdisjoint(operator.inputs)
        elif not (after_convolution if is_transpose else pending).isdisjoint(operator.inputs):
            pending.update(operator.outputs)
        if operator.macs or not after_convolution.isdisjoint(operator.inputs):
            after_convolution.update(operator.outputs)
    audit.operators = dict(sorted(counts.items()))
    return audit
