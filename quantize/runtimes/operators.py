"""Summary of a model file from the list of its operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple

DYNAMIC = "dynamic-int8"  # INT8 arithmetic between float activations, whose ranges are found at run time
INTEGER = ("int8", "uint8", "i8", "u8", DYNAMIC)


class Operator(NamedTuple):
    """One operator as the runtime executes it.

    inputs, outputs: identifiers of tensors
    macs: multiply-accumulate operations of a convolution or matrix product, else 0
    """

    kind: str
    dtype: str
    inputs: tuple[Hashable, ...]
    outputs: tuple[Hashable, ...]
    macs: int = 0


@dataclass
class ModelSummary:
    """Contents of a model file as its runtime executes it.

    Attributes:
        operators: number of operators by "KIND dtype".
        transposes: changes of memory layout between two convolutions.
        delegated: fraction of the operators that run in the fast backend, in `partitions` parts (1 is best).
        fallbacks: number of operators by "KIND dtype" that do not run in the fast backend. LiteRT and ExecuTorch:
            outside XNNPACK; ONNX Runtime and OpenVINO, whose CPU backends run every operator: in float although the
            file is INT8.
        bytes: size of all files of the model.
    """

    operators: dict[str, int] = field(default_factory=dict)
    convolutions: int = 0
    int8_convolutions: int = 0
    macs: int = 0
    int8_macs: int = 0
    transposes: int = 0
    partitions: int = 1
    delegated: float = 1.0
    fallbacks: dict[str, int] = field(default_factory=dict)
    bytes: int = 0

    @property
    def int8_share(self) -> float:
        """Fraction of the MACs that are computed in INT8."""
        return self.int8_macs / self.macs if self.macs else 0.0


def macs_of(output: Iterable[int], weights: Iterable[int], output_channels: int) -> int:
    """Return the MACs of a convolution or matrix product from the shapes of its output and weights."""
    return prod(output) * prod(weights) // output_channels


def counted(operators: Iterable[Operator]) -> dict[str, int]:
    """Return the number of operators by "KIND dtype"."""
    return dict(sorted(Counter(f"{operator.kind} {operator.dtype}" for operator in operators).items()))


def float_fallbacks(operators: Iterable[Operator], conversions: Iterable[str]) -> dict[str, int]:
    """Return the float operators of an INT8 file; none for a float file.

    conversions: kinds that convert between float and INT8, which every file has
    """
    operators = list(operators)
    if not any(operator.macs and operator.dtype in INTEGER for operator in operators):
        return {}
    return counted(each for each in operators if each.dtype not in INTEGER and each.kind not in conversions)


def summarise(operators: Iterable[Operator], bytes: int) -> ModelSummary:
    """Summarise operators, given in execution order."""
    operators = list(operators)
    summary = ModelSummary(operators=counted(operators), bytes=bytes)
    after_convolution: set[Hashable] = set()  # tensors that depend on a convolution
    pending: set[Hashable] = set()  # tensors that depend on a transpose since the last convolution
    for operator in operators:
        integer, is_transpose = operator.dtype in INTEGER, operator.kind.lower() == "transpose"
        if operator.macs:
            summary.convolutions += 1
            summary.int8_convolutions += integer
            summary.macs += operator.macs
            summary.int8_macs += operator.macs * integer
            summary.transposes += not pending.isdisjoint(operator.inputs)
        elif not (after_convolution if is_transpose else pending).isdisjoint(operator.inputs):
            pending.update(operator.outputs)
        if operator.macs or not after_convolution.isdisjoint(operator.inputs):
            after_convolution.update(operator.outputs)
    return summary
