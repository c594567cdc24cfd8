// The front, and how it grew. Plotly draws; names reach it only through escaped().
const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const STYLE = {
  candidate: { symbol: "circle", size: 6, colour: "candidate", opacity: 0.65 },
  paperCandidate: { symbol: "diamond-open", size: 10, colour: "theirs", opacity: 1, named: true },
  shipped: { symbol: "circle", size: 11, colour: "shipped", opacity: 1 },
  paperShipped: { symbol: "diamond", size: 12, colour: "theirs", opacity: 1, named: true },
  reference: { symbol: "star", size: 15, colour: "reference", opacity: 1, named: true },
};
let plotted = [];

function axis(title, type) {
  return {
    title: { text: title, standoff: 8 }, type, gridcolor: colour("grid"), linecolor: colour("line"), zeroline: false,
    tickcolor: colour("line"), automargin: true, ...(type === "log" ? { dtick: "D2", tickformat: "~g", minorloglabels: "none" } : {}),
  };
}

function layout(more) {
  return {
    paper_bgcolor: "#0000", plot_bgcolor: "#0000", font: { color: colour("ink"), family: "system-ui, sans-serif", size: 12 },
    margin: { l: 52, r: 14, t: 12, b: 46 }, showlegend: false, hovermode: "closest", dragmode: "zoom", ...more,
  };
}

// Where each point's name hides least of the other names and points, chosen one after the other; points as [x, y, text] in px.
function namePlaces(points) {
  const PLACES = { "top center": [0, -1], "bottom center": [0, 1], "middle right": [1, 0], "middle left": [-1, 0] };
  const taken = points.map(([x, y]) => [x - 8, y - 8, x + 8, y + 8]);
  const own = (index, [right, down]) => {
    const [x, y, text] = points[index];
    const [wide, high] = [6.2 * text.length, 13];
    const [left, top] = [x - wide / 2 + right * (wide / 2 + 9), y - high / 2 + down * (high / 2 + 9)];
    return [left, top, left + wide, top + high];
  };
  const hides = (a, index) => taken.filter((b, other) => other !== index && a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]).length;
  return points.map((_, index) => {
    const least = Object.keys(PLACES).map((place) => [hides(own(index, PLACES[place]), index), place]).reduce((a, b) => (b[0] < a[0] ? b : a));
    taken.push(own(index, PLACES[least[1]]));
    return least[1];
  });
}

// Values as px of a plot that shows them all.
function spreadOver(values, length, type) {
  const scaled = type === "log" ? values.map(Math.log) : values;
  const [low, high] = [Math.min(...scaled), Math.max(...scaled)];
  return scaled.map((value) => ((value - low) / (high - low || 1)) * length);
}

function drawFront() {
  const seen = shown();
  const { x, y } = state;
  const at = (key, row) => columns[key][row] / METRICS[key].scale;
  const usable = seen.filter((row) => columns[x][row] !== null && columns[y][row] !== null);
  const line = frontOf(takeable(usable), x, y);
  const traces = [{
    x: line.map((row) => at(x, row)), y: line.map((row) => at(y, row)), mode: "lines", hoverinfo: "skip",
    line: { color: colour(line.length && columns.kind[line[0]] === "candidate" ? "candidate" : "shipped"), width: 1.5, shape: "hv" },
  }];
  const named = usable.filter((row) => STYLE[columns.group[row]].named);
  const [across, up] = [spreadOver(usable.map((row) => at(x, row)), 0.88 * $("plot").clientWidth, METRICS[x].axis), spreadOver(usable.map((row) => at(y, row)), -0.85 * $("plot").clientHeight, METRICS[y].axis)];
  const spots = namePlaces(named.map((row) => [across[usable.indexOf(row)], up[usable.indexOf(row)], columns.name[row]]));
  plotted = [[]];
  for (const [group, style] of Object.entries(STYLE)) {
    const mine = usable.filter((row) => columns.group[row] === group);
    const names = style.named && mine.length <= 40;
    traces.push({
      x: mine.map((row) => at(x, row)), y: mine.map((row) => at(y, row)), type: "scatter", hoverinfo: "none", name: group,
      mode: names ? "markers+text" : "markers", text: names ? mine.map((row) => escaped(columns.name[row])) : undefined,
      textposition: mine.map((row) => spots[named.indexOf(row)] || "top center"), textfont: { color: colour(style.colour), size: 11 }, cliponaxis: false,
      marker: { symbol: style.symbol, size: style.size, color: colour(style.colour), opacity: style.opacity },
    });
    plotted.push(mine);
  }
  const chosen = usable.includes(state.chosen) ? [state.chosen] : [];
  traces.push({
    x: chosen.map((row) => at(x, row)), y: chosen.map((row) => at(y, row)), mode: "markers", hoverinfo: "skip",
    marker: { symbol: "circle-open", size: 20, color: colour("mark"), line: { width: 3 } },
  });
  plotted.push([]);
  const axes = { xaxis: axis(escaped(METRICS[x].title), METRICS[x].axis), yaxis: axis(escaped(METRICS[y].title), METRICS[y].axis) };
  const drawn = Plotly.react("plot", traces, layout({ ...axes, uirevision: `${x} ${y}` }), { responsive: true, displaylogo: false, displayModeBar: false });
  $("count").textContent = `${seen.length} of ${rows.length} files`;
  $("legend").textContent = legend(line);
  return drawn;
}

function legend(line) {
  const kind = line.length && columns.kind[line[0]] === "shipped" ? "shipped files" : "candidates";
  return `The line is the front of ${kind} that are shown. Files trained on different numbers of samples are not alike. Drag to zoom, double click to go back.`;
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
  const lines = metrics().filter((key) => columns[key][row] !== null).map((key) => `${METRICS[key].brief} ${figure(key, columns[key][row])}`);
  tip.replaceChildren(make("b", {}, columns.name[row]), make("div", {}, lines.join(" · ")), make("div", { class: "fine" }, columns.network[row]));
  tip.hidden = false;
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - 330))}px`;
  tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, innerHeight - 150))}px`;
  later ||= unpackJson("later");
  const more = await later;
  const answers = answersOf(row, more);
  if (answers && tip.firstChild?.textContent === columns.name[row] && !tip.querySelector("canvas")) {
    const canvas = make("canvas", { width: 176, height: 176 });
    tip.prepend(canvas);
    drawOnPicture(canvas, more.people, 0, answers[0].px);
  }
}

function drawProgress() {
  const grown = study.history;
  $("progress-section").hidden = !grown.length;
  if (!grown.length) return;
  const trace = { x: grown.map((point) => point[0]), y: grown.map((point) => point[1]), mode: grown.length > 200 ? "lines" : "lines+markers", line: { color: colour("shipped"), shape: "hv" }, hovertemplate: "%{y:.2f} after %{x:.1f} min<extra></extra>" };
  Plotly.react("progress", [trace], layout({ xaxis: axis("minutes of searching", "linear"), yaxis: { ...axis("hypervolume", "linear"), rangemode: "tozero" } }), { responsive: true, displayModeBar: false });
  const ceiling = study.about.mean_pose_mm ? `the mean pose's ${study.about.mean_pose_mm.toFixed(1)} mm` : "the worst candidate's error";
  $("progress-text").textContent = `${grown.length} candidates. The volume that their front leaves behind, mm × decades of latency, up to ${ceiling} and the slowest one's latency.`;
}

function drawImportances() {
  const known = study.importances;
  const both = [["mpjpe_mm", "for MPJPE", "theirs"], ["latency_ms", "for latency", "shipped"]].filter(([key]) => known[key]);
  $("importance-section").hidden = !both.length;
  if (!both.length) return;
  const sum = (name) => both.reduce((total, [key]) => total + (known[key][name] ?? 0), 0);
  const names = [...new Set(both.flatMap(([key]) => Object.keys(known[key])))].sort((a, b) => sum(b) - sum(a));
  const most = Math.max(...both.flatMap(([key]) => Object.values(known[key])), 1e-9);
  const box = $("importances");
  box.replaceChildren(make("span"), ...both.map(([, title]) => make("span", { class: "fine" }, title)));
  for (const name of names.slice(0, 14)) {
    box.append(make("span", {}, name));
    for (const [key, , shade] of both) {
      const share = known[key][name] ?? 0;
      const bar = make("span", { class: "bar" });
      bar.style.width = `${(70 * share) / most}%`;
      bar.style.background = `var(--${shade})`;
      box.append(make("span", { class: "cell" }, bar, `${(100 * share).toFixed(0)}%`));
    }
  }
  if (both.length === 1) box.style.gridTemplateColumns = "max-content 1fr";
  const few = study.history.length < 60 ? `from ${study.history.length} candidates, a hint at most` : "of the best tenth against all candidates";
  box.append(make("span", { class: "fine", style: "grid-column: 1 / -1" }, `PED-ANOVA, ${few}.`));
}
