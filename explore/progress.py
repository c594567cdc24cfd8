"""Progress on standard error: bars with the time left in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

PLAIN_SECONDS = 15.0


class _Bars(Progress):
    """Bars with a line below them."""

    below = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.below:
            yield Text(self.below, style="dim", overflow="ellipsis", no_wrap=True)


class Display:
    """One bar for a stage and a line a worker. `log` prints a line that stays."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self._bars: _Bars | None = None
        self._stage: TaskID | None = None
        self._workers: dict[int, TaskID] = {}
        self._name = ""
        self._fraction = 0.0
        self._started = self._printed = time.monotonic()
        self._first = 0.0
        self._glance = ""

    def __enter__(self) -> Display:
        if self.console.is_terminal and not self.console.quiet:
            self._bars = _Bars(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f}%"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self.console,
                speed_estimate_period=900,
            )
            self._bars.below = self._glance
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.stop()
            self._bars = None

    def stage(self, name: str, fraction: float = 0.0) -> None:
        """Begin a stage, of which `fraction` was done before."""
        self._name, self._fraction, self._first = name, fraction, fraction
        self._started = time.monotonic()
        self._printed = self._started
        if self._bars:
            for task in list(self._bars.task_ids):
                self._bars.remove_task(task)
            self._workers.clear()
            self._stage = self._bars.add_task(name, total=1.0)
            self._bars.update(self._stage, completed=fraction)
        else:
            self.console.print(name)

    def update(self, fraction: float, text: str = "") -> None:
        """The stage is done to a share of `fraction`."""
        self._fraction = max(self._fraction, min(1.0, fraction))
        if self._bars and self._stage is not None:
            self._bars.update(self._stage, completed=self._fraction, description=f"{self._name} {text}".strip())
        elif time.monotonic() - self._printed > PLAIN_SECONDS:
            self._printed = time.monotonic()
            self.console.print(f"{self._name} {text} {self._fraction:.0%}, {self._left()}".replace("  ", " "))
            if self._glance:
                self.console.print(f"  {self._glance}")

    def worker(self, index: int, text: str, fraction: float) -> None:
        """What a worker is doing and how far it is."""
        if not self._bars:
            return
        if index not in self._workers:
            self._workers[index] = self._bars.add_task("", total=1.0)
        self._bars.update(self._workers[index], description=f"  {text}", completed=fraction)

    def glance(self, line: str) -> None:
        """Where the work stands, under the bars; without a terminal it goes with the next plain line."""
        self._glance = line
        if self._bars:
            self._bars.below = line

    def log(self, line: str) -> None:
        self.console.print(line)

    def _left(self) -> str:
        done = self._fraction - self._first
        if done <= 0:
            return "time left unknown"
        seconds = (time.monotonic() - self._started) * (1 - self._fraction) / done
        return f"{int(seconds // 60)}:{int(seconds % 60):02d} left"
