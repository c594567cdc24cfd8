#!/bin/sh
# Train real-128 and real-128-small from the root of a clone: sh results/real-128/train.sh PHOTOS MOTION
# PHOTOS: folder of photos, such as photos/ of github.com/bearpaw/clothing-co-parsing.
# MOTION: folder of ASF and AMC files, such as subject 02 of mocap.cs.cmu.edu. About four hours of one core.
set -eu
photos=$1 motion=$2

label() {  # set, further options
  set=$1
  shift
  python explore.py data label "$photos" --teacher blazepose-full --max-bone-ratio 2 --out "$set" "$@"
  echo "Clothing Co-Parsing (Apache-2.0 repository, rights of the photographers not documented)" > "$set/licence.txt"
}

train() {  # arch file, data, samples, further options
  arch=$1 data=$2 samples=$3
  shift 3
  python explore.py train --arch "$arch" --data "$data" --dataset.train-frames 20000 --samples "$samples" \
    --batch-size 32 --weight-decay 0.01 --ema-decay 0.999 --augment real "$@"
}

label sets/street                                # 18 joints
cp -r sets/street sets/street33                  # the same labels with all 33 landmarks
label sets/street33 --skeleton blazepose33
python - <<'PYTHON'
# Views of the panoramas: images without people.
from pathlib import Path

import numpy as np
from PIL import Image

from explore.data.synthetic.panorama import surroundings

folder, rng = Path("sets/empty"), np.random.default_rng(0)
folder.mkdir(parents=True, exist_ok=True)
for index in range(400):
    view = surroundings(rng, np.array([0.0, -1.0, 0.0]), 256).background
    Image.fromarray(view.clip(0, 255).astype(np.uint8)).save(folder / f"{index:03}.jpg", quality=90)
PYTHON

# The encoder's first weights are those of a network of 18 joints.
mix18="custom:sets/street*0.4+synthetic:full*0.6"
train results/real-128-small/arch.yaml "$mix18" 120000 --learning-rate 8e-3 --out sets/real-128-small.safetensors
sed 's/num_joints: 33/num_joints: 18/' results/real-128/arch.yaml > sets/18.yaml
train sets/18.yaml "$mix18" 200000 --learning-rate 4e-3 --out sets/first.safetensors
train sets/18.yaml "$mix18" 120000 --learning-rate 2e-3 --init-from sets/first.safetensors --out sets/second.safetensors
train results/real-128/arch.yaml "custom:sets/street33*0.38+synthetic:full*0.58+negatives:sets/empty*0.04" 300000 \
  --framing roi --dataset.skeleton blazepose33 --dataset.poses "procedural+cmu:$motion+labelled:sets/street" \
  --learning-rate 4e-3 --backbone sets/second.safetensors --out sets/real-128.safetensors

python explore.py export sets/real-128.safetensors --runtimes litert --out results/real-128 \
  --task results/real-128/pose_landmarker.task
python explore.py export sets/real-128-small.safetensors --runtimes litert --out results/real-128-small
