// Pre- and postprocessing of edgepose models, in JavaScript without dependencies (an ES module, for browsers and Node.js).
//
// Copyright 2026 the edgepose authors. Licence: Apache-2.0.
//
// The functions follow docs/decoder.md of edgepose, as the decoders in other languages do, and give the same results. The
// settings come from the manifest.json of a bundle: `preprocessing` and `postprocessing` are passed as they are.
//
//   const picture = context.getImageData(0, 0, width, height);
//   const region = regionOfBox([x, y, w, h], width, height, preprocessing.box_padding);
//   const rgb = sampleRegion(picture, region, preprocessing.size, preprocessing.border);
//   const raw = ...;                                   // run the model on normalise(rgb, preprocessing, layout)
//   const { joints, confidence } = decode(raw, postprocessing, jointCount, layout);
//   const px = toPhoto(joints, region, postprocessing.depth_range_mm);
//   const mm = toCamera(px, rootDepth(region, focal), focal, [width / 2, height / 2]);

const SIMCC_SPLIT = 2; // bins per heatmap cell along x and y
const LEAST_CONFIDENCE = 1e-6; // added to confidences before the logarithm
const DEPTH_UNIT_MM = 500; // of depth differences in the regression of the scale
const REFERENCE_MM = 2000; // assumed side of a person's region, for an estimate of the distance
const REGION_SCALE = 2.5; // side of the region of a circle around a person, in radii

/**
 * A square region of a picture.
 * @typedef {{x: number, y: number, side: number, rotation: number}} Region centre in px, side in px, clockwise angle in rad
 */

/**
 * Returns the part of a box [x, y, w, h] inside a picture of width x height px; w or h is below 1 if nothing is left.
 * @returns {number[]}
 */
export function clipBox([x, y, w, h], width, height) {
  const left = Math.max(x, 0), top = Math.max(y, 0);
  return [left, top, Math.min(x + w, width) - left, Math.min(y + h, height) - top];
}

/**
 * Returns the upright square around a person's box [x, y, w, h] px, after it is clipped to the picture.
 * @returns {Region}
 * @throws {RangeError} less than 1 px of the box is inside the picture
 */
export function regionOfBox(box, width, height, padding) {
  const [x, y, w, h] = clipBox(box, width, height);
  if (!(w >= 1 && h >= 1)) throw new RangeError(`box ${box}: less than 1 px of it is inside the picture of ${width} x ${height}`);
  return { x: x + w / 2, y: y + h / 2, side: Math.max(w, h) * padding, rotation: 0 };
}

/**
 * Returns the region for the next frame of a video, by the joints [x, y, ...] px of a person in this one.
 * @param roi `preprocessing.roi` of the manifest
 * @returns {Region}
 */
export function regionOfJoints(joints, { hips, shoulders, reach, scale }) {
  const mean = (indices, axis) => indices.reduce((sum, index) => sum + joints[index][axis], 0) / indices.length;
  const x = mean(hips, 0), y = mean(hips, 1);
  const radius = reach * Math.sqrt(Math.max(...joints.map((joint) => (joint[0] - x) ** 2 + (joint[1] - y) ** 2)));
  return { x, y, side: scale * radius, rotation: Math.atan2(mean(shoulders, 0) - x, y - mean(shoulders, 1)) };
}

/**
 * Returns the region of a detection by MediaPipe's pose detector: centre of the hips [x, y] px, and the point above it on
 * the circle around the person.
 * @returns {Region}
 */
export function regionOfCircle(hips, rim, scale = REGION_SCALE) {
  const x = rim[0] - hips[0], y = rim[1] - hips[1];
  return { x: hips[0], y: hips[1], side: scale * Math.sqrt(x * x + y * y), rotation: Math.atan2(x, -y) };
}

/**
 * Scales a region of a picture to size x size px by area averaging. Integers make the result equal in all languages.
 * @param {{data: ArrayLike<number>, width: number, height: number}} picture RGBA values, as `getImageData` returns them
 * @param {Region} region
 * @param {number} size side of the crop, px
 * @param {string} border beyond the picture: "black", or "replicate", which continues its border pixels
 * @returns {Uint8ClampedArray} RGB values, rows first (size * size * 3)
 */
export function sampleRegion({ data: rgba, width, height }, region, size, border = "black") {
  const replicate = border === "replicate", step = region.side / size, half = region.side / 2;
  const fine = samplesPerPx(width, height, step), count = size * fine;
  if (!region.rotation) {
    const across = samplesAlong(region.x - half, step, size, fine, width, replicate);
    const down = samplesAlong(region.y - half, step, size, fine, height, replicate);
    return sampleUpright(rgba, width, across, down, size, fine);
  }
  const cos = Math.cos(region.rotation ?? 0), sin = Math.sin(region.rotation ?? 0);
  const places = Float64Array.from({ length: count }, (_, at) => (at + 0.5) * (step / fine) - half);
  const result = new Uint8ClampedArray(3 * size * size), sums = new Float64Array(3 * size);
  const whole = (256 * fine) ** 2, rounding = Math.floor(whole / 2);
  for (let row = 0; row < count; row++) {
    const v = places[row];
    if (row % fine === 0) sums.fill(0);
    for (let column = 0; column < count; column++) {
      const u = places[column], to = 3 * Math.floor(column / fine);
      const atX = fixed(region.x + cos * u - sin * v, width), atY = fixed(region.y + sin * u + cos * v, height);
      const x = atX >> 8, y = atY >> 8, shareX = atX & 255, shareY = atY & 255;
      for (let tap = 0; tap < 4; tap++) {
        let px = x + (tap & 1), py = y + (tap >> 1);
        const weight = (tap & 1 ? shareX : 256 - shareX) * (tap >> 1 ? shareY : 256 - shareY);
        if (px < 0 || px >= width || py < 0 || py >= height) {
          if (!replicate) continue;
          px = Math.min(Math.max(px, 0), width - 1);
          py = Math.min(Math.max(py, 0), height - 1);
        }
        const from = 4 * (py * width + px);
        sums[to] += weight * rgba[from];
        sums[to + 1] += weight * rgba[from + 1];
        sums[to + 2] += weight * rgba[from + 2];
      }
    }
    if (row % fine === fine - 1) {
      const start = 3 * size * Math.floor(row / fine);
      for (let at = 0; at < sums.length; at++) result[start + at] = Math.floor((sums[at] + rounding) / whole);
    }
  }
  return result;
}

// Returns the two pixels around each sample along an axis of `count` px, and their weights, which sum to 256.
function samplesAlong(start, step, size, fine, count, replicate) {
  const at = Array.from({ length: size * fine }, (_, index) => fixed(start + (index + 0.5) * (step / fine), count));
  const [low, high] = [0, 1].map((one) => at.map((place) => (place >> 8) + one));
  const inside = (index) => replicate || (index >= 0 && index < count);
  const clamp = (index) => Math.min(Math.max(index, 0), count - 1);
  const shareOf = (place, index) => (inside(index) ? place : 0);
  return {
    low: Int32Array.from(low, clamp),
    high: Int32Array.from(high, clamp),
    lowWeight: Int32Array.from(at, (place, index) => shareOf(256 - (place & 255), low[index])),
    highWeight: Int32Array.from(at, (place, index) => shareOf(place & 255, high[index])),
  };
}

// Samples an upright region, which is faster along one axis after the other.
function sampleUpright(rgba, width, across, down, size, fine) {
  const used = [...across.low, ...across.high], first = Math.min(...used), columns = Math.max(...used) - first + 1;
  const row = new Int32Array(3 * columns), result = new Uint8ClampedArray(3 * size * size);
  const whole = (256 * fine) ** 2, rounding = Math.floor(whole / 2);
  const add = (line, weight) => {
    if (!weight) return;
    let from = 4 * (line * width + first);
    for (let to = 0; to < row.length; to += 3, from += 4) {
      row[to] += weight * rgba[from];
      row[to + 1] += weight * rgba[from + 1];
      row[to + 2] += weight * rgba[from + 2];
    }
  };
  for (let y = 0; y < size; y++) {
    row.fill(0);
    for (let at = y * fine; at < (y + 1) * fine; at++) {
      add(down.low[at], down.lowWeight[at]);
      add(down.high[at], down.highWeight[at]);
    }
    for (let x = 0; x < size; x++) {
      let red = 0, green = 0, blue = 0;
      for (let at = x * fine; at < (x + 1) * fine; at++) {
        const low = 3 * (across.low[at] - first), high = 3 * (across.high[at] - first);
        const lowWeight = across.lowWeight[at], highWeight = across.highWeight[at];
        red += lowWeight * row[low] + highWeight * row[high];
        green += lowWeight * row[low + 1] + highWeight * row[high + 1];
        blue += lowWeight * row[low + 2] + highWeight * row[high + 2];
      }
      const to = 3 * (y * size + x);
      result[to] = Math.floor((red + rounding) / whole);
      result[to + 1] = Math.floor((green + rounding) / whole);
      result[to + 2] = Math.floor((blue + rounding) / whole);
    }
  }
  return result;
}

// Returns how many samples a px of the crop averages along an axis; small pictures are sharper and get finer samples.
function samplesPerPx(width, height, shrink) {
  const fine = Math.min(width, height) > 256 ? Math.floor(shrink * 1.1) : roundHalfEven(shrink);
  return Math.min(Math.max(fine, 1), 8);
}

function roundHalfEven(value) {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 ? low + 1 : low;
}

// Returns a place in 1/256 px from the centre of pixel 0; places far outside of `count` px are moved nearer.
function fixed(at, count) {
  return Math.floor((Math.min(Math.max(at, -2), count + 2) - 0.5) * 256 + 0.5);
}

/**
 * Returns a crop as the model's float32 input, (value / 255 - mean) / std. A model with uint8 input receives the crop as it
 * is.
 * @param {ArrayLike<number>} rgb as `sampleRegion` returns it
 * @param rules `preprocessing` of the manifest
 * @param {string} layout "NHWC" or "NCHW", `inputs[0].layout` of the manifest
 * @returns {Float32Array}
 */
export function normalise(rgb, { mean, std }, layout = "NHWC") {
  const area = rgb.length / 3, values = new Float32Array(rgb.length);
  for (let at = 0; at < rgb.length; at++) {
    const channel = at % 3, to = layout === "NCHW" ? channel * area + (at - channel) / 3 : at;
    values[to] = (rgb[at] / 255 - mean[channel]) / std[channel];
  }
  return values;
}

/**
 * Decodes the raw output of a model.
 * @param {ArrayLike<number>} raw
 * @param rules `postprocessing` of the manifest
 * @param {number} jointCount length of `skeleton.joints` of the manifest
 * @param {string} layout "NHWC", "NCHW" or "NJB", `outputs[0].layout` of the manifest
 * @returns {{joints: number[][], confidence: number[]}} [x, y, z] of each joint, fractions of the crop and of the depth
 *   range; and the largest probability of one cell in the image plane
 */
export function decode(raw, { head, heatmap, depth_bins: bins, depth_scale: scale = 1 }, jointCount, layout = "NHWC") {
  if (!(head in HEADS)) throw new RangeError(`head ${head} is unknown to this decoder; use a newer one`);
  const area = heatmap * heatmap, channels = jointCount * (head === "heatmap-2.5d" ? 2 : bins);
  const at = layout === "NHWC" ? (channel, cell) => cell * channels + channel : (channel, cell) => channel * area + cell;
  const joints = [], confidence = [];
  for (let joint = 0; joint < jointCount; joint++) {
    const [position, peak] = HEADS[head]({ raw, at, joint, jointCount, cells: heatmap, bins, scale });
    joints.push(position);
    confidence.push(peak);
  }
  return { joints, confidence };
}

const HEADS = { volumetric, "heatmap-2.5d": heatmap25d, simcc };
const centre = (cell, cells) => (cell + 0.5) / cells;

// Writes the softmax over values(0) ... values(count - 1) to out.
function softmax(values, count, out) {
  let highest = -Infinity, sum = 0;
  for (let index = 0; index < count; index++) highest = Math.max(highest, values(index));
  for (let index = 0; index < count; index++) sum += out[index] = Math.exp(values(index) - highest);
  for (let index = 0; index < count; index++) out[index] /= sum;
}

function volumetric({ raw, at, joint, cells, bins }) {
  const area = cells * cells, volume = new Float64Array(area * bins);
  softmax((index) => raw[at(joint * bins + Math.floor(index / area), index % area)], area * bins, volume);
  let x = 0, y = 0, z = 0, peak = 0;
  for (let cell = 0; cell < area; cell++) {
    let column = 0;
    for (let bin = 0; bin < bins; bin++) {
      const probability = volume[bin * area + cell];
      column += probability;
      z += probability * centre(bin, bins);
    }
    x += column * centre(cell % cells, cells);
    y += column * centre(Math.floor(cell / cells), cells);
    peak = Math.max(peak, column);
  }
  return [[x, y, z], peak];
}

function heatmap25d({ raw, at, joint, jointCount, cells, scale }) {
  const area = cells * cells, map = new Float64Array(area);
  softmax((cell) => raw[at(joint, cell)], area, map);
  let x = 0, y = 0, z = 0.5, peak = 0;
  for (let cell = 0; cell < area; cell++) {
    x += map[cell] * centre(cell % cells, cells);
    y += map[cell] * centre(Math.floor(cell / cells), cells);
    z += (map[cell] * raw[at(jointCount + joint, cell)]) / scale;
    peak = Math.max(peak, map[cell]);
  }
  return [[x, y, z], peak];
}

function simcc({ raw, joint, cells, bins }) {
  const fine = SIMCC_SPLIT * cells, start = joint * (2 * fine + bins), position = [], peaks = [];
  for (const [offset, count] of [[0, fine], [fine, fine], [2 * fine, bins]]) {
    const marginal = new Float64Array(count);
    softmax((index) => raw[start + offset + index], count, marginal);
    position.push(marginal.reduce((sum, probability, index) => sum + probability * centre(index, count), 0));
    peaks.push(Math.max(...marginal));
  }
  return [position, peaks[0] * peaks[1]];
}

/**
 * Returns the probability that the crop shows a person. confidence: of all joints; rules: calibrated `postprocessing`
 * @returns {number}
 */
export function presence(confidence, { confidence: { presence: [scale, offset] } }) {
  const mean = confidence.reduce((sum, value) => sum + Math.log(value + LEAST_CONFIDENCE), 0) / confidence.length;
  return sigmoid(scale * mean + offset);
}

/**
 * Returns the probability of each joint that it is in the picture and not covered. Arguments as of `presence`.
 * @returns {number[]}
 */
export function visibility(confidence, { confidence: { visibility: lines } }) {
  return confidence.map((value, joint) => sigmoid(lines[joint][0] * Math.log(value + LEAST_CONFIDENCE) + lines[joint][1]));
}

const sigmoid = (logit) => 1 / (1 + Math.exp(-logit));

/**
 * Returns the size of the region's side at the distance of the root joint in mm, by the pose itself.
 * @param {number[][]} joints as `decode` returns them
 * @param rules `postprocessing` with a fitted scale
 * @returns {number}
 */
export function mmPerSide(joints, { scale, depth_range_mm: range }) {
  const middle = [0, 1].map((axis) => joints.reduce((sum, joint) => sum + joint[axis], 0) / joints.length);
  const size = Math.sqrt(joints.reduce((sum, [x, y]) => sum + (x - middle[0]) ** 2 + (y - middle[1]) ** 2, 0) / joints.length);
  let logMm = scale.offset + scale.size * Math.log(size);
  scale.edges.forEach(([first, second], edge) => {
    const [x, y, z] = joints[first].map((value, axis) => value - joints[second][axis]);
    logMm += (scale.flat[edge] * Math.hypot(x, y)) / size + (scale.deep[edge] * Math.abs(z) * range) / DEPTH_UNIT_MM;
  });
  return Math.exp(Math.min(Math.max(logMm, scale.low), scale.high));
}

/**
 * Converts joints as `decode` returns them to [px, px, mm]: places in the picture, and depth behind the root joint.
 * @returns {number[][]}
 */
export function toPhoto(joints, region, depthRangeMm) {
  const cos = Math.cos(region.rotation ?? 0), sin = Math.sin(region.rotation ?? 0);
  return joints.map(([x, y, z]) => {
    const u = (x - 0.5) * region.side, v = (y - 0.5) * region.side;
    return [region.x + cos * u - sin * v, region.y + sin * u + cos * v, (z - 0.5) * depthRangeMm];
  });
}

/**
 * Converts joints [px, px, mm] to camera coordinates in mm: x right, y down, z forward.
 * @param {number} rootDepthMm distance of the root joint along z
 * @param {number} focal focal length, px; the longer side of the picture if unknown
 * @param {number[]} centre principal point, px; the centre of the picture if unknown
 * @returns {number[][]}
 */
export function toCamera(joints, rootDepthMm, focal, [centreX, centreY]) {
  return joints.map(([x, y, depth]) => {
    const z = depth + rootDepthMm;
    return [((x - centreX) / focal) * z, ((y - centreY) / focal) * z, z];
  });
}

/** Returns an estimate of the distance of the root joint in mm: the region is assumed to be 2 m wide. */
export function rootDepth(region, focal) {
  return (REFERENCE_MM * focal) / region.side;
}

/**
 * One-Euro filter (Casiez, Roussel and Vogel 2012) of the points of one person: less jitter at rest, little lag in motion.
 * A point passes a low-pass filter whose cutoff frequency grows with its speed.
 */
export class OneEuro {
  /**
   * @param {number} minCutoff cutoff frequency at rest, Hz
   * @param {number} beta growth of the cutoff frequency, Hz for a speed of one `scale` per second
   * @param {number} speedCutoff cutoff frequency of the speed, Hz
   */
  constructor(minCutoff = 0.5, beta = 10, speedCutoff = 1) {
    Object.assign(this, { minCutoff, beta, speedCutoff, timeS: -Infinity, points: [], velocity: [] });
  }

  /**
   * Returns smoothed points. The first points, and those of a time that does not increase, stay as they are.
   * @param {number[][]} points the coordinates of each point
   * @param {number} timeS time of the frame, s
   * @param {number} scale size of the person in the unit of the points: the side of the region
   * @returns {number[][]}
   */
  filter(points, timeS, scale) {
    const elapsed = timeS - this.timeS;
    this.timeS = timeS;
    if (points.length !== this.points.length || !(elapsed > 0 && elapsed < Infinity)) {
      this.points = points.map((point) => [...point]);
      this.velocity = points.map((point) => point.map(() => 0));
      return points;
    }
    const share = lowPass(this.speedCutoff, elapsed);
    this.points = points.map((point, index) => {
      const last = this.points[index];
      const velocity = this.velocity[index].map((old, axis) => old + share * ((point[axis] - last[axis]) / elapsed - old));
      const speed = Math.sqrt(velocity.reduce((sum, value) => sum + value * value, 0)) / scale;
      const weight = lowPass(this.minCutoff + this.beta * speed, elapsed);
      this.velocity[index] = velocity;
      return last.map((old, axis) => old + weight * (point[axis] - old));
    });
    return this.points.map((point) => [...point]);
  }
}

// Returns the weight of a new value in a low-pass filter. cutoff: Hz; elapsed: s since the last value.
function lowPass(cutoff, elapsed) {
  const turn = 2 * Math.PI * cutoff * elapsed;
  return turn / (turn + 1);
}
