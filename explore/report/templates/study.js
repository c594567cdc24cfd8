// The study: its rows, the filters, and the rows that these show. A row is an index into the arrays of `values`.
const KINDS = {
  candidate: "candidates", exported: "exported files", baselineCandidate: "baselines, candidates",
  baselineExported: "baselines, exported", reference: "your references",
};
const STEPS = 200; // of a slider

let study, values, rows;
let columns = {}; // by key: header, title, unit, scale, digits, tooltip, log
let later = null; // unpacked on first use
const state = { x: "latency_ms", y: "mpjpe_mm", runtime: "", kinds: {}, limits: {}, text: "", chosen: -1, sort: ["mpjpe_mm", 1], theme: "" };

function loadStudy(read) {
  study = read;
  values = read.values;
  columns = Object.fromEntries(read.columns.map((column) => [column.key, column]));
  for (const key of ["kind", "runtime", "recipe"]) values[key] = values[key].map((place) => values[`${key}_values`][place]);
  rows = values.name.map((_, row) => row);
  values.group = rows.map((row) => (!values.baseline[row] ? values.kind[row] : values.kind[row] === "exported" ? "baselineExported" : "baselineCandidate"));
  values.searchable = rows.map((row) => `${values.name[row]} ${values.arch_id[row]} ${values.network[row]} ${values.recipe[row]}`.toLowerCase());
  state.x = study.objectives.find((key) => key !== "mpjpe_mm" && has(key)) ?? state.x;
  state.runtime = values.runtime_values.includes(study.about.runtime) ? study.about.runtime : "";
  state.chosen = lowestError();
}

// The study's own network with the lowest error: an exported file whose checks passed where there is one.
function lowestError() {
  const known = rows.filter((row) => !values.baseline[row] && values.runtime[row] === state.runtime && values.mpjpe_mm[row] !== null);
  const files = deployable(known);
  const own = passing(files).length ? passing(files) : files;
  return own.reduce((best, row) => (best < 0 || values.mpjpe_mm[row] < values.mpjpe_mm[best] ? row : best), -1);
}

const has = (key) => rows.some((row) => values[key][row] !== null);
const metrics = () => study.plotted.filter(has);

function range(key) {
  const known = rows.map((row) => values[key][row]).filter((value) => value !== null);
  return [Math.min(...known), Math.max(...known)];
}

// Sliders are even on the scale of the metric's axis; the right end is no limit.
function limitAt(key, step) {
  const [low, high] = range(key);
  if (step >= STEPS) return high;
  const share = step / STEPS;
  return columns[key].log && low > 0 ? low * (high / low) ** share : low + (high - low) * share;
}

function isShown(row) {
  if (state.kinds[values.group[row]] === false) return false;
  if (values.kind[row] !== "reference" && state.runtime && values.runtime[row] !== state.runtime) return false;
  for (const [key, step] of Object.entries(state.limits)) {
    const value = values[key][row];
    if (value === null || value > limitAt(key, step) * (1 + 1e-9)) return false;
  }
  return state.text.toLowerCase().split(/\s+/).every((word) => values.searchable[row].includes(word));
}

const shown = () => rows.filter(isShown);

// Non-dominated rows in two metrics, sorted by the first.
function frontOf(some, x, y) {
  const known = some.filter((row) => values[x][row] !== null && values[y][row] !== null);
  known.sort((a, b) => values[x][a] - values[x][b] || values[y][a] - values[y][b]);
  let least = Infinity;
  return known.filter((row) => values[y][row] < least && ((least = values[y][row]), true));
}

// Exported files if there are any, else candidates.
function deployable(some) {
  const exported = some.filter((row) => values.kind[row] === "exported");
  return exported.length ? exported : some.filter((row) => values.kind[row] === "candidate");
}

// Those without a failed check.
const passing = (some) => some.filter((row) => !values.checks_failed[row]);

// The shown row with the least `by` among those that passed their checks and whose `key` is at most `limit`; -1 if there
// is none.
function least(by, key, limit) {
  const fitting = passing(deployable(shown())).filter((row) => values[key][row] !== null && values[key][row] <= limit && values[by][row] !== null);
  fitting.sort((a, b) => values[by][a] - values[by][b] || values.mpjpe_mm[a] - values.mpjpe_mm[b]);
  return fitting.length ? fitting[0] : -1;
}

// The MPJPE of a row with its 95% interval, such as 136.8 (132.1 to 141.7).
function withInterval(row, unit = true) {
  const text = format("mpjpe_mm", values.mpjpe_mm[row], unit);
  const [low, high] = [values.mpjpe_low_mm[row], values.mpjpe_high_mm[row]];
  return low === null || high === null ? text : `${text} (${format("mpjpe_mm", low, false)} to ${format("mpjpe_mm", high, false)})`;
}

// Whether a figure is a prediction in place of a measurement; these are marked with ~.
const isPredicted = (key, row) => Boolean(study.sources[key]) && study.predicted.includes(values[study.sources[key]][row]);

const figure = (key, row, unit = true) => (key === "mpjpe_mm" ? withInterval(row, unit) : (isPredicted(key, row) ? "~" : "") + format(key, values[key][row], unit));

// A value as text in the unit of its column.
function format(key, value, unit = true) {
  if (value === null || value === undefined) return unit ? "–" : "";
  const column = columns[key];
  if (typeof value === "boolean") return value ? "yes" : "";
  if (column.digits === null) return String(value);
  return (value / column.scale).toFixed(column.digits) + (unit ? ` ${column.unit}` : "");
}

const axisTitle = (key) => `${columns[key].header} (${columns[key].log ? "log" : "linear"} scale, lower is better)`;

// Filters and choice are kept in the address, so that a reload and a link show the same.
function remember() {
  const { chosen, ...rest } = state;
  const key = chosen < 0 ? "" : rowKey(chosen);
  history.replaceState(null, "", `#${encodeURIComponent(JSON.stringify({ ...rest, key }))}`);
}

const rowKey = (row) => [values.kind[row], values.name[row], values.runtime[row], values.recipe[row], values.trial[row]].join(" ");

function recall() {
  let saved = {};
  try {
    saved = JSON.parse(decodeURIComponent(location.hash.slice(1)) || "{}");
  } catch {
    return; // a truncated link shows everything
  }
  for (const axis of ["x", "y"]) if (metrics().includes(saved[axis])) state[axis] = saved[axis];
  if (["light", "dark"].includes(saved.theme)) state.theme = saved.theme;
  if (typeof saved.text === "string") state.text = saved.text;
  if (typeof saved.runtime === "string" && ["", ...values.runtime_values].includes(saved.runtime)) state.runtime = saved.runtime;
  for (const kind of Object.keys(KINDS)) if (saved.kinds?.[kind] === false) state.kinds[kind] = false;
  for (const key of metrics()) if (saved.limits?.[key] >= 0 && saved.limits[key] < STEPS) state.limits[key] = Number(saved.limits[key]);
  if (Array.isArray(saved.sort) && values[saved.sort[0]]) state.sort = [saved.sort[0], saved.sort[1] < 0 ? -1 : 1];
  state.chosen = rows.find((row) => rowKey(row) === saved.key) ?? state.chosen;
}
