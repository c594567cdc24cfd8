"""Package versions and machine facts for records, found without importing the packages."""

from __future__ import annotations

import math
import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "edgepose",
    "torch",
    "litert-torch",
    "litert-quantizer",
    "ai-edge-quantizer",
    "ai-edge-litert",
    "openvino",
    "nncf",
    "onnx",
    "onnxruntime",
    "executorch",
    "numpy",
)
INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm", "sve")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that affect model files and their latency."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def usable_cores() -> int:
    """Return how many processes of this program can run at the same time: the cores that it may use, at least 1.

    A container's CPU quota counts as whole cores, rounded down, because a process that exceeds it is stopped for a part
    of each period, which disturbs measurements.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(cores, cpu_quota())))


def cpu_quota(root: Path = Path("/")) -> float:
    """Return the CPU time per time that the control groups of this process allow; infinity without a limit.

    root: of the file system, for tests
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return math.inf
    found = math.inf
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        # Version 2 has one hierarchy without a name. A container may see its own group as the root.
        for mount in (
            root / "sys/fs/cgroup",
            *([root / "sys/fs/cgroup/cpu", root / f"sys/fs/cgroup/{controllers}"] if controllers else []),
        ):
            own = Path(path.lstrip("/"))
            for group in (own, *own.parents):
                found = min(found, _quota_of(mount / group))
    return found


def _quota_of(group: Path) -> float:
    """Return the quota of one control group; infinity if it has none."""
    try:
        if (group / "cpu.max").is_file():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text()
            period = (group / "cpu.cfs_period_us").read_text()
        return float(quota) / float(period) if float(quota) > 0 else math.inf
    except (OSError, ValueError, ZeroDivisionError):  # "max", and files that other kernels lack
        return math.inf


def machine() -> dict[str, Any]:
    """Return system, processor, usable cores, and the instruction sets that affect INT8 latency (Linux)."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(errors="replace") if cpuinfo.exists() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    known = set(flags[1].split()) if flags else set()
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": model[1] if model else platform.processor(),
        "cores": usable_cores(),
        "instruction_sets": [name for name in INSTRUCTION_SETS if name in known],
    }
