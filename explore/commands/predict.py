"""`predict`: the people of photos, films and cameras in 2D and 3D."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from arch.errors import InputError

EXAMPLE = """python explore.py predict photo.jpg --model results/STUDY/bundles/NAME/litert
         python explore.py predict film.mp4 --model SMALL/litert --model LARGE/litert
         python explore.py predict camera:0 --seconds 20 --model BUNDLE
         python explore.py predict --web BUNDLE            live in a browser, a phone's too: see --listen

People are found by a small detector, which is sure of one who fills the picture and misses some in a crowd; where it
does, give boxes. --boxes FILE: CSV with a first line file,frame,person,x,y,w,h,root_depth_mm (x to h needed), or JSON
[{"file": "a.jpg", "bbox": [x, y, w, h], "root_cam": [x, y, z]}, ...], as RootNet writes its root joints, px and mm."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    # argparse takes "-5,10,80,200" for an option unless it is told that numbers may come in lists
    parser._negative_number_matcher = re.compile(r"^-\.?\d")
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help="photo, video, folder of them, or camera:0")
    parser.add_argument(
        "--model", action="append", metavar="BUNDLE", help="folder that search or export made; several: side by side"
    )
    parser.add_argument("--bbox", type=_numbers(4), action="append", metavar="x,y,w,h",
        help="box around a person in px, one option a person, in every frame of a video (default: people are looked for)",
    )  # fmt: skip
    parser.add_argument("--boxes", type=Path, metavar="FILE", help="boxes of many pictures or frames, JSON or CSV")
    parser.add_argument("--whole", action="store_true", help="the whole picture is one person's box")
    parser.add_argument("--focal", type=float, metavar="PX",
        help="focal length in px (default: from the photo's EXIF, else its longer side)",
    )  # fmt: skip
    parser.add_argument(
        "--principal", type=_numbers(2), metavar="x,y", help="principal point in px (default: the picture's centre)"
    )
    parser.add_argument("--root-depth", type=float, action="append", metavar="MM",
        help="distance of the pelvis along the optical axis, one option a box (default: from the box's size)",
    )  # fmt: skip
    parser.add_argument(
        "--seconds", type=float, metavar="S", help="of a video or camera (default: all; Ctrl-C ends it)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("."), metavar="DIR",
        help="for NAME-pose.png and .json, of videos .mp4 and .jsonl (default: here)",
    )  # fmt: skip
    parser.add_argument(
        "--film", choices=("mp4", "webm"), default="mp4", help="what to write of videos; webm plays in browsers"
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of the runtime (default: 1)")
    parser.add_argument("--web", metavar="BUNDLE", help="serve a page that does this live in a browser, by LiteRT.js")
    parser.add_argument("--listen", metavar="HOST:PORT", help="for --web (default: 127.0.0.1 and a free port)")
    parser.add_argument("--cert", metavar="FILE|self",
        help="for --web: serve https, with certificate and key of a PEM file, or with one made now (needs openssl)",
    )  # fmt: skip


def _numbers(count: int) -> Callable[[str], tuple[float, ...]]:
    def parse(text: str) -> tuple[float, ...]:
        values = tuple(float(part) for part in text.split(","))
        if len(values) != count:
            raise ValueError
        return values

    parse.__name__ = f"list of {count} numbers"  # argparse says: invalid list of 4 numbers value
    return parse


def run(args: argparse.Namespace) -> int:
    if args.web:
        from explore.predict.web import serve

        if args.inputs or args.model:
            raise InputError("--web: takes the browser's camera and one bundle; leave INPUT and --model away")
        return serve(args.web, args.listen, args.cert)
    _check(args)
    return _predict(args)


def _predict(args: argparse.Namespace) -> int:
    from explore.data.crop import read_image
    from explore.predict import pipeline
    from explore.predict.boxes import Entry, read_boxes
    from explore.predict.clock import Clock
    from explore.predict.detect import Detector
    from explore.predict.films import predict_film
    from explore.predict.inputs import inputs
    from explore.predict.photos import given_boxes, predict_photo
    from explore.predict.wish import Wish
    from explore.progress import Display

    photos, more, films = inputs(args.inputs)
    _check_one_picture(args, len(photos) + len(more) + len(films))
    depths = args.root_depth or []
    boxes = args.bbox or []
    entries = [
        Entry.model_construct(bbox=box, root_depth_mm=depth)  # checked with the picture, in words that name the option
        for box, depth in zip(boxes, depths if boxes and depths else [None] * len(boxes), strict=True)
    ]
    wish = Wish(
        out=args.out,
        entries=read_boxes(args.boxes) if args.boxes else entries,
        option=f"--boxes {args.boxes}" if args.boxes else "--bbox",
        whole=args.whole or bool(depths and not boxes),
        root_depth=depths[0] if depths and not boxes else None,
        focal=args.focal,
        principal=args.principal,
        seconds=args.seconds or math.inf,
        suffix=args.film,
    )
    for photo in photos:  # all of them before anything is written
        given_boxes(photo, read_image(photo), wish)
    for film in films:
        if film.path is not None:
            film.open().close()
    results: list[dict[str, Any]] = []
    reels: list[dict[str, Any]] = []
    failed: list[str] = []
    with ExitStack() as stack:
        models = pipeline.open_models(args.model, args.threads)
        for model in models:
            stack.callback(model.session.close)
        _writable(args.out)
        detector = None if wish.entries or wish.whole else Detector(args.threads)
        clock = Clock()
        display = stack.enter_context(Display(args.json))
        many = len(photos) + len(more) > 1
        if many:
            display.stage("photos")
        for done, photo in enumerate([*photos, *more]):
            try:
                records = predict_photo(photo, models, wish, detector, clock)
            except InputError as error:
                if photo in photos:
                    raise
                failed.append(str(error))  # one bad picture of a folder
                continue
            results += records
            _say(photo, records[0]["assumed"], records[0]["people"])
            if many:
                display.update((done + 1) / (len(photos) + len(more)), photo.name)
        for film in films:
            reels.append(predict_film(film, models, wish, detector, display))
            _say(Path(film.name), reels[-1]["assumed"], [1] * reels[-1]["frames_with_people"])
            if reels[-1]["incomplete"]:
                failed.append(f"{film.name}: {reels[-1]['incomplete']}")
    for line in failed:
        print(f"incomplete: {line}", file=sys.stderr)
    if args.json:
        print(json.dumps(results + reels))
    else:
        _print(results, reels, clock.report(), len(args.model))
    return 1 if failed else 0


def _say(name: Path, assumed: list[str], people: list[Any]) -> None:
    if not people:
        print(f"{name}: nobody found; give --bbox or --boxes, or --whole", file=sys.stderr)
    elif assumed:
        print(f"{name}: assumed: {'; '.join(assumed)}", file=sys.stderr)


def _print(results: list[dict[str, Any]], reels: list[dict[str, Any]], times: dict[str, Any], models: int) -> None:
    console = Console(highlight=False)
    if results:
        console.print(_people_table(results, models))
        console.print(_times_table(times, "photos"))
    for reel in reels:
        console.print(_times_table(reel, Path(reel["film"]).name))
        if reel["differences_mm"] is not None:
            print(f"the models differ by {reel['differences_mm']:g} mm a joint on average, root joints laid together")
    for result in results + reels:
        print(f"written: {', '.join(result['files'])}")


def _people_table(results: list[dict[str, Any]], models: int) -> Table:
    names = ["photo", *(["model"] if models > 1 else []), "person", "confidence", "root depth m", "ms"]
    table = Table(*names, header_style="bold")
    for column in table.columns[-4:]:
        column.justify = "right"
    for result in results:
        for person in result["people"]:
            cells = (f"{person['confidence']:.2f}", f"{person['root_depth_mm'] / 1000:.2f}", f"{person['ms']:.2f}")
            label = [result["model"]] if models > 1 else []
            table.add_row(escape(Path(result["photo"]).name), *label, str(person["person"]), *cells)
    return table


def _times_table(times: dict[str, Any], name: str) -> Table:
    table = Table("stage", "ms a picture", "share", min_width=56, title=f"{escape(name)}: {times['frames']} in all, "
                  f"{times['frames_per_s']:g} a second", title_justify="left", header_style="bold")  # fmt: skip
    total = sum(row["ms"] for row in times["ms_per_frame"]) or 1.0
    for column in table.columns[1:]:
        column.justify = "right"
    several = len({row["model"] for row in times["ms_per_frame"]} - {""}) > 1
    for row in times["ms_per_frame"]:
        stage = f"{row['stage']} {row['model']}" if several else row["stage"]
        table.add_row(escape(stage), f"{row['ms']:.2f}", f"{row['ms'] / total:.0%}")
    return table


def _check(args: argparse.Namespace) -> None:
    if not args.inputs:
        raise InputError("INPUT: give photos, videos, a folder of them, or camera:0; or --web BUNDLE")
    if not args.model:
        raise InputError("--model: give the folder of a bundle, such as results/reference/bundles/4d9892a5a7/litert")
    if sum(map(bool, (args.bbox, args.boxes, args.whole))) > 1:
        raise InputError("--bbox, --boxes, --whole: each says where people are; give one of them")
    if args.focal is not None and not 0 < args.focal < float("inf"):
        raise InputError(f"--focal {args.focal:g}: give a positive number of px")
    if args.principal and not all(map(math.isfinite, args.principal)):
        raise InputError(f"--principal {args.principal[0]:g},{args.principal[1]:g}: give finite numbers of px")
    if args.seconds is not None and not args.seconds > 0:
        raise InputError(f"--seconds {args.seconds:g}: give a positive number of seconds")
    if args.threads < 1:
        raise InputError(f"--threads {args.threads}: give 1 or more")
    if not all(0 < depth < float("inf") for depth in args.root_depth or []):
        raise InputError("--root-depth: give positive distances in mm")
    if args.listen or args.cert:
        raise InputError("--listen, --cert: belong to --web BUNDLE; leave them away here")


def _check_one_picture(args: argparse.Namespace, pictures: int) -> None:
    if args.bbox and pictures > 1:
        raise InputError(f"--bbox: {pictures} photos given, boxes belong to one; run them one by one, or use --boxes")
    depths, boxes = args.root_depth or [], len(args.bbox or [None])
    if depths and (len(depths) != boxes or pictures > 1 or args.boxes):
        raise InputError(f"--root-depth: {len(depths)} given for {boxes} boxes; give one for each --bbox of one photo")


def _writable(folder: Path) -> None:
    """Before the work is done, not after."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"--out {folder}: cannot be written ({error.strerror}); choose another folder") from None
