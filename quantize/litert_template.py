"""Conversion by litert-torch, which takes 10 s or more, once for all networks of one architecture.

A float .tflite file holds each weight once and unchanged but for the order of its axes and the 3 that a hard sigmoid adds to a
bias. A copy of the network with random weights, which are all different, therefore shows where each weight belongs. This
file is the template; the file of each network has its own weights in their places.
"""

from __future__ import annotations

import copy
import itertools
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from arch.heads import HEADS
from arch.space import Arch
from quantize.tflite_metadata import read_model, write_model

if TYPE_CHECKING:
    from torch import Tensor, nn

MAX_TEMPLATES = 256  # that a process keeps, 0.1 MB each
# By the number of dimensions of a weight: possible orders of its axes in the file, and numbers that the converter may add
AXES = {1: ((0,),), 2: ((0, 1),), 4: ((0, 2, 3, 1), (1, 2, 3, 0))}
OFFSETS = {1: (0.0, 3.0)}


@dataclass(frozen=True)
class Place:
    """A weight in a buffer: its name in the network, its axes in the order of the file, and what is added to it."""

    name: str
    axes: tuple[int, ...]
    offset: float

    def stored(self, value: np.ndarray) -> bytes:
        return np.ascontiguousarray(value.transpose(self.axes) + np.float32(self.offset)).tobytes()


@dataclass(frozen=True)
class Template:
    """A .tflite file without its weights, and their places by the index of the buffer."""

    data: bytes
    places: dict[int, Place]

    def filled(self, state: dict[str, Tensor]) -> bytes:
        """Return the file with the weights of a network."""
        model = read_model(self.data)
        for index, place in self.places.items():
            model.buffers[index].data = np.frombuffer(place.stored(state[place.name].numpy()), np.uint8)
        return write_model(model)


_templates: OrderedDict[tuple[Any, ...], Template | None] = OrderedDict()


def convert(module: nn.Module, arch: Arch) -> bytes:
    """Return the .tflite file of a network in evaluation mode with BatchNorm folded; images and maps are channels-last.

    module: of `quantize.graph.inference_module`
    """
    state = module.state_dict()
    key = (arch.id, *((name, tuple(value.shape)) for name, value in state.items()))
    if key not in _templates:
        _templates[key] = _make_template(module, arch)
        if len(_templates) > MAX_TEMPLATES:
            _templates.popitem(last=False)
    template = _templates[key]
    return _convert(module, arch) if template is None else template.filled(state)


def _make_template(module: nn.Module, arch: Arch) -> Template | None:
    """Return the template, or None if the converter changed a weight."""
    import torch

    marked = copy.deepcopy(module)
    random = torch.Generator().manual_seed(0)
    places: dict[bytes, Place] = {}
    for name, value in marked.state_dict().items():
        value.copy_(torch.rand(value.shape, generator=random))
        for axes, offset in itertools.product(AXES.get(value.ndim, ()), OFFSETS.get(value.ndim, (0.0,))):
            place = Place(name, axes, offset)
            places[place.stored(value.numpy())] = place
    model, found = read_model(_convert(marked, arch)), dict[int, Place]()
    for index, buffer in enumerate(model.buffers):
        stored = b"" if buffer.data is None else np.asarray(buffer.data, np.uint8).tobytes()
        if stored in places:
            found[index], buffer.data = places[stored], None
    names = sorted(place.name for place in found.values())
    return Template(write_model(model), found) if names == sorted(marked.state_dict()) else None


def _convert(module: nn.Module, arch: Arch) -> bytes:
    import litert_torch
    import torch

    outputs = [0] if HEADS[arch.head].MAPS else []
    wrapped = litert_torch.to_channel_last_io(module, args=[0], outputs=outputs).eval()
    image = torch.zeros(1, arch.input_size, arch.input_size, 3)
    content: bytes = litert_torch.convert(wrapped, (image,)).model_content()
    return content
