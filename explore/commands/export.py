"""`export`: a checkpoint to bundles, one a runtime, each with its certificate."""

from __future__ import annotations

import argparse
import errno
import json
from pathlib import Path
from typing import Any

from arch.errors import InputError
from explore.config import SearchConfig
from explore.options import add_options, take
from explore.progress import Display

EXAMPLE = """python explore.py export xs.safetensors --runtimes litert,openvino --recipe int8-static

recipes: float, fp16, int8-static, int8-float-stem, int8-qat (fine-tunes first, needs a C++ compiler), or a YAML file

Gates: the float file is the network within 0.1 mm, no transpose between convolutions, one delegate partition, 99% of
the MACs in INT8 (float islands aside). A file that misses one is not written, and the exit status is 1; --no-gates
writes it with what failed in its manifest."""
WORST = 4
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="weights written by train or search")
    parser.add_argument(
        "--out", metavar="FOLDER", help="folder of the bundles (default: CHECKPOINT without its ending)"
    )
    parser.add_argument("--zip", action="store_true", help="each bundle as one .zip in place of a folder")
    parser.add_argument("--no-gates", action="store_true", help="write bundles whose certificate misses a gate, too")
    parser.add_argument(
        "--max-drop", metavar="MM", help="leave in float what keeps the file's MPJPE within MM of the network's: 1.0mm"
    )
    parser.add_argument(
        "--legalise", metavar="ACTIVATION", help="replace activations, relu for prelu, and fine-tune the network"
    )
    parser.add_argument(
        "--legalise-samples", type=int, default=4000, metavar="N", help="training samples of that (default: 4000)"
    )
    parser.add_argument(
        "--verify", metavar="tensorflow", help="run every .tflite in tf.lite.Interpreter, too; fails where it disagrees"
    )
    parser.add_argument(
        "--saved-model", action="store_true", help="also write FOLDER/saved_model, the float network for TensorFlow"
    )
    add_options(parser, SearchConfig, only=("data", "dataset", "seed", "runtimes", "recipe", "timeout", "measure"))


def run(args: argparse.Namespace) -> int:
    from explore.export import ExportOptions, export_bundles
    from quantize.convert import ConversionError

    if args.legalise_samples < 1:
        raise InputError(f"legalise-samples: {args.legalise_samples} is no number of samples; give 1 or more")
    out = Path(args.out) if args.out else Path(args.checkpoint).with_suffix("")
    config = take(args, SearchConfig, {})
    options = ExportOptions(
        not args.no_gates,
        args.zip,
        args.legalise,
        args.legalise_samples,
        _millimetres(args.max_drop),
        args.verify,
        args.saved_model,
    )
    try:
        with Display(args.json) as display:
            rows = export_bundles(Path(args.checkpoint), out, config, display, options)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise ConversionError(f"{out}: {error.strerror}; free some space; what was there is untouched") from None
    if args.json:
        print(json.dumps(rows))
    else:
        _print(rows, out)
    return 0 if all(row["bundle"] for row in rows) else 1


def _millimetres(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return float(text.strip().removesuffix("mm"))
    except ValueError:
        raise InputError(f"max-drop: '{text}' is no length; write 1.0mm") from None


def _print(rows: list[dict[str, Any]], out: Path) -> None:
    if change := rows[0].get("legalised"):
        print(
            f"{change['from']} replaced by {change['to']}: MPJPE {change['before_mpjpe_mm']:.1f} mm before, "
            f"{change['replaced_mpjpe_mm']:.1f} at once, {change['after_mpjpe_mm']:.1f} after {change['samples']} samples"
            f" ({out / 'legalised.safetensors'})\n"
        )
    for row in rows:
        print("\n".join(_certificate(row)) + "\n")
    if saved := rows[0].get("saved_model"):
        print(
            f"{saved['path']}: the float network, joints {saved['mean']:.4f} mm from torch, {saved['max']:.4f} at most\n"
        )
    print(f"{'bundle':<40} {'MPJPE mm':>9} {'PA mm':>7} {'torch mm':>9} {'ms':>8} {'KiB':>7}")
    for row in rows:
        print(
            f"{row['bundle'] or row['runtime'] + ': not written':<40} {row['mpjpe_mm']:>9.1f} {row['pa_mpjpe_mm']:>7.1f} "
            f"{row['float_mpjpe_mm']:>9.1f} {_ms(row['latency_ms']):>8} {row['bytes'] / 1024:>7.0f}"
        )
    written = [row["bundle"] for row in rows if row["bundle"]]
    if written:
        print(f"next: python explore.py predict PHOTO --bbox x,y,w,h --model {written[0]}")


def _certificate(row: dict[str, Any]) -> list[str]:
    """The certificate in lines."""
    proof = row["certificate"]
    islands = f", float: {', '.join(row['float_islands'])}" if row["float_islands"] else ""
    lines = [
        f"{row['runtime']} {row['recipe']}{islands}",
        f"  MPJPE     {row['mpjpe_mm']:.2f} mm, PA {row['pa_mpjpe_mm']:.2f} (float file {row['float_file_mpjpe_mm']:.2f}, "
        f"torch {row['float_mpjpe_mm']:.2f})",
    ]
    for between, apart in proof["deviations"].items():
        lines.append(f"  {between:<20} mean {apart['mean']:.3f} mm, p95 {apart['p95']:.3f}, max {apart['max']:.3f}")
    if proof["steps_mm"]:
        worst = list(proof["steps_mm"].items())[:WORST]
        lines.append(
            f"  costliest steps      {', '.join(f'{n} {mm:.2f} mm' for n, mm in worst)} (each alone, simulated)"
        )
    lines += [
        f"  operators            {', '.join(f'{count} {kind}' for kind, count in proof['operators'].items())}",
        f"  {proof['int8_share']:.1%} of MACs in INT8, {proof['delegated']:.1%} of operators delegated in "
        f"{proof['partitions']} partition{'s' * (proof['partitions'] != 1)}, {proof['transposes']} transposes",
        f"  {row['bytes'] / 1024:.0f} KiB (float file {row['float_bytes'] / 1024:.0f}), {_latency(row)}",
    ]
    for name, apart in row.get("tensorflow", {}).items():
        lines.append(f"  tf.lite.Interpreter  {name}: {apart['mean']:.4f} mm from LiteRT, {apart['max']:.4f} at most")
    for gate in proof["gates"]:
        if gate["holds"]:
            lines.append(f"  gate holds: {gate['name']} ({gate['measured']:g})")
        else:
            lines.append(f"  GATE FAILED: {gate['name']}: {gate['measured']:g}, asked {gate['asked']}; {gate['fix']}")
    return lines


def _latency(row: dict[str, Any]) -> str:
    if row["latency_ms"] is None:
        return f"latency not measured: {row['latency']}"
    ratio = row["float_latency_ms"] / row["latency_ms"]
    return f"{row['latency_ms']:.3f} ms (float file {row['float_latency_ms']:.3f}, {ratio:.2f}x)"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
