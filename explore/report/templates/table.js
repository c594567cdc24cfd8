// The rows as a sortable table. Long tables grow on demand.
const TEXT = new Set(["name", "kind", "runtime", "recipe", "part", "front", "checks_failed", "network"]);
const isText = (key) => TEXT.has(key) || key.startsWith("source ");
const PAGE = 60;
let tableLength = PAGE;

function cell(key, row) {
  if (key === "checks_failed" && values.kind[row] === "exported") return values[key][row] || "none";
  return figure(key, row, false);
}

function sorted(some) {
  const [key, way] = state.sort;
  const order = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
  const empty = (row) => values[key][row] === null || values[key][row] === "";
  return some.sort((a, b) => empty(a) - empty(b) || (empty(a) ? 0 : way * order(values[key][a], values[key][b])) || a - b);
}

function tableKeys() {
  const single = (key) => ["runtime", "recipe"].includes(key) && new Set(shown().map((row) => values[key][row]).filter(Boolean)).size < 2;
  const hidden = new Set(["arch_id", "trial", "bundle", "mpjpe_low_mm", "mpjpe_high_mm", "units"]);
  const plain = (key) => key.startsWith("source ") && rows.every((row) => ["", "measured"].includes(values[key][row]));
  return study.columns.map((column) => column.key).filter((key) => !plain(key) && !hidden.has(key) && !single(key) && rows.some((row) => cell(key, row) !== ""));
}

function drawTable() {
  const keys = tableKeys();
  const some = sorted(shown());
  const head = make("tr");
  for (const key of keys) {
    const sort = state.sort[0] === key ? (state.sort[1] > 0 ? "ascending" : "descending") : "none";
    const button = make("button", { type: "button", title: `${columns[key].tooltip}; click to sort`, onclick: () => sortBy(key) }, columns[key].header);
    head.append(make("th", { class: isText(key) ? "text" : "", "aria-sort": sort, scope: "col", "data-key": key }, button));
  }
  document.querySelector("#table thead").replaceChildren(head);
  const focused = document.activeElement?.closest("#table tbody tr")?.dataset.row;
  const cellClass = (key, row) => [isText(key) && "text", key === "network" && "wide", key === "front" && "wrap", key === "checks_failed" && values[key][row] && "failed"].filter(Boolean).join(" ");
  const body = some.slice(0, tableLength).map((row) =>
    make("tr", {
      tabindex: 0, class: row === state.chosen ? "chosen" : "", "data-row": row, "aria-selected": row === state.chosen ? "true" : "false",
      onclick: () => showDetails(row), onkeydown: (event) => event.key === "Enter" && showDetails(row),
    }, ...keys.map((key) => make("td", { class: cellClass(key, row), "data-key": key }, cell(key, row)))),
  );
  document.querySelector("#table tbody").replaceChildren(...body);
  if (focused) document.querySelector(`#table tr[data-row="${focused}"]`)?.focus({ preventScroll: true });
  $("more").hidden = some.length <= tableLength;
  $("more").textContent = `show ${Math.min(some.length - tableLength, 10 * PAGE)} more of ${some.length}`;
}

// Choose a row and scroll to its details.
function showDetails(row) {
  choose(row);
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  $("card").scrollIntoView({ block: "start", behavior: still ? "auto" : "smooth" });
}

function sortBy(key) {
  state.sort = state.sort[0] === key ? [key, -state.sort[1]] : [key, 1];
  remember();
  drawTable();
}

// Spreadsheets execute text that begins like a formula; a leading quote prevents this.
function csvCell(value) {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function download() {
  const keys = study.columns.map((column) => column.key);
  const number = (key, value) => (typeof value === "number" && columns[key].scale !== 1 ? value / columns[key].scale : value);
  const lines = sorted(shown()).map((row) => keys.map((key) => csvCell(number(key, values[key][row]))).join(","));
  const header = keys.map((key) => csvCell(columns[key].header)).join(",");
  const link = make("a", { href: URL.createObjectURL(new Blob([`${[header, ...lines].join("\n")}\n`], { type: "text/csv" })), download: `${study.study}.csv` });
  link.click();
  URL.revokeObjectURL(link.href);
}
