"""Output of LiteRT's current benchmark tool: the median of a run, in the row of a phone."""

from __future__ import annotations

import pytest

from explore.measure.devices import adb

OUTPUT = """INFO: STARTING!
INFO: Num threads: [2]
INFO: [litert/tools/benchmark_litert_model.cc:137] Loading model from: /data/local/tmp/edgepose/fedcba9876543210
INFO: [litert/runtime/accelerators/auto_registration.cc:109] CPU accelerator registered.
INFO: Initialized session in 6.1ms.
INFO: Running benchmark for at least 3 iterations and at least 0 seconds but terminate if exceeding 150 seconds.
INFO: count=3 first=900 curr=520 min=510 max=900 avg=643 std=140 p5=510 median=520 p95=900

INFO: Running benchmark for at least 20 iterations and at least 0 seconds but terminate if exceeding 150 seconds.
INFO: count=20 first=505 curr=500 min=495 max=2540 avg=603.1 std=380 p5=496 median=500 p95=2530

INFO: [./litert/tools/benchmark_litert_model.h:{line}] 
========== BENCHMARK RESULTS ==========
INFO: [./litert/tools/benchmark_litert_model.h:{line}] Model initialization: 6.10 ms
INFO: [./litert/tools/benchmark_litert_model.h:{line}] Warmup (first):       0.90 ms
INFO: [./litert/tools/benchmark_litert_model.h:{line}] Warmup (avg):         0.64 ms (3 runs)
INFO: [./litert/tools/benchmark_litert_model.h:{line}] Inference (avg):      0.60 ms (20 runs)
INFO: [./litert/tools/benchmark_litert_model.h:{line}] 
Memory Usage:
INFO: [./litert/tools/benchmark_litert_model.h:{line}] Init footprint:       3.00 MB
INFO: [./litert/tools/benchmark_litert_model.h:{line}] Overall footprint:    5.50 MB
"""  # noqa: W291


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_median_is_read(newline: str) -> None:
    run = adb.parse_run(OUTPUT.replace("{line}", "72").replace("\n", newline))
    assert vars(run) == pytest.approx(vars(adb.Run(0.5, 20, 6.1, 0.9, 5.5, None, None)))


def test_mean_is_read_where_the_tool_reports_no_median() -> None:
    lines = [line for line in OUTPUT.splitlines() if "count=" not in line]
    assert adb.parse_run("\n".join(lines)).ms == pytest.approx(0.6)


def test_output_that_ends_before_the_result_has_no_latency() -> None:
    with pytest.raises(ValueError, match="count=20"):
        adb.parse_run(OUTPUT.split("INFO: [./litert/tools/benchmark_litert_model.h")[0])
