"""Delegate report: operators of a .tflite file that a delegate would leave to the CPU, by the rules of its source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from quantize.delegates.gpu import REJECTED, fallback_reason, webgl_reason
from quantize.delegates.npu import mediatek_reason, qualcomm_reason
from quantize.delegates.rules import GPU, MEDIATEK, QUALCOMM, WEBGL_SOURCE, DelegateRules
from quantize.delegates.tflite_graph import CUSTOM, Graph, Node, read_graph
from quantize.runtimes.litert import CONVOLUTIONS
from quantize.runtimes.operators import INTEGER

CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
CHECKS = ("gpu", "npu")
SHAPE_INPUTS = {
    "RESHAPE": 1,
    "RESIZE_BILINEAR": 1,
    "RESIZE_NEAREST_NEIGHBOR": 1,
    "TILE": 1,
    "BROADCAST_TO": 1,
    "FILL": 0,
}


class Fallback(BaseModel):
    """Operators that fall back for one reason.

    operator: kind and type of the first output, as in the certificate
    places: their positions in the file
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    operator: str
    places: tuple[int, ...]
    reason: str


class DelegateReport(BaseModel):
    """Report of one delegate. Its rules were read in the source that it names; nothing was run on the hardware.

    delegated: operators that the delegate takes; none if it rejects the file
    partitions: parts of the file, in its order, that the delegate could take; 1 is best
    float_operators: float operators of an INT8 file, besides conversions; NPUs need float16 units for them
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    delegate: str
    title: str
    source: str
    operators: int
    delegated: int
    partitions: int
    float_operators: dict[str, int] = {}
    fallbacks: tuple[Fallback, ...]

    @property
    def text(self) -> str:
        """The report in one line, without the delegate."""
        floats = ", ".join(f"{count} {operator}" for operator, count in self.float_operators.items())
        note = f"; in float16, if the NPU has it: {floats}" if floats else ""
        if not self.fallbacks:
            return f"all {self.operators} operators{note}"
        left = "; ".join(f"{len(one.places)} {one.operator}: {one.reason}" for one in self.fallbacks)
        return f"{self.delegated} of {self.operators} operators in {self.partitions} partitions{note}; CPU: {left}"


def reports(path: Path, names: Sequence[str]) -> list[DelegateReport]:
    """Return the reports of a .tflite file for `gpu` (with WebGL) and `npu` (Qualcomm and MediaTek).

    Raises:
        InputError: the file cannot be read.
    """
    graph, found = read_graph(path), []
    if "gpu" in names:
        found.append(_report("gpu", GPU, graph, fallback_reason))
        webgl = _report("webgl", GPU, graph, lambda node: fallback_reason(node) or webgl_reason(node, graph))
        title, source = "MediaPipe in browsers (WebGL)", f"{WEBGL_SOURCE} ({GPU.source})"
        found.append(webgl.model_copy(update={"title": title, "source": source}))
    if "npu" in names:
        found.append(_report("qualcomm", QUALCOMM, graph, qualcomm_reason))
        found.append(_report("mediatek", MEDIATEK, graph, mediatek_reason))
    return found


def _report(delegate: str, rules: DelegateRules, graph: Graph, special: Callable[[Node], str]) -> DelegateReport:
    reasons = [_common(node, rules) or special(node) for node in graph.nodes]
    grouped: dict[tuple[str, str], list[int]] = {}
    for node, reason in zip(graph.nodes, reasons, strict=True):
        if reason:
            grouped.setdefault((node.label, reason), []).append(node.index)
    rejected = any(reason.startswith(REJECTED) for reason in reasons)
    starts = [not reason and (place == 0 or bool(reasons[place - 1])) for place, reason in enumerate(reasons)]
    return DelegateReport(
        delegate=delegate,
        title=rules.title,
        source=rules.source,
        operators=len(reasons),
        delegated=0 if rejected else sum(not reason for reason in reasons),
        partitions=0 if rejected else sum(starts),
        float_operators={} if rules is GPU else _float_operators(graph),
        fallbacks=tuple(
            Fallback(operator=operator, places=tuple(places), reason=reason)
            for (operator, reason), places in grouped.items()
        ),
    )


def _float_operators(graph: Graph) -> dict[str, int]:
    """Return the float operators of a file with INT8 convolutions."""
    if not any(node.kind in CONVOLUTIONS and node.outputs[0].dtype in INTEGER for node in graph.nodes):
        return {}
    floats = (
        node.label
        for node in graph.nodes
        if node.kind not in CONVERSIONS and node.outputs and node.outputs[0].dtype in ("float16", "float32")
    )
    return dict(sorted(Counter(floats).items()))


def _common(node: Node, rules: DelegateRules) -> str:
    """Rules that all delegates share: operator and version, types, ranks, and sizes known in advance."""
    if node.kind not in rules.operators and not (rules is GPU and node.kind.startswith(CUSTOM)):
        return "operator is not supported"
    newest = rules.operators.get(node.kind)
    if newest is not None and node.version > newest:
        return f"version {node.version} of the operator; up to {newest} is supported"
    for tensor in node.tensors:
        if rules.max_rank is not None and tensor.rank > rules.max_rank:
            return f"tensor with {tensor.rank} dimensions; up to {rules.max_rank} are supported"
        if tensor.dynamic:
            return "size of a tensor is known at run time only; export with fixed sizes"
        # MediaTek casts int64 constants to int32; the GPU delegate reads constants as its operators need them.
        if rules is not GPU and not tensor.constant and tensor.dtype not in rules.types:
            return f"type {tensor.dtype} of a tensor computed at run time"
    shape = node.input(SHAPE_INPUTS[node.kind]) if node.kind in SHAPE_INPUTS else None
    if shape is not None and not shape.constant:
        return "size of the output is known at run time only"
    return ""
