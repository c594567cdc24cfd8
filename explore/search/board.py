"""What a search shows of itself: how far its phase is, each network that ends, and the front in small."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from explore.config import SearchConfig
from explore.progress import Display
from explore.report.glance import Glance
from explore.search.workload import Workload, candidate_work


class Board:
    """Hears what workers end and tells the display."""

    def __init__(self, config: SearchConfig, display: Display, mean_pose_mm: float = 0.0) -> None:
        self.config, self.display = config, display
        self.work, self.glance = Workload(1), Glance(mean_pose_mm)

    def stage(self, name: str, work: Workload) -> None:
        """A phase begins."""
        self.work = work
        self.display.stage(name, work.share({}))
        self.display.glance(self.glance.line)

    def update(self, running: dict[str, float]) -> None:
        """running: share done of each network that is worked on, by its name."""
        self.display.update(self.work.share(running))

    def counted(self, done: int) -> None:
        """So many networks of the phase were finished by all machines together."""
        self.work.elsewhere = max(0, done - len(self.work.done))

    def add(self, results: Iterable[dict[str, Any]]) -> None:
        """Candidates that were finished before."""
        for result in results:
            self.glance.add(result["mpjpe_mm"], result["latency_ms"])

    def finished(self, number: int, name: str, result: dict[str, Any]) -> None:
        """A network is done: less is left, and a candidate may have moved the front."""
        if "mpjpe_mm" not in result:
            self.work.finish(name)
            self.display.log(f"finalist   {name}")
            return
        self.work.finish(name, candidate_work(self.config, result["macs"]))
        self.add([result])
        self.display.glance(self.glance.line)
        self.display.log(
            f"trial {number:>3}  {name:<18} {result['mpjpe_mm']:7.1f} mm {result['latency_ms']:7.2f} ms "
            f"{result['macs'] / 1e6:8.1f} M MACs"
        )

    def stopped(self, number: int, name: str, reason: str, macs: float) -> None:
        """A candidate went no further than a rung; macs: share of its training x MACs of the network."""
        self.work.finish(name, macs * self.config.candidate.samples)
        self.display.log(f"trial {number:>3}  {name:<18} {reason}")

    def failed(self, number: int, name: str, reason: str) -> None:
        self.work.ahead.pop(name, None)
        self.display.log(f"trial {number:>3}  {name:<18} failed: {reason.splitlines()[0]}")
