"""The public tables as search problems: error in %, and a cost that is known before the evaluation."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.accel import surrogate
from benchmarks.search.sources import OPERATIONS, nas_bench_201, source_file
from explore.pareto import Points, hypervolume, non_dominated_rank

Network = tuple[int, ...]  # the index of the choice in each dimension

START = 8  # random networks that every method evaluates first
COST_ERROR = 0.05  # relative deviation of a known latency from the measured one
POOL = 4000  # random networks of a space that cannot be enumerated
FRONT_GENERATIONS, FRONT_CHILDREN = 80, 2000


@dataclass(frozen=True)
class Table:
    """A search space whose networks have been evaluated.

    `truth(networks (N, D))` returns errors in % and costs (N, 2). `observe(network, seed)` returns the error and the
    cost that a search with this seed sees. `worst` and `median` are errors over all networks: those of the two
    reference points, whose cost is the largest.
    """

    sizes: tuple[int, ...]
    ordered: bool
    truth: Callable[[NDArray[np.int64]], Points]
    observe: Callable[[Network, int], tuple[float, float]]
    known_cost: Callable[[Network], float]
    largest_cost: float
    worst: float
    median: float

    @cached_property
    def front(self) -> Points:
        """The Pareto front (N, 2): exact if the space can be enumerated, else from a long evolution of it."""
        if math.prod(self.sizes) < 1e6:
            networks = np.array(list(np.ndindex(*self.sizes)))
            points = self.truth(networks)
            return points[non_dominated_rank(points) == 0]
        return _evolved_front(self)

    def regret(self, points: Points, reference_error: float) -> float:
        """Return the fraction of the front's hypervolume that `points` (N, 2) lack, in % x decades of cost."""
        return 1 - self._volume(points, reference_error) / self._volume(self.front, reference_error)

    def _volume(self, points: Points, reference_error: float) -> float:
        corner = np.array([reference_error, np.log10(self.largest_cost)])
        return hypervolume(np.column_stack([points[:, 0], np.log10(points[:, 1])]), corner)

    def random_networks(self, seed: int, count: int) -> list[Network]:
        """Return the first `count` different networks of a random order; every method starts with them."""
        rng, found = random.Random(f"first {seed}"), dict[Network, None]()
        while len(found) < count:
            found[tuple(rng.randrange(size) for size in self.sizes)] = None
        return list(found)


def nas_bench_macro() -> Table:
    """NAS-Bench-Macro (Su et al., CVPR 2021): eight layers; one of three trainings is observed, their mean counts."""
    records = json.loads(source_file("nas-bench-macro_cifar10.json").read_bytes())
    errors = np.zeros((3,) * 8 + (3,))
    costs = np.zeros((3,) * 8)
    for key, record in records.items():
        place = tuple(map(int, key))
        errors[place], costs[place] = 100 - np.array(record["test_acc"]), record["flops"] / 1e6

    def observe(network: Network, seed: int) -> tuple[float, float]:
        return float(errors[network][random.Random(f"run {seed} {network}").randrange(3)]), float(costs[network])

    return _enumerated(errors.mean(-1), costs, observe, lambda network: float(costs[network]), True)


def nas_bench_201_on(device: str) -> Table:
    """NAS-Bench-201 (Dong and Yang, ICLR 2020), CIFAR-100, with latencies of a device (HELP: Lee et al., NeurIPS 2021).

    The validation error is observed, the test error counts. The search knows the latency to 5%.
    """
    arrays = nas_bench_201()
    places = np.array([[int(digit) for digit in arch] for arch in arrays["arch"]]).T
    validation, errors, costs = (np.zeros((len(OPERATIONS),) * 6) for _ in range(3))
    for target, key in ((validation, "cifar100_valid_error"), (errors, "cifar100_test_error"), (costs, f"{device}_ms")):
        target[tuple(places)] = arrays[key]

    def observe(network: Network, seed: int) -> tuple[float, float]:
        return float(validation[network]), float(costs[network])

    def known_cost(network: Network) -> float:
        return float(costs[network]) * _cost_factor(network)

    return _enumerated(errors, costs, observe, known_cost, False)


def accel_nasbench() -> Table:
    """Accel-NASBench (Ahmad et al., DAC 2024): a surrogate of its ImageNet errors and latencies on the ZCU102 board.

    The error is observed with the surrogate's own error as noise. The search knows the latency to 5%.
    """
    model = surrogate()
    rng = random.Random("pool")
    pool = np.array([[rng.randrange(size) for size in model.sizes] for _ in range(POOL)])
    errors = model.errors(pool)

    def truth(networks: NDArray[np.int64]) -> Points:
        return np.column_stack([model.errors(networks), model.latencies(networks)])

    def observe(network: Network, seed: int) -> tuple[float, float]:
        error, ms = truth(np.array([network]))[0]
        return float(error) + model.error_rmse * random.Random(f"run {seed} {network}").gauss(0, 1), float(ms)

    def known_cost(network: Network) -> float:
        return model.latency(network) * _cost_factor(network)

    return Table(
        model.sizes, True, truth, observe, known_cost,
        float(model.latencies(pool).max()), float(errors.max()), float(np.median(errors)),
    )  # fmt: skip


TABLES: dict[str, Callable[[], Table]] = {
    "macro": nas_bench_macro,
    "accel": accel_nasbench,
    "nb201-pixel3": lambda: nas_bench_201_on("pixel3"),
    "nb201-raspi4": lambda: nas_bench_201_on("raspi4"),
}


def front_by_observation(observed: Points) -> NDArray[np.int64]:
    """Return the indices of the networks that a search would export: those on the front of the observed points."""
    return np.flatnonzero(non_dominated_rank(observed) == 0)


def regrets(table: Table, networks: Sequence[Network], seed: int, stops: Sequence[int]) -> dict[str, list[float]]:
    """Return the regret of a search after each number of trials, for each reference point.

    Observed values choose the networks, true values count.
    """
    observed = np.array([table.observe(network, seed) for network in networks])
    true = table.truth(np.array(networks))
    chosen = [true[front_by_observation(observed[:stop])] for stop in stops]
    return {
        name: [round(table.regret(points, error), 5) for points in chosen]
        for name, error in (("worst", table.worst), ("median", table.median))
    }


def _enumerated(
    errors: NDArray[np.float64],
    costs: NDArray[np.float64],
    observe: Callable[[Network, int], tuple[float, float]],
    known_cost: Callable[[Network], float],
    ordered: bool,
) -> Table:
    def truth(networks: NDArray[np.int64]) -> Points:
        place = tuple(networks.T)
        return np.column_stack([errors[place], costs[place]])

    return Table(
        errors.shape, ordered, truth, observe, known_cost,
        float(costs.max()), float(errors.max()), float(np.median(errors)),
    )  # fmt: skip


def _cost_factor(network: Network) -> float:
    return math.exp(COST_ERROR * random.Random(f"cost {network}").gauss(0, 1))


def _evolved_front(table: Table) -> Points:
    """Return the front after many generations of crossover and mutation of its members, by true values."""
    rng, sizes = np.random.default_rng(1), np.array(table.sizes)
    networks = (rng.random((2 * FRONT_CHILDREN, len(sizes))) * sizes).astype(np.int64)
    points = table.truth(networks)
    for _ in range(FRONT_GENERATIONS):
        best = non_dominated_rank(points) == 0
        networks, points = networks[best], points[best]
        parents, partners = (networks[rng.integers(0, len(networks), FRONT_CHILDREN)] for _ in range(2))
        crossed = (rng.random((FRONT_CHILDREN, 1)) < 0.4) & (rng.random(parents.shape) < 0.5)
        exchanged = rng.random(parents.shape) < rng.choice([1, 2, 3], (FRONT_CHILDREN, 1)) / len(sizes)
        children = np.where(crossed, partners, parents)
        children = np.where(exchanged, (rng.random(children.shape) * sizes).astype(np.int64), children)
        networks, points = np.vstack([networks, children]), np.vstack([points, table.truth(children)])
    return points[non_dominated_rank(points) == 0]


def mutated(table: Table, parent: Network, changes: int, rng: random.Random) -> Network:
    """Return a copy with new choices in `changes` dimensions."""
    child = list(parent)
    for place in rng.sample(range(len(child)), changes):
        child[place] = (child[place] + rng.randrange(1, table.sizes[place])) % table.sizes[place]
    return tuple(child)
