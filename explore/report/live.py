"""The page of a study while its search runs: written anew when something has been finished, beside the work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from explore.config import SearchConfig
from explore.host import host_folder
from explore.measure.lane import Lane
from explore.report.kept import keep
from explore.report.page import write_page
from explore.report.study import write_tables
from explore.search.study import open_study

EVERY = 20.0  # s between looks
SHARE = 20  # times what the last page took to write is left to the search between two pages


@contextmanager
def live_page(config: SearchConfig, mean_pose_mm: float, log: Callable[[str], None]) -> Iterator[None]:
    """Keep the page of a running study up to date; when the block ends, however it does, the page says that it has.

    It is written in the lane, so that no measurement is disturbed.
    """
    over = threading.Event()
    writer = threading.Thread(target=_watch, args=(config, mean_pose_mm, log, over), daemon=True)
    writer.start()
    try:
        yield
    finally:
        over.set()
        writer.join()
        _write_or_say(config, mean_pose_mm, log, live=False)


def _watch(config: SearchConfig, mean_pose_mm: float, log: Callable[[str], None], over: threading.Event) -> None:
    lane = Lane(host_folder() / "lane")
    seen: object = None
    pause = 0.0
    while not over.wait(pause):
        now = _state(config.folder)
        took = 0.0
        if now != seen:
            started = time.monotonic()
            with lane.work():
                written = _write_or_say(config, mean_pose_mm, log, live=True)
            if not written:
                break
            seen, took = now, time.monotonic() - started
        pause = max(EVERY, SHARE * took)
    lane.close()


def _state(folder: Path) -> object:
    """What changes when a candidate or a finalist is finished."""
    done = list(folder.glob("finalists/*/result.json"))
    return sum(1 for _ in folder.glob("candidates/*/result*.json")), len(done)


def _write_or_say(config: SearchConfig, mean_pose_mm: float, log: Callable[[str], None], live: bool) -> bool:
    """Write the page; a search goes on, and ends as it would, without it, and says why."""
    try:
        study = open_study(config)
        write_tables(config, study)
        keep(config.folder, study, mean_pose_mm)
        write_page(config.folder, live=live)
    except Exception as error:
        log(f"page: {config.folder / 'index.html'} is not written: {' '.join(str(error).split())}")
        return False
    return True
