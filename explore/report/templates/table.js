// The rows as a table that sorts; as many as one reads, more on demand.
const COLUMNS = [
  ["name", "name"], ["kind", "kind"], ["runtime", "runtime"], ["recipe", "recipe"], ["mpjpe_mm", "MPJPE mm"], ["pa_mpjpe_mm", "PA mm"], ["float_mpjpe_mm", "float mm"],
  ["latency_ms", "ms"], ["float_latency_ms", "float ms"], ["macs", "M MACs"], ["params", "M params"], ["bytes", "MB"], ["memory", "memory MB"],
  ["samples", "samples"], ["network", "network"],
];
const TEXT = new Set(["name", "kind", "runtime", "recipe", "network"]);
const PAGE = 60;
let long = PAGE;

function cell(key, row) {
  const value = columns[key][row];
  if (value === null || value === undefined) return "";
  if (METRICS[key]) return figure(key, value, false);
  if (key.endsWith("_mm")) return value.toFixed(1);
  if (key.endsWith("_ms")) return value.toFixed(3);
  return String(value);
}

function sorted(some) {
  const [key, way] = state.sort;
  const order = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
  const empty = (row) => columns[key][row] === null || columns[key][row] === "";
  return some.sort((a, b) => empty(a) - empty(b) || (empty(a) ? 0 : way * order(columns[key][a], columns[key][b])) || a - b);
}

function drawTable() {
  const alike = (key) => key === "recipe" && columns.recipe_values.filter(Boolean).length < 2;
  const all = [...COLUMNS.slice(0, 8), ...study.elsewhere.map((key) => [key, METRICS[key].brief]), ...COLUMNS.slice(8)];
  const used = all.filter(([key]) => !alike(key) && rows.some((row) => columns[key][row] !== null && columns[key][row] !== ""));
  const some = sorted(shown());
  const head = make("tr");
  for (const [key, title] of used) {
    const sort = state.sort[0] === key ? (state.sort[1] > 0 ? "ascending" : "descending") : "none";
    const button = make("button", { type: "button", onclick: () => sortBy(key) }, title);
    head.append(make("th", { class: TEXT.has(key) ? "text" : "", "aria-sort": sort, scope: "col", "data-key": key }, button));
  }
  document.querySelector("#table thead").replaceChildren(head);
  const body = some.slice(0, long).map((row) =>
    make("tr", {
      tabindex: 0, class: row === state.chosen ? "chosen" : "", "data-row": row, onclick: () => choose(row), onkeydown: (event) => event.key === "Enter" && choose(row),
    }, ...used.map(([key]) => make("td", { class: `${TEXT.has(key) ? "text" : ""}${key === "network" ? " wide" : ""}` }, cell(key, row)))),
  );
  document.querySelector("#table tbody").replaceChildren(...body);
  $("more").hidden = some.length <= long;
  $("more").textContent = `show ${Math.min(some.length - long, 10 * PAGE)} more of ${some.length}`;
}

function sortBy(key) {
  state.sort = state.sort[0] === key ? [key, -state.sort[1]] : [key, 1];
  remember();
  drawTable();
}

// A spreadsheet runs a text that begins like a formula; such a text gets a quote before it.
function csvCell(value) {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function download() {
  const keys = ["name", "id", "kind", "runtime", "recipe", "mpjpe_mm", "pa_mpjpe_mm", "float_mpjpe_mm", "latency_ms", ...study.elsewhere, "float_latency_ms", "macs", "params", "bytes", "memory", "samples", "trial", "network", "bundle"];
  const lines = [keys.join(","), ...sorted(shown()).map((row) => keys.map((key) => csvCell(columns[key][row])).join(","))];
  const link = make("a", { href: URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "text/csv" })), download: `${study.study}.csv` });
  link.click();
  URL.revokeObjectURL(link.href);
}
