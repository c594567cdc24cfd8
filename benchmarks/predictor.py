"""Latency predictor evaluated on unseen networks, compared with a prediction from MACs alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks import Claim
from benchmarks.intervals import proportion_interval
from explore.host import default_cache
from explore.measure.calibration import calibrate
from explore.measure.config import CalibrateConfig
from explore.measure.devices import Settings

SETTINGS = CalibrateConfig(networks=90, unseen=50)
LEAST = 0.95  # fraction of unseen networks predicted within 10%
CONFIG = {
    "networks": SETTINGS.networks,
    "unseen": SETTINGS.unseen,
    "space": SETTINGS.space,
    "input_size": SETTINGS.input_size,
}


def run(progress: Callable[[float], None]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Return a row for the predictor and one for MACs alone; cached measurements are reused.

    Raises:
        ConversionError, DeviceError: an export or a measurement failed.
    """
    config = SETTINGS.model_copy(update={"out": str(default_cache() / "bench-predictor" / "predictor.json")})
    _, made = calibrate(config, "local", Settings(), lambda share, text: progress(share))
    report = made.report
    assert report is not None
    common = made.about.model_dump(mode="json")
    rows = [
        {
            "by": made.kind,
            **report.predictor.model_dump(),
            "fitted_on": report.fitted_on,
            "cross_validated": report.cross_validated,
            **common,
        },
        {"by": "MACs alone", **report.macs.model_dump(), **common},
    ]
    mine, macs = report.predictor, report.macs
    low, high = proportion_interval(round(mine.within_10 * report.unseen), report.unseen)
    claims = [
        Claim(
            name=f"predictions within 10%, {report.unseen} unseen networks",
            target=f">= {LEAST:.0%}",
            measured=f"{mine.within_10:.0%} (5%: {mine.within_5:.0%}), worst {mine.worst:.0%}",
            passed=mine.within_10 >= LEAST,
            low=low,
            high=high,
        ),
        Claim(
            name="Kendall's tau of predictor and MACs",
            target="higher than MACs",
            measured=f"{mine.tau:.3f}, MACs {macs.tau:.3f} (within 10%: {macs.within_10:.0%})",
            passed=mine.tau > macs.tau,
        ),
    ]
    return rows, claims
