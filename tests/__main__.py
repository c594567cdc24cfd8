"""Every test file in a pytest of its own: `python -m tests [pytest options]`.

The converters and runtimes under test bring native libraries that were never meant to share one process; the product
keeps them in processes of their own, and so do its tests. The last line sums up all files.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

COUNTS = re.compile(r"(\d+) (passed|failed|skipped|error|errors)\b")
NO_TESTS = 5  # pytest's exit status when all tests of a file are deselected


def main(options: list[str]) -> int:
    """Run all files; 0 when every one of them passed."""
    here = Path(__file__).parent
    totals = {"passed": 0, "failed": 0, "skipped": 0}
    for file in sorted(here.rglob("test_*.py")):
        name = str(file.relative_to(here.parent))
        print(f"\n== {name}", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", name, *options], cwd=here.parent, stdout=subprocess.PIPE, text=True
        )
        print(done.stdout, end="", flush=True)
        last = done.stdout.strip().splitlines()[-1:] or [""]
        found = {kind.rstrip("s"): int(count) for count, kind in COUNTS.findall(last[0])}
        bad = found.get("failed", 0) + found.get("error", 0)
        if done.returncode not in (0, NO_TESTS) and not bad:
            print(f"{name}: pytest ended with status {done.returncode}")
            bad = 1
        totals["passed"] += found.get("passed", 0)
        totals["failed"] += bad
        totals["skipped"] += found.get("skipped", 0)
    print(f"\n{totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped")
    return 1 if totals["failed"] or not totals["passed"] else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
