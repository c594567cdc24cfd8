"""Instructions of one inference on an emulated ARM processor, as a cost of networks.

The count does not depend on other processes: that of a LiteRT file is the same in every run, that of an ONNX Runtime
file within 0.01%. It ignores caches, memory and clocks. Before training, it is predicted from the networks of the study
that were counted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

from arch.space import Arch
from explore.measure.emulated.cpus import CPUS
from explore.measure.emulated.emulator import Emulator, Job
from explore.measure.emulated.prices import fit_instructions
from explore.search.config import SearchConfig
from explore.search.costs.quantities import INSTRUCTIONS, quantity
from explore.search.results import CandidateResult, WithLatency, candidate_files
from quantize import runtimes
from quantize.recipes import recipe

MAX_FITTED = 300  # counted networks that a prediction is fitted to

_read = lru_cache(maxsize=4096)(CandidateResult.read)


def counted_cpus(config: SearchConfig) -> tuple[str, ...]:
    """Return the processors that an objective or a limit counts instructions on."""
    named = (*map(quantity, config.objectives), *(limit.quantity for limit in config.parsed_limits))
    return tuple(dict.fromkeys(each.address for each in named if each.kind == INSTRUCTIONS))


def counted_instructions(result: WithLatency) -> dict[str, int]:
    """Return the instructions on each processor by its column."""
    return {quantity(f"{INSTRUCTIONS}@{cpu}").column: count for cpu, count in result.instructions.items()}


def check_counting(config: SearchConfig) -> None:
    """Check that the instructions of the study's files can be counted here.

    Raises:
        InputError: no set-up, or one without the study's runtime; the message has the command.
    """
    if counted_cpus(config):
        Emulator.open().require(config.runtime)


def setup_identity(config: SearchConfig) -> dict[str, str]:
    """Return what counts depend on besides the file; empty if the study counts nothing."""
    cpus = counted_cpus(config)
    return {"counted": " ".join(sorted(cpus)), "emulator": Emulator.open().setup.identity} if cpus else {}


def count_instructions(config: SearchConfig, arch: Arch, file: Path) -> dict[str, int]:
    """Count the instructions of one inference of a model file on each processor.

    Raises:
        InputError: no set-up.
        DeviceError: the file failed on an emulated processor.
    """
    emulator, image = Emulator.open(), np.zeros((1, 3, arch.input_size, arch.input_size), np.float32)
    files = tuple(file.with_name(name) for name in runtimes.get(config.runtime).FILES)
    job = Job(arch.name, config.runtime, files, image)
    return {cpu: emulator.count(CPUS[cpu], job).total for cpu in counted_cpus(config)}


def predicted_instructions(config: SearchConfig, recipe_name: str, cpu: str) -> Callable[[Arch], float]:
    """Return a function from a network to the instructions that its file is expected to need."""
    return _fitted(tuple(candidate_files(config.folder)), recipe(recipe_name).name, cpu)


@lru_cache(maxsize=8)
def _fitted(paths: tuple[Path, ...], recipe_name: str, cpu: str) -> Callable[[Arch], float]:
    results = [result for result in map(_read, paths) if result.recipe == recipe_name and cpu in result.instructions]
    chosen = results[:MAX_FITTED]  # in the order of hashes, as good as random
    return fit_instructions([result.arch for result in chosen], [result.instructions[cpu] for result in chosen])
