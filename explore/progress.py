"""Progress on standard error: bars with remaining time in a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

PLAIN_SECONDS = 15.0
MIN_DONE, MIN_SECONDS = 0.01, 2.0  # fraction and time of a stage before which no time left is estimated


class _Bars(Progress):
    """Progress bars with a status line below them."""

    below = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.below:
            yield Text(self.below, style="dim", overflow="ellipsis", no_wrap=True)


class Display:
    """A bar for the current stage, one for each worker, and a status line. `log` prints a permanent line."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False, markup=False, soft_wrap=True)
        self._bars: _Bars | None = None
        self.stage_task: TaskID | None = None
        self._workers: dict[int, TaskID] = {}
        self._name = ""
        self._fraction = 0.0
        self._started = self._printed = self._updated = time.monotonic()
        self._first = 0.0
        self._shown_s = math.inf  # least time left that was shown
        self._steps = 0  # how often the fraction grew
        self._status = ""
        self.time_left: Callable[[], float] | None = None  # s, where it is planned; otherwise it is estimated

    def __enter__(self) -> Display:
        if self.console.is_terminal and not self.console.quiet:
            self._bars = _Bars(
                TextColumn("{task.description}", markup=False),  # names may have brackets
                BarColumn(),
                TextColumn("{task.percentage:>3.0f}%"),
                TimeElapsedColumn(),
                TextColumn("left"),
                _TimeLeft(self),
                console=self.console,
                speed_estimate_period=900,
            )
            self._bars.below = self._status
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.stop()
            self._bars = None

    def stage(self, name: str, fraction: float = 0.0) -> None:
        """Start a stage; `fraction` of it is already complete."""
        self._name, self._fraction, self._first = name, fraction, fraction
        self._started = time.monotonic()
        self._printed = self._updated = self._started
        self._shown_s, self._steps = math.inf, 0
        if self._bars:
            for task in list(self._bars.task_ids):
                self._bars.remove_task(task)
            self._workers.clear()
            self.stage_task = self._bars.add_task(name, total=1.0)
            self._bars.update(self.stage_task, completed=fraction)
        else:
            self.console.print(name)

    def update(self, fraction: float, text: str = "") -> None:
        """Report that `fraction` of the stage is complete."""
        if fraction > self._fraction:
            self._fraction, self._updated = min(1.0, fraction), time.monotonic()
            self._steps += 1
        if self._bars and self.stage_task is not None:
            self._bars.update(self.stage_task, completed=self._fraction, description=f"{self._name} {text}".strip())
        elif time.monotonic() - self._printed > PLAIN_SECONDS:
            self._printed = time.monotonic()
            left = self.left() or "unknown time"
            self.console.print(f"{self._name} {text} {self._fraction:.0%}, {left} left".replace("  ", " "))
            if self._status:
                self.console.print(f"  {self._status}")

    def worker(self, index: int, text: str, fraction: float) -> None:
        """Report the stage and the completed fraction of a worker; shown in a terminal only."""
        if not self._bars:
            return
        if index not in self._workers:
            self._workers[index] = self._bars.add_task("", total=1.0)
        self._bars.update(self._workers[index], description=f"  {text}", completed=fraction)

    def status(self, line: str) -> None:
        """Set the status line, which is printed with the next plain line if there is no terminal."""
        self._status = line
        if self._bars:
            self._bars.below = line

    def log(self, line: str) -> None:
        self.console.print(line)

    def left(self) -> str:
        """Return the time left of the stage, or of all stages where it is planned; empty if it is unknown.

        An estimate is made whenever the fraction grows, and counts down in between for as long as the fraction usually
        takes to grow. The time shown never increases: where an estimate does, the text says `>` before the last one.
        """
        if self.time_left is not None:
            return _clock(self.time_left())
        now = time.monotonic()
        done, took = self._fraction - self._first, self._updated - self._started
        if done < MIN_DONE or now - self._started < MIN_SECONDS:
            return ""
        waited = min(now - self._updated, took / self._steps)
        seconds = max(took * (1 - self._fraction) / done - waited, 0.0)
        if seconds > self._shown_s:
            return f">{_clock(self._shown_s)}"
        self._shown_s = seconds
        return _clock(seconds)


class _TimeLeft(ProgressColumn):
    """The time left, beside the stage."""

    def __init__(self, display: Display) -> None:
        super().__init__()
        self.display = display

    def render(self, task: Task) -> Text:
        text = (self.display.left() or "-:--") if task.id == self.display.stage_task else ""
        return Text(text, style="progress.remaining")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 600 else f"{minutes}:{rest:02d}"
