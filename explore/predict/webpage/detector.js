// Decodes the output of the person detector to boxes. Must match explore/predict/detector.py; tests compare them.

const centre = (cell, cells) => (cell + 0.5) / cells;

export const INPUT_SIZE = 224; // px
const LAYERS = [[28, 2], [14, 2], [7, 6]]; // [cells of a side, anchors of a cell]

// Returns the anchor centres as fractions of the input.
export function anchors() {
  const centres = [];
  for (const [cells, count] of LAYERS) {
    for (let cell = 0; cell < cells * cells; cell++) {
      for (let one = 0; one < count; one++) centres.push([centre(cell % cells, cells), centre(Math.floor(cell / cells), cells)]);
    }
  }
  return centres;
}

// Returns boxes [x, y, w, h] in px of the detector's input, by descending score, after non-maximum suppression.
export function decodeDetections(scores, points, centres, { min_score, box_scale, same_hips }) {
  const candidates = [], threshold = Math.log(min_score / (1 - min_score));
  for (let index = 0; index < scores.length; index++) {
    if (scores[index] <= threshold) continue;
    const point = (at) => [0, 1].map((axis) => points[12 * index + 2 * at + axis] + INPUT_SIZE * centres[index][axis]);
    const hips = point(2), edge = point(3);
    const half = box_scale * Math.hypot(edge[0] - hips[0], edge[1] - hips[1]);
    candidates.push([scores[index], [hips[0] - half, hips[1] - half, 2 * half, 2 * half]]);
  }
  const boxes = [];
  for (const [, box] of candidates.sort((a, b) => b[0] - a[0])) {
    const apart = (other) => Math.hypot(box[0] + box[2] / 2 - other[0] - other[2] / 2, box[1] + box[3] / 2 - other[1] - other[3] / 2);
    if (boxes.every((other) => apart(other) >= same_hips * Math.max(box[2], other[2]) / 2)) boxes.push(box);
  }
  return boxes;
}

// Returns the intersection over union of two boxes.
export function iou(a, b) {
  const width = Math.max(Math.min(a[0] + a[2], b[0] + b[2]) - Math.max(a[0], b[0]), 0);
  const height = Math.max(Math.min(a[1] + a[3], b[1] + b[3]) - Math.max(a[1], b[1]), 0);
  return (width * height) / (a[2] * a[3] + b[2] * b[3] - width * height);
}
