"""`export`: convert a checkpoint to bundles, one for each runtime."""

from __future__ import annotations

import argparse
import json
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

from arch.errors import InputError, not_one_of
from arch.files import DISK_FULL, check_output_folder, remove_leftovers
from explore.export.config import ExportConfig
from explore.host import started_by
from explore.options import add_options, deprecated_option, reject_useless, take
from explore.progress import Display
from quantize import sdk

EXAMPLE = """python explore.py export xs.safetensors --runtimes litert,openvino --quantization int8-static

recipes: float, fp16, int8-static, int8-float-stem, int8-mixed (float layers within 0.5 mm), int8-dynamic, int8-weights,
w8a16, int8-qat (trains first, needs a C++ compiler), or a YAML file

data: the checkpoint records the data that it was trained on, which gives calibration images, joints and licence. --data
names another data set with the same joints, or the data of a checkpoint without a record. --max-drop uses the
validation part; all figures are those of the test part.

checks: the float file matches the network within 0.1 mm; no transpose between convolutions; one delegate partition;
99% of the MACs in INT8, without float fallback layers; the MPJPE is at most 5 mm, or 3%, above that of the float file.
A bundle that fails a check is not written, and the exit status is 1; --force writes it, with the failed check in its
manifest."""
FURTHER_CHECKS = ("arm", "gpu", "npu")
SHOWN_STEPS = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="weights written by train or search; for --task also a LiteRT bundle"
    )
    parser.add_argument(
        "--out", metavar="FOLDER", help="folder of the bundles (default: CHECKPOINT without its suffix)"
    )
    parser.add_argument("--zip", action="store_true", help="write each bundle as a .zip instead of a folder")
    parser.add_argument("--force", action="store_true", help="write bundles that fail a check, too")
    parser.add_argument(
        "--max-drop",
        type=_millimetres,
        metavar="MM",
        help="keep layers in float until the file's MPJPE on the validation part is within MM of the network's",
    )
    parser.add_argument(
        "--replace-activations",
        metavar="NAME",
        help="replace the activations, for example by relu, and fine-tune the network",
    )
    parser.add_argument(
        "--finetune-samples",
        type=int,
        default=4000,
        metavar="N",
        help="training samples after --replace-activations (default: 4000)",
    )
    parser.add_argument(
        "--task",
        metavar="FILE",
        help="also write the LiteRT bundle as FILE, such as pose_landmarker.task, for MediaPipe's Pose Landmarker; "
        "--runtimes then defaults to litert",
    )
    parser.add_argument(
        "--verify",
        metavar="tensorflow|mediapipe",
        help="also run each .tflite in TensorFlow's interpreter, or the .task file in MediaPipe; fail if the outputs "
        "differ",
    )
    parser.add_argument(
        "--check", dest="checks", type=_checks_to_run, default=(), metavar="arm|gpu|npu,...",
        help="arm: compare the raw outputs with those on emulated ARM processors (see measure --setup); gpu, npu: "
        "report the operators that LiteRT's delegates leave to the CPU, by rules from their sources",
    )  # fmt: skip
    parser.add_argument(
        "--saved-model", action="store_true", help="also write the float network as FOLDER/saved_model for TensorFlow"
    )
    parser.add_argument(
        "--coreml", action="store_true", help="also write FOLDER/coreml: Core ML packages with float16 and with INT8 "
        "weights, converted and checked here, but not run",
    )  # fmt: skip
    parser.add_argument(
        "--sdk", action="append", metavar="LANGUAGE", help="add a decoder for apps to each bundle: "
        "python, javascript, c, java, csharp, kotlin or swift; repeat it or separate several by commas",
    )  # fmt: skip
    parser.add_argument(
        "--web",
        metavar="DIR",
        help="also write the live page with the LiteRT bundle as static files, for any web server; "
        "--runtimes then defaults to litert",
    )
    parser.add_argument(
        "--input-dtype", choices=("float32", "uint8"), default="float32",
        help="uint8: the model files receive RGB values and normalise them (default: float32)",
    )  # fmt: skip
    deprecated_option(parser, "--no-gates", "--force", nargs=0, const=True)
    deprecated_option(parser, "--legalise", "--replace-activations")
    deprecated_option(parser, "--legalise-samples", "--finetune-samples", type=int)
    names = ("data", "dataset", "seed", "runtimes", "quantization", "timeout", "measure")
    add_options(parser, ExportConfig, only=names)


def run(args: argparse.Namespace) -> int:
    from explore.export.pipeline import ExportOptions, export_bundles
    from quantize.convert import ConversionError

    if args.finetune_samples < 1:
        raise InputError(f"finetune-samples: {args.finetune_samples}: give 1 or more")
    if not args.replace_activations:
        reject_useless(args, ("finetune_samples",), "without --replace-activations")
    config = take(args, ExportConfig, {})
    args.sdk = sdk.parse(",".join(args.sdk or ()))
    if _is_bundle(Path(args.checkpoint)):
        return _run_bundle(args, config)
    out = Path(args.out) if args.out else Path(args.checkpoint).with_suffix("")
    check_output_folder(out, "--out")
    remove_leftovers(out, recursive=True)
    if (args.task or args.web) and "runtimes" not in config.model_fields_set:
        config = config.model_copy(update={"runtimes": ("litert",)})
    options = ExportOptions(**{field.name: getattr(args, field.name) for field in fields(ExportOptions)})
    try:
        with Display(args.json) as display:
            rows = export_bundles(Path(args.checkpoint), out, config, display, options)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise ConversionError(f"{out}: {error.strerror}; free some space; existing bundles are unchanged") from None
    if args.json:
        print(json.dumps(rows))
    else:
        _print(rows, out)
    return 0 if all(row["bundle"] and row.get("task", {"written": True})["written"] for row in rows) else 1


def _is_bundle(path: Path) -> bool:
    return path.suffix == ".zip" or (path / "manifest.json").is_file()


def _run_bundle(args: argparse.Namespace, config: ExportConfig) -> int:
    """Write a .task file, decoders or a web page from a finished bundle."""
    from explore.export import web_page
    from explore.export.task import export_bundle_file
    from quantize import bundle as bundles

    if not (args.task or args.web or args.sdk):
        raise InputError(f"{args.checkpoint}: a bundle; add --task, --web or --sdk, or give its checkpoint")
    options = ("out", "zip", "max_drop", "replace_activations", "verify", "checks", "saved_model", "coreml")
    given = [name for name in options if getattr(args, name)] + sorted(config.model_fields_set - {"timeout"})
    if args.input_dtype != "float32":
        given.append("input_dtype")
    if given:
        name = {"checks": "check"}.get(given[0], given[0].replace("_", "-"))
        why = "applies to checkpoints only" if name in ("out", "zip", "verify", "check") else "changes the model file"
        raise InputError(f"{name}: {why}, and a bundle is used as it is; give its checkpoint")
    path, facts = Path(args.checkpoint), dict[str, Any]()
    opened = bundles.load(path)
    if args.sdk and opened.unpacked:
        raise InputError(f"sdk: {path}: a .zip stays as it is; unpack it, or give the checkpoint")
    with Display(args.json) as display:
        if args.web:
            web_page.write_page(opened, path, Path(args.web), display)
            facts["web"] = args.web
        if args.sdk:
            bundles.add_decoders(opened, args.sdk)
            facts["sdk"] = [str(path / sdk.LANGUAGES[language]) for language in args.sdk]
        if args.task:
            display.stage("MediaPipe")
            made = export_bundle_file(path, Path(args.task), config.timeout, args.force)
            facts |= made.as_dict()
    if args.json:
        print(json.dumps(facts))
    else:
        for file in facts.get("sdk", ()):
            print(f"written: {file}")
        if args.web:
            print(_web(args.web))
        if args.task:
            print("\n".join(_task(facts)))
    return 0 if facts.get("written", True) else 1


def _web(folder: str) -> str:
    return f"{folder}: live page; serve this folder over https, or try python3 -m http.server --directory {shlex.quote(folder)}"


def _task(facts: dict[str, Any]) -> list[str]:
    """Return the lines of a .task file."""
    size = f"{facts['bytes'] / 1e6:.2f} MB, with MediaPipe's detector"
    lines = [f"{facts['path']}: {size}" if facts["written"] else f"{facts['path']}: not written"]
    lines += _checks(facts["checks"])
    if errors := facts.get("framing_mpjpe_mm"):
        lines.append(
            f"  framing box: MPJPE {errors['box']:.1f} mm on boxes, {errors['roi']:.1f} mm on regions of interest, as "
            f"MediaPipe crops ({errors['roi'] - errors['box']:+.1f}); train with --dataset.framing roi"
        )
    if found := facts.get("mediapipe"):
        lines.append(
            f"  mediapipe {found['version']}: {found['mean_px']:.3f} px from our decode of its crops, max "
            f"{found['max_px']:.3f} ({found['people']} people in {found['images']} images)"
        )
    return lines + ([f"  note: {facts['note']}"] if facts["note"] else [])


def _coreml(made: dict[str, Any], folder: Path) -> list[str]:
    """Return the lines of the Core ML packages."""
    lines = [f"{folder}: Core ML, {made['status']}; evaluated operator by operator from the saved packages"]
    for package in made["packages"]:
        lines.append(
            f"  {package['path']}: {package['bytes'] / 1e6:.2f} MB, MPJPE {package['mpjpe_mm']:.1f} mm "
            f"({package['mpjpe_increase_mm']:+.2f} to the network), joints {package['deviation_mm']['mean']:.3f} mm from it"
        )
    return lines


def _checks_to_run(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    if unknown := [name for name in names if name not in FURTHER_CHECKS]:
        raise argparse.ArgumentTypeError(not_one_of(unknown[0], FURTHER_CHECKS))
    return names


def _millimetres(text: str) -> float:
    try:
        return float(text.strip().removesuffix("mm"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a length; give millimetres, such as 1.0") from None


def _print(rows: list[dict[str, Any]], out: Path) -> None:
    if change := rows[0].get("replaced_activations"):
        print(
            f"{change['from']} replaced by {change['to']}: MPJPE {change['before_mpjpe_mm']:.1f} mm before, "
            f"{change['replaced_mpjpe_mm']:.1f} mm without training, {change['after_mpjpe_mm']:.1f} mm after "
            f"{change['samples']} samples ({out / 'replaced_activations.safetensors'})\n"
        )
    print(f"figures of the {rows[0]['part']} part of {rows[0]['data']}\n")
    for row in rows:
        print("\n".join(_certificate(row)) + "\n")
    for row in rows:
        if folder := row.get("web"):
            print(_web(folder) + "\n")
    if saved := rows[0].get("saved_model"):
        print(f"{saved['path']}: float network, deviation from torch {saved['mean']:.4f} mm, max {saved['max']:.4f}\n")
    if made := rows[0].get("coreml"):
        print("\n".join(_coreml(made, out / "coreml")) + "\n")
    for row in rows:
        if facts := row.get("task"):
            print("\n".join(_task(facts)) + "\n")
    columns = ("MPJPE mm", "PA-MPJPE mm", "torch MPJPE mm", "latency ms", "size MB")
    print(f"{'bundle':<40} " + " ".join(f"{column:>14}" for column in columns))
    for row in rows:
        cells = [f"{row[key]:.1f}" for key in ("mpjpe_mm", "pa_mpjpe_mm", "float_mpjpe_mm")]
        cells += ["-" if row["latency_ms"] is None else f"{row['latency_ms']:.3f}", f"{row['bytes'] / 1e6:.2f}"]
        name = row["bundle"] or f"{row['runtime']}: not written"
        print(f"{name:<40} " + " ".join(f"{cell:>14}" for cell in cells))
    passed = [row["bundle"] for row in rows if row["bundle"] and row["checks_passed"]]
    if passed:
        print(f"next: {started_by()} predict PHOTO --bbox x,y,w,h --model {shlex.quote(passed[0])}")
    elif any(row["bundle"] for row in rows):
        print("next: no bundle passed all checks; correct what the lines with FAILED say and export again")


def _certificate(row: dict[str, Any]) -> list[str]:
    """Return the lines of a certificate."""
    from quantize.agreement import Agreement, summary_of
    from quantize.delegates import DelegateReport

    certificate = row["certificate"]
    layers = f", float: {', '.join(row['float_fallback_layers'])}" if row["float_fallback_layers"] else ""
    lines = [
        f"{row['runtime']} {row['recipe']}{layers}",
        f"  MPJPE                {row['mpjpe_mm']:.2f} mm{_interval(row['mpjpe_interval'])}, PA-MPJPE {row['pa_mpjpe_mm']:.2f} mm (MPJPE of the float file "
        f"{row['float_file_mpjpe_mm']:.2f}, of torch {row['float_mpjpe_mm']:.2f})",
    ]
    if options := certificate["quantizer"]:
        values = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in options.items())
        lines.append(f"  quantizer            {values}")
    if increase := certificate["mpjpe_increase_mm"]:
        lines.append(f"  over the float file  {increase['value']:+.2f} mm{_interval(increase)}")
    for stages, moved in certificate["deviations"].items():
        lines.append(f"  {stages:<20} mean {moved['mean']:.3f} mm, p95 {moved['p95']:.3f}, max {moved['max']:.3f}")
    if costs := list(certificate["steps_mm"].items())[:SHOWN_STEPS]:
        steps = ", ".join(f"{name} {mm:.2f} mm" for name, mm in costs)
        lines.append(f"  most sensitive steps {steps} (each alone quantized, simulated)")
    partitions = f"{certificate['partitions']} partition{'s' * (certificate['partitions'] != 1)}"
    weights = f" ({certificate['weight_bits']}-bit weights)" if certificate["weight_bits"] else ""
    lines += [
        f"  operators            {', '.join(f'{n} {kind}' for kind, n in certificate['operators'].items())}",
        f"  execution            {certificate['int8_share']:.1%} of the MACs in INT8{weights}, {certificate['delegated']:.1%} of "
        f"the operators delegated in {partitions}, {certificate['transposes']} transposes",
        f"  CPU fallbacks        {', '.join(f'{n} {kind}' for kind, n in certificate['fallbacks'].items()) or 'none'}",
        f"  size                 {row['bytes'] / 1e6:.2f} MB (float file {row['float_bytes'] / 1e6:.2f})",
        f"  latency              {_latency(row)}",
    ]
    lines += _calibration(certificate)
    if on_arm := [Agreement.model_validate(one) for one in certificate["arm"]]:
        lines.append(f"  emulated ARM         {summary_of(on_arm)} ({on_arm[0].emulator}; never run on a real one)")
    if reports := [DelegateReport.model_validate(one) for one in certificate["delegates"]]:
        lines.append("  delegates            by rules from their sources; nothing was run on a GPU or an NPU")
        lines += [f"    {report.delegate:<18} {report.text}" for report in reports]
    for name, moved in row.get("tensorflow", {}).items():
        lines.append(f"  tf.lite.Interpreter  {name}: {moved['mean']:.4f} mm from LiteRT, max {moved['max']:.4f}")
    return lines + _checks(certificate["checks"])


def _calibration(certificate: dict[str, Any]) -> list[str]:
    """Return the lines of the calibrated outputs: a reliability diagram of each probability, and the scale."""
    from quantize.confidence import BINS, Reliability

    lines = []
    for name, values in certificate["reliability"].items():
        found = Reliability.model_validate(values)
        lines.append(
            f"  {name:<20} expected calibration error {found.error:.1%}, area under the ROC curve {found.separation:.3f}"
        )
        lines.append(f"    predicted          {' '.join(f'{(place + 0.5) / BINS:5.0%}' for place in range(BINS))}")
        rates = zip(found.observed, found.count, strict=True)
        lines.append(
            f"    came true          {' '.join(f'{rate:5.0%}' if count else '    -' for rate, count in rates)}"
        )
    if scale := certificate["scale_error"]:
        lines.append(
            f"  scale by the pose    standard deviation {scale['sd']:.1%}, bias {scale['bias']:+.1%}; by bone lengths alone "
            f"{scale['bones_sd']:.1%}, {scale['bones_bias']:+.1%} ({scale['people']} people)"
        )
    return lines


def _checks(checks: list[dict[str, Any]]) -> list[str]:
    return [
        f"  passed: {check['name']} ({check['measured']:g})"
        if check["passed"]
        else f"  FAILED: {check['name']}: {check['measured']:g}, target {check['target']}; {check['fix']}"
        for check in checks
    ]


def _interval(found: dict[str, Any] | None) -> str:
    """Return the limits of a 95% interval in brackets, or nothing where they are unknown."""
    return "" if found is None or found["low"] is None else f" (95%: {found['low']:.2f} to {found['high']:.2f})"


def _latency(row: dict[str, Any]) -> str:
    if row["latency_ms"] is None:
        return f"not measured: {row['latency']}"
    ratio = row["float_latency_ms"] / row["latency_ms"]
    return f"{row['latency_ms']:.3f} ms, {ratio:.2f}x as fast as the float file ({row['float_latency_ms']:.3f} ms)"
