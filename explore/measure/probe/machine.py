"""The machine that models run on: hardware, and the state that may change between two measurements."""

from __future__ import annotations

import glob
import os
import platform
import re
from collections.abc import Iterator
from typing import Any

INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "neon", "asimd", "asimddp", "i8mm", "sve")


def read_text(path: str) -> str:
    """Return the stripped content of a file, or an empty string where it cannot be read."""
    try:
        with open(path, errors="replace") as file:
            return file.read().strip("\0\n ")
    except OSError:
        return ""


def read_numbers(pattern: str) -> Iterator[float]:
    """Yield the numbers in the files that match `pattern`, in order of their paths; other files are skipped."""
    for path in sorted(glob.glob(pattern)):
        try:
            yield float(read_text(path))
        except ValueError:
            continue


def usable_cpus() -> list[int]:
    """Return the CPUs that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def describe_machine() -> dict[str, Any]:
    """Return system, board, processor, cores, instruction sets and memory."""
    text = read_text("/proc/cpuinfo")
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    model = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", text, re.MULTILINE)
    parts = sorted(set(re.findall(r"^CPU part\s*:\s*(\w+)$", text, re.MULTILINE)))
    supported = set(flags[1].split()) if flags else set()
    memory = re.search(r"MemTotal:\s*(\d+) kB", read_text("/proc/meminfo"))
    processor = model[1] if model else platform.processor() or platform.machine()
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "board": read_text("/proc/device-tree/model") or None,
        "processor": processor + (f" (parts {', '.join(parts)})" if parts else ""),
        "cores": len(usable_cpus()),
        "all_cores": os.cpu_count() or 1,
        "instruction_sets": [name for name in INSTRUCTION_SETS if name in supported],
        "memory_mb": int(memory[1]) // 1024 if memory else None,
        "python": platform.python_version(),
    }


def machine_state() -> dict[str, Any]:
    """Return frequency governor, clock, throttling, temperature and load; None where they cannot be read."""
    folders = [f"/sys/devices/system/cpu/cpu{index}" for index in usable_cpus()]
    governors = sorted({read_text(f"{folder}/cpufreq/scaling_governor") for folder in folders} - {""})
    mhz = [khz / 1000 for folder in folders for khz in read_numbers(f"{folder}/cpufreq/scaling_cur_freq")]
    if not mhz:
        clocks = re.findall(r"^cpu MHz\s*:\s*([\d.]+)$", read_text("/proc/cpuinfo"), re.MULTILINE)
        mhz = [float(value) for value in clocks]
    events = [count for folder in folders for count in read_numbers(f"{folder}/thermal_throttle/*_throttle_count")]
    temperatures = [value / 1000 for value in read_numbers("/sys/class/thermal/thermal_zone*/temp")]
    return {
        "governor": "/".join(governors) or None,
        "mhz": [round(value) for value in mhz] or None,
        "throttle_events": int(sum(events)) if events else None,
        "board_throttled": read_text("/sys/devices/platform/soc/soc:firmware/get_throttled") or None,  # Raspberry Pi
        "hottest_c": max(temperatures) if temperatures else None,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def resident_mb(key: str) -> float | None:
    """Return this process's memory, MB: `VmRSS` now, `VmHWM` at most; None where the kernel does not report it."""
    found = re.search(rf"^{key}:\s*(\d+) kB", read_text("/proc/self/status"), re.MULTILINE)
    return int(found[1]) / 1024 if found else None
