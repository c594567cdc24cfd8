"""A surrogate of Accel-NASBench: errors, MACs and latencies as sums over pairs of choices, fitted to records."""

from __future__ import annotations

import json
import math
import tarfile
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.sources import source_file

DEVICE = "latency_zcu102"
PAIR_PENALTY = {"error": 10.0, "cost": 1.0}
MAIN_PENALTY = 1e-4
MIN_PAIRS = 30  # recorded networks that have both choices of a pair
HELD_OUT = 5  # every HELD_OUT-th network tests the surrogate


@dataclass(frozen=True)
class Surrogate:
    """Predictions for networks of `sizes` choices.

    Each of the matrices holds the weights of pairs of choices, and of single choices on its diagonal. `polynomial` has
    the coefficients of the cubic in log MACs (standardised) that is added to the error. `error_rmse` (percentage
    points) and `latency_rmse` (relative) are those of held-out networks.
    """

    sizes: tuple[int, ...]
    error_weights: NDArray[np.float64]
    log_macs_weights: NDArray[np.float64]
    log_ms_weights: NDArray[np.float64]
    polynomial: NDArray[np.float64]
    error_rmse: float = 0.0
    latency_rmse: float = 0.0

    def errors(self, networks: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return errors in % (N,) of networks (N, D)."""
        macs = self._sum(self.log_macs_weights, networks)
        return self._sum(self.error_weights, networks) + np.polyval(self.polynomial, macs)

    def latencies(self, networks: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return latencies in ms (N,) of networks (N, D)."""
        return np.exp(self._sum(self.log_ms_weights, networks))

    def latency(self, network: tuple[int, ...]) -> float:
        """Return the latency of one network in ms."""
        chosen = np.add(network, self.offsets)
        return math.exp(self.log_ms_weights[chosen[:, None], chosen].sum())

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """The place of each dimension's first choice in the matrices."""
        return np.cumsum([0, *self.sizes[:-1]])

    def _sum(self, weights: NDArray[np.float64], networks: NDArray[np.int64]) -> NDArray[np.float64]:
        chosen = networks + self.offsets
        return weights[chosen[:, :, None], chosen[:, None, :]].sum((1, 2))


def surrogate() -> Surrogate:
    """Fit the surrogate and test it on held-out networks.

    Raises:
        InputError: the file of the table is not the pinned one.
        WorkError: the table cannot be downloaded.
    """
    records = _records()
    names = sorted(records[0]["architecture"])
    choices = [sorted({record["architecture"][name] for record in records}) for name in names]
    networks = np.array(
        [
            [values.index(record["architecture"][name]) for name, values in zip(names, choices, strict=True)]
            for record in records
        ]
    )
    error = np.array([100 - record["metrics"]["val_top1"] for record in records])
    log_macs = np.log([record["model_info"]["macs"] for record in records])
    log_ms = np.log([record["platform_perf"][DEVICE]["latency_mean"] for record in records])
    targets = np.column_stack([error, (log_macs - log_macs.mean()) / log_macs.std(), log_ms])
    sizes = tuple(map(len, choices))
    test = np.arange(len(records)) % HELD_OUT == 0
    held_out = _fit(networks[~test], targets[~test], sizes)
    misses = held_out.errors(networks[test]) - error[test], np.log(held_out.latencies(networks[test])) - log_ms[test]
    error_rmse, latency_rmse = (float(np.sqrt(np.mean(miss**2))) for miss in misses)
    return replace(_fit(networks, targets, sizes), error_rmse=error_rmse, latency_rmse=latency_rmse)


def _records() -> list[dict[str, Any]]:
    """Return the recorded networks that have a latency, by file name."""
    with tarfile.open(source_file("accel_nasbench.tar.gz")) as archive:
        members = sorted((one for one in archive if one.name.endswith(".json")), key=lambda one: one.name)
        records = [json.load(file) for one in members if (file := archive.extractfile(one)) is not None]
    return [record for record in records if record["platform_perf"][DEVICE]["latency_mean"]]


def _fit(networks: NDArray[np.int64], targets: NDArray[np.float64], sizes: tuple[int, ...]) -> Surrogate:
    """Fit ridge regressions to errors, log MACs and log ms (N, 3); baseline: the first choice of each dimension."""
    offsets = np.cumsum([0, *sizes[:-1]])
    columns = [offset + choice for offset, size in zip(offsets, sizes, strict=True) for choice in range(1, size)]
    single = (networks[:, :, None] + offsets[:, None] == np.array(columns)).any(1).astype(float)
    first, second = np.triu_indices(len(columns), 1)
    pairs = single[:, first] * single[:, second]
    frequent = pairs.sum(0) > MIN_PAIRS
    first, second, pairs = first[frequent], second[frequent], pairs[:, frequent]

    def ridge(extra: NDArray[np.float64], target: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
        design = np.column_stack([np.ones(len(single)), extra, single, pairs - pairs.mean(0)])
        penalties = np.r_[np.full(design.shape[1] - len(first), MAIN_PENALTY), np.full(len(first), penalty)]
        return np.linalg.solve(design.T @ design + np.diag(penalties), design.T @ target)

    def matrix(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the weights as a matrix, with the constant added to each choice of the first dimension."""
        mains, joint = weights[-len(first) - len(columns) : -len(first)], weights[-len(first) :]
        found = np.zeros((sum(sizes), sum(sizes)))
        found[columns, columns] = mains
        found[np.array(columns)[first], np.array(columns)[second]] = joint
        found[range(sizes[0]), range(sizes[0])] += weights[0] - pairs.mean(0) @ joint
        return found

    nothing = np.empty((len(single), 0))
    powers = targets[:, 1:2] ** np.array([1, 2, 3])
    error_weights = ridge(powers, targets[:, 0], PAIR_PENALTY["error"])
    log_macs, log_ms = (matrix(ridge(nothing, targets[:, i], PAIR_PENALTY["cost"])) for i in (1, 2))
    return Surrogate(sizes, matrix(error_weights), log_macs, log_ms, np.r_[error_weights[3:0:-1], 0.0])
