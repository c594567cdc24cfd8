"""Images without people: all JPEG, PNG and WebP files below a folder. They have a training split only.

A mix contains them beside people (`custom:PATH*0.9+negatives:FOLDER*0.1`): no pose is learned from them, but a low
confidence (`explore.train.loss.pose_loss`). They are also other backgrounds for people with masks.
"""

from __future__ import annotations

from pathlib import Path

from explore.data.images import image_size
from explore.data.readers import common
from explore.data.sample import Dataset
from explore.data.sample_errors import SampleError, SampleErrors
from explore.data.skeleton import H36M18

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def load(root: str | Path, split: str, options: None = None, errors: SampleErrors | None = None) -> Dataset:
    """Read the images. Raises InputError by the rule of explore.data.sample_errors."""
    builder = common.DatasetBuilder("negatives", split, Path(root), H36M18, errors or SampleErrors())
    builder.file_of_split({"train": "train"})
    images = []
    for path in sorted(path for path in builder.root.rglob("*") if path.suffix.lower() in SUFFIXES):
        try:
            file = path.relative_to(builder.root).as_posix()
            images.append(common.ImageEntry({}, file, image_size(path), str(path)))
        except SampleError as error:
            builder.errors.add(error)
            builder.seen += 1
    builder.collect_negatives(images)
    return builder.build(f"{builder.root}: no images ({', '.join(SUFFIXES)}); give the folder that holds them")
