// Build the page from the study and connect its controls.
const RELOAD_S = 20; // between reloads while a search runs
const STALE_S = 300; // age of the page after which it says so

function update() {
  remember();
  drawFront();
  drawTable();
}

let frame = 0;
function updateSoon() {
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(update);
}

function choose(row) {
  state.chosen = row;
  updateSoon();
  drawnCard = null;
  showCard(row);
}

function applyTheme(forced) {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = forced || state.theme || (dark ? "dark" : "light");
}

function redraw() {
  drawFront();
  drawProgress();
  drawnCard = null;
  showCard(state.chosen);
}

function buildControls() {
  for (const axis of ["x", "y"]) {
    $(axis).replaceChildren(...metrics().map((key) => make("option", { value: key, selected: state[axis] === key }, columns[key].header)));
    $(axis).title = columns[state[axis]]?.tooltip ?? "";
    $(axis).addEventListener("change", () => ((state[axis] = $(axis).value), ($(axis).title = columns[state[axis]].tooltip), updateSoon()));
  }
  const runtimes = values.runtime_values.filter(Boolean);
  $("runtime").replaceChildren(...["", ...runtimes].map((name) => make("option", { value: name, selected: state.runtime === name }, name || "any")));
  $("runtime").addEventListener("change", () => ((state.runtime = $("runtime").value), updateSoon()));
  $("text").value = state.text;
  $("text").addEventListener("input", () => ((state.text = $("text").value), updateSoon()));
  for (const [kind, title] of Object.entries(KINDS)) {
    if (!values.group.includes(kind)) continue;
    const box = make("input", { type: "checkbox", id: `kind-${kind}`, checked: state.kinds[kind] !== false });
    box.addEventListener("change", () => ((state.kinds[kind] = box.checked), updateSoon()));
    const dot = make("span", { class: `dot ${STYLE[kind].symbol}` });
    dot.style.background = `var(--${STYLE[kind].colour})`;
    const part = values.part[values.group.indexOf(kind)];
    $("kinds").append(make("label", { class: "kind" }, box, dot, part ? `${title} (${part} part)` : title));
  }
  for (const key of metrics()) {
    const slider = make("input", { type: "range", min: 0, max: STEPS, value: state.limits[key] ?? STEPS, id: `limit-${key}` });
    const output = make("output", { for: `limit-${key}` });
    const show = () => (output.textContent = Number(slider.value) >= STEPS ? "any" : `≤ ${format(key, limitAt(key, Number(slider.value)))}`);
    slider.addEventListener("input", () => {
      if (Number(slider.value) >= STEPS) delete state.limits[key];
      else state.limits[key] = Number(slider.value);
      show();
      updateSoon();
    });
    show();
    $("limits").append(make("label", { title: columns[key].tooltip }, columns[key].title, output, slider));
  }
  if (innerWidth <= 900) $("filters").open = Object.keys(state.limits).length > 0;
  buildPicks();
  $("reset").addEventListener("click", () => {
    Object.assign(state, { kinds: {}, limits: {}, text: "", runtime: study.about.runtime || "" });
    for (const id of ["kinds", "limits"]) $(id).replaceChildren();
    remember();
    const fresh = $("controls").cloneNode(true); // without its listeners
    $("controls").replaceWith(fresh);
    buildControls();
    updateSoon();
  });
}

function median(key) {
  const known = deployable(shown()).map((row) => values[key][row]).filter((value) => value !== null).sort((a, b) => a - b);
  return known.length ? known[Math.floor(known.length / 2)] : 0;
}

function buildPicks() {
  const size = ["bytes", "params", "macs"].find(has);
  $("smallest").parentElement.hidden = !has("latency_ms");
  if (has("latency_ms")) $("below-ms").value = Number(median("latency_ms").toPrecision(2));
  if (has("bytes")) $("below-mb").value = Number((median("bytes") / 1e6).toPrecision(2));
  const pick = (row) => (row < 0 ? ($("count").textContent = "no shown file that passed its checks is below this limit") : choose(row));
  $("smallest").addEventListener("click", () => pick(size ? least(size, "latency_ms", Number($("below-ms").value)) : -1));
  $("accurate").addEventListener("click", () => pick(least("mpjpe_mm", "bytes", Number($("below-mb").value) * 1e6)));
}

function showFacts() {
  const about = study.about;
  const states = Object.entries(study.states).map(([name, count]) => `${count} ${name}`).join(", ");
  $("about").textContent = [about.input_size && `networks at ${about.input_size} px`, about.data, about.runtime && `${about.runtime} ${about.quantization ?? ""}`, `trials: ${states || "none yet"}`].filter(Boolean).join(" · ");
  const machine = about.machine ?? {};
  const sets = Array.isArray(machine.instruction_sets) ? machine.instruction_sets.join(", ") : "";
  const facts = {
    data: [about.data, about.data_hash && `hash ${about.data_hash}`].filter(Boolean).join(", "), space: about.space,
    "mean-pose baseline": about.mean_pose_mm && `${about.mean_pose_mm.toFixed(1)} mm on the test part, from predicting the mean training pose for every image`,
    objectives: about.objectives?.join(", "), limits: about.limits?.join(", "), parts: study.parts, intervals: study.intervals,
    machine: [machine.processor, machine.cores && `${machine.cores} cores`, sets].filter(Boolean).join(", "),
    versions: Object.entries(about.versions ?? {}).map(([name, version]) => `${name} ${version}`).join(", "),
    configuration: [about.hash && `hash ${about.hash}`, about.seed !== undefined && `seed ${about.seed}`].filter(Boolean).join(", "), "page written": study.written,
  };
  for (const [title, text] of Object.entries(facts)) if (text) $("facts").append(make("dt", {}, title), make("dd", {}, String(text)));
  $("comparison").hidden = !study.iso_accuracy.length;
  for (const line of study.iso_accuracy) $("comparison").lastElementChild.append(make("li", {}, line));
  $("table-note").textContent = [study.latencies, study.intervals].filter(Boolean).join(" ");
  for (const note of study.notes) $("notes").append(make("li", {}, note));
}

// Before the first complete trial there is nothing to plot, filter or sort.
function showEmpty() {
  $("empty").hidden = false;
  for (const id of ["controls", "top", "table-section"]) $(id).hidden = true;
  $("notes").hidden = true;
  $("empty").lastElementChild.textContent = study.live
    ? `The first candidates are being trained. Plot and table appear here when the first of ${study.about.trials ?? "them"} is complete.`
    : "No trial of this study is complete. Run the search again to resume it.";
}

function reloadWhileRunning() {
  if (!study.live) return;
  const age = (Date.now() - Date.parse(study.written)) / 1000;
  $("live").hidden = false;
  const state = age > STALE_S
    ? `No new result for ${Math.floor(age / 60)} min: a network is being trained, or the search has stopped (the same command resumes it)`
    : "A search is running";
  $("live").firstElementChild.textContent = `${state}; this page reloads every ${RELOAD_S} s.`;
  const timer = setInterval(() => location.reload(), 1000 * RELOAD_S);
  $("pause").addEventListener("click", () => {
    clearInterval(timer);
    $("live").textContent = "A search is running. Reload the page to see its progress.";
  });
}

async function start() {
  const [read] = await Promise.all([unpackJson("first"), loadPlotly()]);
  loadStudy(read);
  recall();
  applyTheme();
  showFacts();
  if (rows.length) {
    buildControls();
    await drawFront();
    document.documentElement.dataset.firstPlot = Math.round(performance.now());
    listenToFront();
    drawTable();
  } else showEmpty();
  drawImportances();
  drawProgress();
  await showCard(state.chosen);
  later.then((more) => ($("again").textContent = more.commands.all));
  reloadWhileRunning();
  $("csv").addEventListener("click", download);
  $("more").addEventListener("click", () => ((tableLength += 10 * PAGE), drawTable()));
  $("theme").addEventListener("click", () => {
    state.theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    applyTheme();
    remember();
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (applyTheme(), redraw()));
  addEventListener("beforeprint", () => (applyTheme("light"), redraw()));
  addEventListener("afterprint", () => (applyTheme(), redraw()));
  document.documentElement.dataset.ready = "yes";
}

start().catch((error) => {
  document.body.prepend(make("p", { role: "alert" }, `This page cannot be displayed: ${error.message}. Use a browser of 2023 or newer.`));
  throw error;
});
