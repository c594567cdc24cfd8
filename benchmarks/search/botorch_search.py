"""BoTorch's qLogNEHVI on a table (Daulton et al., NeurIPS 2021; Ament et al., NeurIPS 2023). Needs botorch."""

from __future__ import annotations

import random
import warnings

import numpy as np
import torch
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.exceptions.warnings import InputDataWarning
from botorch.fit import fit_gpytorch_mll
from botorch.models import ModelList, SingleTaskGP
from botorch.models.deterministic import GenericDeterministicModel
from botorch.models.transforms import Standardize
from botorch.sampling.get_sampler import get_sampler
from gpytorch.mlls import ExactMarginalLogLikelihood

from benchmarks.search.tables import START, Network, Table, front_by_observation, mutated

CANDIDATES, UNIFORM = 400, 0.4  # candidates of each suggestion, and the fraction of them that is uniform
SCALED = 100  # random networks whose known costs scale the feature
CHANGES = (1, 1, 2, 2, 3)
MONTE_CARLO = 64
FIT_STEPS = 60


def qlognehvi(table: Table, seed: int, trials: int, known: bool) -> list[Network]:
    """Model the logarithms of error and cost by one Gaussian process each; with `known`, only that of the error.

    The best of CANDIDATES networks is evaluated: uniform ones, and changed members of the front. The reference point
    lies a tenth of the range below the worst observed values, as in BoTorch's `infer_reference_point`.
    """
    warnings.filterwarnings("ignore", category=InputDataWarning)  # the log cost is standardised, not in the unit cube
    torch.manual_seed(seed)
    log_costs = np.log([table.known_cost(network) for network in table.random_networks(seed, SCALED)])
    centre, spread = float(log_costs.mean()), float(log_costs.std())
    rng = random.Random(f"qlognehvi {seed}")

    def features(networks: list[Network]) -> torch.Tensor:
        """Return features (N, D): ordered choices on [0, 1], others one-hot; with `known`, log cost comes last."""
        chosen = np.array(networks)
        if table.ordered:
            columns = chosen / (np.array(table.sizes) - 1)
        else:
            columns = (chosen[:, :, None] == np.arange(max(table.sizes))).reshape(len(chosen), -1).astype(float)
        if known:
            costs = np.log([table.known_cost(network) for network in networks])
            columns = np.column_stack([columns, (costs - centre) / spread])
        return torch.tensor(columns, dtype=torch.float64)

    found = table.random_networks(seed, START)
    observed = [table.observe(network, seed) for network in found]
    while len(found) < trials:
        x, y = features(found), -torch.tensor(np.log(observed), dtype=torch.float64)
        models = []
        for column in y.T if not known else y.T[:1]:
            model = SingleTaskGP(x, column[:, None], outcome_transform=Standardize(m=1))
            steps = {"options": {"maxiter": FIT_STEPS}}
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model), optimizer_kwargs=steps)
            models.append(model)
        if known:
            models.append(GenericDeterministicModel(lambda points: -(points[..., -1:] * spread + centre)))
        model = ModelList(*models)
        acquisition = qLogNoisyExpectedHypervolumeImprovement(
            model=model,
            ref_point=y.min(0).values - 0.1 * (y.max(0).values - y.min(0).values),
            X_baseline=x,
            sampler=get_sampler(model.posterior(x[:2]), torch.Size([MONTE_CARLO]), seed=len(found)),
            prune_baseline=True,
        )
        candidates = _candidates(table, found, np.array(observed), rng)
        with torch.no_grad():
            values = acquisition(features(candidates)[:, None, :])
        found.append(candidates[int(values.argmax())])
        observed.append(table.observe(found[-1], seed))
    return found


def _candidates(table: Table, found: list[Network], observed: np.ndarray, rng: random.Random) -> list[Network]:
    parents = [found[place] for place in front_by_observation(observed)]
    chosen: dict[Network, None] = {}
    for _ in range(3 * CANDIDATES):
        if rng.random() < UNIFORM:
            network = tuple(rng.randrange(size) for size in table.sizes)
        else:
            network = mutated(table, rng.choice(parents), rng.choice(CHANGES), rng)
        if network not in found:
            chosen[network] = None
    return list(chosen)[:CANDIDATES]
