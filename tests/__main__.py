"""Every test file in a pytest of its own, as many at once as there are cores: `python -m tests [pytest options]`.

The converters and runtimes under test bring native libraries that were never meant to share one process; the product
keeps them in processes of their own, and so do its tests. The last line sums up all files.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

COUNTS = re.compile(r"(\d+) (passed|failed|skipped|error|errors)\b")
NO_TESTS = 5  # pytest's exit status when all tests of a file are deselected
ROOT = Path(__file__).resolve().parents[1]
ALONE = ("test_search",)  # waits for a quiet machine, as a search does
FIRST = ("test_faults", "test_page", "test_storage", "test_contract", "test_export")  # the longest: none waits for them


def main(options: list[str]) -> int:
    """Run all files; 0 when every one of them passed."""
    files = sorted(ROOT.joinpath("tests").rglob("test_*.py"), key=lambda file: (file.stem not in FIRST, file))
    counts = [run(file, options) for file in files if file.stem in ALONE]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        together = [pool.submit(run, file, options) for file in files if file.stem not in ALONE]
        counts += [done.result() for done in together]
    totals = {kind: sum(count[kind] for count in counts) for kind in ("passed", "failed", "skipped")}
    print(f"\n{totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped")
    return 1 if totals["failed"] or not totals["passed"] else 0


def run(file: Path, options: list[str]) -> dict[str, int]:
    """Test one file, print what pytest says, and count."""
    name = str(file.relative_to(ROOT))
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", name, *options],
        cwd=ROOT,
        env={"OMP_NUM_THREADS": "1"} | os.environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    last = done.stdout.strip().splitlines()[-1:] or [""]
    found = {kind.rstrip("s"): int(count) for count, kind in COUNTS.findall(last[0])}
    bad = found.get("failed", 0) + found.get("error", 0)
    ending = ""
    if done.returncode not in (0, NO_TESTS) and not bad:
        ending, bad = f"{name}: pytest ended with status {done.returncode}\n", 1
    print(f"\n== {name}, {time.monotonic() - began:.0f} s\n{done.stdout}{ending}", end="", flush=True)
    return {"passed": found.get("passed", 0), "failed": bad, "skipped": found.get("skipped", 0)}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
