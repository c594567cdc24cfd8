"""ExecuTorch, for apps that contain PyTorch's runtime: lowering by torch.export, quantization by torchao, XNNPACK."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arch.errors import InputError, shortened
from arch.space import Arch
from quantize.recipes import Recipe
from quantize.runtimes.operators import ModelSummary, Operator, counted, macs_of, summarise
from quantize.runtimes.protocol import Array

if TYPE_CHECKING:
    from arch.network import PoseNet

FILES = ("model.pte",)
DEPTH_SCALE = 16.0
WEIGHT_BITS = 8  # XNNPACK widens both factors to 16 bits and adds in 32 bits
WEIGHT_LEVELS = 127  # largest weight divided by the scale
NOT_INSTALLED = "executorch: not installed; run pip install 'edgepose[executorch]'"
CONVOLUTIONS = ("Conv2d", "DepthwiseConv2d", "FullyConnected")
DTYPES = {"fp32": "float32", "fp16": "float16", "qint8": "int8", "quint8": "uint8"}  # of activations in a .pte file
THREADS: list[int] = []  # of this process, set by its first session
DELEGATE_HEADER = b"XH00"  # at byte 4, followed by the offset and the size of the graph


def unsupported(arch: Arch, recipe: Recipe) -> list[str]:
    """Reject everything where the library is missing, and recipes that this export does not implement."""
    reasons = []
    if not is_installed():
        reasons.append(NOT_INSTALLED)
    if recipe.weights == "float16" or (recipe.quantized and not recipe.int8):
        reasons.append(f"recipe {recipe.name}: not implemented for executorch; use float or int8-static")
    if recipe.input_dtype != "float32":
        reasons.append("input-dtype: executorch files have a float32 input; omit --input-dtype")
    return reasons


def quantizer_options(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """Return the options of torchao's quantizer for XNNPACK, which this export leaves as they are."""
    return {
        "activation_range": ("histogram",),
        "activation_symmetry": ("asymmetric",),
        "weight_range": ("minmax",),
        "weight_granularity": ("channel",),
    }


def failed_checks(arch: Arch, recipe: Recipe) -> list[str]:
    """Files of every network pass."""
    return []


def export(net: PoseNet, folder: Path, recipe: Recipe, calibration: Array | None) -> Path:
    """Write a .pte file with float, channels-first input and output."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    from quantize.bias_correction import correct_depths
    from quantize.graph import inference_module, lift_dead_channels, scale_depths

    module = inference_module(net)
    scale_depths(module.net, DEPTH_SCALE)
    example = (torch.zeros(1, 3, net.arch.input_size, net.arch.input_size),)
    if recipe.int8:
        lift_dead_channels(module)
        correct_depths(
            module, recipe, recipe.options(quantizer_options(recipe)), calibration, WEIGHT_LEVELS, WEIGHT_LEVELS
        )
    graph = _with_stored_zeros(torch.export.export(module, example).module())
    if recipe.int8:
        assert calibration is not None
        graph = _quantize(graph, recipe.float_steps(net.arch), calibration)
    for node in graph.graph.nodes:
        node.meta.pop("from_node", None)  # the origins of nodes, which every pass copies
    program = torch.export.export(graph, example)
    for node in program.graph.nodes:
        node.meta.pop("from_node", None)
    path = folder / FILES[0]
    path.write_bytes(to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch().buffer)
    return path


def _with_stored_zeros(module: Any) -> Any:
    """Replace the zeros beside pooled maps by constants, in place; else a kernel makes them in each run."""
    import torch

    zeros = [node for node in module.graph.nodes if node.target is torch.ops.aten.new_zeros.default]
    for number, node in enumerate(zeros):
        module.register_buffer(f"zeros_{number}", torch.zeros(node.meta["val"].shape))
        with module.graph.inserting_before(node):
            stored = module.graph.get_attr(f"zeros_{number}")
        stored.meta = dict(node.meta)
        node.replace_all_uses_with(stored)
        module.graph.erase_node(node)
    module.recompile()
    return module


def _quantize(module: Any, float_steps: tuple[str, ...], calibration: Array) -> Any:
    """Quantize statically, per channel, with symmetric weights; `float_steps` stay float."""
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    if float_steps:
        quantizer.set_filter_function(lambda node: _step_of(node) not in float_steps)
    observed = prepare_pt2e(module, quantizer)
    with torch.no_grad():
        for image in calibration:
            observed(torch.from_numpy(image[None]))
    return convert_pt2e(observed)


def _step_of(node: Any) -> str:
    """Return the step of the network that a node of an exported graph belongs to, or an empty string."""
    for path, _ in node.meta.get("nn_module_stack", {}).values():
        if found := re.search(r"\bsteps\.(\w+)", path):
            return found[1]
    return ""


class ExecuTorchSession:
    """The method `forward` of a program. The number of threads is that of the process: the first session sets it."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        _require()
        import torch

        with _without_stderr():
            from executorch.extension.pybindings import portable_lib
            from executorch.runtime import Runtime
        self.torch = torch
        if THREADS and threads not in THREADS:  # a method keeps its pool: replacing the pool made runs hang
            raise InputError(f"threads: ExecuTorch runs with {THREADS[0]} in this process already; use a new process")
        try:
            if not THREADS:
                with _without_stderr():
                    portable_lib._unsafe_reset_threadpool(threads)
                THREADS.append(threads)
            self.program = Runtime.get().load_program(Path(path).read_bytes())
            self.method = self.program.load_method("forward")
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"{path}: ExecuTorch cannot load it: {shortened(error, 200)}") from None

    def run(self, x: Array) -> Array:
        tensors = (self.torch.from_numpy(np.array(image[None], np.float32, order="C")) for image in x)
        raw: Array = np.concatenate([self.method.execute([tensor])[0].numpy() for tensor in tensors])
        return raw

    def prepare(self, x: Array) -> Callable[[], None]:
        inputs = [self.torch.from_numpy(np.array(x[:1], np.float32, order="C"))]

        def invoke() -> None:
            self.method.execute(inputs)  # through self, which keeps the program alive

        return invoke

    def close(self) -> None:
        del self.method, self.program  # in this order: a method refers to its program


load = ExecuTorchSession


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Redirect the descriptor of standard error to the null device for a moment.

    The library logs facts about the processor and CUDA to it. Exceptions pass as usual.
    """
    kept = os.dup(2)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def is_installed() -> bool:
    """Return whether the library is there; any folder named executorch would be a namespace package."""
    return util.find_spec("executorch") is not None and util.find_spec("executorch.runtime") is not None


def _require() -> None:
    if not is_installed():
        raise InputError(NOT_INSTALLED)


def inspect(path: Path) -> ModelSummary:
    """Summarise the graphs of XNNPACK in the file, and the kernels that ExecuTorch calls beside them.

    Raises:
        InputError: the file is no program, or has a delegate other than XNNPACK.
    """
    _require()
    with _without_stderr():
        from executorch.exir._serialize._program import deserialize_pte_binary

    try:
        program = deserialize_pte_binary(path.read_bytes()).program
    except Exception as error:  # flatc's exceptions have no common class
        raise InputError(f"{path}: ExecuTorch cannot load it: {shortened(error, 200)}") from None
    (plan,) = program.execution_plan
    delegated: list[Operator] = []
    for number, delegate in enumerate(plan.delegates):
        if delegate.id != "XnnpackBackend":
            raise InputError(f"{path}: has a delegate {delegate.id}, but this program reads XnnpackBackend only")
        graph = _delegate_graph(bytes(program.backend_delegate_data[delegate.processed.index].data))
        delegated += _operators(graph, number)
    kernels = list(_kernels(plan))
    summary = summarise([*delegated, *kernels], path.stat().st_size)
    summary.partitions = len(plan.delegates)
    summary.delegated = len(delegated) / max(1, len(delegated) + len(kernels))
    summary.fallbacks = counted(kernels)
    return summary


def _operators(graph: dict[str, Any], number: int) -> Iterator[Operator]:
    """Return the nodes of one XNNPACK graph; tensors are pairs of `number` and their identifier in the graph."""
    values = [value["xvalue_union"] for value in graph["xvalues"]]
    tensors = {tensor["id_out"]: tensor for tensor in (value.get("tensor_value", value) for value in values)}
    for node in graph["xnodes"]:
        about, kind = node["xnode_union"], node["xnode_union_type"].removeprefix("XNN")
        inputs = [about[key] for key in about if re.fullmatch(r"input\d*_id", key) and about[key] in tensors]
        output = tensors[about["output_id"]]
        macs = 0
        if kind in CONVOLUTIONS:
            weights = tensors[about["filter_id"]]["dims"]
            macs = macs_of(output["dims"], weights, weights[-1] if kind == "DepthwiseConv2d" else weights[0])
        dtype = output["datatype"].removeprefix("xnn_datatype_")
        yield Operator(
            kind,
            DTYPES.get(dtype, dtype),
            tuple((number, tensor) for tensor in inputs),
            ((number, about["output_id"]),),
            macs,
        )


def _kernels(plan: Any) -> Iterator[Operator]:
    """Return the kernels of ExecuTorch in a plan; tensors are indices of its values."""
    for chain in plan.chains:
        for instruction in chain.instructions:
            call = instruction.instr_args
            if type(call).__name__ == "KernelCall":
                name = plan.operators[call.op_index].name.removeprefix("aten::")
                yield Operator(name, "float32", tuple(call.args[:-1]), tuple(call.args[-1:]))


def _delegate_graph(blob: bytes) -> dict[str, Any]:
    """Return the graph in the data of a delegate: a flatbuffer behind a header, which flatc of the package reads."""
    from executorch.backends.xnnpack import serialization
    from executorch.data import bin as programs

    if blob[4:8] != DELEGATE_HEADER:
        raise InputError("the data of XNNPACK in the file has an unknown format; use executorch 1.5")
    begin, size = int.from_bytes(blob[10:14], "little"), int.from_bytes(blob[14:18], "little")
    flatc = Path(programs.__file__).with_name("flatc")
    schema = Path(next(iter(serialization.__path__)), "schema.fbs")
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch, "graph.bin").write_bytes(blob[begin : begin + size])
        options = ["--json", "--raw-binary", "--strict-json", "--defaults-json", "-o", scratch]
        subprocess.run([flatc, *options, schema, "--", f"{scratch}/graph.bin"], check=True, capture_output=True)
        text = Path(scratch, "graph.json").read_text()
    graph: dict[str, Any] = json.loads(re.sub(r": (-?)inf\b", r": \g<1>1e999", text))  # JSON has no infinity
    return graph
