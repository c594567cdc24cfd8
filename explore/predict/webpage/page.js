// The camera's people in 3D, live: detector and network run here, in LiteRT.js.
import { loadLiteRt, loadAndCompile, Tensor } from "@litertjs/core";
import { anchors, decode, overlap, people, SIDE } from "./decode.js";
import { overlay, room } from "./view.js";

const element = (id) => document.getElementById(id);
const DETECT_EVERY = 6, MOST = 3, STEADY = 0.5, MISSED = 3; // frames, people, share of a new box, searches
const dark = matchMedia("(prefers-color-scheme: dark)");
const middles = anchors();
let facing = "environment", turn = 0.5, held = null, known = [], frame = 0, found = [];
const spent = {};

function tell(text, bad = false) {
  element("text").textContent = text;
  element("text").className = bad ? "bad" : "";
}

async function load(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${await answer.text()}`);
  const bytes = new Uint8Array(await answer.arrayBuffer());
  const compiled = await loadAndCompile(bytes, { accelerator: "wasm", cpuOptions: { numThreads: 1 } });
  const shape = Array.from(compiled.getInputDetails()[0].shape);
  const pad = document.createElement("canvas");
  pad.width = pad.height = shape[1];
  return { compiled, shape, side: shape[1], pen: pad.getContext("2d", { willReadFrequently: true }) };
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

// The square [x, y, side] px of the video as the model's input, black outside; scale and shift a channel.
function pixels(model, video, [x, y, side], scale, shift) {
  const { pen, side: size } = model;
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, size, size);
  pen.imageSmoothingQuality = "high";
  const zoom = size / side;
  pen.drawImage(video, -x * zoom, -y * zoom, video.videoWidth * zoom, video.videoHeight * zoom);
  const rgba = pen.getImageData(0, 0, size, size).data, values = new Float32Array(3 * size * size);
  for (let at = 0, to = 0; at < rgba.length; at += 4) {
    for (let channel = 0; channel < 3; channel++) values[to++] = rgba[at + channel] * scale[channel] + shift[channel];
  }
  return values;
}

function clock(stage, began) {
  const ms = performance.now() - began;
  spent[stage] = spent[stage] === undefined ? ms : spent[stage] + 0.1 * (ms - spent[stage]);
}

async function detect(detector, about, video) {
  const began = performance.now(), side = Math.max(video.videoWidth, video.videoHeight);
  const square = [(video.videoWidth - side) / 2, (video.videoHeight - side) / 2, side];
  const answers = await run(detector, pixels(detector, video, square, [1, 1, 1].map(() => 1 / 127.5), [-1, -1, -1]));
  const [scores, places] = answers.sort((a, b) => a.length - b.length);
  const boxes = people(scores, places, middles, about.detector).slice(0, MOST)
    .map(([x, y, w, h]) => [[x, square[0]], [y, square[1]], [w, 0], [h, 0]].map(([value, zero]) => (value * side) / SIDE + zero))
    .map((box) => inside(box, video)).filter((box) => box[2] >= 1 && box[3] >= 1);
  for (const one of known) {
    const match = boxes.findIndex((box) => overlap(box, one.box) > about.detector.same);
    one.missed = match < 0 ? one.missed + 1 : 0;
    if (match >= 0) one.box = boxes.splice(match, 1)[0].map((value, at) => one.box[at] + STEADY * (value - one.box[at]));
  }
  known = [...known.filter((one) => one.missed < MISSED), ...boxes.map((box) => ({ box, missed: 0 }))].slice(0, MOST);
  clock("detect", began);
}

function inside([x, y, w, h], video) {
  const [left, top] = [Math.max(x, 0), Math.max(y, 0)];
  return [left, top, Math.min(x + w, video.videoWidth) - left, Math.min(y + h, video.videoHeight) - top];
}

// Joints of a box: shares of the crop, px of the video, mm in camera axes.
async function pose(network, about, video, box) {
  let began = performance.now();
  const longer = Math.max(box[2], box[3]), side = longer * about.box_padding;
  const [left, top] = [box[0] + box[2] / 2 - side / 2, box[1] + box[3] / 2 - side / 2];
  const scale = about.std.map((std) => 1 / (255 * std)), shift = about.mean.map((mean, at) => -mean / about.std[at]);
  const values = pixels(network, video, [left, top, side], scale, shift);
  clock("crop", began);
  began = performance.now();
  const [raw] = await run(network, values);
  clock("network", began);
  began = performance.now();
  const { joints, confidence } = decode(raw, about);
  const focal = Math.max(video.videoWidth, video.videoHeight), depth = (about.reference_mm * focal) / side;
  const px = joints.map(([x, y]) => [left + x * side, top + y * side]);
  const mm = joints.map((joint, at) => {
    const z = depth + (joint[2] - 0.5) * about.depth_range_mm;
    return [((px[at][0] - video.videoWidth / 2) / focal) * z, ((px[at][1] - video.videoHeight / 2) / focal) * z, z];
  });
  clock("decode", began);
  return { box, joints, confidence, px, mm };
}

async function step(detector, network, about, video) {
  if (frame % DETECT_EVERY === 0 || !known.length) await detect(detector, about, video);
  const now = [];
  for (const one of known) now.push(await pose(network, about, video, one.box));
  found = now;
  frame++;
  window.edgepose = { frame, found, spent, width: video.videoWidth, height: video.videoHeight }; // for the console
}

async function open() {
  const video = element("video");
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  if (!navigator.mediaDevices) {
    throw new Error("Browsers give the camera to https or localhost only: adb reverse and localhost, or serve with --cert self");
  }
  const wish = { facingMode: facing, width: { ideal: 640 }, height: { ideal: 480 } };
  video.srcObject = await navigator.mediaDevices.getUserMedia({ video: wish, audio: false });
  await video.play();
  const settings = video.srcObject.getVideoTracks()[0].getSettings();
  element("stage").className = settings.facingMode === "environment" ? "" : "mirrored";
  [element("overlay").width, element("overlay").height] = [video.videoWidth, video.videoHeight];
  known = [];
}

function turning() {
  const canvas = element("room");
  canvas.addEventListener("pointerdown", (event) => { held = [event.clientX, turn]; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => { if (held) turn = held[1] + (event.clientX - held[0]) / 120; });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { held = null; });
}

async function start() {
  const about = await (await fetch("about.json")).json();
  element("name").textContent = about.title;
  await loadLiteRt("./core/wasm/", { threads: false });
  const [network, detector] = [await load("model"), await load("person")];
  tell("Asking for the camera");
  await open();
  element("flip").addEventListener("click", () => {
    facing = facing === "user" ? "environment" : "user";
    open().catch(fail);
  });
  turning();
  let last = performance.now(), period = 0;
  for (;;) {
    await new Promise(requestAnimationFrame);
    const video = element("video");
    if (document.hidden || !video.videoWidth) continue;
    await step(detector, network, about, video);
    const began = performance.now();
    if (!held) turn += 0.0006 * Math.min(began - last, 100);
    overlay(element("overlay"), about, found);
    room(element("room"), about, found, turn, dark.matches);
    clock("draw", began);
    const now = performance.now();
    period = period ? period + 0.1 * (now - last - period) : now - last;
    last = now;
    tell(found.length ? `${found.length} ${found.length > 1 ? "people" : "person"}` : "Nobody found: step back until all of you is seen");
    element("times").textContent = [
      `${(1000 / period).toFixed(0)} frames/s`, ...Object.entries(spent).map(([stage, ms]) => `${stage} ${ms.toFixed(1)} ms`),
    ].join(" · ");
  }
}

function fail(error) {
  const words = { NotAllowedError: "The camera was refused: allow it in the browser and load again", NotFoundError: "No camera here" };
  tell(words[error?.name] ?? `Failed: ${error?.message ?? error}`, true);
}

start().catch(fail);
