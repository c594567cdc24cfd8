"""`measure`: latency of bundles on this machine and other devices, and their outputs on emulated ones."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args
from urllib.parse import quote

from arch.errors import InputError
from explore.host import started_by
from explore.measure.config import CalibrateConfig, MeasureConfig
from explore.options import add_options, deprecated_option, from_options, reject_useless, take

if TYPE_CHECKING:
    from explore.measure.emulated.check import CheckedFile
    from explore.measure.rows import MachineState, Row, Settings
    from quantize.agreement import Agreement
    from quantize.bundle import Bundle

EXAMPLE = """python explore.py measure results/STUDY/bundles/*/litert --threads 1,2

targets:
  local                  this machine
  ssh://user@host:port   options: ?python=PATH&hostkeys=yes|accept-new&config=FILE
  adb://serial           Android, with adb and TensorFlow's benchmark_model
  web, web://host:port   the browser that opens the page served there; options: ?wait=SECONDS&token=WORD
  qemu://CPU             an emulated cortex-a53, -a55, -a72, -a76, -a710 or max: compares outputs, measures no latency

Set up the emulated ARM processors once, in the folder EDGEPOSE_QEMU or in ~/.cache/edgepose/qemu:
  python explore.py measure --setup qemu

Fit a latency predictor for one target; search --predictor FILE skips candidates that it predicts to be too slow:
  python explore.py measure --calibrate ssh://pi@raspberrypi.local --input-size 64 --networks 100"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundles", nargs="*", metavar="BUNDLE", help="bundle folders")
    parser.add_argument(
        "--target", action="append", metavar="ADDRESS", help="device to measure on; can be repeated (default: local)"
    )
    deprecated_option(parser, "--device", "--target", append=True)
    parser.add_argument("--baseline", metavar="BUNDLE", help="reference of all ratios (default: the first bundle)")
    deprecated_option(parser, "--against", "--baseline")
    parser.add_argument(
        "--threads", dest="counts", metavar="N,...", help="threads of the runtime, measured in turn (default: 1)"
    )
    parser.add_argument(
        "--isa", metavar="avx2|avx512|vnni|amx", help="cap on the instruction set, for openvino bundles (default: none)"
    )
    parser.add_argument("--benchmark-model", metavar="PATH", help="TensorFlow's binary for Android, for adb://")
    parser.add_argument(
        "--timeout", type=float, default=120.0, metavar="S",
        help="longest time that a device may send nothing (default: %(default)g)",
    )  # fmt: skip
    deprecated_option(parser, "--limit", "--timeout", type=float)
    parser.add_argument(
        "--config", metavar="FILE", help="YAML file with threads, rounds, calls, ci_width and max_seconds"
    )
    parser.add_argument(
        "--setup", choices=("qemu",), help="set up emulated ARM processors (185 MB of downloads); give no bundles"
    )
    add_options(parser, MeasureConfig, only=("rounds", "calls", "ci_width", "max_seconds"))
    group = parser.add_argument_group("latency predictor, fitted to networks with random weights")
    group.add_argument("--calibrate", metavar="ADDRESS", help="device to fit a predictor for; give no bundles")
    add_options(group, CalibrateConfig, only=tuple(CalibrateConfig.model_fields))


def run(args: argparse.Namespace) -> int:
    from explore.measure.probe.protocol import allowed_background_load
    from explore.measure.rows import Isa, Settings

    protocol = from_options(args, MeasureConfig)
    if args.isa not in (None, *get_args(Isa)):
        raise InputError(f"isa: {args.isa} is not one of {', '.join(get_args(Isa))}")
    if not 1 <= args.timeout <= 3600:
        raise InputError(f"timeout: {args.timeout:g} is not between 1 and 3600 seconds")
    counts = _parse_counts(args.counts) if args.counts else (protocol.threads,)
    settings = Settings(counts, args.isa, protocol, args.timeout)
    allowed_background_load()  # an invalid value is found before models are loaded
    if not args.calibrate:
        reject_useless(args, CalibrateConfig.model_fields, "without --calibrate")
    if args.setup:
        return _set_up(args)
    if args.calibrate:
        return _calibrate(args, settings)
    if not args.bundles:
        raise InputError("measure: no bundle given; write measure BUNDLE, or measure --calibrate ADDRESS")
    rows, agreements, failures = _measure(args, settings)
    if args.json:
        failed = [{"device": name, "error": error} for name, error in failures]
        emulated = [one.model_dump(mode="json") | {"model": name} for name, one in agreements]
        rows_of = [row.model_dump(mode="json") for row in rows]
        print(json.dumps({"rows": rows_of, "agreements": emulated, "failures": failed}))
    else:
        _print_agreements(agreements)
        for place in dict.fromkeys((row.device, row.machine) for row in rows):
            _print([row for row in rows if (row.device, row.machine) == place], protocol)
    for _, error in failures:
        print(f"failed: {error}", file=sys.stderr)
    return 1 if failures else 0


def _measure(
    args: argparse.Namespace, settings: Settings
) -> tuple[list[Row], list[tuple[str, Agreement]], list[tuple[str, str]]]:
    """Return the rows of all devices that replied, agreements by bundle on emulated ones, and the errors by device.

    Raises:
        InputError: not a bundle, an unknown device, or a request that the first device does not support.
    """
    from explore.measure.devices import DeviceError, open_device
    from explore.measure.devices.qemu import Qemu
    from explore.measure.latency import Disturbed
    from explore.measure.rows import from_bundle
    from explore.progress import Display
    from quantize import bundle

    paths = dict.fromkeys(map(Path, ([args.baseline] if args.baseline else []) + args.bundles))
    bundles = [bundle.load(path) for path in paths]
    models = [replace(from_bundle(each), name=str(path)) for path, each in zip(paths, bundles, strict=True)]
    addresses = dict.fromkeys(_address(text, args.benchmark_model) for text in args.target or ["local"])
    devices = [open_device(address) for address in addresses]
    rows: list[Row] = []
    agreements: list[tuple[str, Agreement]] = []
    failures: list[tuple[str, str]] = []
    with Display(args.json) as display:
        display.stage("measure")
        for index, device in enumerate(devices):

            def progress(share: float, text: str, index: int = index, name: str = device.name) -> None:
                display.update((index + share) / len(devices), f"{name} {text}")

            try:
                if isinstance(device, Qemu):
                    found = device.agreements([_file_to_check(each) for each in bundles], progress)
                    agreements += zip(map(str, paths), found, strict=True)
                else:
                    rows += device.measure(models, settings, progress)
            except (DeviceError, Disturbed) as error:
                failures.append((device.name, str(error)))
            except InputError as error:
                if not rows and not agreements:
                    raise
                failures.append((device.name, str(error)))  # what other devices measured is kept
    return rows, agreements, failures


def _file_to_check(found: Bundle) -> CheckedFile:
    """Return the model of a bundle with inputs to compare outputs on."""
    from explore.measure.emulated.check import CheckedFile
    from explore.measure.emulated.images import sample_crops

    inputs = found.normalise(sample_crops(found.manifest.preprocessing.size))
    files = tuple(found.path / file.name for file in found.manifest.files)
    return CheckedFile(str(found.path), found.manifest.runtime, files, found.arch, inputs)


def _print_agreements(agreements: list[tuple[str, Agreement]]) -> None:
    """Print how the outputs on each emulated processor agree with those on this machine."""
    for cpu in dict.fromkeys(one.cpu for _, one in agreements):
        own = [(name, one) for name, one in agreements if one.cpu == cpu]
        first = own[0][1]
        print(
            f"qemu://{cpu}: emulated by {first.emulator} with kernels for {first.kernels}, no latency; raw outputs of "
            f"{first.images} rendered images beside those of this machine, mm of a 2 m crop"
        )
        for name, one in own:
            print(f"{name[-60:]:<60} {one.text}")


def _set_up(args: argparse.Namespace) -> int:
    """Set up emulated ARM processors."""
    from explore.measure.emulated.emulator import Emulator
    from explore.measure.emulated.setup import DOWNLOADS, default_folder, requirements
    from explore.progress import Display

    if args.bundles or args.baseline or args.target or args.calibrate:
        raise InputError("setup: give no bundles, --baseline, --target or --calibrate")
    folder = default_folder()
    if not args.json and not requirements() and not (folder / "setup.json").exists():
        print(f"{folder}: downloads {DOWNLOADS}. Nothing else on this machine is changed.", flush=True)
    with Display(args.json) as display:
        display.stage("set up emulated ARM processors")
        emulator = Emulator.set_up(folder, display.update)
    if args.json:
        print(json.dumps({"folder": str(folder), **emulator.setup.model_dump(mode="json")}))
        return 0
    print(f"{folder}: {', '.join(f'{name} {version}' for name, version in emulator.versions.items())}")
    for runtime, reason in emulator.setup.missing.items():
        print(f"without {runtime}: {reason}")
    print(f"next: {started_by()} measure BUNDLE --target qemu://cortex-a76")
    return 0


def _calibrate(args: argparse.Namespace, settings: Settings) -> int:
    from explore.measure.calibration import calibrate
    from explore.progress import Display

    if args.bundles or args.baseline or args.target:
        raise InputError("calibrate: creates its own networks; give no bundles, --baseline or --target")
    if len(settings.threads) > 1:
        raise InputError("threads: a predictor holds for one number of threads; calibrate once for each")
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
    print(f"fitted on {report.fitted_on} networks of {about.space} at {about.input_size} px: {report.chosen}")
    print(f"{f'on {report.unseen} unseen networks':<28} {'within 5%':>9} {'within 10%':>10} {'worst':>6} {'tau-b':>6}")
    for name, score in (("predictor", report.predictor), ("MACs alone", report.macs)):
        print(f"{name:<28} {score.within_5:>9.0%} {score.within_10:>10.0%} {score.worst:>6.0%} {score.tau:>6.3f}")
    search, default = ["search", "--predictor", str(path)], CalibrateConfig()
    for key in ("space", "input_size", "runtime", "quantization"):
        value = getattr(config, key)
        search += [f"--{key.replace('_', '-')}", str(value)] if value != getattr(default, key) else []
    search += ["--measure.threads", str(about.threads)] if about.threads != 1 else []
    search += ["--objectives", f"mpjpe,latency@{about.device}"] if about.device != "local" else []
    print(f"written: {path}\nnext: {started_by()} {shlex.join(search)}")
    return 0


def _address(text: str, benchmark_model: str | None) -> str:
    if benchmark_model and text.startswith("adb"):
        return f"{text}{'&' if '?' in text else '?'}benchmark_model={quote(benchmark_model)}"
    return text


def _parse_counts(text: str) -> tuple[int, ...]:
    try:
        counts = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        counts = (0,)
    if not all(1 <= count <= 256 for count in counts):
        raise InputError(f"threads: '{text}' is not a list of thread counts from 1 to 256; write 1 or 1,2,4")
    return counts


def _print(rows: list[Row], protocol: MeasureConfig) -> None:
    """Print the rows of one device as a table, with the device and its state before and after."""
    row = rows[0]
    machine = row.machine
    cores = f", {machine.cores} cores" if machine.cores else ""
    sets = f", {' '.join(machine.instruction_sets)}" if machine.instruction_sets else ""
    print(f"{row.device}: {machine.board or machine.browser or machine.system}, {machine.processor}{cores}{sets}")
    print(f"  before: {_state(row.before)}\n  after:  {_state(row.after)}")
    if row.isa:
        print(f"  capped to {row.isa}")
    print(
        f"{'bundle':<44} {'threads':>7} {'latency ms':>10} {'95% interval':>15} {'p90 ms':>8} {'decode ms':>9} "
        f"{'end to end ms':>13} {'ratio':>6} {'95% interval':>15} {'load ms':>8} {'RAM MB':>7} {'peak MB':>7} "
        f"{'CPU/wall':>8}"
    )
    for row in rows:
        loaded = "  under load" if row.under_load else ""
        wide = "" if row.converged else f"  interval wider than {protocol.ci_width:.1%} after {row.rounds} rounds"
        print(
            f"{row.model[-44:]:<44} {row.threads:>7} {row.median_ms:>10.3f} {f'{row.low_ms:.3f}-{row.high_ms:.3f}':>15} "
            f"{_number(row.p90_ms)} {_number(row.decode_ms, 9)} {_number(row.end_to_end_ms, 13)} {row.ratio:>6.3f} "
            f"{f'{row.ratio_low:.3f}-{row.ratio_high:.3f}':>15} {_number(row.load_ms, 8, 1)} "
            f"{_number(row.model_mb, 7, 1)} {_number(row.peak_mb, 7, 1)} {_number(row.cpu_over_wall)}{wide}{loaded}"
        )
    for row in {(row.runtime_version, row.delegate): row for row in rows}.values():
        share = f", {row.delegated:.0%} of the operators" if row.delegated is not None else ""
        used = f", kernels for {' '.join(row.instruction_sets_used)}" if row.instruction_sets_used else ""
        print(f"{row.runtime_version}: {row.delegate}{share}{used}")
    for note in dict.fromkeys(note for row in rows for note in row.notes):
        print(f"note: {note}")
    if row.under_load:
        print("under load: EDGEPOSE_BACKGROUND_LOAD accepted other processes on this machine, which disturb latencies")
    rounds = dict.fromkeys((row.threads, row.rounds, row.dropped_rounds) for row in rows)
    for threads, kept, dropped in rounds:
        print(f"{threads} thread(s): {kept} interleaved rounds, {dropped} disturbed rounds dropped")
    print(f"ratios to {row.reference}")


def _number(value: float | None, width: int = 8, digits: int = 3) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:>{width}.{digits}f}"


def _state(state: MachineState) -> str:
    known = [
        f"governor {state.governor}" if state.governor else "",
        f"{' '.join(map(str, state.mhz))} MHz" if state.mhz else "",
        f"{state.hottest_c:.0f} C" if state.hottest_c is not None else "",
        f"{state.throttle_events} throttling events" if state.throttle_events is not None else "",
        f"load {state.load:.1f}" if state.load is not None else "",
    ]
    return ", ".join(filter(None, known)) or "unknown"
