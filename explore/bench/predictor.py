"""Latency predicted from an Arch alone, on networks never seen, beside what MACs tell of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from explore.bench import Claim
from explore.bench.intervals import of_share
from explore.data.synthetic.dataset import default_cache
from explore.measure.calibrate_config import CalibrateConfig
from explore.measure.calibration import calibrate
from explore.measure.devices import Settings

SETTINGS = CalibrateConfig(networks=90, unseen=50)
LEAST = 0.95  # share of unseen networks within 10%
CONFIG = {"networks": SETTINGS.networks, "unseen": SETTINGS.unseen, "space": SETTINGS.space, "scale": SETTINGS.scale}


def run(progress: Callable[[float], None]) -> tuple[list[dict[str, Any]], list[Claim]]:
    """A row for the predictor and one for MACs alone. What was measured before, in the cache, is not measured again.

    Raises:
        ConversionError, DeviceError: networks could not be converted or timed.
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
    low, high = of_share(round(mine.within_10 * report.unseen), report.unseen)
    claims = [
        Claim(
            name=f"within 10% on {report.unseen} networks never seen",
            asked=f"{LEAST:.0%}",
            measured=f"{mine.within_10:.0%} (5%: {mine.within_5:.0%}), worst {mine.worst:.0%}",
            holds=mine.within_10 >= LEAST,
            low=low,
            high=high,
        ),
        Claim(
            name="rank correlation (Kendall) beside MACs alone",
            asked="higher",
            measured=f"{mine.tau:.3f}, MACs {macs.tau:.3f}, which are within 10% on {macs.within_10:.0%}",
            holds=mine.tau > macs.tau,
        ),
    ]
    return rows, claims
