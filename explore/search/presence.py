"""The one `search` command that leads a study: seen by workers of other machines, and by a second one that refuses."""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import asdict
from types import TracebackType
from typing import Any

import optuna

from arch.errors import InputError
from explore.search.claims import BEATS, Process
from explore.search.storage import StorageLost

PARENT = "parent"  # user attribute of a study


class Presence:
    """Held for as long as a search leads its study; a thread renews the sign of it."""

    def __init__(self, study: optuna.Study, lease: float) -> None:
        self._study = study
        self._lease = lease
        self._token = uuid.uuid4().hex
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> Presence:
        """Become the parent.

        Raises:
            InputError: another one is at work.
        """
        other = _sign(self._study)
        if other and not _ended(other, self._study, self._lease):
            process = Process(**other["process"])
            raise InputError(
                f"study {self._study.study_name}: another search runs it, process {process.pid} on {process.machine}; "
                "wait for it, add a worker to it, or give --study another name"
            )
        self._beat(0)
        time.sleep(0.5)  # two that began at the same moment: the last to write stays
        sign = _sign(self._study)
        if not sign or sign["token"] != self._token:
            raise InputError(
                f"study {self._study.study_name}: another search of it began at the same moment; let it run"
            )
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if isinstance(error, StorageLost):
            return
        sign = _sign(self._study)
        if sign and sign["token"] == self._token:
            self._study.set_user_attr(PARENT, None)

    def _beat(self, count: int) -> None:
        sign = {"token": self._token, "beat": count, "process": asdict(Process.this())}
        self._study.set_user_attr(PARENT, sign)

    def _renew(self) -> None:
        count = 0
        while not self._stop.wait(self._lease / BEATS):
            count += 1
            try:
                self._beat(count)
            except StorageLost:
                return  # whoever asks the storage next says so


def _sign(study: optuna.Study) -> dict[str, Any] | None:
    return study.user_attrs.get(PARENT)


def _ended(sign: dict[str, Any], study: optuna.Study, lease: float) -> bool:
    """Whether the parent of `sign` has died; watched for up to a lease where it is not of this machine."""
    process = Process(**sign["process"])
    if process.gone():
        return True
    deadline = time.monotonic() + lease
    while process.host != Process.this().host and time.monotonic() < deadline:
        time.sleep(lease / BEATS / 2)
        if _sign(study) != sign:
            return False
    return process.host != Process.this().host


class Absence:
    """Tells a worker that nobody leads its study any more."""

    def __init__(self, lease: float) -> None:
        self._lease = lease
        self._last: dict[str, Any] | None = None
        self._since = time.monotonic()

    def certain(self, study: optuna.Study) -> bool:
        """Whether the parent is gone; each call is a reading."""
        sign = _sign(study)
        if sign != self._last:
            self._last, self._since = sign, time.monotonic()
        if sign and Process(**sign["process"]).gone():
            return True
        return time.monotonic() - self._since > self._lease
