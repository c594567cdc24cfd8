"""Interruptions: SIGTERM and SIGHUP end a command like Ctrl-C, so that all of them keep the results so far."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType

from quantize.child_process import die_with_parent

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
OF_TERMINALS = (signal.SIGINT, signal.SIGHUP)  # sent to all processes that were started there
CLEANING_S = 5.0  # after an interruption, in which another SIGTERM or SIGHUP does not interrupt the cleaning up


class Interrupted(KeyboardInterrupt):
    """A signal of the user or the system ends this process."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def as_exceptions() -> Iterator[None]:
    """Raise `Interrupted` in the enclosed block for SIGINT, SIGTERM and SIGHUP.

    Signals that the parent process had ignored (`nohup`) stay ignored. A second Ctrl-C interrupts the cleaning up, too.
    """
    last = -CLEANING_S

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if number == signal.SIGINT or last - before >= CLEANING_S:
            raise Interrupted(number)

    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    replaced = [
        number for number, handler in handlers.items() if handler in (signal.SIG_DFL, signal.default_int_handler)
    ]
    try:
        for number in replaced:
            signal.signal(number, interrupt)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        for number in replaced:
            signal.signal(number, handlers[number])


@contextmanager
def starting_children() -> Iterator[None]:
    """Start processes in the block that a terminal's Ctrl-C and hang-up do not interrupt, from their first moment on.

    They inherit the blocked signals; this process receives those of the meantime after the block.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, OF_TERMINALS)
    try:
        resource_tracker.ensure_running()  # where it starts the tracker, it unblocks SIGINT
        signal.pthread_sigmask(signal.SIG_BLOCK, OF_TERMINALS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_to_parent() -> None:
    """Ignore the interruptions that a terminal sends to all processes; the parent ends this one, also if it dies."""
    for number in OF_TERMINALS:
        signal.signal(number, signal.SIG_IGN)
    die_with_parent()
