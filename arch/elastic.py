"""Weight sharing: one supernet whose slices are the networks of a space.

Each tensor of a subnet is a slice of a tensor of the largest network: leading channels, the first blocks of a stage,
the centre of a kernel, every n-th depth bin of a volumetric head, and a range of channels for each concatenated map.
The subnet is the ordinary PoseNet of its Arch evaluated on the slices, so that an extracted copy gives the same output.
Fields in FIXED share no weights: one supernet has one value of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from arch.conditions import field_of
from arch.encoders import ENCODERS
from arch.errors import InputError
from arch.network import PoseNet, RawOutput, build
from arch.normalise import TABLE_OVERRIDES, own_values
from arch.search_space import Space
from arch.space import Arch
from arch.spec import AxisClassifier, Conv, Ghost, Node, Op, SqueezeExcite

FIXED = (
    "encoder", "stem_stride", "squeeze_excite", "concat", "activation", "decoder", "decoder_conv", "decoder_stages",
    "upsample", "head", "input_size", "num_joints",
)  # fmt: skip
FIXED_BY = {"head": ("simcc", ("heatmap_size",)), "decoder": ("parts", ("heatmap_size", "depth_bins"))}
NO_SIZE = {"depth_bins": -1, "intermediate_channels": 0}  # values that are not sizes; 0 in rows of an encoder's table
CACHED_SUBNETS = 256

Channels = tuple[int, ...]  # indices of a subnet's channels among the supernet's


class Slice(NamedTuple):
    """Location of a subnet's tensor: the supernet's tensor, and the indices along each axis (None: all)."""

    source: str
    axes: tuple[Channels | None, ...]


class SuperNet:
    """The largest network of a space, whose weights are shared by all networks of the space.

    Attributes:
        net: the largest network; it holds all weights.
        smallest, largest: the extreme networks of the space.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self.space = space
        self.smallest, self.largest = smallest_and_largest(space)
        self.net = build(self.largest, seed)

    def forward_heatmaps(self, x: Tensor, arch: Arch) -> Tensor:
        """Return the raw output of the subnet `arch` with the statistics of this batch; gradients reach `net`.

        Raises:
            InputError: `arch` is not a subnet.
        """
        if arch == self.largest:
            return self.net.forward_heatmaps(x)
        net, slices = subnet(self.largest, arch)
        state = self.net.state_dict(keep_vars=True)
        tensors = {f"net.{name}": take(state[place.source], place) for name, place in slices.items()}
        result: Tensor = functional_call(net, tensors, (x,))
        return result


def smallest_and_largest(space: Space) -> tuple[Arch, Arch]:
    """Return the extreme networks of a space that a supernet can cover.

    Raises:
        InputError: the space varies a field that shares no weights, or one whose values are not all sizes.
    """
    values: dict[str, set[Any]] = {}
    for key, dimension in space.dimensions.items():
        values.setdefault(field_of(key), set()).update(dimension.values)
    for field in FIXED:
        if len(values.get(field, ())) > 1:
            listed = ", ".join(map(str, sorted(values[field], key=str)))
            raise InputError(
                f"space {space.name}: dimensions.{field}: varies ({listed}), but a supernet has a single value; "
                "keep one, or use the space `elastic`"
            )
    for field, found in values.items():
        default = NO_SIZE.get(field, 0 if "." in field else None)
        if default in found and len(found) > 1:
            raise InputError(
                f"space {space.name}: dimensions.{field}: {default} is not a size, so that a supernet cannot order it; write "
                "the number that it stands for, or leave it out"
            )
    largest = space.suggest(lambda _, choices: max(choices))
    for field, (value, constant) in FIXED_BY.items():
        for other in constant:
            if getattr(largest, field) == value and len(values.get(other, ())) > 1:
                raise InputError(
                    f"space {space.name}: dimensions.{other}: varies, but {field} {value} shares no weights between "
                    "sizes; keep one value"
                )
    return space.suggest(lambda _, choices: min(choices)), largest


def extract(net: PoseNet, arch: Arch) -> PoseNet:
    """Return an independent copy of the part of `net` that is the network `arch`, in evaluation mode.

    The BatchNorm statistics of a supernet's part are to be computed anew by `recalibrate`.

    Raises:
        InputError: `arch` is not part of it; names the first tensor that is not.
    """
    state = net.state_dict()
    slices = find_slices(net.arch, arch)
    copy = build(arch)
    copy.load_state_dict({name: take(state[place.source], place).clone() for name, place in slices.items()})
    return copy.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload, no-any-return]


@torch.no_grad()
def inherit(donor: PoseNet, arch: Arch, seed: int) -> PoseNet:
    """Return a network of `arch` with all weights that it shares with `donor`, and the others initialised from `seed`.

    Both networks are taken as slices of the smallest network that contains them.

    Raises:
        InputError: the two share no weights.
    """
    net = build(union(donor.arch, arch), seed)
    state, given = net.state_dict(), donor.state_dict()
    for name, place in find_slices(net.arch, donor.arch).items():
        target = state[place.source]
        axes = [range(size) if found is None else found for size, found in zip(target.shape, place.axes, strict=False)]
        if axes:
            target[torch.meshgrid([torch.tensor(axis) for axis in axes], indexing="ij")] = given[name]
        else:
            target.copy_(given[name])
    return extract(net, arch)


def share_weights(one: Arch, other: Arch) -> bool:
    """Return whether `inherit` can give one network weights of the other."""
    if any(getattr(one, key) != getattr(other, key) for key in FIXED if key != "decoder_stages"):
        return False
    try:
        larger = union(one, other)
        return all(find_slices(larger, arch) for arch in (one, other))
    except InputError:
        return False


def union(one: Arch, other: Arch) -> Arch:
    """Return the smallest network that contains both."""
    most: dict[str, Any] = {
        key: max(getattr(one, key), getattr(other, key))
        for key in ("width", "intermediate_channels", "decoder_width", "decoder_stages", "heatmap_size", "depth_bins")
    }
    for key, column in TABLE_OVERRIDES.items():
        own = own_values(ENCODERS[one.encoder], column)
        first, second = getattr(one, key) or own, getattr(other, key) or own
        if first != second:
            most[key] = tuple(max(a, b) for a, b in zip(first, second, strict=True))
    return one.replace(**most)


@torch.no_grad()
def recalibrate(net: PoseNet, batches: Iterable[Tensor]) -> PoseNet:
    """Recompute the BatchNorm statistics as their average over `batches` (B, 3, input_size, input_size).

    The statistics of a supernet are a mixture over its subnets and are discarded. Returns `net` in evaluation mode.
    """
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    net.train()
    for batch in batches:
        net.forward_heatmaps(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return net.eval()


@lru_cache(maxsize=CACHED_SUBNETS)
def subnet(largest: Arch, arch: Arch) -> tuple[RawOutput, dict[str, Slice]]:
    """Return the network `arch` on torch's meta device, and the slices of the supernet of `largest` that it consists of."""
    slices = find_slices(largest, arch)
    with torch.device("meta"):
        return RawOutput(PoseNet(arch)).train(), slices


def take(tensor: Tensor, place: Slice) -> Tensor:
    """Return the slice `place` of a supernet's tensor, as a view if its indices are contiguous."""
    for axis, found in enumerate(place.axes):
        if found is None or len(found) == tensor.shape[axis]:
            continue
        if found[-1] - found[0] == len(found) - 1:
            tensor = tensor.narrow(axis, found[0], len(found))
        else:
            tensor = tensor.index_select(axis, torch.tensor(found, device=tensor.device))
    return tensor


def find_slices(largest: Arch, arch: Arch) -> dict[str, Slice]:
    """Return for each tensor of the network `arch` its location in the network `largest`.

    Raises:
        InputError: `arch` is not part of it; names the first difference.
    """
    for field in FIXED:
        value, required = getattr(arch, field), getattr(largest, field)
        if value != required and field != "decoder_stages":
            raise InputError(f"arch: {field}: {value} shares no weights with the supernet's {required}; use that value")
    steps = {node.name: node for node in largest.plan.nodes}
    channels: dict[int, Channels] = {-1: (0, 1, 2)}
    slices: dict[str, Slice] = {}
    for index, node in enumerate(arch.plan.nodes):
        larger = steps.get(node.name)
        if larger is None or len(larger.inputs) != len(node.inputs):
            raise InputError(f"arch: the supernet has no step {node.name} with {len(node.inputs)} inputs")
        entering, offset = [], 0
        for (source, _), (larger_source, _) in zip(node.inputs, larger.inputs, strict=True):
            entering += [offset + place for place in channels[source]]
            offset += 3 if larger_source < 0 else largest.plan.nodes[larger_source].channels
        channels[index] = _slice_node(slices, node, larger, tuple(entering), _head_channels(largest, arch))
    return slices


def _head_channels(largest: Arch, arch: Arch) -> Channels | None:
    """Channels of a volumetric head with fewer depth bins: every n-th bin of each joint. None for other heads."""
    if arch.head != "volumetric" or arch.depth_bins == largest.depth_bins:
        return None
    every, rest = divmod(largest.depth_bins, arch.depth_bins)
    if rest or not every:
        raise InputError(f"arch: depth_bins: {arch.depth_bins} does not divide the supernet's {largest.depth_bins}")
    return tuple(range(0, arch.num_joints * largest.depth_bins, every))


def _slice_node(
    slices: dict[str, Slice], node: Node, larger: Node, entering: Channels, head_channels: Channels | None
) -> Channels:
    """Add the slices of one step; return the indices of its output channels."""
    places = {place: (path, op) for place, path, op in _operations(larger)}
    flow, side = entering, entering
    for place, path, op in _operations(node):
        block, branch, number = place
        if place not in places:
            raise InputError(f"arch: the supernet's {larger.name} has no operation for block {block} of {node.name}")
        source, larger_op = places[place]
        if branch == "main" and number == -len(node.blocks[block].main):
            side = flow  # the input of the block, which its shortcut reads
        leaving = head_channels if node.name == "head" and isinstance(op, Conv) else None
        made = _slice_op(slices, path, op, source, larger_op, side if branch == "shortcut" else flow, leaving)
        if branch == "main":
            flow = made
        elif branch == "shortcut":
            side = made
    return flow


Place = tuple[int, str, int]


def _operations(node: Node) -> Iterator[tuple[Place, str, Op | str]]:
    """The operations of a step with their position and the path of their module.

    Positions count from the end of a block, because a block with expansion 1 lacks the first convolution.
    """
    for index, block in enumerate(node.blocks):
        path = f"steps.{node.name}.{index}"
        main = path if block.shortcut is None else f"{path}.main"
        for number, op in enumerate(block.main):
            yield (index, "main", number - len(block.main)), f"{main}.{number}", op
        for number, op in enumerate(block.shortcut or ()):
            yield (index, "shortcut", number - len(block.shortcut or ())), f"{path}.shortcut.{number}", op
        if block.act:
            end = str(len(block.main)) if block.shortcut is None else "act"
            yield (index, "act", 0), f"{path}.{end}", block.act


def _slice_op(
    slices: dict[str, Slice],
    path: str,
    op: Op | str,
    source: str,
    larger: Op | str,
    entering: Channels,
    leaving: Channels | None = None,
) -> Channels:
    """Add the slices of one operation; return the indices of its output channels."""
    match op, larger:
        case Conv(), Conv():
            return _slice_conv(slices, path, op, source, larger, entering, leaving)
        case SqueezeExcite(), SqueezeExcite():
            small, large = op.convolutions(), larger.convolutions()
            hidden = _slice_conv(slices, f"{path}.reduce", small[0], f"{source}.reduce", large[0], entering)
            _slice_conv(slices, f"{path}.expand", small[1], f"{source}.expand", large[1], hidden, entering)
            return entering
        case Ghost(), Ghost():
            first = _slice_conv(slices, f"{path}.primary", op.primary, f"{source}.primary", larger.primary, entering)
            second = _slice_conv(slices, f"{path}.cheap", op.cheap, f"{source}.cheap", larger.cheap, first)
            return first + tuple(larger.primary.cout + place for place in second)
        case AxisClassifier(), AxisClassifier():
            if op != larger:
                raise InputError(
                    "arch: heatmap_size: the simcc head shares no weights between sizes; use the supernet's"
                )
            slices[f"{path}.linear.weight"] = Slice(f"{source}.linear.weight", ())
            slices[f"{path}.linear.bias"] = Slice(f"{source}.linear.bias", ())
            return entering
        case "prelu", "prelu":
            slices[f"{path}.weight"] = Slice(f"{source}.weight", (entering,))
        case "prelu_shared", "prelu_shared":
            slices[f"{path}.weight"] = Slice(f"{source}.weight", ())
        case _ if type(op) is not type(larger):
            raise InputError(f"arch: {path} is {op}, but {larger} in the supernet")
    return entering


def _slice_conv(
    slices: dict[str, Slice],
    path: str,
    op: Conv,
    source: str,
    larger: Conv,
    entering: Channels,
    leaving: Channels | None = None,
) -> Channels:
    """Add the slices of a convolution with its norm and activation; a depthwise one keeps its input channels."""
    depthwise = op.groups > 1
    out = entering if depthwise else leaving or tuple(range(op.cout))
    margin = (larger.kernel - op.kernel) // 2
    fits = out[-1] < larger.cout and margin >= 0 and (depthwise or entering[-1] < larger.cin)
    if not fits or (larger.groups > 1) != depthwise:
        raise InputError(
            f"arch: {path} has {op.cin} to {op.cout} channels and kernel {op.kernel}, the supernet no more than "
            f"{larger.cin} to {larger.cout} channels and kernel {larger.kernel}"
        )
    window = tuple(range(margin, margin + op.kernel))
    slices[f"{path}.conv.weight"] = Slice(
        f"{source}.conv.weight", (out, None if depthwise else entering, window, window)
    )
    if op.bias:
        slices[f"{path}.conv.bias"] = Slice(f"{source}.conv.bias", (out,))
    if op.norm:
        for name in ("weight", "bias", "running_mean", "running_var"):
            slices[f"{path}.norm.{name}"] = Slice(f"{source}.norm.{name}", (out,))
        slices[f"{path}.norm.num_batches_tracked"] = Slice(f"{source}.norm.num_batches_tracked", ())
    if op.act in ("prelu", "prelu_shared"):
        slices[f"{path}.act.weight"] = Slice(f"{source}.act.weight", (out,) if op.act == "prelu" else ())
    return out
