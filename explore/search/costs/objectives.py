"""Objectives and limits of a search (see `explore.search.costs.quantities`): values, and checks before training.

All values are minimised. Networks above a limit are neither on the front nor finalists. A latency is measured on each
device that an objective or a limit names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from arch.documents import load_written
from arch.errors import InputError
from arch.search_space import Space
from arch.space import Arch
from explore.measure.devices import open_device
from explore.measure.devices.qemu import Qemu, no_latency
from explore.search.config import SearchConfig
from explore.search.costs.instructions import check_counting, counted_instructions, predicted_instructions
from explore.search.costs.minimum import smallest
from explore.search.costs.predicted_latency import load_predictor, predicted_ratio, predictor_of
from explore.search.costs.quantities import ERROR, INSTRUCTIONS, LOCAL, Limit, Quantity, quantity
from explore.search.recipes_of_trial import searched_recipes
from explore.search.results import CandidateResult
from quantize.recipes import recipe

MARGIN = 1.1  # a network is measured if its predicted latency is within this factor of the limit
LARGEST_GAIN = 5.0  # no network is faster than its MACs suggest by more than this factor


def reference_ms(config: SearchConfig, address: str = LOCAL) -> float:
    """Return the reference network's latency on a device, ms."""
    key = config.runtime if address == LOCAL else address
    return float(load_written(_reference_path(config, address))[key]["median_ms"])


def is_reference_known(config: SearchConfig, address: str) -> bool:
    """Return whether the reference network is measured on a device."""
    path = _reference_path(config, address)
    return path.exists() and (config.runtime if address == LOCAL else address) in load_written(path)


def is_reference_measured(config: SearchConfig) -> bool:
    """Return whether the reference network is measured on this machine and on every remote device."""
    return all(is_reference_known(config, address) for address in (LOCAL, *remote_addresses(config)))


def _reference_path(config: SearchConfig, address: str) -> Path:
    return config.folder / "reference" / ("reference.json" if address == LOCAL else "devices.json")


def objective_quantities(config: SearchConfig) -> tuple[Quantity, ...]:
    """Return the objectives, the error first."""
    return tuple(map(quantity, config.objectives))


def objectives(config: SearchConfig) -> tuple[str, ...]:
    """Return the columns of the objectives, `mpjpe_mm` first."""
    return tuple(objective.column for objective in objective_quantities(config))


def addresses(config: SearchConfig) -> tuple[str, ...]:
    """Return the devices whose latency is an objective or limited; `local` is this machine."""
    named = (*objective_quantities(config), *(limit.quantity for limit in config.parsed_limits))
    return tuple(dict.fromkeys(each.address for each in named if each.name.startswith("latency")))


def measures_here(config: SearchConfig) -> bool:
    """Return whether the latency of candidates on this machine counts."""
    return LOCAL in addresses(config)


def remote_addresses(config: SearchConfig) -> tuple[str, ...]:
    """Return the devices other than this machine."""
    return tuple(address for address in addresses(config) if address != LOCAL)


def latency_key(address: str) -> str:
    """Return the column of a device's latency; options of the address are left out."""
    return quantity(f"latency@{address}").column


def figures(result: CandidateResult) -> dict[str, Any]:
    """Return the value of each quantity of a candidate by column; None for a latency that does not count."""
    return {
        "mpjpe_mm": result.mpjpe_mm,
        "latency_ms": result.latency_ms,
        "macs": result.macs,
        "params": result.params,
        "bytes": result.bytes,
        "memory": result.peak_bytes or result.peak_activation_bytes_int8,
        **{latency_key(address): latency.latency_ms for address, latency in result.remote.items()},
        **counted_instructions(result),
    }


def values(config: SearchConfig, figures: Mapping[str, Any]) -> list[float]:
    """Return the values of the objectives from figures by column."""
    return [float(figures[name]) for name in objectives(config)]


def constraints(config: SearchConfig, figures: Mapping[str, Any]) -> dict[str, float]:
    """Return by name how far each limit is exceeded, as a fraction of it; not above zero where it is met."""
    return {
        f"limit {limit.quantity.name}": float(figures[limit.quantity.column]) / limit.value(config.input_size) - 1
        for limit in config.parsed_limits
    }


def is_within_limits(config: SearchConfig, figures: Mapping[str, Any]) -> bool:
    return all(excess <= 0 for excess in constraints(config, figures).values())


def known_costs(config: SearchConfig, recipe_name: str) -> Callable[[Arch], list[float]]:
    """Return a function from a network to its costs before training: all objectives but the error, in their order.

    MACs, parameters and memory are exact; the size is that of the weights in the file. A latency is predicted from that
    of the reference network (see `explore.search.costs.predicted_latency`), instructions from counted candidates.
    """
    chosen = recipe(recipe_name)

    def cost_of(objective: Quantity) -> Callable[[Arch], float]:
        form = objective.closed_form
        if form is not None:
            return lambda arch: form(arch, chosen)
        if objective.kind == INSTRUCTIONS:
            return predicted_instructions(config, recipe_name, objective.address)
        ratio, _ = predicted_ratio(config, recipe_name, objective.address)
        unit = reference_ms(config, objective.address) if is_reference_known(config, objective.address) else 1.0
        return lambda arch: unit * ratio(arch)

    costs = [cost_of(objective) for objective in objective_quantities(config) if objective.name != ERROR]
    return lambda arch: [cost(arch) for cost in costs]


def limit_check(config: SearchConfig, recipe_name: str) -> Callable[[Arch], tuple[str, str]]:
    """Return a function from a network to the reason to skip it and the check that found it; else two empty strings.

    Instructions are predicted from the networks that are counted when this is called.
    """
    chosen = recipe(recipe_name)

    def prediction(limited: Quantity) -> Callable[[Arch], float | None]:
        if limited.kind == INSTRUCTIONS:
            return predicted_instructions(config, recipe_name, limited.address)
        if limited.address:
            return lambda arch: predicted_ms(config, arch, recipe_name, limited.address)
        return lambda arch: None

    limits = [(limit, limit.value(config.input_size), prediction(limit.quantity)) for limit in config.parsed_limits]

    def check(arch: Arch) -> tuple[str, str]:
        for limit, most, predict in limits:
            name, form, text = limit.quantity.name, limit.quantity.closed_form, limit.quantity.text
            if form is not None and (found := form(arch, chosen)) > most:
                return f"{name} {text(found)}, above the limit {limit.text}", "cost"
            if (predicted := predict(arch)) is not None and predicted > MARGIN * most:
                return f"{name} {text(predicted)} predicted, above the limit {limit.text}", "predictor"
        return "", ""

    return check


def predicted_ms(config: SearchConfig, arch: Arch, recipe_name: str, address: str = "") -> float | None:
    """Return the latency that the study's predictor predicts for a network's file, ms; None if it predicts others.

    address: empty for the device of the predictor
    """
    for each in (address,) if address else addresses(config):
        if predictor := predictor_of(config, recipe_name, each):
            return float(predictor.ms([arch], reference_ms(config, each))[0])
    return None


def check_objectives(config: SearchConfig, space: Space) -> None:
    """Check that devices, limits and the latency predictor fit the study.

    Raises:
        InputError: one line with the key and the fix.
    """
    check_counting(config)
    for address in addresses(config):
        device = open_device(address)
        if isinstance(device, Qemu):
            raise no_latency(address)
        if getattr(device, "address", "") is None:
            raise InputError(f"objectives: {address}: its address must not change; write web://HOST:8000?token=WORD")
    if config.predictor:
        _check_predictor(config)
    check_limits(config, space)


def check_limits(config: SearchConfig, space: Space) -> None:
    """Check that a network of the space can be within the limits.

    The error has no closed form. Latency has one with a predictor; without, it is bounded from the reference network's
    as soon as that is measured.

    Raises:
        InputError: one line with the limit and the smallest value of the space.
    """
    excesses = [excess for limit in config.parsed_limits if (excess := _least_excess(config, limit)) is not None]
    if smallest(space, lambda arch: max((excess(arch) for excess in excesses), default=0.0), enough=1.0) <= 1.0:
        return
    for limit in config.parsed_limits:
        excess = _least_excess(config, limit)
        if excess is not None and (least := smallest(space, excess)) > 1.0:
            shown = limit.quantity.text(least * limit.value(config.input_size))
            raise InputError(
                f"limits: {limit.text}: no network of space {space.name} is below it; the smallest has about {shown}"
            )
    raise InputError(
        f"limits: {', '.join(config.limits)}: no network of space {space.name} is within all of them, although each alone "
        "can be met; raise one of them"
    )


def _least_excess(config: SearchConfig, limit: Limit) -> Callable[[Arch], float] | None:
    """Return a function from a network to a lower bound of its value over the limit; None where nothing is known."""
    most, form, address = limit.value(config.input_size), limit.quantity.closed_form, limit.quantity.address
    recipes = searched_recipes(config)
    if form is not None:
        return lambda arch: min(form(arch, recipe(name)) for name in recipes) / most
    if not address:
        return None
    if limit.quantity.kind == INSTRUCTIONS:
        counts = [predicted_instructions(config, name, address) for name in recipes]
        return lambda arch: min(count(arch) for count in counts) / most / LARGEST_GAIN
    predictors = [predictor_of(config, name, address) for name in recipes]
    known = is_reference_known(config, address)
    if all(predictors):
        unit = reference_ms(config, address) if known else None
        return lambda arch: min(float(p.ms([arch], unit)[0]) for p in predictors if p) / most / MARGIN
    if not known:
        return None
    ratio, unit = predicted_ratio(config, recipes[0], address)[0], reference_ms(config, address)
    return lambda arch: unit * ratio(arch) / most / LARGEST_GAIN


def _check_predictor(config: SearchConfig) -> None:
    about = load_predictor(config.predictor).about
    devices = {open_device(address).name for address in addresses(config)}
    if about.device not in devices:
        raise InputError(
            f"predictor: {config.predictor} predicts {about.device}, whose latency is neither an objective nor limited; "
            f"add --limit latency@{about.device}=20ms"
        )
    names = {recipe(name).name for name in searched_recipes(config)}
    if about.recipe not in names:
        raise InputError(
            f"predictor: {config.predictor} predicts files of recipe {about.recipe}; the study has {', '.join(names)}"
        )
    for key, theirs in (
        ("input_size", config.input_size),
        ("runtime", config.runtime),
        ("threads", config.measure.threads),
    ):
        if getattr(about, key) != theirs:
            raise InputError(
                f"predictor: {config.predictor} has {key} {getattr(about, key)}, the study {theirs}; calibrate again "
                f"with --{key.replace('_', '-')} {theirs}"
            )


def pages_to_open(config: SearchConfig) -> list[str]:
    """Return the addresses that the user must open in a browser and leave open."""
    return [page for address in remote_addresses(config) if (page := getattr(open_device(address), "address", None))]
