// The plots: front, progress and parameter importances. Names reach Plotly only through escaped().
const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const STYLE = {
  candidate: { symbol: "circle", size: 6, colour: "candidate", opacity: 0.65 },
  baselineCandidate: { symbol: "diamond-open", size: 10, colour: "baseline", opacity: 1, named: true },
  exported: { symbol: "circle", size: 11, colour: "exported", opacity: 1 },
  baselineExported: { symbol: "diamond", size: 12, colour: "baseline", opacity: 1, named: true },
  reference: { symbol: "star", size: 15, colour: "reference", opacity: 1, named: true },
};
let plotted = []; // rows by trace

function axis(title, log, more = {}) {
  return {
    title: { text: title, standoff: 8 }, type: log ? "log" : "linear", gridcolor: colour("grid"), linecolor: colour("line"), zeroline: false,
    tickcolor: colour("line"), automargin: true, ...(log ? { dtick: "D2", tickformat: "~g", minorloglabels: "none" } : {}), ...more,
  };
}

// The axis of a metric over its values, with a margin; the title is broken if it is longer than `length` px.
function metricAxis(key, numbers, length) {
  const { log } = columns[key];
  const title = axisTitle(key);
  const [low, high] = ends(numbers, log);
  const span = high - low; // on log axes widened to a factor of 2.5, which contains one of the ticks 1, 2 and 5
  const pad = log ? Math.max(0.06 * span, (0.4 - span) / 2) : 0.09 * span || 0.1 * Math.abs(high) || 1;
  return axis(escaped(title.length * 7 > length ? title.replace(" (", "\n(") : title).replace("\n", "<br>"), log, { range: [low - pad, high + pad] });
}

const scaled = (number, log) => (log ? Math.log10(number) : number);

function ends(numbers, log) {
  const all = numbers.map((number) => scaled(number, log));
  return all.length ? [Math.min(...all), Math.max(...all)] : [0, 1];
}

function layout(more) {
  return {
    paper_bgcolor: "#0000", plot_bgcolor: "#0000", font: { color: colour("ink"), family: "system-ui, sans-serif", size: 12 },
    margin: { l: 52, r: 14, t: 12, b: 46 }, showlegend: false, hovermode: "closest", dragmode: "zoom", ...more,
  };
}

// Choose a place for each named row in turn, where its name covers the fewest points and names and stays in the plot.
function namePlaces(usable, named, axes) {
  const PLACES = {
    "top center": [0, -1], "bottom center": [0, 1], "middle right": [1, 0], "middle left": [-1, 0],
    "top right": [1, -1], "top left": [-1, -1], "bottom right": [1, 1], "bottom left": [-1, 1],
  };
  const [width, height] = [$("plot").clientWidth - 80, $("plot").clientHeight - 70]; // without margins
  const share = (axis, number) => (scaled(number, axis.type === "log") - axis.range[0]) / (axis.range[1] - axis.range[0]);
  const pixels = (row) => [width * share(axes.x, plottedValue(state.x, row)), height * (1 - share(axes.y, plottedValue(state.y, row)))];
  const taken = usable.map((row) => [row, ...pixels(row)]).map(([row, x, y]) => ({ row, cost: 1, box: [x - 8, y - 8, x + 8, y + 8] }));
  return named.map((row) => {
    const [x, y] = pixels(row);
    const [w, h] = [6.4 * values.name[row].length, 13];
    const options = Object.entries(PLACES).map(([place, [right, down]]) => {
      const [left, top] = [x - w / 2 + right * (w / 2 + (down ? 2 : 9)), y - h / 2 + down * (h / 2 + 9)];
      const box = [left, top, left + w, top + h];
      const covered = taken.filter((other) => other.row !== row && box[0] < other.box[2] && other.box[0] < box[2] && box[1] < other.box[3] && other.box[1] < box[3]).reduce((sum, other) => sum + other.cost, 0);
      const outside = left < 0 || left + w > width || top < 0 || top + h > height;
      return { place, box, cost: covered + (outside ? 100 : 0) };
    });
    const best = options.reduce((a, b) => (b.cost < a.cost ? b : a));
    taken.push({ row: -1, cost: 5, box: best.box });
    return best.place;
  });
}

const openSymbol = (symbol, open) => (open && !symbol.endsWith("-open") ? `${symbol}-open` : symbol);

const plottedValue = (key, row) => values[key][row] / columns[key].scale;

// The values of a metric, and the ends of the error bars.
function plottedNumbers(key, some) {
  const bars = key === "mpjpe_mm" ? some.filter(hasBar).flatMap((row) => [values.mpjpe_low_mm[row], values.mpjpe_high_mm[row]]) : [];
  return [...some.map((row) => plottedValue(key, row)), ...bars];
}

const hasBar = (row) => values.kind[row] === "exported" && values.mpjpe_low_mm[row] !== null;

// Error bars of exported files; those of all candidates would hide the points.
function intervals(some, x, y, style) {
  const bars = {};
  for (const [axis, key] of [["x", x], ["y", y]]) {
    if (key !== "mpjpe_mm" || !some.some(hasBar)) continue;
    const length = (end) => some.map((row) => (values[end][row] === null ? 0 : Math.abs(values[end][row] - values[key][row])));
    bars[`error_${axis}`] = { type: "data", symmetric: false, array: length("mpjpe_high_mm"), arrayminus: length("mpjpe_low_mm"), color: colour(style.colour), thickness: 1, width: 3 };
  }
  return bars;
}

function drawFront() {
  const seen = shown();
  const { x, y } = state;
  const usable = seen.filter((row) => values[x][row] !== null && values[y][row] !== null);
  const front = frontOf(deployable(usable), x, y);
  const axes = {
    x: metricAxis(x, plottedNumbers(x, usable), $("plot").clientWidth - 60),
    y: metricAxis(y, plottedNumbers(y, usable), $("plot").clientHeight - 60),
  };
  const traces = [{
    x: front.map((row) => plottedValue(x, row)), y: front.map((row) => plottedValue(y, row)), mode: "lines", hoverinfo: "skip",
    line: { color: colour(front.length && values.kind[front[0]] === "candidate" ? "candidate" : "exported"), width: 1.5, shape: "hv" },
  }];
  const named = usable.filter((row) => STYLE[values.group[row]].named);
  const places = namePlaces(usable, named, axes);
  plotted = [[]];
  for (const [group, style] of Object.entries(STYLE)) {
    const mine = usable.filter((row) => values.group[row] === group);
    const names = style.named && mine.length <= 40;
    traces.push({
      x: mine.map((row) => plottedValue(x, row)), y: mine.map((row) => plottedValue(y, row)), type: "scatter", hoverinfo: "none", name: group,
      mode: names ? "markers+text" : "markers", text: names ? mine.map((row) => escaped(values.name[row])) : undefined,
      textposition: mine.map((row) => places[named.indexOf(row)] || "top center"), textfont: { color: colour(style.colour), size: 11 }, cliponaxis: false,
      marker: { symbol: mine.map((row) => openSymbol(style.symbol, isPredicted(x, row) || isPredicted(y, row))), size: style.size, color: colour(style.colour), opacity: style.opacity },
      ...intervals(mine, x, y, style),
    });
    plotted.push(mine);
  }
  const chosen = usable.includes(state.chosen) ? [state.chosen] : [];
  traces.push({
    x: chosen.map((row) => plottedValue(x, row)), y: chosen.map((row) => plottedValue(y, row)), mode: "markers", hoverinfo: "skip",
    marker: { symbol: "circle-open", size: 20, color: colour("mark"), line: { width: 3 } },
  });
  plotted.push([]);
  const drawn = Plotly.react("plot", traces, layout({ xaxis: axes.x, yaxis: axes.y, uirevision: `${x} ${y}` }), { responsive: true, displaylogo: false, displayModeBar: false });
  $("count").textContent = `${seen.length} of ${rows.length} rows`;
  const kind = front.length && values.kind[front[0]] === "exported" ? "exported files" : "candidates";
  const all = study.objectives.length > 2 ? "is that of all objectives and " : "";
  const open = usable.some((row) => isPredicted(x, row) || isPredicted(y, row)) ? " Open marks: the latency is not measured, but predicted." : "";
  $("legend").textContent = `Line: front of the ${kind} shown in these two axes, by point estimates; the column "front" ${all}says which members are distinguishable.${open} ${study.parts} Candidates are trained on fewer samples than exported files. Drag to zoom, double-click to reset.`;
  return drawn;
}

function listenToFront() {
  const plot = $("plot");
  const rowOf = (event) => plotted[event.points[0].curveNumber]?.[event.points[0].pointNumber];
  plot.on("plotly_hover", (event) => {
    const row = rowOf(event);
    if (row === undefined) return;
    showTip(row, event.event);
    showCard(row);
  });
  plot.on("plotly_unhover", () => {
    $("tip").hidden = true;
    showCard(state.chosen);
  });
  plot.on("plotly_click", (event) => {
    const row = rowOf(event);
    if (row !== undefined) choose(row);
  });
}

async function showTip(row, event) {
  const tip = $("tip");
  const lines = metrics().filter((key) => values[key][row] !== null).map((key) => `${columns[key].title} ${figure(key, row)}${key === "mpjpe_mm" && values.part[row] ? `, ${values.part[row]} part` : ""}`);
  tip.replaceChildren(make("b", {}, values.name[row]), make("div", {}, lines.join(" · ")), make("div", { class: "fine" }, values.network[row]));
  tip.hidden = false;
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - 330))}px`;
  tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, innerHeight - 150))}px`;
  later ||= unpackJson("later");
  const more = await later;
  const found = predictionsOf(row, more);
  if (found && tip.firstChild?.textContent === values.name[row] && !tip.querySelector("canvas")) {
    const canvas = make("canvas", { width: SIDE, height: SIDE });
    tip.prepend(canvas);
    drawOnPicture(canvas, more.people, 0, found[0].px);
  }
}

function drawProgress() {
  const history = study.history;
  $("progress-section").hidden = !history.length;
  if (!history.length) return;
  const trace = { x: history.map((point) => point[0]), y: history.map((point) => point[1]), mode: history.length > 200 ? "lines" : "lines+markers", line: { color: colour("exported"), shape: "hv" }, hovertemplate: "%{y:.2f} after %{x:.1f} min<extra></extra>" };
  Plotly.react("progress", [trace], layout({ xaxis: axis("time of the search, min", false), yaxis: axis("hypervolume<br>(higher is better)", false, { rangemode: "tozero" }) }), { responsive: true, displayModeBar: false });
  const mean = study.about.candidates_mean_pose_mm;
  const ceiling = mean ? `the error of the mean-pose baseline (${mean.toFixed(1)} mm)` : "the largest error";
  const cost = columns[study.objectives.find((key) => key !== "mpjpe_mm")].title;
  $("progress-text").textContent = `Hypervolume of the front in error and ${cost} after each of ${history.length} candidates, in mm × decades of ${cost}. Reference point: ${ceiling} at the largest ${cost}.`;
}

function drawImportances() {
  const known = study.importances;
  const objectives = Object.keys(known).filter((key) => columns[key]);
  $("importance-section").hidden = !objectives.length;
  if (!objectives.length) return;
  const sum = (name) => objectives.reduce((total, key) => total + (known[key][name] ?? 0), 0);
  const names = [...new Set(objectives.flatMap((key) => Object.keys(known[key])))].sort((a, b) => sum(b) - sum(a));
  const most = Math.max(...objectives.flatMap((key) => Object.values(known[key])), 1e-9);
  const box = $("importances");
  box.style.gridTemplateColumns = `minmax(70px, max-content) repeat(${objectives.length}, minmax(0, 1fr))`;
  box.replaceChildren(make("span"), ...objectives.map((key) => make("span", { class: "fine" }, `for ${columns[key].title}`)));
  for (const name of names.slice(0, 14)) {
    box.append(make("span", { class: "parameter" }, name));
    for (const key of objectives) {
      const share = known[key][name] ?? 0;
      const bar = make("span", { class: "bar" });
      bar.style.width = `${(70 * share) / most}%`;
      bar.style.background = `var(--${key === "mpjpe_mm" ? "baseline" : "exported"})`;
      box.append(make("span", { class: "cell" }, bar, `${(100 * share).toFixed(0)}%`));
    }
  }
  const reliable = study.history.length < 60 ? `with only ${study.history.length} candidates these are rough estimates` : "best tenth of the candidates against all";
  box.append(make("span", { class: "fine", style: "grid-column: 1 / -1" }, `Share of each parameter in the variance of an objective (PED-ANOVA; ${reliable}).`));
}
