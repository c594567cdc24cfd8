"""The remaining work of a phase in seconds of one worker: paper-L takes ten times as long as most candidates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from arch.cost import cost
from arch.search_space import Space
from arch.space import Arch
from explore.search.budget.equal_compute import finalist_durations
from explore.search.budget.planner import drawn_networks
from explore.search.budget.speed import USUAL_SPEED
from explore.search.config import SearchConfig
from explore.search.recipes_of_trial import label, searched_recipes

PRIOR = 5  # finished networks that count as much as the first guess


@dataclass
class ProgressWeights:
    """The work of a phase of `total` networks, in seconds of a usual worker; only their ratios matter.

    ahead: work of networks that are known to come, by name
    guess: work of an unknown network
    done: work of each network finished by this process
    on_other_machines: number of networks that other machines finished
    """

    total: int
    ahead: dict[str, float] = field(default_factory=dict)
    guess: float = 1.0
    done: list[float] = field(default_factory=list)
    on_other_machines: int = 0

    def finish(self, name: str, work: float | None = None) -> None:
        """Count a network as done; `work` is that of a network that was not known before."""
        known = self.ahead.pop(name, None)
        spent = known or work or self.guess
        if known is None:
            self.guess += (spent - self.guess) / (len(self.done) + PRIOR)
        self.done.append(spent)

    def fraction(self, running: dict[str, float]) -> float:
        """Return the fraction of the phase that is done, given that of each running network by its name."""
        done = sum(self.done) + self.on_other_machines * self.guess
        unknown = max(0, self.total - len(self.done) - self.on_other_machines - len(self.ahead))
        left = sum(self.ahead.values()) + unknown * self.guess
        begun = sum(self.ahead.get(name, self.guess) * part for name, part in running.items())
        return min(1.0, (done + begun) / (done + left)) if done + left else 1.0


def candidate_weight(config: SearchConfig, macs: float, share: float = 1.0) -> float:
    """Return the work of a candidate. share: fraction of its training after which it was stopped"""
    others = USUAL_SPEED.candidate_s if share == 1 else 0.0
    return USUAL_SPEED.training(macs, share * config.candidate.samples) + others


def candidate_weights(
    config: SearchConfig, space: Space, first: dict[str, Arch], finished: Iterable[tuple[str, float, float]]
) -> ProgressWeights:
    """Weights of a study's candidates.

    first: tried first
    finished: label, MACs and the fraction of its training of each finished or stopped one
    """
    drawn = [candidate_weight(config, cost(arch).macs) for arch in drawn_networks(config, space)]
    recipe_name = searched_recipes(config)[0]
    ahead = {label(config, arch, recipe_name): candidate_weight(config, cost(arch).macs) for arch in first.values()}
    weights = ProgressWeights(config.trials, ahead, sum(drawn) / len(drawn))
    for name, macs, share in finished:
        weights.finish(name, candidate_weight(config, macs, share))
    return weights


def finalist_weights(config: SearchConfig, chosen: list[Arch], finished: list[Arch]) -> ProgressWeights:
    """Weights of the chosen finalists, some of which are finished."""
    per_sample = [USUAL_SPEED.training(cost(arch).macs) for arch in chosen]
    seen = config.candidate.samples
    samples = seen + config.final.samples
    compute = samples * max(per_sample) if config.equal_compute else None
    work = finalist_durations(per_sample, seen, USUAL_SPEED.finalist_s, compute, samples)
    weights = ProgressWeights(len(chosen), dict(zip([arch.name for arch in chosen], work, strict=True)))
    for arch in finished:
        weights.finish(arch.name)
    return weights
