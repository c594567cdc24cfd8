// From a network's raw output to joints, and from the detector's to boxes. Twins of arch/heads and explore/predict/detect.py.

const centre = (cell, cells) => (cell + 0.5) / cells;

// Softmax over values[at(0)] ... values[at(count - 1)], written to out.
function softmax(values, at, count, out) {
  let highest = -Infinity;
  for (let index = 0; index < count; index++) highest = Math.max(highest, values[at(index)]);
  let sum = 0;
  for (let index = 0; index < count; index++) sum += out[index] = Math.exp(values[at(index)] - highest);
  for (let index = 0; index < count; index++) out[index] /= sum;
}

// raw: channels last for maps, (joints, bins) for simcc. Joints as [x, y, z] in shares of the crop and of the depth
// range, and how sure each is: the largest share of one cell.
export function decode(raw, { head, heatmap, depth_bins: bins, joints, simcc_split: split, depth_gain: gain }) {
  if (!(head in HEADS)) throw new Error(`this page cannot read the head ${head}`);
  const found = { joints: [], confidence: [] };
  for (let joint = 0; joint < joints; joint++) {
    const [place, sure] = HEADS[head](raw, joint, joints, heatmap, bins, split, gain);
    found.joints.push(place);
    found.confidence.push(sure);
  }
  return found;
}

const HEADS = { volumetric, depthmap, simcc };

function volumetric(raw, joint, joints, cells, bins) {
  const channels = joints * bins, area = cells * cells, shares = new Float64Array(area * bins);
  softmax(raw, (index) => Math.floor(index / bins) * channels + joint * bins + (index % bins), area * bins, shares);
  let x = 0, y = 0, z = 0, sure = 0;
  for (let cell = 0; cell < area; cell++) {
    let column = 0;
    for (let bin = 0; bin < bins; bin++) {
      const share = shares[cell * bins + bin];
      column += share;
      z += share * centre(bin, bins);
    }
    x += column * centre(cell % cells, cells);
    y += column * centre(Math.floor(cell / cells), cells);
    sure = Math.max(sure, column);
  }
  return [[x, y, z], sure];
}

function depthmap(raw, joint, joints, cells, _bins, _split, gain) {
  const area = cells * cells, channels = 2 * joints, shares = new Float64Array(area);
  softmax(raw, (cell) => cell * channels + joint, area, shares);
  let x = 0, y = 0, z = 0.5, sure = 0;
  for (let cell = 0; cell < area; cell++) {
    x += shares[cell] * centre(cell % cells, cells);
    y += shares[cell] * centre(Math.floor(cell / cells), cells);
    z += (shares[cell] * raw[cell * channels + joints + joint]) / gain;
    sure = Math.max(sure, shares[cell]);
  }
  return [[x, y, z], sure];
}

function simcc(raw, joint, joints, cells, bins, split) {
  const fine = split * cells, start = joint * (2 * fine + bins), place = [], peaks = [];
  for (const [offset, count] of [[0, fine], [fine, fine], [2 * fine, bins]]) {
    const shares = new Float64Array(count);
    softmax(raw, (index) => start + offset + index, count, shares);
    place.push(shares.reduce((sum, share, index) => sum + share * centre(index, count), 0));
    peaks.push(Math.max(...shares));
  }
  return [place, peaks[0] * peaks[1]];
}

// ---- people ----

export const SIDE = 224;
const LAYERS = [[28, 2], [14, 2], [7, 6]];

export function anchors() {
  const made = [];
  for (const [cells, count] of LAYERS) {
    for (let cell = 0; cell < cells * cells; cell++) {
      for (let one = 0; one < count; one++) made.push([centre(cell % cells, cells), centre(Math.floor(cell / cells), cells)]);
    }
  }
  return made;
}

// Boxes [x, y, w, h] px of the detector's input, the surest first, one a person.
export function people(scores, places, middles, { sure, fit, same }) {
  const found = [];
  const least = Math.log(sure / (1 - sure));
  for (let index = 0; index < scores.length; index++) {
    if (scores[index] <= least) continue;
    const point = (at) => [0, 1].map((axis) => places[12 * index + 2 * at + axis] + SIDE * middles[index][axis]);
    const hips = point(2), edge = point(3);
    const reach = Math.hypot(edge[0] - hips[0], edge[1] - hips[1]);
    const box = [hips[0] - fit * reach, hips[1] - fit * reach, 2 * fit * reach, 2 * fit * reach];
    found.push([scores[index], box]);
  }
  const kept = [];
  for (const [, box] of found.sort((a, b) => b[0] - a[0])) {
    if (kept.every((other) => overlap(box, other) < same)) kept.push(box);
  }
  return kept;
}

export function overlap(a, b) {
  const across = Math.max(Math.min(a[0] + a[2], b[0] + b[2]) - Math.max(a[0], b[0]), 0);
  const down = Math.max(Math.min(a[1] + a[3], b[1] + b[3]) - Math.max(a[1], b[1]), 0);
  return (across * down) / (a[2] * a[3] + b[2] * b[3] - across * down);
}
