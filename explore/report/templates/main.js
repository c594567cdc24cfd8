// From the packed study to a page that answers.
const SOON = 20; // s between reloads while a search runs
const OLD = 300; // s without a new page, after which the search is taken to have ended

function update() {
  remember();
  drawFront();
  drawTable();
}

let asked = 0;
function updateSoon() {
  cancelAnimationFrame(asked);
  asked = requestAnimationFrame(update);
}

function choose(row) {
  state.chosen = row;
  updateSoon();
  carded = -2;
  showCard(row);
}

function applyTheme(forced) {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = forced || state.theme || (dark ? "dark" : "light");
}

function redraw() {
  drawFront();
  drawProgress();
  carded = -2;
  showCard(state.chosen);
}

function buildControls() {
  for (const axis of ["x", "y"]) {
    $(axis).replaceChildren(...metrics().map((key) => make("option", { value: key, selected: state[axis] === key }, METRICS[key].title)));
    $(axis).addEventListener("change", () => ((state[axis] = $(axis).value), updateSoon()));
  }
  const runtimes = columns.runtime_values.filter(Boolean);
  $("runtime").replaceChildren(...["", ...runtimes].map((name) => make("option", { value: name, selected: state.runtime === name }, name || "any")));
  $("runtime").addEventListener("change", () => ((state.runtime = $("runtime").value), updateSoon()));
  $("text").value = state.text;
  $("text").addEventListener("input", () => ((state.text = $("text").value), updateSoon()));
  for (const [kind, title] of Object.entries(KINDS)) {
    if (!columns.group.includes(kind)) continue;
    const box = make("input", { type: "checkbox", id: `kind-${kind}`, checked: state.kinds[kind] !== false });
    box.addEventListener("change", () => ((state.kinds[kind] = box.checked), updateSoon()));
    const dot = make("span", { class: `dot ${STYLE[kind].symbol}` });
    dot.style.background = `var(--${STYLE[kind].colour})`;
    $("kinds").append(make("label", { class: "kind" }, box, dot, title));
  }
  for (const key of metrics()) {
    const slider = make("input", { type: "range", min: 0, max: STEPS, value: state.limits[key] ?? STEPS, id: `limit-${key}` });
    const said = make("output", { for: `limit-${key}` });
    const say = () => (said.textContent = Number(slider.value) >= STEPS ? "any" : `≤ ${figure(key, limitAt(key, Number(slider.value)))}`);
    slider.addEventListener("input", () => {
      if (Number(slider.value) >= STEPS) delete state.limits[key];
      else state.limits[key] = Number(slider.value);
      say();
      updateSoon();
    });
    say();
    $("limits").append(make("label", {}, METRICS[key].brief, said, slider));
  }
  buildQuestions();
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

function middle(key) {
  const values = takeable(shown()).map((row) => columns[key][row]).filter((value) => value !== null).sort((a, b) => a - b);
  return values.length ? values[Math.floor(values.length / 2)] : 0;
}

function buildQuestions() {
  const size = ["bytes", "params", "macs"].find(has);
  if (has("latency_ms")) $("under-ms").value = Number(middle("latency_ms").toPrecision(2));
  if (has("bytes")) $("under-mb").value = Number((middle("bytes") / 1e6).toPrecision(2));
  const answer = (row) => (row < 0 ? ($("count").textContent = "no file that is shown is under that") : choose(row));
  $("smallest").addEventListener("click", () => answer(size ? least(size, "latency_ms", Number($("under-ms").value)) : -1));
  $("accurate").addEventListener("click", () => answer(least("mpjpe_mm", "bytes", Number($("under-mb").value) * 1e6)));
}

function tell() {
  const about = study.about;
  const states = Object.entries(study.states).map(([name, count]) => `${count} ${name}`).join(", ");
  $("about").textContent = [about.scale && `networks at ${about.scale} px`, about.data, about.runtime && `${about.runtime} ${about.recipe ?? ""}`, `trials: ${states}`].filter(Boolean).join(" · ");
  const machine = about.machine ?? {};
  const sets = Array.isArray(machine.instruction_sets) ? machine.instruction_sets.join(", ") : "";
  const facts = {
    data: [about.data, about.data_hash && `hash ${about.data_hash}`].filter(Boolean).join(", "), space: about.space,
    "mean pose": about.mean_pose_mm && `${about.mean_pose_mm.toFixed(1)} mm, what always answering it gives`,
    machine: [machine.processor, machine.cores && `${machine.cores} cores`, sets].filter(Boolean).join(", "),
    versions: Object.entries(about.versions ?? {}).map(([name, version]) => `${name} ${version}`).join(", "),
    configuration: [about.hash && `hash ${about.hash}`, about.seed !== null && `seed ${about.seed}`].filter(Boolean).join(", "), "page written": study.made,
  };
  for (const [title, text] of Object.entries(facts)) if (text) $("made").append(make("dt", {}, title), make("dd", {}, String(text)));
  $("equal").hidden = !study.equal_error.length;
  for (const line of study.equal_error) $("equal").lastElementChild.append(make("li", {}, line));
  for (const note of study.notes) $("notes").append(make("li", {}, note));
}

function follow() {
  if (!study.live) return;
  const age = (Date.now() - Date.parse(study.made)) / 1000;
  $("live").hidden = false;
  if (age > OLD) {
    $("live").textContent = "The search that wrote this page no longer does; the same command goes on with it.";
    return;
  }
  $("live").firstElementChild.textContent = `A search is running: the page loads itself again every ${SOON} s.`;
  const timer = setInterval(() => location.reload(), 1000 * SOON);
  $("pause").addEventListener("click", () => {
    clearInterval(timer);
    $("live").textContent = "A search is running; load the page again to see how far it has come.";
  });
}

async function start() {
  const [read] = await Promise.all([unpackJson("first"), loadPlotly()]);
  takeStudy(read);
  recall();
  applyTheme();
  buildControls();
  tell();
  await drawFront();
  document.documentElement.dataset.firstPlot = Math.round(performance.now());
  listenToFront();
  drawTable();
  drawImportances();
  drawProgress();
  await showCard(state.chosen);
  later.then((more) => ($("again").textContent = more.commands.all));
  follow();
  $("csv").addEventListener("click", download);
  $("more").addEventListener("click", () => ((long += 10 * PAGE), drawTable()));
  $("theme").addEventListener("click", () => {
    const now = document.documentElement.dataset.theme;
    state.theme = now === "dark" ? "light" : "dark";
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
  document.body.prepend(make("p", { role: "alert" }, `This page could not draw itself: ${error.message}. A browser of 2023 or newer is needed.`));
  throw error;
});
