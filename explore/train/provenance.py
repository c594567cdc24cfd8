"""The record of a checkpoint's training data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from explore.data import parse_data
from explore.data.skeleton import Skeleton
from quantize.checkpoint import TRAINED_ON, JointNames, TrainedOn

if TYPE_CHECKING:
    from explore.evaluation.evaluator import Evaluator

# Terms of the data sets by reader, in short; their authors publish the full text.
LICENCES = {
    "synthetic": "Apache-2.0",
    "human36m": "Human3.6M licence (academic use only)",
    "mpii": "Simplified BSD (MPII Human Pose)",
    "mscoco": "CC BY 4.0 annotations; images under Flickr terms (COCO)",
    "muco": "MPI-INF-3DHP licence (non-commercial research only)",
    "mupots": "MuPoTS-3D licence (non-commercial research only)",
    "mpi_inf_3dhp": "MPI-INF-3DHP licence (non-commercial research only)",
}


def trained_on(evaluator: Evaluator, preset: str = "") -> dict[str, Any]:
    """Return the entry of a checkpoint's facts that describes its training data, see `TrainedOn`.

    Empty if the data was not opened with settings, such as the parts that a test puts together.
    """
    config, data = evaluator.config, evaluator.train
    if config is None:
        return {}
    record = TrainedOn(
        data=config.data,
        dataset=config.dataset.model_dump(mode="json"),
        name=data.name,
        hash=data.hash,
        skeleton=joint_names(data.skeleton),
        licence=licence(config.data),
        input_size=config.input_size,
        preset=preset,
    )
    return {TRAINED_ON: record.model_dump(mode="json")}


def joint_names(skeleton: Skeleton) -> JointNames:
    """Return the skeleton as checkpoints store it."""
    return JointNames(
        name=skeleton.name,
        joints=skeleton.names,
        edges=skeleton.edges,
        flip_pairs=skeleton.flip_pairs,
        root=skeleton.root,
        unscored=skeleton.unscored,
        hips=skeleton.hips,
    )


def licence(data: str) -> str:
    """Return the terms of the data sets that `data` joins; an empty string if those of one are unknown."""
    found = [_terms(part) for part in parse_data(data)]
    return "; ".join(dict.fromkeys(found)) if all(found) else ""


def _terms(part: str) -> str:
    """Return the terms of one data set: of its reader, or the first line of `licence.txt` in a folder of one's own."""
    reader, _, folder = part.partition(":")
    own = Path(folder).expanduser() / "licence.txt"
    if reader in ("custom", "negatives"):
        return own.read_text("utf-8", "replace").strip().partition("\n")[0] if own.is_file() else ""
    return LICENCES.get(reader, "")
