"""`measure`: latency of bundles on this machine or another device."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, get_args
from urllib.parse import quote

from arch.errors import InputError
from explore.config import MeasureConfig
from explore.measure.calibrate_config import CalibrateConfig
from explore.options import add_options, from_options, take
from explore.progress import Display

if TYPE_CHECKING:
    from explore.measure.rows import Row, Settings, State

EXAMPLE = """python explore.py measure results/STUDY/bundles/*/litert --threads 1,2

devices: local
         ssh://user@host:port        options: ?python=PATH&hostkeys=yes|accept-new&config=FILE
         adb://serial                Android, by adb and TensorFlow's benchmark_model
         web, web://host:port        the browser that opens the page it serves; options: ?wait=SECONDS&token=WORD

a predictor of latency for one device, which `search --predictor FILE` screens candidates with:
         python explore.py measure --calibrate ssh://pi@raspberrypi.local --scale 64 --networks 100"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundles", nargs="*", metavar="BUNDLE", help="bundle folders")
    parser.add_argument(
        "--device", action="append", metavar="ADDRESS", help="where to measure; may be repeated (default: local)"
    )
    parser.add_argument("--against", metavar="BUNDLE", help="the reference of all ratios (default: the first bundle)")
    parser.add_argument("--threads", dest="counts", metavar="N,N", help="threads of the runtime (default: 1)")
    parser.add_argument("--isa", metavar="avx2|avx512|vnni|amx", help="cap on the instruction set (openvino only)")
    parser.add_argument("--benchmark-model", metavar="PATH", help="TensorFlow's binary for Android, for adb://")
    parser.add_argument("--limit", type=float, default=120.0, metavar="S", help="seconds a device may keep silent")
    parser.add_argument("--config", metavar="FILE", help="YAML file with any of the keys below, and threads")
    add_options(parser, MeasureConfig, only=("rounds", "calls", "width", "budget"))
    group = parser.add_argument_group("--calibrate: a predictor from networks with random weights")
    group.add_argument("--calibrate", metavar="ADDRESS", help="device to make a predictor for; no bundles are given")
    add_options(group, CalibrateConfig, only=tuple(CalibrateConfig.model_fields))  # type: ignore[arg-type]


def run(args: argparse.Namespace) -> int:
    from explore.measure import rows as measured
    from explore.measure.bundles import measure_bundles

    rules = from_options(args, MeasureConfig)
    if args.isa not in (None, *get_args(measured.Isa)):
        raise InputError(f"isa: '{args.isa}' is not one of {', '.join(get_args(measured.Isa))}")
    if not 1 <= args.limit <= 3600:
        raise InputError(f"limit: {args.limit:g} is not within 1 and 3600 seconds")
    counts = _counts(args.counts) if args.counts else (rules.threads,)
    settings = measured.Settings(counts, args.isa, rules, args.limit)
    if args.calibrate:
        return _calibrate(args, settings)
    if not args.bundles:
        raise InputError("measure: no bundle given; write measure BUNDLE, or --calibrate DEVICE")
    with Display(args.json) as display:
        display.stage("measure")
        addresses = [_address(text, args.benchmark_model) for text in args.device or ["local"]]
        outcome = measure_bundles(args.bundles, args.against, addresses, settings, display.update)
    if args.json:
        failures = [{"device": name, "error": error} for name, error in outcome.failures]
        print(json.dumps({"rows": [row.model_dump(mode="json") for row in outcome.rows], "failures": failures}))
    else:
        for name in dict.fromkeys(row.device for row in outcome.rows):
            _print([row for row in outcome.rows if row.device == name], rules)
    for _, error in outcome.failures:
        print(f"failed: {error}", file=sys.stderr)
    return 1 if outcome.failures else 0


def _calibrate(args: argparse.Namespace, settings: Settings) -> int:
    from explore.measure.calibration import calibrate

    if args.bundles or args.against or args.device:
        raise InputError("calibrate: makes its own networks; give no bundles, --against or --device")
    if len(settings.threads) > 1:
        raise InputError("threads: a predictor is of one number of threads; calibrate once for each")
    config = take(args, CalibrateConfig, {})
    with Display(args.json) as display:
        display.stage(f"calibrate {args.calibrate}")
        address = _address(args.calibrate, args.benchmark_model)
        path, predictor = calibrate(config, address, settings, display.update)
    report, about = predictor.report, predictor.about
    assert report is not None
    if args.json:
        print(json.dumps({"path": str(path), **predictor.model_dump(mode="json", include={"about", "kind", "report"})}))
        return 0
    print(
        f"{about.device}: {about.processor}, {about.runtime_version}, {about.recipe}, {about.threads} thread(s); "
        f"{about.reference} takes {about.reference_ms:.3f} ms"
    )
    print(f"fitted on {report.fitted_on} networks of {about.space} at {about.scale} px: {report.chosen}")
    print(
        f"{f'on {report.unseen} networks never seen':<34} {'within 5%':>9} {'within 10%':>10} {'worst':>6} {'tau':>6}"
    )
    for name, found in (("predictor", report.predictor), ("MACs alone", report.macs)):
        print(f"{name:<34} {found.within_5:>9.0%} {found.within_10:>10.0%} {found.worst:>6.0%} {found.tau:>6.3f}")
    print(f"written: {path}\nnext: python explore.py search --predictor {path}")
    return 0


def _address(text: str, benchmark_model: str | None) -> str:
    if benchmark_model and text.startswith("adb"):
        return f"{text}{'&' if '?' in text else '?'}benchmark_model={quote(benchmark_model)}"
    return text


def _counts(text: str) -> tuple[int, ...]:
    try:
        counts = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        counts = (0,)
    if not all(1 <= count <= 256 for count in counts):
        raise InputError(f"threads: '{text}' are no numbers of threads; write 1 or 1,2,4")
    return counts


def _print(rows: list[Row], rules: MeasureConfig) -> None:
    """A device's rows as a table, under what it is and how it was."""
    row = rows[0]
    about = row.machine
    cores = f", {about.cores} cores" if about.cores else ""
    sets = f", {' '.join(about.instruction_sets)}" if about.instruction_sets else ""
    print(f"{row.device}: {about.board or about.browser or about.system}, {about.processor}{cores}{sets}")
    print(f"  before: {_state(row.before)}\n  after:  {_state(row.after)}")
    if row.isa:
        print(f"  capped to {row.isa}")
    print(
        f"{'bundle':<44} {'threads':>7} {'network ms':>10} {'95% interval':>15} {'p90':>8} {'decode':>7} {'end to end':>10} {'ratio':>6} "
        f"{'95% interval':>15} {'load ms':>8} {'MB':>6} {'peak':>6} {'cpu/wall':>8}"
    )
    for row in rows:
        print(
            f"{row.model[-44:]:<44} {row.threads:>7} {row.median_ms:>10.3f} {f'{row.low_ms:.3f}-{row.high_ms:.3f}':>15} "
            f"{_number(row.p90_ms)} "
            f"{_number(row.decode_ms, 7)} {_number(row.end_to_end_ms, 10)} {row.ratio:>6.3f} "
            f"{f'{row.ratio_low:.3f}-{row.ratio_high:.3f}':>15} {_number(row.load_ms, 8, 1)} "
            f"{_number(row.model_mb, 6, 1)} {_number(row.peak_mb, 6, 1)} {_number(row.cpu_over_wall, 8)}"
            f"{'' if row.settled else f'  interval wider than {rules.width:.1%} when the time was up'}"
        )
    for row in {(row.runtime_version, row.delegate): row for row in rows}.values():
        share = f", {row.delegated:.0%} of the operators" if row.delegated is not None else ""
        used = f", kernels for {' '.join(row.instruction_sets_used)}" if row.instruction_sets_used else ""
        print(f"{row.runtime_version}: {row.delegate}{share}{used}")
    for note in dict.fromkeys(note for row in rows for note in row.notes):
        print(f"note: {note}")
    print(f"{row.rounds} interleaved rounds, {row.dropped_rounds} disturbed rounds dropped; ratios to {row.reference}")


def _number(value: float | None, width: int = 8, digits: int = 3) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:>{width}.{digits}f}"


def _state(state: State) -> str:
    known = [
        f"governor {state.governor}" if state.governor else "",
        f"{' '.join(map(str, state.mhz))} MHz" if state.mhz else "",
        f"{state.hottest_c:.0f} C" if state.hottest_c is not None else "",
        f"throttled {state.throttle_events} times so far" if state.throttle_events is not None else "",
        f"load {state.load:.1f}" if state.load is not None else "",
    ]
    return ", ".join(filter(None, known)) or "not readable"
