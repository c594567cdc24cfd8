"""Latency before a measurement, or in place of one that other processes disturb.

The study's predictor is taken for the device, runtime and recipe that it was calibrated on. For others, latency grows
with MACs: with the power 0.9, that of 20 networks of the space `mobile` on x86 (LiteRT, INT8), through the median of
the files that the study has measured, or else through the reference network.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import islice

import numpy as np

from arch.cost import cost
from arch.space import Arch
from explore.measure.devices import open_device
from explore.measure.predictor import Predictor
from explore.measure.sampling import reference
from explore.search.config import SearchConfig
from explore.search.costs.quantities import LOCAL, LatencySource
from explore.search.results import candidate_results
from quantize.environment import machine
from quantize.recipes import recipe

POWER = 0.9
MEASURED = 30  # most files of the study that the median is taken of

Ratio = Callable[[Arch], float]


def predicted_ratio(config: SearchConfig, recipe_name: str, address: str = LOCAL) -> tuple[Ratio, LatencySource]:
    """Return a function from a network to its file's latency, as a ratio to the reference network, and the source."""
    predictor = predictor_of(config, recipe_name, address)
    if predictor is not None:
        return lambda arch: float(predictor.ratios([arch])[0]), "predictor"
    scale = _scale(config, recipe(recipe_name).name, address)
    return lambda arch: scale * _from_macs(config, arch), "MACs"


def predictor_of(config: SearchConfig, recipe_name: str, address: str) -> Predictor | None:
    """Return the study's predictor if it was calibrated for files of this recipe on this device."""
    if not config.predictor:
        return None
    found = load_predictor(config.predictor)
    fits = found.about.recipe == recipe(recipe_name).name and found.about.device == open_device(address).name
    return found if fits else None


def predictor_note(config: SearchConfig) -> str:
    """Return a notice if the study's predictor is that of another processor; empty if it fits."""
    if not config.predictor:
        return ""
    about, here = load_predictor(config.predictor).about, machine()
    theirs, ours = (
        [each, *isa]
        for each, isa in ((about.processor, about.instruction_sets), (here["processor"], here["instruction_sets"]))
    )
    if about.device != LOCAL or theirs == ours:
        return ""
    return (
        f"predictor: {config.predictor} is that of {', '.join(theirs)}; this machine has {', '.join(ours)}, so predicted latencies "
        "are inaccurate (calibrate one: measure --calibrate local)"
    )


@lru_cache(maxsize=4)
def load_predictor(path: str) -> Predictor:
    return Predictor.load(path)


def _from_macs(config: SearchConfig, arch: Arch) -> float:
    return float((cost(arch).macs / _reference_macs(config.input_size)) ** POWER)


@lru_cache
def _reference_macs(input_size: int) -> int:
    return cost(reference(input_size)).macs


def _scale(config: SearchConfig, recipe_name: str, address: str) -> float:
    """Return the median of measured latencies over those from MACs; 1 if nothing is measured."""
    found = (
        ratio / _from_macs(config, result.arch)
        for _, result in candidate_results(config.folder)
        if result.recipe == recipe_name and (ratio := result.measured_ratio(address)) is not None
    )
    first = list(islice(found, MEASURED))
    return float(np.median(first)) if first else 1.0
