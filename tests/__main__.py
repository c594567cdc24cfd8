"""Run each test file in its own pytest process, one per core: `python -m tests [pytest options]`.

The converters and runtimes under test load native libraries that may conflict in one process; the product runs them in
separate processes, too. The last line sums up all files. With `-m slow`, files that contain the marker `alone` run first, one at a
time; the others start in order of their duration in the last run, or of their size, so that no long file starts last.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODELS = "EDGEPOSE_TEST_MODELS"  # environment variable with the folder of the model files that all test files share
DURATIONS = ROOT / ".pytest_cache" / "file_durations.json"  # seconds of the last run, by file
COUNTS = re.compile(r"(\d+) (passed|failed|skipped|error)s?\b")
UNUSED_PLUGINS = ("hypothesispytest", "jaxtyping", "anyio")  # of other packages; they take 0.8 s of each process
NO_TESTS = 5  # pytest's exit status if all tests of a file are deselected


@dataclass(frozen=True)
class Result:
    """Counts of one test file; `failed` includes errors."""

    name: str
    seconds: float
    passed: int
    failed: int
    skipped: int


def main(options: list[str]) -> int:
    """Run all files; return 0 if at least one test ran and none failed."""
    files = sorted(ROOT.joinpath("tests").rglob("test_*.py"))
    known = _read_durations()
    is_slow = "slow" in options and "not slow" not in options  # `-m slow`; other tests need no idle machine
    alone = [file for file in files if is_slow and "pytest.mark.alone" in file.read_text(encoding="utf-8")]
    # files of unknown duration start first, in order of size
    together = sorted(
        set(files) - set(alone), key=lambda file: (-known.get(_name(file), float("inf")), -file.stat().st_size, file)
    )
    with tempfile.TemporaryDirectory() as models, ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        os.environ[MODELS] = models
        results = [run(file, options) for file in alone]
        results += pool.map(lambda file: run(file, options), together)
    DURATIONS.parent.mkdir(exist_ok=True)
    DURATIONS.write_text(json.dumps({result.name: round(result.seconds, 1) for result in results}, indent=1))
    totals = {kind: sum(getattr(result, kind) for result in results) for kind in ("passed", "failed", "skipped")}
    print("\n" + ", ".join(f"{count} {kind}" for kind, count in totals.items()))
    return 1 if totals["failed"] or not totals["passed"] else 0


def run(file: Path, options: list[str]) -> Result:
    """Run one file and print the output of pytest."""
    name = _name(file)
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *(f"-pno:{plugin}" for plugin in UNUSED_PLUGINS), name, *options],
        cwd=ROOT,
        env={"OMP_NUM_THREADS": "1"} | os.environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    seconds = time.monotonic() - started
    last = done.stdout.strip().splitlines()[-1:] or [""]
    counts = {kind: int(count) for count, kind in COUNTS.findall(last[0])}
    failed = counts.get("failed", 0) + counts.get("error", 0)
    note = ""
    if done.returncode not in (0, NO_TESTS) and not failed:
        note, failed = f"{name}: pytest exited with status {done.returncode}\n", 1
    print(f"\n== {name}, {seconds:.0f} s\n{done.stdout}{note}", end="", flush=True)
    return Result(name, seconds, counts.get("passed", 0), failed, counts.get("skipped", 0))


def _name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def _read_durations() -> dict[str, float]:
    try:
        return dict(json.loads(DURATIONS.read_text()))
    except (OSError, ValueError):
        return {}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
