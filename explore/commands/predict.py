"""`predict`: the people of photos in 2D and 3D."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from arch.errors import InputError
from arch.files import write_atomic
from explore.data.crop import read_image
from explore.predict import draw, pipeline, record
from explore.predict.camera import choose_camera, equivalent_focal
from explore.predict.pipeline import Prediction
from quantize import bundle as bundles
from quantize.bundle import Bundle
from quantize.runtimes import Session

EXAMPLE = "python explore.py predict photo.jpg --bbox 139,102,222,242 --model results/STUDY/bundles/NAME"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    # argparse takes "-5,10,80,200" for an option unless it is told that numbers may come in lists
    parser._negative_number_matcher = re.compile(r"^-\.?\d")
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO", help="JPEG or PNG")
    parser.add_argument(
        "--bbox", type=_numbers(4), action="append", metavar="x,y,w,h",
        help="box around a person in px of the photo, one option a person; none: the whole photo is one person's box",
    )  # fmt: skip
    parser.add_argument("--model", required=True, metavar="BUNDLE", help="folder that search or export made")
    parser.add_argument(
        "--focal", type=float, metavar="PX",
        help="focal length in px (default: from the photo's EXIF, else its longer side)",
    )  # fmt: skip
    parser.add_argument(
        "--principal", type=_numbers(2), metavar="x,y", help="principal point in px (default: the photo's centre)"
    )
    parser.add_argument(
        "--root-depth", type=float, action="append", metavar="MM",
        help="distance of the pelvis along the optical axis, one option a box (default: from the box's size)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=Path("."), metavar="DIR", help="for PHOTO-pose.png and .json (default: here)"
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of the runtime (default: 1)")


def _numbers(count: int) -> Callable[[str], tuple[float, ...]]:
    def parse(text: str) -> tuple[float, ...]:
        values = tuple(float(part) for part in text.split(","))
        if len(values) != count:
            raise ValueError
        return values

    parse.__name__ = f"list of {count} numbers"  # argparse says: invalid list of 4 numbers value
    return parse


def run(args: argparse.Namespace) -> int:
    _check(args)
    for photo in args.photos:  # all of them before anything is written
        pipeline.boxes_in_photo(photo, read_image(photo), args.bbox or [])
    bundle = bundles.load(args.model).verify()
    results = []
    with closing(bundle.session(args.threads)) as session:
        pipeline.warm_up(bundle, session)
        for photo in args.photos:
            prediction = _predict(args, photo, bundle, session)
            if assumed := record.assumptions(prediction):
                print(f"{photo}: assumed: {'; '.join(assumed)}", file=sys.stderr)
            files = _write(args.out, prediction, bundle)
            results.append(record.as_record(prediction, bundle) | {"files": [str(file) for file in files]})
    if args.json:
        print(json.dumps(results))
        return 0
    Console(highlight=False).print(_table(results))
    for result in results:
        print(f"written: {', '.join(result['files'])}")
    return 0


def _table(results: list[dict[str, Any]]) -> Table:
    table = Table("photo", "person", "confidence", "root depth m", "ms", header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    for result in results:
        for person in result["people"]:
            cells = (f"{person['confidence']:.2f}", f"{person['root_depth_mm'] / 1000:.2f}", f"{person['ms']:.2f}")
            table.add_row(escape(Path(result["photo"]).name), str(person["person"]), *cells)
    return table


def _check(args: argparse.Namespace) -> None:
    if args.bbox and len(args.photos) > 1:
        raise InputError(f"--bbox: {len(args.photos)} photos given, boxes belong to one; run the photos one by one")
    if args.focal is not None and not 0 < args.focal < float("inf"):
        raise InputError(f"--focal {args.focal:g}: give a positive number of px")
    if args.principal and not all(map(math.isfinite, args.principal)):
        raise InputError(f"--principal {args.principal[0]:g},{args.principal[1]:g}: give finite numbers of px")
    if args.threads < 1:
        raise InputError(f"--threads {args.threads}: give 1 or more")
    depths, boxes = args.root_depth or [], len(args.bbox or [None])
    if depths and (len(depths) != boxes or len(args.photos) > 1):
        raise InputError(f"--root-depth: {len(depths)} given for {boxes} boxes; give one for each --bbox of one photo")
    if not all(0 < depth < float("inf") for depth in depths):
        raise InputError("--root-depth: give positive distances in mm")
    stems = [photo.stem for photo in args.photos]
    for photo in args.photos:
        if stems.count(photo.stem) > 1:
            raise InputError(f"{photo}: {photo.stem}-pose.png would be written twice; run these photos one by one")


def _predict(args: argparse.Namespace, photo: Path, bundle: Bundle, session: Session) -> Prediction:
    image = read_image(photo)
    height, width = image.shape[:2]
    equivalent = equivalent_focal(photo) if args.focal is None else None
    camera = choose_camera(width, height, args.focal, args.principal, equivalent)
    boxes = pipeline.boxes_in_photo(photo, image, args.bbox or [(0, 0, width, height)])
    people = pipeline.find_people(bundle, session, image, boxes, camera, args.root_depth)
    return Prediction(photo, image, camera, people, whole=not args.bbox)


def _write(folder: Path, prediction: Prediction, bundle: Bundle) -> list[Path]:
    about = bundle.manifest
    title = f"{about.arch.name} · {about.runtime} {about.recipe.name}"
    text = json.dumps(record.as_record(prediction, bundle), indent=1)
    picture, values = (folder / f"{prediction.photo.stem}-pose{suffix}" for suffix in (".png", ".json"))
    drawn = draw.draw(prediction, about.skeleton, title)
    try:
        write_atomic(picture, drawn)
        write_atomic(values, text + "\n")
    except OSError as error:
        raise InputError(f"--out {folder}: cannot be written ({error.strerror}); choose another folder") from error
    return [picture, values]
