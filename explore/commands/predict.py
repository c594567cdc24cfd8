"""`predict`: 3D poses of the people in photos, videos and camera streams, and live in a browser."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from arch.errors import InputError, shortened
from arch.files import check_output_folder, remove_leftovers
from explore.options import deprecated_option, reject_useless
from explore.predict import BUNDLED
from quantize.environment import usable_cores

if TYPE_CHECKING:
    from explore.predict.pipeline import PredictOptions

EXAMPLE = """python explore.py predict photo.jpg
         python explore.py predict photo.jpg --model results/STUDY/bundles/NAME/litert
         python explore.py predict video.mp4 --model SMALL/litert --model LARGE/litert
         python explore.py predict camera:0 --seconds 20 --model BUNDLE
         python explore.py predict --web

A small detector finds the people. It is reliable for one person who fills the image and misses people in crowds; give
boxes there. FILE of --boxes is CSV with the columns file,frame,person,x,y,w,h,root_depth_mm (x to h are required), or
JSON: [{"file": "a.jpg", "bbox": [x, y, w, h], "root_cam": [x, y, z]}, ...], in px and mm, the format of RootNet."""
VIDEO_FORMATS = ("mp4", "webm")
MAX_LENGTH = 10_000_000  # px or mm; larger ones overflow
MAX_THREADS = 256
DETECTOR_THREADS = 4  # at most
WEB_OPTIONS = ("web", "listen", "cert", "smooth", "parser")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser._negative_number_matcher = re.compile(r"^-\.?\d")  # so that argparse reads "-5,10,80,200" as a value
    add = parser.add_argument
    add("inputs", nargs="*", default=[], metavar="INPUT", help="photo, video, folder of both, or camera:N")
    add("--model", action="append", metavar="BUNDLE",
        help="bundle folder written by search or export; repeat it to compare models (default: the bundled real-224)")  # fmt: skip
    boxes = parser.add_mutually_exclusive_group()
    boxes.add_argument("--bbox", type=_numbers("X,Y,W,H"), action="append", metavar="X,Y,W,H",
        help="box of a person in px, in every frame of a video; repeat it for each person (default: detect people)")  # fmt: skip
    boxes.add_argument(
        "--boxes", type=Path, metavar="FILE", help="CSV or JSON file with the boxes of many images or frames"
    )
    boxes.add_argument("--full-image", action="store_true", help="take each full image as one person's box")
    deprecated_option(boxes, "--whole", "--full-image", nargs=0, const=True)
    add("--root-depth", type=float, action="append", metavar="MM",
        help="distance of the pelvis along the optical axis, once for each --bbox or for --full-image "
        "(default: estimate from the box)")  # fmt: skip
    add("--focal", type=float, metavar="PX", help="focal length (default: from EXIF, else the longer side)")
    add("--principal", type=_numbers("X,Y"), metavar="X,Y", help="principal point in px (default: the centre)")
    add("--seconds", type=float, default=math.inf, metavar="S",
        help="length to read of a video or camera (default: all; Ctrl-C stops and keeps the results)")  # fmt: skip
    add("--out", type=Path, default=Path("."), metavar="DIR",
        help="folder for NAME-pose.png and .json, or .mp4 and .jsonl of a video (default: current folder)")  # fmt: skip
    add("--video-format", choices=VIDEO_FORMATS, default="mp4",
        help="format of the drawn video; all browsers play webm (default: mp4)")  # fmt: skip
    add("--smooth", choices=("on", "off"), default="on",
        help="One-Euro filter of the joints in videos, and at first in the page of --web; photos are not filtered (default: on)")  # fmt: skip
    deprecated_option(parser, "--film", "--video-format", choices=VIDEO_FORMATS)
    add(
        "--threads",
        type=int,
        default=1,
        metavar="N",
        help="threads of each network (default: 1); the person detector uses up to 4 cores",
    )
    add("--web", metavar="BUNDLE", nargs="?", const=str(BUNDLED),
        help="serve a page that predicts live from a browser's camera, with LiteRT.js (default: the bundled real-224)")  # fmt: skip
    add("--listen", metavar="HOST:PORT", help="address of --web (default: 127.0.0.1 and a free port)")
    add("--cert", metavar="FILE|self",
        help="serve --web over https with a PEM file of certificate and key, or a new self-signed one (needs openssl)")  # fmt: skip


def _numbers(form: str) -> Callable[[str], tuple[float, ...]]:
    """Return a function that parses as many numbers as `form` names."""

    def parse(text: str) -> tuple[float, ...]:
        try:
            values = tuple(float(part) for part in text.split(","))
        except ValueError:
            values = ()
        if len(values) != len(form.split(",")):
            raise argparse.ArgumentTypeError(f"'{text}' is not {form}; give {len(form.split(','))} numbers of px")
        return values

    return parse


def run(args: argparse.Namespace) -> int:
    if args.web:
        from explore.predict.web import serve

        _check_web(args)
        return serve(args.web, args.listen, args.cert, args.smooth == "on")
    _check(args)
    return _predict(args)


def _predict(args: argparse.Namespace) -> int:
    from explore.data.images import read_image
    from explore.predict.boxes import check_files
    from explore.predict.detector import Detector
    from explore.predict.inputs import VideoReader, parse_inputs
    from explore.predict.photos import predict_photo
    from explore.predict.pipeline import OutputError, StageTimer, choose_boxes, open_models
    from explore.predict.videos import predict_video
    from explore.progress import Display

    check_output_folder(args.out, "--out")
    remove_leftovers(args.out)
    photos, videos = parse_inputs(args.inputs)
    _check_single_image(args, len(photos) + len(videos))
    options = _options(args)
    incomplete: list[str] = []
    frames: dict[str, int | None] = {str(photo.path): 1 for photo in photos}  # check all before anything is written
    for video in list(videos):
        frames[video.name] = None
        if video.path is None:
            continue
        try:
            reader = VideoReader(video)
            frames[video.name] = reader.count
            reader.close()
        except InputError as error:
            if not video.in_folder:
                raise
            incomplete.append(str(error))
            videos.remove(video)
    if args.boxes and (unused := check_files(options.entries, options.option, frames)):
        print(f"{options.option}: {len(unused)} of its files are no inputs: {', '.join(unused[:5])}", file=sys.stderr)
    for photo in photos:
        if not photo.in_folder:
            choose_boxes(str(photo.path), 0, read_image(photo.path), options, None)
    photo_results: list[dict[str, Any]] = []
    video_results: list[dict[str, Any]] = []
    timer = StageTimer()
    with ExitStack() as stack:
        models = open_models(args.model or [str(BUNDLED)], args.threads)
        for model in models:
            stack.callback(model.session.close)
        with_roi = any(model.bundle.manifest.preprocessing.roi for model in models)
        threads = max(args.threads, min(DETECTOR_THREADS, usable_cores()))
        detector = Detector(threads) if options.detects or with_roi else None
        display = stack.enter_context(Display(args.json))
        if len(photos) > 1:
            display.stage("photos")
        for done, photo in enumerate(photos, 1):
            try:
                records = predict_photo(photo, models, options, detector, timer)
            except InputError as error:
                if not photo.in_folder or isinstance(error, OutputError):
                    raise
                incomplete.append(str(error))
                continue
            photo_results += records
            _print_notes(str(photo.path), records[0]["assumed"], bool(records[0]["people"]))
            if len(photos) > 1:
                display.update(done / len(photos), photo.path.name)
        for video in videos:
            try:
                result = predict_video(video, models, options, detector, display)
            except InputError as error:
                if not video.in_folder or isinstance(error, OutputError):
                    raise
                incomplete.append(str(error))
                continue
            video_results.append(result)
            _print_notes(video.name, result["assumed"], result["frames_with_people"] > 0)
            if result["incomplete"]:
                incomplete.append(f"{video.name}: {result['incomplete']}")
            if result["interrupted"]:
                break
    for line in incomplete:
        print(f"incomplete: {shortened(line, 2000)}", file=sys.stderr)
    if args.json:
        print(json.dumps(photo_results + video_results))
    else:
        _print_results(photo_results, video_results, timer.report(), len(models))
    return 1 if incomplete else 0


def _options(args: argparse.Namespace) -> PredictOptions:
    from explore.predict.boxes import BoxEntry, read_boxes
    from explore.predict.pipeline import PredictOptions

    boxes, depths = args.bbox or [], args.root_depth or []
    entries = [  # not validated here: boxes_of_frame names the option in its errors
        BoxEntry.model_construct(bbox=box, root_depth_mm=depth)
        for box, depth in zip(boxes, depths or [None] * len(boxes), strict=False)
    ]
    depth = depths[0] if depths and not boxes else None
    return PredictOptions(
        out=args.out,
        entries=read_boxes(args.boxes) if args.boxes else entries,
        option=f"--boxes {args.boxes}" if args.boxes else "--bbox",
        full_image=args.full_image or depth is not None,
        root_depth=depth,
        focal=args.focal,
        principal=args.principal,
        seconds=args.seconds,
        video_format=args.video_format,
        smooth=args.smooth == "on",
    )


def _print_notes(name: str, assumed: list[str], any_people: bool) -> None:
    name = shortened(name, 500)
    if not any_people:
        print(f"{name}: no person found; give --bbox, --boxes or --full-image", file=sys.stderr)
    elif assumed:
        print(f"{name}: assumed: {'; '.join(assumed)}", file=sys.stderr)


def _print_results(
    photos: list[dict[str, Any]], videos: list[dict[str, Any]], times: dict[str, Any], models: int
) -> None:
    console = Console(highlight=False)
    if photos:
        console.print(_people_table(photos, models))
        console.print(_times_table(times, "photos"))
    for video in videos:
        console.print(_times_table(video, Path(video["video"]).name))
        if video["differences_mm"] is not None:
            print(f"mean distance between the models' joints, root-aligned: {video['differences_mm']:g} mm")
    for result in photos + videos:
        print(f"written: {', '.join(result['files'])}")


def _people_table(results: list[dict[str, Any]], models: int) -> Table:
    people = [person for result in results for person in result["people"]]
    certainty = "presence" if all("presence" in person for person in people) else "confidence"
    numbers = ("person", certainty, "root depth m", "ms")
    table = Table("photo", *(["model"] if models > 1 else []), header_style="bold")
    for name in numbers:
        table.add_column(name, justify="right")
    for result in results:
        for person in result["people"]:
            cells = (f"{person[certainty]:.2f}", f"{person['root_depth_mm'] / 1000:.2f}", f"{person['ms']:.2f}")
            label = [result["model"]] if models > 1 else []
            table.add_row(escape(Path(result["photo"]).name), *label, str(person["person"]), *cells)
    return table


def _times_table(times: dict[str, Any], name: str) -> Table:
    title = f"{escape(name)}: {times['frames']} processed, {times['frames_per_s']:g} per second"
    table = Table("stage", min_width=56, title=title, title_justify="left", header_style="bold")
    for column in ("ms per image", "share of time"):
        table.add_column(column, justify="right")
    rows = times["ms_per_frame"]
    total = sum(row["ms"] for row in rows) or 1.0
    several = len({row["model"] for row in rows} - {""}) > 1
    for row in rows:
        stage = f"{row['stage']} {row['model']}" if several else row["stage"]
        table.add_row(escape(stage), f"{row['ms']:.2f}", f"{row['ms'] / total:.0%}")
    return table


def _check_web(args: argparse.Namespace) -> None:
    if args.inputs:
        raise InputError("INPUT: has no effect with --web, which uses the browser's camera; omit it")
    others = [name for name in vars(args) if name not in WEB_OPTIONS]
    reject_useless(args, others, "with --web, which uses the browser's camera and its own BUNDLE")


def _check(args: argparse.Namespace) -> None:
    if not args.inputs:
        raise InputError("INPUT: missing; give photos, videos, a folder of them, or camera:0; or use --web BUNDLE")
    depths = args.root_depth or []
    for option, value, unit in (("--focal", args.focal, "px"), *(("--root-depth", depth, "mm") for depth in depths)):
        if value is not None and not 0 < value <= MAX_LENGTH:
            raise InputError(f"{option} {value:g}: give a positive number of {unit}, at most {MAX_LENGTH}")
    if args.principal and not all(abs(value) <= MAX_LENGTH for value in args.principal):
        raise InputError(f"--principal {args.principal[0]:g},{args.principal[1]:g}: give px, at most {MAX_LENGTH}")
    if not args.seconds > 0:
        raise InputError(f"--seconds {args.seconds:g}: give a positive number of seconds")
    if not 1 <= args.threads <= MAX_THREADS:
        raise InputError(f"--threads {args.threads}: give 1 to {MAX_THREADS}")
    if args.listen or args.cert:
        raise InputError("--listen, --cert: apply to --web BUNDLE only; omit them")


def _check_single_image(args: argparse.Namespace, images: int) -> None:
    if args.bbox and images > 1:
        raise InputError(f"--bbox: applies to one image, {images} given; run them one by one, or use --boxes")
    depths, boxes = args.root_depth or [], len(args.bbox or [None])
    if depths and (len(depths) != boxes or images > 1 or args.boxes):
        raise InputError(f"--root-depth: {len(depths)} given for {boxes} boxes; give one for each --bbox of one image")
