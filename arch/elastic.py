"""The weight-sharing twin of a space: one network whose slices are the space's networks.

A subnet's tensors are cut out of the largest network's: leading channels, the first blocks of a stage, the middle of a
kernel, every n-th depth bin of a volumetric head, a block of channels for each map that was concatenated. The subnet
itself is the ordinary PoseNet of its Arch, run on those slices, so that an extracted copy gives the same answers.
What shares no weights is one supernet each: encoder, stride, concat, activation, decoder, head (see FIXED).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from arch.canonical import TABLE_OVERRIDES
from arch.encoders import ENCODERS
from arch.errors import InputError
from arch.meaning import field_of
from arch.network import PoseNet, build
from arch.search_space import Space
from arch.space import Arch
from arch.spec import AxisClassifier, Conv, Ghost, Node, Op, SqueezeExcite

FIXED = (
    "encoder", "early_stride", "squeeze_excite", "concat", "activation", "decoder", "decoder_conv", "decoder_stages",
    "upsample", "head", "input", "joints",
)  # fmt: skip
FIXED_BY = {"head": ("simcc", ("heatmap",)), "decoder": ("parts", ("heatmap", "depth_bins"))}
KEPT = 256  # subnets whose slices are remembered

Channels = tuple[int, ...]  # where a subnet's channels lie among the supernet's


class Cut(NamedTuple):
    """Where a tensor of a subnet lies: the supernet's tensor, and for each axis its places there (None: all)."""

    source: str
    axes: tuple[Channels | None, ...]


class Subnet(NamedTuple):
    """A network without weights of its own and where they are cut out of the supernet."""

    net: _Raw
    cuts: dict[str, Cut]


class _Raw(nn.Module):
    """A PoseNet whose forward is `forward_heatmaps`, as `functional_call` wants it."""

    def __init__(self, net: PoseNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net.forward_heatmaps(x)


class SuperNet:
    """`whole` is the largest network of `space`; it holds all weights. Its own batch statistics are its own alone."""

    def __init__(self, space: Space, seed: int | None = None) -> None:
        self.space = space
        self.largest, self.smallest = ends(space)
        self.whole = build(self.largest, seed)

    def forward_heatmaps(self, x: Tensor, arch: Arch) -> Tensor:
        """Raw output (see `arch.head`) of the subnet `arch` by this batch's own statistics; gradients reach `whole`.

        Raises:
            InputError: no subnet of this one.
        """
        if arch == self.largest:
            return self.whole.forward_heatmaps(x)
        net, cuts = subnet(self.largest, arch)
        state = self.whole.state_dict(keep_vars=True)
        tensors = {f"net.{name}": cut(state[place.source], place) for name, place in cuts.items()}
        result: Tensor = functional_call(net, tensors, (x,))
        return result

    def extract(self, arch: Arch) -> PoseNet:
        """A copy of the subnet `arch` that needs nothing of the supernet; `recalibrate` it before it is judged.

        Raises:
            InputError: no subnet of this one.
        """
        return extract(self.whole, arch)


def ends(space: Space) -> tuple[Arch, Arch]:
    """The largest and the smallest network of a space that one supernet can hold.

    Raises:
        InputError: the space lets something differ that shares no weights.
    """
    values: dict[str, set[Any]] = {}
    for key, dimension in space.dimensions.items():
        values.setdefault(field_of(key), set()).update(dimension.values)
    for field in FIXED:
        if len(values.get(field, ())) > 1:
            listed = ", ".join(map(str, sorted(values[field], key=str)))
            raise InputError(
                f"space {space.name}: dimensions.{field}: differs ({listed}), and a supernet holds one; "
                "write one value (the space `elastic` is made so)"
            )
    largest = space.suggest(lambda _, choices: max(choices))
    for field, (value, constant) in FIXED_BY.items():
        for other in constant:
            if getattr(largest, field) == value and len(values.get(other, ())) > 1:
                raise InputError(
                    f"space {space.name}: dimensions.{other}: differs, and {field} {value} shares no weights between "
                    "sizes; write one value"
                )
    return largest, space.suggest(lambda _, choices: min(choices))


def extract(whole: PoseNet, arch: Arch) -> PoseNet:
    """The network of `arch` with its weights and statistics copied out of a larger one of the same kind.

    Raises:
        InputError: it is not part of the larger one; says which tensor is not.
    """
    state = whole.state_dict()
    cuts = find_cuts(whole.arch, arch)
    net = build(arch)
    net.load_state_dict({name: cut(state[place.source], place).clone() for name, place in cuts.items()})
    return net.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload, no-any-return]


@torch.no_grad()
def inherit(donor: PoseNet, arch: Arch, seed: int) -> PoseNet:
    """A network of `arch` with all the weights that it has in common with `donor`, the rest fresh from `seed`.

    Both are cut out of the smallest network that holds the two.

    Raises:
        InputError: the two share no weights.
    """
    whole = build(union(donor.arch, arch), seed)
    state, given = whole.state_dict(), donor.state_dict()
    for name, place in find_cuts(whole.arch, donor.arch).items():
        target = state[place.source]
        axes = [range(size) if found is None else found for size, found in zip(target.shape, place.axes, strict=False)]
        if axes:
            target[torch.meshgrid([torch.tensor(axis) for axis in axes], indexing="ij")] = given[name]
        else:
            target.copy_(given[name])
    return extract(whole, arch)


def union(one: Arch, other: Arch) -> Arch:
    """The smallest network that holds both."""
    most: dict[str, Any] = {
        key: max(getattr(one, key), getattr(other, key))
        for key in ("width", "inter", "decoder_width", "heatmap", "depth_bins")
    }
    for key, column in TABLE_OVERRIDES.items():
        own = tuple(getattr(row, column, 0) for row in ENCODERS[one.encoder].rows)
        mine, theirs = getattr(one, key) or own, getattr(other, key) or own
        if mine != theirs:
            most[key] = tuple(max(a, b) for a, b in zip(mine, theirs, strict=True))
    return one.replace(**most)


@torch.no_grad()
def recalibrate(net: PoseNet, batches: Iterable[Tensor]) -> PoseNet:
    """Replace batch statistics by their plain average over `batches` of (B, 3, input, input); returns `net`, to eval.

    Statistics of a supernet are a mix over subnets and say nothing of one of them: they are forgotten first.
    """
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's cumulative average
    net.train()
    for batch in batches:
        net.forward_heatmaps(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return net.eval()


@lru_cache(maxsize=KEPT)
def subnet(largest: Arch, arch: Arch) -> Subnet:
    """The subnet `arch` of the supernet of `largest`, on torch's meta device: shapes alone."""
    cuts = find_cuts(largest, arch)
    with torch.device("meta"):
        return Subnet(_Raw(PoseNet(arch)).train(), cuts)


def cut(tensor: Tensor, place: Cut) -> Tensor:
    """The part of the supernet's tensor at `place`; a view where it lies in one piece."""
    for axis, found in enumerate(place.axes):
        if found is None or len(found) == tensor.shape[axis]:
            continue
        if found[-1] - found[0] == len(found) - 1:
            tensor = tensor.narrow(axis, found[0], len(found))
        else:
            tensor = tensor.index_select(axis, torch.tensor(found, device=tensor.device))
    return tensor


def find_cuts(largest: Arch, arch: Arch) -> dict[str, Cut]:
    """For each tensor of the network of `arch` its place in that of `largest`.

    Raises:
        InputError: `arch` is not part of it; names the first difference.
    """
    for field in FIXED:
        mine, theirs = getattr(arch, field), getattr(largest, field)
        if mine != theirs and field != "decoder_stages":
            raise InputError(f"arch: {field} {mine} shares no weights with the supernet's {theirs}; take that one")
    steps = {node.name: node for node in largest.plan.nodes}
    channels: dict[int, Channels] = {-1: (0, 1, 2)}
    cuts: dict[str, Cut] = {}
    for index, node in enumerate(arch.plan.nodes):
        whole = steps.get(node.name)
        if whole is None or len(whole.inputs) != len(node.inputs):
            raise InputError(f"arch: the supernet has no step {node.name} with {len(node.inputs)} inputs")
        entering, offset = [], 0
        for (source, _), (whole_source, _) in zip(node.inputs, whole.inputs, strict=True):
            entering += [offset + place for place in channels[source]]
            offset += 3 if whole_source < 0 else largest.plan.nodes[whole_source].channels
        channels[index] = _cut_node(cuts, node, whole, tuple(entering), _bins(largest, arch))
    return cuts


def _bins(largest: Arch, arch: Arch) -> Channels | None:
    """Where a volumetric head's channels lie, [joints, depth bins] each: every n-th bin; None for other heads."""
    if arch.head != "volumetric" or arch.depth_bins == largest.depth_bins:
        return None
    every, rest = divmod(largest.depth_bins, arch.depth_bins)
    if rest or not every:
        raise InputError(f"arch: depth_bins {arch.depth_bins} is no part of the supernet's {largest.depth_bins}")
    return tuple(range(0, arch.joints * largest.depth_bins, every))


def _cut_node(cuts: dict[str, Cut], node: Node, whole: Node, entering: Channels, bins: Channels | None) -> Channels:
    """Add the cuts of one step; returns where the step's output channels lie."""
    places = {place: (path, op) for place, path, op in _operations(whole)}
    flow, side = entering, entering
    for place, path, op in _operations(node):
        block, branch, number = place
        if place not in places:
            raise InputError(f"arch: the supernet's {whole.name} has no operation for block {block} of {node.name}")
        source, larger = places[place]
        first = number == -len(node.blocks[block].main)
        if branch == "main" and first:
            side = flow
        last_conv = bins if node.name == "head" and isinstance(op, Conv) else None
        made = _cut_op(cuts, path, op, source, larger, side if branch == "shortcut" else flow, last_conv)
        if branch == "main":
            flow = made
        elif branch == "shortcut":
            side = made
    return flow


Place = tuple[int, str, int]


def _operations(node: Node) -> Iterator[tuple[Place, str, Op | str]]:
    """Operations of a step with their place and their module's path; those of a block are counted from its end.

    The block of an expansion of one has no first convolution: the others still meet their like.
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


def _cut_op(
    cuts: dict[str, Cut],
    path: str,
    op: Op | str,
    source: str,
    larger: Op | str,
    entering: Channels,
    leaving: Channels | None = None,
) -> Channels:
    """Add the cuts of one operation; returns where its output channels lie."""
    match op, larger:
        case Conv(), Conv():
            return _cut_conv(cuts, path, op, source, larger, entering, leaving)
        case SqueezeExcite(), SqueezeExcite():
            small, large = _gate(op), _gate(larger)
            hidden = _cut_conv(cuts, f"{path}.reduce", small[0], f"{source}.reduce", large[0], entering)
            _cut_conv(cuts, f"{path}.expand", small[1], f"{source}.expand", large[1], hidden, entering)
            return entering
        case Ghost(), Ghost():
            first = _cut_conv(cuts, f"{path}.primary", op.primary, f"{source}.primary", larger.primary, entering)
            second = _cut_conv(cuts, f"{path}.cheap", op.cheap, f"{source}.cheap", larger.cheap, first)
            return first + tuple(larger.primary.cout + place for place in second)
        case AxisClassifier(), AxisClassifier():
            if op != larger:
                raise InputError("arch: heatmap: the simcc head shares no weights between sizes; take the supernet's")
            cuts[f"{path}.linear.weight"] = Cut(f"{source}.linear.weight", ())
            cuts[f"{path}.linear.bias"] = Cut(f"{source}.linear.bias", ())
            return entering
        case "prelu", "prelu":
            cuts[f"{path}.weight"] = Cut(f"{source}.weight", (entering,))
        case "prelu_shared", "prelu_shared":
            cuts[f"{path}.weight"] = Cut(f"{source}.weight", ())
        case _ if type(op) is not type(larger):
            raise InputError(f"arch: {path} is {op}, the supernet has {larger} there")
    return entering


def _gate(op: SqueezeExcite) -> tuple[Conv, Conv]:
    """The two convolutions of a squeeze-excite gate, as `arch.blocks` makes them."""
    return (
        Conv(op.channels, op.hidden, bias=op.bias, norm=op.norm),
        Conv(op.hidden, op.channels, bias=op.bias, norm=False),
    )


def _cut_conv(
    cuts: dict[str, Cut],
    path: str,
    op: Conv,
    source: str,
    larger: Conv,
    entering: Channels,
    leaving: Channels | None = None,
) -> Channels:
    """Add the cuts of a convolution with its norm and activation; a depthwise one keeps the channels that enter."""
    depthwise = op.groups > 1
    out = entering if depthwise else leaving or tuple(range(op.cout))
    margin = (larger.kernel - op.kernel) // 2
    fits = out[-1] < larger.cout and margin >= 0 and (depthwise or entering[-1] < larger.cin)
    if not fits or (larger.groups > 1) != depthwise:
        raise InputError(f"arch: {path} is {op.cin} to {op.cout} by {op.kernel}, the supernet's no more than "
                         f"{larger.cin} to {larger.cout} by {larger.kernel}")  # fmt: skip
    window = tuple(range(margin, margin + op.kernel))
    cuts[f"{path}.conv.weight"] = Cut(f"{source}.conv.weight", (out, None if depthwise else entering, window, window))
    if op.bias:
        cuts[f"{path}.conv.bias"] = Cut(f"{source}.conv.bias", (out,))
    if op.norm:
        for name in ("weight", "bias", "running_mean", "running_var"):
            cuts[f"{path}.norm.{name}"] = Cut(f"{source}.norm.{name}", (out,))
        cuts[f"{path}.norm.num_batches_tracked"] = Cut(f"{source}.norm.num_batches_tracked", ())
    if op.act in ("prelu", "prelu_shared"):
        cuts[f"{path}.act.weight"] = Cut(f"{source}.act.weight", (out,) if op.act == "prelu" else ())
    return out
