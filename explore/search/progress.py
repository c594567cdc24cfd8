"""The progress of a search in the terminal: fraction done, each network that ends, and the front so far."""

from __future__ import annotations

from explore.progress import Display
from explore.search.budget.plan import Clock
from explore.search.budget.progress_weights import ProgressWeights, candidate_weight
from explore.search.config import SearchConfig
from explore.search.costs.objectives import objective_quantities
from explore.search.costs.remote_devices import away_devices
from explore.search.status_line import StatusLine

BUSY = (
    "other processes keep the machine busy: latencies are predicted and marked with ~ until it is idle; search --remeasure "
    "measures the exported files later, EDGEPOSE_BACKGROUND_LOAD=1 accepts and marks disturbed measurements"
)
AWAY = "its latencies are predicted and marked with ~ until it responds; search --remeasure measures the exported files later"


class SearchProgress:
    """Pass the messages of workers to the display."""

    def __init__(
        self, config: SearchConfig, display: Display, mean_pose_mm: float = 0.0, clock: Clock | None = None
    ) -> None:
        """clock: of a search with a budget, whose time left is shown in place of an estimate"""
        self.config, self.display, self.clock = config, display, clock
        if clock is not None:
            display.time_left = lambda: clock.left_s
        self.objectives = objective_quantities(config)
        self.explained: set[str] = set()
        self.weights, self.status = ProgressWeights(1), StatusLine(mean_pose_mm, self.objectives)

    def start_phase(self, name: str, weights: ProgressWeights) -> None:
        self.weights = weights
        self.display.stage(name, weights.fraction({}))
        self.display.status(self.status.line)

    def update(self, running: dict[str, float]) -> None:
        """Show the fraction done, given that of each running network by its name."""
        if self.clock is not None:
            self.clock.tick()
        self.display.update(self.weights.fraction(running))

    def count_all(self, done: int) -> None:
        """Take in how many networks all machines together have finished."""
        self.weights.on_other_machines = max(0, done - len(self.weights.done))

    def candidate(self, number: int, name: str, macs: int, values: list[float], is_measured: bool) -> None:
        """Take in a finished candidate. values: of the objectives; is_measured: all of its latencies"""
        if not is_measured:
            self._explain()
        self.weights.finish(name, candidate_weight(self.config, macs))
        self.status.add(values, is_measured)
        self.display.status(self.status.line)
        shown = [one.text(value) for one, value in zip(self.objectives, values, strict=True) if one.name != "macs"]
        predicted = "" if is_measured else "  latency predicted"
        self.display.log(f"trial {number:>3}  {name:<18} {'  '.join(shown)}  {macs / 1e6:.1f} M MACs{predicted}")

    def _explain(self) -> None:
        """Say once why latencies are predicted."""
        for reason in [f"{error}; {AWAY}" for error in away_devices(self.config)] or [BUSY]:
            if reason not in self.explained:
                self.display.log(reason)
            self.explained.add(reason)

    def finalist(self, name: str) -> None:
        self.weights.finish(name)
        self.display.log(f"finalist   {name}")

    def stopped(self, number: int, name: str, reason: str, macs: int, share: float) -> None:
        """Take in a candidate that was stopped at a rung. share: fraction of its training"""
        self.weights.finish(name, candidate_weight(self.config, macs, share))
        self.display.log(f"trial {number:>3}  {name:<18} {reason}")

    def failed(self, number: int | None, name: str, reason: str) -> None:
        self.weights.ahead.pop(name, None)
        what = "finalist" if number is None else f"trial {number:>3}"
        self.display.log(f"{what}  {name:<18} failed: {reason.splitlines()[0]}")
