// The study: its rows, what may be asked of them, and which of them are shown. A row is a place in the columns.
const METRICS = {
  mpjpe_mm: { title: "MPJPE, mm", brief: "MPJPE", unit: "mm", scale: 1, digits: 1, axis: "linear" },
  latency_ms: { title: "latency of the file, ms", brief: "latency", unit: "ms", scale: 1, digits: 3, axis: "log" },
  macs: { title: "MACs, millions", brief: "MACs", unit: "M", scale: 1e6, digits: 1, axis: "log" },
  params: { title: "parameters, millions", brief: "params", unit: "M", scale: 1e6, digits: 2, axis: "log" },
  bytes: { title: "size of the file, MB", brief: "size", unit: "MB", scale: 1e6, digits: 2, axis: "log" },
  memory: { title: "peak activation memory in INT8, MB", brief: "memory", unit: "MB", scale: 1e6, digits: 3, axis: "log" },
};
const KINDS = {
  candidate: "candidates", shipped: "shipped files", paperCandidate: "to compare with, as candidates",
  paperShipped: "to compare with, shipped alike", reference: "your references",
};
const STEPS = 200; // of a slider

let study, columns, rows;
let later = null; // what is unpacked on first use
const state = { x: "latency_ms", y: "mpjpe_mm", runtime: "", kinds: {}, limits: {}, text: "", chosen: -1, sort: ["mpjpe_mm", 1], theme: "" };

function takeStudy(read) {
  study = read;
  columns = read.columns;
  for (const key of ["kind", "runtime", "recipe"]) columns[key] = columns[key].map((place) => columns[`${key}_values`][place]);
  for (const key of study.elsewhere) {
    const device = key.split(" ").slice(1).join(" ");
    METRICS[key] = { title: `latency on ${device}, ms`, brief: `on ${device}`, unit: "ms", scale: 1, digits: 3, axis: "log" };
  }
  rows = columns.name.map((_, row) => row);
  columns.group = rows.map((row) => !columns.paper[row] || columns.kind[row] === "reference" ? columns.kind[row] : columns.kind[row] === "shipped" ? "paperShipped" : "paperCandidate");
  columns.words = rows.map((row) => `${columns.name[row]} ${columns.id[row]} ${columns.network[row]} ${columns.recipe[row]}`.toLowerCase());
  state.runtime = study.about.runtime || "";
}

const has = (key) => rows.some((row) => columns[key][row] !== null);
const metrics = () => Object.keys(METRICS).filter(has);

function range(key) {
  const values = rows.map((row) => columns[key][row]).filter((value) => value !== null);
  return [Math.min(...values), Math.max(...values)];
}

// A slider is even in the metric's own scale; its right end lets everything through.
function limitAt(key, step) {
  const [low, high] = range(key);
  if (step >= STEPS) return high;
  const share = step / STEPS;
  return METRICS[key].axis === "log" && low > 0 ? low * (high / low) ** share : low + (high - low) * share;
}

function isShown(row) {
  if (state.kinds[columns.group[row]] === false) return false;
  if (columns.kind[row] !== "reference" && state.runtime && columns.runtime[row] !== state.runtime) return false;
  for (const [key, step] of Object.entries(state.limits)) {
    const value = columns[key][row];
    if (value === null || value > limitAt(key, step) * (1 + 1e-9)) return false;
  }
  return state.text.toLowerCase().split(/\s+/).every((word) => columns.words[row].includes(word));
}

const shown = () => rows.filter(isShown);

// Rows of which none other of them is better in both metrics; in order along the first.
function frontOf(some, x, y) {
  const known = some.filter((row) => columns[x][row] !== null && columns[y][row] !== null);
  known.sort((a, b) => columns[x][a] - columns[x][b] || columns[y][a] - columns[y][b]);
  let least = Infinity;
  return known.filter((row) => columns[y][row] < least && ((least = columns[y][row]), true));
}

// Shipped files are what a user takes; where none is shown, candidates are.
function takeable(some) {
  const shipped = some.filter((row) => columns.kind[row] === "shipped");
  return shipped.length ? shipped : some.filter((row) => columns.kind[row] === "candidate");
}

// The row with the least of `by` among those whose `key` is at most `limit`; -1 where there is none.
function least(by, key, limit) {
  const fitting = takeable(shown()).filter((row) => columns[key][row] !== null && columns[key][row] <= limit && columns[by][row] !== null);
  fitting.sort((a, b) => columns[by][a] - columns[by][b] || columns.mpjpe_mm[a] - columns.mpjpe_mm[b]);
  return fitting.length ? fitting[0] : -1;
}

function figure(key, value, unit = true) {
  const metric = METRICS[key];
  if (value === null || value === undefined) return "–";
  if (!metric) return String(value);
  return (value / metric.scale).toFixed(metric.digits) + (unit ? ` ${metric.unit}` : "");
}

// What is asked stands in the address, so that a reload and a link show the same.
function remember() {
  const { chosen, ...rest } = state;
  const key = chosen < 0 ? "" : rowKey(chosen);
  history.replaceState(null, "", `#${encodeURIComponent(JSON.stringify({ ...rest, key }))}`);
}

const rowKey = (row) => [columns.kind[row], columns.name[row], columns.runtime[row], columns.recipe[row], columns.trial[row]].join(" ");

function recall() {
  let asked = {};
  try {
    asked = JSON.parse(decodeURIComponent(location.hash.slice(1)) || "{}");
  } catch {
    return; // a link that was cut off shows everything
  }
  for (const axis of ["x", "y"]) if (metrics().includes(asked[axis])) state[axis] = asked[axis];
  if (["light", "dark"].includes(asked.theme)) state.theme = asked.theme;
  if (typeof asked.text === "string") state.text = asked.text;
  if (typeof asked.runtime === "string" && ["", ...columns.runtime_values].includes(asked.runtime)) state.runtime = asked.runtime;
  for (const kind of Object.keys(KINDS)) if (asked.kinds?.[kind] === false) state.kinds[kind] = false;
  for (const key of metrics()) if (asked.limits?.[key] >= 0 && asked.limits[key] < STEPS) state.limits[key] = Number(asked.limits[key]);
  if (Array.isArray(asked.sort) && columns[asked.sort[0]]) state.sort = [asked.sort[0], asked.sort[1] < 0 ? -1 : 1];
  state.chosen = rows.find((row) => rowKey(row) === asked.key) ?? -1;
}
