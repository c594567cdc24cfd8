// Applies the decoder to case files (see tests/quantize/test_sdk.py) and prints the results, one number a line.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const js = await import(pathToFileURL(process.argv[2]));
const HEADS = ["volumetric", "heatmap-2.5d", "simcc"];
const lines = [];
const show = (values) => { for (const value of values) lines.push(value); };
const showRegion = ({ x, y, side, rotation }) => show([x, y, side, rotation]);

for (const path of process.argv.slice(3)) {
  const given = readFileSync(path, "utf8").trim().split(/\s+/).map(Number);
  let at = 0;
  const next = () => given[at++], several = (count) => given.slice(at, (at += count));
  const [width, height, size] = several(3), border = next() ? "replicate" : "black";
  const [x, y, side, rotation] = several(4), region = { x, y, side, rotation }, box = several(4), padding = next();
  const head = HEADS[next()], layout = next() ? "NCHW" : "NHWC", joints = next();
  const [heatmap, depth_bins, depth_scale, range, rootDepth, focal] = several(6), centre = several(2);
  const mean = several(3), std = several(3);
  const roi = { hips: several(next()), shoulders: several(next()), reach: next(), scale: next() };
  const rgb = several(3 * width * height), data = new Uint8ClampedArray(4 * width * height);
  for (let index = 0; index < data.length; index++) data[index] = index % 4 === 3 ? 255 : rgb[3 * (index >> 2) + (index % 4)];
  const raw = Float32Array.from(several(next()));

  showRegion(js.regionOfBox(box, width, height, padding));
  const crop = js.sampleRegion({ data, width, height }, region, size, border);
  show(crop);
  show(js.normalise(crop, { mean, std }, layout));
  const pose = js.decode(raw, { head, heatmap, depth_bins, depth_scale }, joints, layout);
  pose.joints.forEach((joint, index) => show([...joint, pose.confidence[index]]));
  const calibrated = {
    depth_range_mm: range,
    confidence: { presence: [2.5, 6], visibility: pose.confidence.map((_, joint) => [1.5 + 0.25 * joint, 4 - 0.5 * joint]) },
    scale: { edges: [[0, 1], [1, 2], [0, 3]], flat: [-0.3, 0.1, 0.05], deep: [0.05, -0.2, 0.01], size: -0.4, offset: 7.5, low: 6.5, high: 8.5 },
  };
  show([js.presence(pose.confidence, calibrated), ...js.visibility(pose.confidence, calibrated), js.mmPerSide(pose.joints, calibrated)]);
  const px = js.toPhoto(pose.joints, region, range);
  show(px.flat());
  showRegion(js.regionOfJoints(px, roi));
  showRegion(js.regionOfCircle(px[0], px[1]));
  show([js.rootDepth(region, focal)]);
  const mm = js.toCamera(px, rootDepth, focal, centre);
  show(mm.flat());
  const filter = new js.OneEuro();
  let moved;
  for (let frame = 0; frame < 20; frame++) {
    const points = mm.map((point, index) => point.map((value, axis) => value + 30 * Math.sin(0.7 * frame + index + axis)));
    moved = filter.filter(points, (frame === 7 ? 6 : frame) / 30, 2000);
  }
  show(moved.flat());
}
process.stdout.write(lines.join("\n") + "\n");
