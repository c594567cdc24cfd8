"""The page of a running study, written again whenever a candidate or a finalist is finished."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from explore.host import host_folder
from explore.measure.lock import MeasurementLock
from explore.report.page import write_page
from explore.report.snapshot import save_snapshot
from explore.report.summarise import summarise
from explore.report.tables import write_tables
from explore.search.config import SearchConfig
from explore.search.storage.records import read_records

INTERVAL_S = 20.0  # between checks for new results
PAUSE_RATIO = 20  # between pages wait at least this many times as long as writing the last one took


@contextmanager
def live_page(config: SearchConfig, mean_pose_mm: float, log: Callable[[str], None]) -> Iterator[None]:
    """Keep tables and page of a running study up to date while the block runs.

    mean_pose_mm: error of the mean-pose baseline on the validation part

    The last page, written when the block ends, also after an error, no longer reloads itself. Pages are written under
    the shared measurement lock, so that they never disturb a measurement. A page that cannot be written is logged; the
    search goes on.
    """
    log(f"live page: {config.folder / 'index.html'}; open it in a browser")
    stop, lock = threading.Event(), MeasurementLock(host_folder() / "measurement")
    writer = threading.Thread(target=_watch, args=(config, mean_pose_mm, log, stop, lock), daemon=True)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()
        with lock.shared():
            _write(config, mean_pose_mm, log, live=False)
        lock.close()


def _watch(
    config: SearchConfig, mean_pose_mm: float, log: Callable[[str], None], stop: threading.Event, lock: MeasurementLock
) -> None:
    shown: tuple[int, int] | None = None
    pause = 0.0
    while not stop.wait(pause):
        results = _count_results(config.folder)
        seconds = 0.0
        if results != shown:
            started = time.monotonic()
            with lock.shared():
                written = _write(config, mean_pose_mm, log, live=True)
            seconds = time.monotonic() - started
            if written:
                shown = results
        pause = max(INTERVAL_S, PAUSE_RATIO * seconds)


def _count_results(folder: Path) -> tuple[int, int]:
    """Return the numbers of finished candidates and finalists."""
    finalists = sum(1 for _ in folder.glob("finalists/*/result.json"))
    return sum(1 for _ in folder.glob("candidates/*/result*.json")), finalists


def _write(config: SearchConfig, mean_pose_mm: float, log: Callable[[str], None], live: bool) -> bool:
    """Write tables and page; return whether that worked."""
    try:
        summary = summarise(config, read_records(config), validation_mean_pose_mm=mean_pose_mm)
        save_snapshot(config.folder, summary.snapshot)
        write_tables(summary)
        write_page(summary, live=live)
    except Exception as error:  # whatever goes wrong with the page, the search must go on
        log(
            f"{config.folder / 'index.html'} is not written ({' '.join(str(error).split())}); the search goes on without"
        )
        return False
    return True
