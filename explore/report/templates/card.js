// Details of one row: figures, predictions, stages, certificate, and commands that reproduce it.
let drawnCard = null; // row whose details are drawn

async function showCard(row) {
  later ||= unpackJson("later");
  const more = await later;
  if (row === drawnCard) return;
  drawnCard = row;
  const card = $("card");
  if (row < 0) {
    card.replaceChildren(make("p", { class: "fine" }, "Point at a network, or choose one in the plot or the table."));
    return;
  }
  card.dataset.name = values.name[row];
  const facts = [values.kind[row] === "candidate" ? "candidate" : "", values.part[row] && `errors on the ${values.part[row]} part`, values.runtime[row], values.recipe[row], values.network[row]];
  card.replaceChildren(
    make("h3", {}, values.name[row] || "unnamed"),
    make("p", { class: "words" }, facts.filter(Boolean).join(" · ")),
    figures(row),
    ...comparisons(row, more),
    ...predictions(row, more),
    ...stageTable(row, more),
    ...certificate(row, more),
    ...reproduce(row, more),
  );
  card.scrollTop = 0;
}

function figures(row) {
  const box = make("div", { class: "figures" });
  const keys = [...metrics(), "pa_mpjpe_mm", "float_mpjpe_mm", "float_latency_ms", "samples"];
  for (const key of keys) {
    if (values[key][row] === null) continue;
    const wide = key === "mpjpe_mm" && values.mpjpe_low_mm[row] !== null;
    const units = wide && values.units[row] ? `, 95% over ${values.units[row]}` : "";
    box.append(make("div", { title: columns[key].tooltip, class: wide ? "interval" : "" }, make("span", {}, columns[key].title + units), make("b", {}, figure(key, row))));
  }
  return box;
}

const fileKey = (row) => ["kind", "arch_id", "runtime", "recipe"].map((key) => values[key][row]).join("/");

// Differences of this file's error from those of others on the same frames.
function comparisons(row, more) {
  const own = fileKey(row);
  const names = Object.fromEntries(rows.map((other) => [fileKey(other), values.name[other]]));
  const lines = more.comparisons.filter((one) => own === one.a || own === one.b).map(({ a, b, difference }) => {
    const [mm, low, high] = own === a ? [difference.value, difference.low, difference.high] : [-difference.value, -difference.high, -difference.low];
    const verdict = high < 0 ? "more accurate" : low > 0 ? "less accurate" : "indistinguishable";
    return { name: names[own === a ? b : a], verdict, text: `${signed(mm)} (${signed(low)} to ${signed(high)})` };
  }).filter((line) => line.name !== undefined);
  if (!lines.length) return [];
  const body = make("tbody", {}, ...lines.map(({ name, verdict, text }) => make("tr", {}, make("td", { class: "text" }, verdict), make("td", { class: "text" }, name), make("td", {}, text))));
  const head = make("tr", {}, make("th", { class: "text" }, "this file is"), make("th", { class: "text" }, "compared with"), make("th", {}, "difference mm (95%)"));
  return [make("h4", {}, `Paired comparison on the same frames (${values.part[row]} part)`), make("div", { class: "scroll" }, make("table", { class: "paired" }, make("thead", {}, head), body))];
}

const signed = (mm) => `${mm < 0 ? "−" : "+"}${Math.abs(mm).toFixed(1)}`;

const predictionsOf = (row, more) => (values.bundle[row] ? more.people.predictions[values.bundle[row]] : undefined);

function predictions(row, more) {
  const found = predictionsOf(row, more);
  const people = more.people;
  if (!found || !people.people.length) {
    const others = rows.some((other) => predictionsOf(other, more));
    return others ? [make("p", { class: "fine" }, "Predictions are stored for exported files of the study's own runtime only.")] : [];
  }
  const heading = make("h4", {}, `Predictions on unseen test subjects (${people.data})`);
  const strip = make("div", { class: "people" });
  const predicted = make("canvas", { tabindex: 0, role: "img", "aria-label": "prediction in 3D; rotate it with the arrow keys" });
  const truth = make("canvas", { tabindex: 0, role: "img", "aria-label": "ground truth in 3D; rotate it with the arrow keys" });
  const caption = make("figcaption");
  const draw = () => {
    const person = view.person;
    draw3D(predicted, people, [{ joints: people.people[person].mm, faint: true }, { joints: found[person].mm }]);
    draw3D(truth, people, [{ joints: people.people[person].mm }]);
    caption.textContent = `prediction (error ${found[person].error_mm.toFixed(1)} mm), ground truth in grey`;
    [...strip.children].forEach((button, index) => button.setAttribute("aria-pressed", index === person));
  };
  view.person = Math.min(view.person, found.length - 1);
  found.forEach((prediction, index) => {
    const canvas = make("canvas", { width: SIDE, height: SIDE });
    drawOnPicture(canvas, people, index, prediction.px);
    strip.append(make("button", { type: "button", title: people.people[index].name, onclick: () => ((view.person = index), draw()) }, canvas, `${prediction.error_mm.toFixed(0)} mm`));
  });
  for (const canvas of [predicted, truth]) makeRotatable(canvas, draw);
  const views = make("div", { class: "views" }, make("figure", {}, predicted, caption), make("figure", {}, truth, make("figcaption", {}, "ground truth; drag to rotate")));
  requestAnimationFrame(draw); // once the canvases have a width
  return [heading, strip, views];
}

function stageTable(row, more) {
  const places = more.stages.of[values.arch_id[row]];
  if (!places) return [make("p", { class: "fine" }, "The stages of this network are unknown.")];
  const body = make("tbody");
  for (const place of places) {
    const [name, reads, channels, size, params, macs, memory] = more.stages.rows[place];
    body.append(
      make("tr", { title: `reads ${reads}` }, make("td", { class: "text" }, name), make("td", {}, `${channels} × ${size}²`),
        make("td", {}, (params / 1e6).toFixed(3)), make("td", {}, (macs / 1e6).toFixed(2)), make("td", {}, (memory / 1e6).toFixed(3))),
    );
  }
  const titles = [["output", "shape of the output: channels × side², px"], ["params M", columns.params.tooltip], ["MACs M", columns.macs.tooltip], ["memory MB", "INT8 activations alive while the stage runs"]];
  const head = make("tr", {}, make("th", { class: "text" }, "stage"), ...titles.map(([title, tooltip]) => make("th", { title: tooltip }, title)));
  return [make("h4", {}, "Stages"), make("div", { class: "scroll" }, make("table", { class: "stages" }, make("thead", {}, head), body))];
}

function certificate(row, more) {
  const found = more.certificates[values.bundle[row]];
  if (!found || !Object.keys(found).length) return [];
  const parts = [make("h4", {}, "Certificate")];
  const checks = found.checks ?? found.gates; // of version 0.1, as asked and holds below
  if (Array.isArray(checks) && checks.length) {
    const body = make("tbody");
    for (const check of checks) {
      const passed = check.passed ?? check.holds;
      body.append(make("tr", { title: passed ? "" : check.fix },
        make("td", { class: `text ${passed ? "passed" : "failed"}` }, passed ? "pass" : "fail"), make("td", { class: "text" }, `${check.name}`),
        make("td", { class: "text" }, `${check.target ?? check.asked}`), make("td", {}, `${check.measured}`)));
    }
    const head = make("tr", {}, ...["result", "check", "target"].map((title) => make("th", { class: "text" }, title)), make("th", {}, "measured"));
    parts.push(make("div", { class: "scroll" }, make("table", { class: "checks" }, make("thead", {}, head), body)));
  }
  const fine = (text) => parts.push(make("p", { class: "fine" }, text));
  for (const [between, numbers] of Object.entries(found.deviations ?? {})) {
    const known = Object.entries(numbers ?? {}).filter(([, value]) => typeof value === "number").map(([key, value]) => `${key} ${value.toFixed(2)} mm`);
    fine(`${between}: ${known.join(", ")}`);
  }
  const costly = Object.entries(found.steps_mm ?? {}).filter(([, mm]) => typeof mm === "number").slice(0, 3);
  if (costly.length) fine(`Largest quantization errors: ${costly.map(([step, mm]) => `${step} ${mm.toFixed(2)} mm`).join(", ")}`);
  for (const [name, one] of Object.entries(found.reliability ?? {})) {
    fine(`${name}: expected calibration error ${(100 * one.error).toFixed(1)}%, area under the ROC curve ${one.separation.toFixed(2)}`);
    parts.push(reliabilityDiagram(name, one));
  }
  const scale = found.scale_error;
  if (scale) fine(`Scale by the pose: standard deviation ${(100 * scale.sd).toFixed(1)}%; by bone lengths alone ${(100 * scale.bones_sd).toFixed(1)}%`);
  const facts = [["int8_share", "MACs in INT8"], ["delegated", "delegated"]].filter(([key]) => typeof found[key] === "number").map(([key, title]) => `${title} ${(100 * found[key]).toFixed(1)}%`);
  for (const key of ["partitions", "transposes"]) if (typeof found[key] === "number") facts.push(`${found[key]} ${key}`);
  if (facts.length) fine(facts.join(", "));
  return parts;
}

const quoted = (text) => (/^[\w@.\/:=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

function commandsOf(row, more) {
  const kind = values.kind[row];
  if (kind === "reference") return values.bundle[row] ? more.commands.reference.replace("{BUNDLE}", () => quoted(values.bundle[row])) : "";
  const id = values.arch_id[row];
  const fields = more.networks[id];
  if (!fields) return more.commands.all;
  const file = `${id}.yaml`;
  const further = values.samples[row] - more.commands.common_samples;  // of finalists at equal training compute
  const text = more.commands[kind === "exported" && further > 0 ? "longer" : kind].replaceAll("{MORE}", () => `${further}`);
  const lines = text.replaceAll("{ARCH}", () => quoted(file)).replaceAll("{NET}", () => quoted(id)).replaceAll("{RUNTIME}", () => quoted(values.runtime[row])).replaceAll("{RECIPE}", () => quoted(values.recipe[row]));
  return `echo ${`'${JSON.stringify(fields).replaceAll("'", `'\\''`)}'`} > ${quoted(file)}\n${lines}`;
}

function reproduce(row, more) {
  const text = commandsOf(row, more);
  if (!text) return [];
  const button = make("button", { type: "button", onclick: () => copy(text, button) }, "copy");
  return [make("h4", {}, "Reproduce ", button), make("pre", { class: "command" }, text)];
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "copied";
  } catch {
    button.textContent = "select the text and copy it";
  }
}

// Observed against predicted probability, one dot for each bin, larger for more predictions; the diagonal is perfect.
function reliabilityDiagram(name, one) {
  const side = 120, space = 14, rim = 7, whole = side + space + rim, ns = "http://www.w3.org/2000/svg", most = Math.max(...one.count, 1);
  const draw = (tag, attributes, text) => {
    const element = document.createElementNS(ns, tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text) element.append(text);
    return element;
  };
  const svg = draw("svg", { viewBox: `0 ${-rim} ${whole} ${whole}`, width: whole, height: whole, role: "img", "aria-label": `reliability diagram of ${name}` });
  svg.append(draw("rect", { x: space, y: 0, width: side, height: side, fill: "none", stroke: "currentColor", opacity: 0.3 }),
    draw("line", { x1: space, y1: side, x2: space + side, y2: 0, stroke: "currentColor", opacity: 0.3 }),
    draw("text", { x: space + side / 2, y: side + 11, "font-size": 10, "text-anchor": "middle", fill: "currentColor" }, `predicted ${name}`),
    draw("text", { x: 10, y: side / 2, "font-size": 10, "text-anchor": "middle", fill: "currentColor", transform: `rotate(-90 10 ${side / 2})` }, "observed"));
  one.count.forEach((count, bin) => {
    if (!count) return;
    const dot = draw("circle", { cx: space + side * one.predicted[bin], cy: side * (1 - one.observed[bin]), r: 2 + 4 * Math.sqrt(count / most), fill: "#2f8fff" });
    dot.append(draw("title", {}, `predicted ${(100 * one.predicted[bin]).toFixed(0)}%, observed ${(100 * one.observed[bin]).toFixed(0)}% of ${count}`));
    svg.append(dot);
  });
  return svg;
}
