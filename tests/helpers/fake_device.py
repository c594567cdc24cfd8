"""A second device for torch, written in Python, that finds every path which should use a GPU and computes on the CPU.

The device, `fake:0`, computes with the CPU's kernels on hidden tensors, so that its results equal those of the CPU bit for
bit. As on a GPU, an operation on tensors of both devices fails. `installed()` makes it the accelerator that `--device auto`
finds, for the rest of the process, and lets convolutions on CPU tensors fail.

As a script, `python -m tests.helpers.fake_device fake|cpu FOLDER CASE...` runs cases of `CASES` on one of the devices and
prints their results as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "fake"
TRANSFERS = ("aten::_copy_from", "aten::_to_copy", "aten::copy_")
NATIVE = ("aten::detach", "aten::alias")  # torch's own kernels serve: the new tensor shares the storage
aten = torch.ops.aten


class _Module(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


def _hidden(tensor: Tensor) -> Tensor:
    return tensor.untyped_storage().hidden  # type: ignore[attr-defined, no-any-return]


def _on_device(hidden: Tensor) -> Tensor:
    """Return a tensor of the device with these values. It looks contiguous, so it must not repeat its elements."""
    tensor: Tensor = torch._C._acc.create_empty_tensor(hidden.shape, hidden.dtype)
    tensor.untyped_storage().hidden = hidden.contiguous() if 0 in hidden.stride() else hidden  # type: ignore[attr-defined]
    return tensor


def _compute(op: Any, *args: Any, **kwargs: Any) -> Any:
    """Run `op` on the hidden tensors. A result that is one of the arguments is returned as that argument."""
    name, given = op._schema.name, {}

    def hidden(tensor: Tensor) -> Tensor:
        if tensor.device.type == NAME:
            given[id(_hidden(tensor))] = tensor
            return _hidden(tensor)
        if tensor.ndim and name not in TRANSFERS:
            raise RuntimeError(f"{name}: a tensor {tuple(tensor.shape)} of the CPU beside tensors of the device")
        return tensor

    args_, kwargs_ = tree_map_only(Tensor, hidden, (args, kwargs))
    kwargs_ = {key: value for key, value in kwargs_.items() if key not in ("device", "pin_memory")}
    if name == "aten::_copy_from":
        args_[1].copy_(args_[0])
        return args[1]
    if name == "aten::_to_copy":
        target = kwargs.get("device") or args[0].device
        result = op(*args_, **kwargs_)
        return _on_device(result) if target.type == NAME else result
    if name in ("aten::view", "aten::_unsafe_view"):  # the hidden tensor may have other strides
        op = aten.reshape.default
    result = op(*args_, **kwargs_)
    return tree_map_only(
        Tensor, lambda found: given.get(id(found)) if id(found) in given else _on_device(found), result
    )


def _kernel(op: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: _compute(op, *args, **kwargs)


class NoConvolutionOnCpu(TorchDispatchMode):
    """Raise where a convolution computes on the CPU; count those of the device."""

    convolutions = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "convolution" in func._schema.name:
            if args[0].device.type == "cpu":
                raise AssertionError(f"a convolution of {tuple(args[0].shape)} on the CPU")
            self.convolutions += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def installed() -> Iterator[NoConvolutionOnCpu]:
    _setup_privateuseone_for_python_backend(NAME, _Module())
    everything, kernels = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    everything.fallback(_compute, "PrivateUse1")
    everything.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")  # bf16 computes in f32
    composite = ("CompositeExplicitAutograd", "CompositeExplicitAutogradNonFunctional")  # these hide the fallback
    for name in torch._C._dispatch_get_all_op_names():
        if name in NATIVE or not name.startswith("aten::"):
            continue
        if any(torch._C._dispatch_has_kernel_for_dispatch_key(name, key) for key in composite):
            operator, _, overload = name.removeprefix("aten::").partition(".")
            op = getattr(getattr(aten, operator), overload or "default", None)
            if op is not None:
                kernels.impl(name.removeprefix("aten::"), _kernel(op), "PrivateUse1")
    with NoConvolutionOnCpu() as mode:
        yield mode
    assert mode.convolutions > 0, "nothing was computed on the device"


# ---- cases, which run on both devices ----

FRAMES = {"train_frames": 32, "test_frames": 8, "val_frames": 8, "frame": 64}
OPTIONS = [f"--dataset.{key.replace('_', '-')}={value}" for key, value in FRAMES.items()]


class Stop(Exception):
    pass


def resumed(folder: Path, device: str) -> Any:
    """Stop a run with evaluations and a weight average, and resume it."""
    from explore.train import loop
    from explore.train.config import TrainConfig
    from explore.train.engine import start_engine
    from tests.helpers.training import rendered_evaluator, tiny_arch

    evaluator, engine, losses = rendered_evaluator(folder), start_engine(device), []
    loop.CHECKPOINT_SECONDS = 0.0

    def run(stop: bool) -> loop.TrainResult:
        def progress(done: int, total: int) -> None:
            if stop and done == total - 8:
                raise Stop

        return loop.train(
            tiny_arch(), evaluator.train, TrainConfig(samples=40, ema_decay=0.9), 0, folder / "state", progress=progress,
            engine=engine, evaluate=lambda net, step: losses.append(float(net(torch.zeros(1, 3, 64, 64, device=device)))),
            on_loss=lambda step, loss: losses.append(loss),
        )  # fmt: skip

    try:
        run(stop=True)
    except Stop:
        losses.append(run(stop=False).loss)
    return losses


def command(folder: Path, device: str) -> Any:
    """The command `train`, with evaluations and a flip test."""
    from explore.cli import main

    out = folder / "net.safetensors"
    call = ["train", "--arch=paper-XS-relu@64", "--samples=16", "--evaluations=2", "--flip-test", f"--device={device}"]
    assert main([*call, *OPTIONS, "--precision=f32", f"--out={out}"]) == 0
    facts = json.loads(out.with_suffix(".json").read_text())
    assert facts["trained_with"].split()[0] == ("cpu" if device == "cpu" else NAME)
    return [facts[key] for key in ("loss", "mpjpe_mm", "pa_mpjpe_mm", "evaluations")]


def supernet(folder: Path, device: str) -> Any:
    """The command `train --supernet`, which also evaluates subnets."""
    from explore.cli import main
    from tests.helpers.supernets import space_file

    out = folder / "super.safetensors"
    call = ["train", "--supernet", str(space_file(folder)), "--samples=16", f"--device={device}"]
    assert main([*call, *OPTIONS, "--precision=f32", f"--out={out}"]) == 0
    facts = json.loads(out.with_suffix(".json").read_text())
    return [facts["loss"], [row["mpjpe_mm"] for row in facts["subnets"]]]


def search(folder: Path, device: str) -> Any:
    """A candidate with a rung, one of every estimator, and a finalist, trained as the workers of a search do."""
    from arch.elastic import SuperNet
    from explore.search.candidate import train, train_fully
    from explore.search.config import SearchConfig
    from explore.search.context import open_context
    from explore.train.supernet import save_supernet
    from tests.helpers.supernets import distinct_networks, small_space, space_file

    space = small_space()
    save_supernet(folder / "super.safetensors", SuperNet(space, 0).net, space, {})
    archs = distinct_networks(space, 6)
    found = []
    for estimator in ("full", "short", "inherit", "predictor", "supernet"):
        config = SearchConfig.model_validate({
            "study": estimator, "results": str(folder), "space": str(space_file(folder)), "dataset": FRAMES,
            "candidate": {"samples": 16}, "final": {"samples": 8}, "estimator": estimator, "device": device,
            "precision": "f32",
            "rungs": (0.5,) if estimator == "full" else (), "cache": "none",
            "estimate": {"samples": 8, "supernet": str(folder / "super.safetensors")},
        })  # fmt: skip
        with open_context(config, 0, lambda *report: None) as context:
            for arch in archs[: 6 if estimator == "inherit" else 1]:
                at = folder / estimator / "candidates" / arch.id
                at.mkdir(parents=True)
                found.append(train(context, arch, at, lambda rung, mm: found.append(mm)).float_mpjpe_mm)
            at = folder / estimator / "finalist"
            at.mkdir()
            found.append(train_fully(context, context.test, archs[0], config.final, at).float_mpjpe_mm)
    return found


def precision(folder: Path, device: str) -> Any:
    """The choice of the precision, which is kept."""
    from explore.host import default_cache
    from explore.train.engine import start_engine
    from explore.train.precision import with_precision
    from tests.helpers.training import tiny_arch

    chosen = [with_precision(start_engine(device), "auto", tiny_arch(), 2).precision for _ in range(2)]
    kept = list((default_cache() / "precision").glob("*.json"))
    assert len(kept) == (0 if device == "cpu" else 1) and chosen[0] == chosen[1]
    return None


def taught(folder: Path, device: str) -> Any:
    """Training with a teacher of another input size."""
    from arch.network import build
    from explore.train.config import TrainConfig
    from explore.train.distill import make_objective
    from explore.train.engine import start_engine
    from explore.train.loop import train
    from quantize.checkpoint import save_network
    from tests.helpers.training import rendered_evaluator, tiny_arch

    save_network(folder / "teacher.safetensors", build(tiny_arch(input_size=128, heatmap_size=16), 1))
    data, engine = rendered_evaluator(folder).train, start_engine(device)
    config = TrainConfig(samples=16, teacher=str(folder / "teacher.safetensors"))
    objective = make_objective(config, data, 0, engine)
    return train(tiny_arch(), data, config, 0, folder / "taught.state", engine=engine, objective=objective).loss


CASES: dict[str, Callable[[Path, str], Any]] = {
    case.__name__: case for case in (resumed, command, supernet, search, precision, taught)
}


def main(device: str, folder: Path, *cases: str) -> None:
    torch.set_num_threads(1)
    with installed() if device == NAME else nullcontext():
        print(json.dumps({case: CASES[case](folder, "auto" if device == NAME else device) for case in cases}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
