"""`measure`: latency of bundles on this machine."""

from __future__ import annotations

import argparse
import json

from explore.config import MeasureConfig
from explore.options import add_options, from_options

EXAMPLE = "python explore.py measure results/STUDY/bundles/*/litert --threads 1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE", help="bundle folders; ratios are to the first")
    add_options(parser, MeasureConfig)


def run(args: argparse.Namespace) -> int:
    config = from_options(args, MeasureConfig)
    from explore.measure.bundles import measure_bundles

    result = measure_bundles(args.bundles, config)
    if args.json:
        print(json.dumps(result))
        return 0
    here = result["machine"]
    print(
        f"{here['processor']}, {here['cores']} cores, {', '.join(here['instruction_sets'])}; {config.threads} thread(s)"
    )
    print(
        f"{'bundle':<52} {'network ms':>10} {'p90':>8} {'decode ms':>9} {'ratio':>6} {'95% interval':>15} {'load ms':>8}"
    )
    for row in result["rows"]:
        interval = f"{row['ratio_low']:.3f}-{row['ratio_high']:.3f}"
        settled = "" if row["settled"] else "  interval wider than asked"
        print(
            f"{row['bundle'][-52:]:<52} {row['median_ms']:>10.3f} {row['p90_ms']:>8.3f} {row['decode_ms']:>9.3f} "
            f"{row['ratio']:>6.3f} {interval:>15} {row['load_ms']:>8.1f}{settled}"
        )
    dropped = result["rows"][0]["dropped_rounds"]
    print(
        f"{result['rows'][0]['rounds']} interleaved rounds of {config.calls} calls, {dropped} disturbed rounds dropped"
    )
    return 0
