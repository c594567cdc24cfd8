// Live 3D poses of the people in front of the camera. Detector and network run in the page, in LiteRT.js.
import { loadLiteRt, loadAndCompile, Tensor } from "@litertjs/core";
import {
  clipBox, decode, normalise, OneEuro, regionOfBox, regionOfJoints, rootDepth, sampleRegion, toCamera, toPhoto,
} from "./decoder.js";
import { anchors, decodeDetections, INPUT_SIZE, iou } from "./detector.js";
import { drawOverlay, drawView } from "./view.js";

const element = (id) => document.getElementById(id);
const DETECT_EVERY = 6; // frames
const MAX_PEOPLE = 3;
const SMOOTHING = 0.5; // weight of a new detection in the box of its track
const MAX_MISSED = 3; // detections without a match after which a track ends
const REFERENCE_MM = 2000; // size of a person for the One-Euro filter of camera coordinates
const dark = matchMedia("(prefers-color-scheme: dark)");
const anchorCentres = anchors();
let facing = "environment", azimuth = 0.5, drag = null, tracks = [], frame = 0, people = [];
const canvas = document.createElement("canvas"), context = canvas.getContext("2d", { willReadFrequently: true });
const timings = {}; // ms by stage, exponential moving average

function showStatus(text, isError = false) {
  element("status").textContent = text;
  element("status").className = isError ? "error" : "";
}

async function load(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${await response.text()}`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  const compiled = await loadAndCompile(bytes, { accelerator: "wasm", cpuOptions: { numThreads: 1 } });
  const shape = Array.from(compiled.getInputDetails()[0].shape);
  return { compiled, shape, size: shape[1] };
}

async function run(model, values) {
  const input = new Tensor(values, model.shape);
  const outputs = await model.compiled.run(input);
  const results = [];
  for (const output of outputs) {
    results.push(Float32Array.from(await output.data()));
    output.delete();
  }
  input.delete();
  return results;
}

// Returns the pixels of the current video frame.
function grab(video) {
  const { videoWidth: width, videoHeight: height } = video;
  if (canvas.width !== width || canvas.height !== height) { // also when a phone is turned
    for (const one of [canvas, element("overlay")]) [one.width, one.height] = [width, height];
    tracks = [];
  }
  context.drawImage(video, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

function addTiming(stage, started) {
  const ms = performance.now() - started;
  timings[stage] = timings[stage] === undefined ? ms : timings[stage] + 0.1 * (ms - timings[stage]);
}

// Detects people in the full frame and updates the tracks.
async function detect(detector, config, picture) {
  const started = performance.now(), { width, height } = picture, side = Math.max(width, height);
  const [left, top] = [(width - side) / 2, (height - side) / 2], half = Array(3).fill(0.5);
  const rgb = sampleRegion(picture, { x: width / 2, y: height / 2, side }, detector.size);
  const outputs = await run(detector, normalise(rgb, { mean: half, std: half }));
  const [scores, points] = outputs.sort((a, b) => a.length - b.length);
  const zoom = side / INPUT_SIZE;
  const boxes = decodeDetections(scores, points, anchorCentres, config.detector).slice(0, MAX_PEOPLE)
    .map(([x, y, w, h]) => clipBox([x * zoom + left, y * zoom + top, w * zoom, h * zoom], width, height))
    .filter((box) => box[2] >= 1 && box[3] >= 1);
  for (const track of tracks) if (track.region) track.box = boxOfRegion(track.region, config, width, height);
  const areOne = (a, b) => a.region && b.region && iou(a.box, b.box) > config.tracker.duplicate_iou;
  tracks = tracks.filter((track, at) => !tracks.slice(0, at).some((older) => areOne(track, older)));
  for (const track of tracks) {
    const match = boxes.findIndex((box) => iou(box, track.box) > config.detector.same_person_iou);
    track.missed = match < 0 ? track.missed + 1 : 0;
    if (match >= 0) track.box = boxes.splice(match, 1)[0].map((value, at) => track.box[at] + SMOOTHING * (value - track.box[at]));
  }
  const alive = tracks.filter(({ missed, box }) => missed < MAX_MISSED && box[2] >= 1 && box[3] >= 1);
  tracks = [...alive, ...boxes.map((box) => ({ box, missed: 0 }))].slice(0, MAX_PEOPLE);
  addTiming("detect", started);
}

// Returns the box of a followed person, as the detector makes it of a circle.
function boxOfRegion({ x, y, side }, config, width, height) {
  const half = config.detector.box_scale * side / config.roi.scale;
  return clipBox([x - half, y - half, 2 * half, 2 * half], width, height);
}

// Returns the joints of a track, in px of the video and in camera mm, with their confidence. With framing roi, the joints
// give the region of the next pass and of the next frame.
async function predictTrack(network, config, picture, track) {
  const region = track.region ?? regionOfBox(track.box, picture.width, picture.height, config.box_padding);
  let person = await predict(network, config, picture, region);
  if (config.roi) {
    if (!track.region) person = await predict(network, config, picture, regionOfJoints(person.px, config.roi));
    const confidence = person.confidence.reduce((sum, value) => sum + value, 0) / person.confidence.length;
    const { redetect_below, mean_weight } = config.tracker, mean = track.confidence ?? confidence;
    const next = regionOfJoints(person.px, config.roi);
    track.region = confidence < redetect_below * mean || next.side < 1 ? null : next;
    track.confidence = mean + mean_weight * (confidence - mean);
  }
  const time = performance.now() / 1000;
  track.filters ??= [new OneEuro(), new OneEuro()];
  const px = track.filters[0].filter(person.px, time, person.region.side);
  const mm = track.filters[1].filter(person.mm, time, REFERENCE_MM);
  return { ...person, box: track.box, ...(element("smooth").checked ? { px, mm } : {}) };
}

// Returns the joints in a region, in px of the video and in camera mm, with their confidence.
async function predict(network, config, picture, region) {
  let started = performance.now();
  const { width, height } = picture;
  const values = normalise(sampleRegion(picture, region, network.size, config.border), config);
  addTiming("crop", started);
  started = performance.now();
  const [raw] = await run(network, values);
  addTiming("network", started);
  started = performance.now();
  const { joints, confidence } = decode(raw, config, config.joints, "NHWC");
  const focal = Math.max(width, height), placed = toPhoto(joints, region, config.depth_range_mm);
  const mm = toCamera(placed, rootDepth(region, focal), focal, [width / 2, height / 2]);
  addTiming("decode", started);
  return { confidence, region, px: placed.map(([x, y]) => [x, y]), mm };
}

async function processFrame(detector, network, config, video) {
  const picture = grab(video);
  if (frame % DETECT_EVERY === 0 || !tracks.length) await detect(detector, config, picture);
  const predicted = [];
  for (const track of tracks) predicted.push(await predictTrack(network, config, picture, track));
  people = predicted;
  frame++;
  window.edgepose = { frame, people, timings, width: picture.width, height: picture.height }; // for the console
}

async function openCamera() {
  const video = element("video");
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  if (!navigator.mediaDevices) {
    throw new Error("browsers allow the camera on https or localhost only; use adb reverse, or serve with --cert self");
  }
  const constraints = { facingMode: facing, width: { ideal: 640 }, height: { ideal: 480 } };
  video.srcObject = await navigator.mediaDevices.getUserMedia({ video: constraints, audio: false });
  await video.play();
  const settings = video.srcObject.getVideoTracks()[0].getSettings();
  element("camera").className = settings.facingMode === "environment" ? "" : "mirrored";
  tracks = [];
}

function enableDragging() {
  const canvas = element("view");
  canvas.addEventListener("pointerdown", (event) => { drag = [event.clientX, azimuth]; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => { if (drag) azimuth = drag[1] + (event.clientX - drag[0]) / 120; });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { drag = null; });
}

async function start() {
  const config = await (await fetch("config.json")).json();
  element("title").textContent = config.title;
  element("smooth").checked = config.smooth;
  await loadLiteRt("./core/wasm/", { threads: false });
  const [network, detector] = [await load("model"), await load("person")];
  showStatus("Waiting for permission to use the camera");
  await openCamera();
  element("switch").addEventListener("click", () => {
    facing = facing === "user" ? "environment" : "user";
    openCamera().catch(showError);
  });
  enableDragging();
  let last = performance.now(), period = 0;
  for (;;) {
    await new Promise(requestAnimationFrame);
    const video = element("video");
    if (document.hidden || !video.videoWidth) continue;
    await processFrame(detector, network, config, video);
    const started = performance.now();
    if (!drag) azimuth += 0.0006 * Math.min(started - last, 100);
    drawOverlay(element("overlay"), config, people);
    drawView(element("view"), config, people, azimuth, dark.matches);
    addTiming("draw", started);
    const now = performance.now();
    period = period ? period + 0.1 * (now - last - period) : now - last;
    last = now;
    const count = people.length;
    showStatus(count ? `${count} ${count > 1 ? "people" : "person"}` : "No person found: step back until your whole body is visible");
    const stages = Object.entries(timings).map(([stage, ms]) => `${stage} ${ms.toFixed(1)} ms`);
    element("timings").textContent = [`${(1000 / period).toFixed(0)} frames/s`, ...stages].join(" · ");
  }
}

function showError(error) {
  const messages = { NotAllowedError: "Camera access denied: allow it in the browser and reload the page", NotFoundError: "No camera found" };
  showStatus(messages[error?.name] ?? `Error: ${error?.message ?? error}`, true);
}

start().catch(showError);
