"""How far a stage is, counted in work and not in networks: paper-L takes ten times as long as what is tried after it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from arch.cost import cost
from arch.search_space import Space
from arch.space import Arch, preset
from explore.config import SearchConfig

# Beside its training (export, judging, timing), in MACs x samples: half a minute of a core for a candidate, a minute
# and a half for a finalist, where a core trains about 7e9 of them a second.
CANDIDATE, FINALIST = 2e11, 6e11
GUESSES = 40
TRUST = 5  # networks seen that count as much as the guess


@dataclass
class Workload:
    """The work of a stage of `total` networks, in MACs x samples.

    ahead: of networks known to come, by name; guess: of one not yet known; done: of each one finished here;
    elsewhere: how many others other machines finished.
    """

    total: int
    ahead: dict[str, float] = field(default_factory=dict)
    guess: float = 1.0
    done: list[float] = field(default_factory=list)
    elsewhere: int = 0

    def finish(self, name: str, work: float | None = None) -> None:
        """A network is done; `work` where it is known only now."""
        known = self.ahead.pop(name, None)
        spent = known or work or self.guess
        if known is None:
            self.guess += (spent - self.guess) / (len(self.done) + TRUST)
        self.done.append(spent)

    def share(self, running: dict[str, float]) -> float:
        """Share of the stage that is done; running: share done of each network that is worked on, by its name."""
        done = sum(self.done) + self.elsewhere * self.guess
        unknown = max(0, self.total - len(self.done) - self.elsewhere - len(self.ahead))
        left = sum(self.ahead.values()) + unknown * self.guess
        begun = sum(self.ahead.get(name, self.guess) * part for name, part in running.items())
        return min(1.0, (done + begun) / (done + left)) if done + left else 1.0


def candidate_work(config: SearchConfig, macs: float) -> float:
    return macs * config.candidate.samples + CANDIDATE


def candidates(
    config: SearchConfig, space: Space, first: dict[str, Arch], finished: list[tuple[str, float]]
) -> Workload:
    """Of a study: `first` are the networks it begins with, finished: (name, MACs) of those done before."""
    rng = random.Random(config.seed)
    most = config.max_cost * cost(preset(f"paper-L@{config.scale}")).macs
    drawn = [cost(space.sample(rng)).macs for _ in range(GUESSES)]
    drawn = [macs for macs in drawn if macs <= most]
    guess = candidate_work(config, sum(drawn) / len(drawn) if drawn else most)
    ahead = {name: candidate_work(config, cost(arch).macs) for name, arch in first.items()}
    made = Workload(config.trials, ahead, guess)
    for name, spent in finished:
        made.finish(name, candidate_work(config, spent))
    return made


def finalists(config: SearchConfig, chosen: list[Arch], finished: list[Arch]) -> Workload:
    """Of the networks that are trained on; some were finished before."""
    made = Workload(len(chosen), {a.name: cost(a).macs * config.final.samples + FINALIST for a in chosen})
    for arch in finished:
        made.finish(arch.name)
    return made
