#!/bin/sh
# Train real-128, real-224 and real-128-small from the root of a clone: sh results/real-128/train.sh PHOTOS MOTION
# PHOTOS: folder of photos, such as photos/ of github.com/bearpaw/clothing-co-parsing.
# MOTION: folder of ASF and AMC files, such as subject 02 of mocap.cs.cmu.edu.
# Sets and networks that exist in sets/ are kept, and an interrupted training is continued. results/real-128/README.md
# states how long each training took.
set -eu
photos=$1 motion=$2

label() {  # set, skeleton
  [ ! -f "$1/licence.txt" ] || return 0
  python explore.py data label "$photos" --teacher blazepose-full --max-bone-ratio 2 --skeleton "$2" --out "$1"
  echo "Clothing Co-Parsing (Apache-2.0 repository, rights of the photographers not documented)" > "$1/licence.txt"
}

train() {  # arch file, data, frames to render, samples, checkpoint to write, further options
  arch=$1 data=$2 frames=$3 samples=$4 out=$5
  shift 5
  [ ! -f "$out" ] || return 0
  python explore.py train --arch "$arch" --data "$data" --dataset.train-frames "$frames" --samples "$samples" \
    --batch-size 32 --weight-decay 0.01 --ema-decay 0.999 --augment real --evaluations 20 --out "$out" "$@"
}

mean() {  # checkpoint to write, and two of the same network
  [ -f "$1" ] || python - "$@" <<'PYTHON'
import sys

from quantize.checkpoint import load_tensors, save_tensors

out, *paths = sys.argv[1:]
(first, facts), (second, _) = map(load_tensors, paths)
save_tensors(out, {key: (value + second[key]) / 2 if value.is_floating_point() else value for key, value in first.items()}, facts)
PYTHON
}

label sets/street h36m18
if [ ! -d sets/street33 ]; then  # the same predictions of the teacher with all 33 landmarks
  cp -r sets/street sets/street33
  rm sets/street33/licence.txt
fi
label sets/street33 blazepose33
[ -f sets/empty/399.jpg ] || python - <<'PYTHON'
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

landmarks() {  # arch file, shares of photos, renders and images without people, then as of train without the arch file
  arch=$1 data="custom:sets/street33*$2+synthetic:full*$3+negatives:sets/empty*$4"
  shift 4
  train "$arch" "$data" "$@" --framing roi --dataset.skeleton blazepose33 --dataset.frame 256 \
    --dataset.poses "procedural+cmu:$motion+labelled:sets/street"
}

landmarks results/real-128-small/arch.yaml 0.32 0.64 0.04 40000 460000 sets/real-128-small.safetensors --learning-rate 8e-3

# The encoder's first weights are those of a network of 18 joints.
mix18="custom:sets/street*0.4+synthetic:full*0.6"
sed 's/num_joints: 33/num_joints: 18/' results/real-128/arch.yaml > sets/18.yaml
train sets/18.yaml "$mix18" 20000 200000 sets/first.safetensors --learning-rate 4e-3
train sets/18.yaml "$mix18" 20000 120000 sets/second.safetensors --learning-rate 2e-3 --init-from sets/first.safetensors

net=results/real-128/arch.yaml
landmarks $net 0.38 0.58 0.04 20000 300000 sets/third.safetensors --learning-rate 4e-3 --backbone sets/second.safetensors
landmarks $net 0.32 0.64 0.04 30000 330000 sets/fourth.safetensors --learning-rate 3e-3 --init-from sets/third.safetensors
landmarks $net 0.32 0.64 0.04 12000 140000 sets/fifth.safetensors --learning-rate 2e-3 --init-from sets/fourth.safetensors \
  --dataset.seed 1
landmarks $net 0.32 0.64 0.04 40000 300000 sets/real-128.safetensors --learning-rate 2.5e-3 --init-from sets/fifth.safetensors

# More pixels for the same network: 192, then 224. Two runs at 224 px see different renders and are averaged.
net=results/real-224/arch.yaml
sed 's/input_size: 224/input_size: 192/; s/heatmap_size: 56/heatmap_size: 48/' $net > sets/192.yaml
landmarks sets/192.yaml 0.32 0.64 0.04 40000 300000 sets/sixth.safetensors --learning-rate 2.5e-3 --init-from sets/fifth.safetensors
landmarks $net 0.32 0.64 0.04 40000 190000 sets/seventh.safetensors --learning-rate 3e-3 --init-from sets/sixth.safetensors
landmarks $net 0.32 0.64 0.04 40000 135000 sets/eighth.safetensors --learning-rate 3e-3 --init-from sets/sixth.safetensors \
  --dataset.seed 1 --seed 1
mean sets/mean.safetensors sets/seventh.safetensors sets/eighth.safetensors
# An average of weights over more steps than the others.
landmarks $net 0.32 0.64 0.04 40000 165000 sets/ninth.safetensors --learning-rate 2e-3 --init-from sets/mean.safetensors \
  --dataset.seed 1 --seed 2 --ema-decay 0.9995
mean sets/second-mean.safetensors sets/mean.safetensors sets/ninth.safetensors
# Other renders, and in the second run more of the photos.
landmarks $net 0.32 0.64 0.04 30000 230000 sets/tenth.safetensors --learning-rate 2e-3 --init-from sets/second-mean.safetensors \
  --dataset.seed 2 --seed 3 --ema-decay 0.9995
landmarks $net 0.40 0.56 0.04 30000 230000 sets/eleventh.safetensors --learning-rate 2e-3 --init-from sets/second-mean.safetensors \
  --dataset.seed 3 --seed 4 --ema-decay 0.9995
mean sets/real-224.safetensors sets/tenth.safetensors sets/eleventh.safetensors

for name in real-128 real-224 real-128-small; do
  python explore.py export sets/$name.safetensors --runtimes litert --out results/$name --task results/$name/pose_landmarker.task
done
