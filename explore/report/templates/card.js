// One row in full: figures, people, stages, certificate, and the commands that make it again.
let carded = -2;

async function showCard(row) {
  later ||= unpackJson("later");
  const more = await later;
  if (row === carded) return;
  carded = row;
  const card = $("card");
  if (row < 0) {
    card.replaceChildren(make("p", { class: "fine" }, "Point at a network, or choose one in the plot or the table."));
    return;
  }
  card.dataset.name = columns.name[row];
  card.replaceChildren(
    make("h3", {}, columns.name[row] || "unnamed"),
    make("p", { class: "words" }, [columns.kind[row] === "candidate" ? "candidate" : "", columns.runtime[row], columns.recipe[row], columns.network[row]].filter(Boolean).join(" · ")),
    figures(row),
    ...people(row, more),
    ...stageTable(row, more),
    ...certificate(row, more),
    ...reproduce(row, more),
  );
  card.scrollTop = 0;
}

function figures(row) {
  const box = make("div", { class: "figures" });
  const add = (title, value) => box.append(make("div", {}, make("span", {}, title), make("b", {}, value)));
  for (const key of metrics()) if (columns[key][row] !== null) add(METRICS[key].brief, figure(key, columns[key][row]));
  const others = [["PA-MPJPE", "pa_mpjpe_mm", "mm", 1], ["float MPJPE", "float_mpjpe_mm", "mm", 1], ["float latency", "float_latency_ms", "ms", 3]];
  for (const [title, key, unit, digits] of others) if (columns[key][row] !== null) add(title, `${columns[key][row].toFixed(digits)} ${unit}`);
  if (columns.samples[row] !== null) add("trained on", `${columns.samples[row]} samples`);
  return box;
}

function answersOf(row, more) {
  return columns.bundle[row] ? more.people.answers[columns.bundle[row]] : undefined;
}

function people(row, more) {
  const answers = answersOf(row, more);
  const known = more.people;
  if (!answers || !known.people.length) {
    const others = rows.some((other) => answersOf(other, more));
    return others ? [make("p", { class: "fine" }, "Predictions are kept for the shipped files of the study's own runtime.")] : [];
  }
  const heading = make("h4", {}, `What this very file says of people it never saw (${known.data})`);
  const strip = make("div", { class: "people" });
  const said = make("canvas", { tabindex: 0, role: "img", "aria-label": "the file's answer in 3D, turn it with the arrow keys" });
  const truth = make("canvas", { tabindex: 0, role: "img", "aria-label": "the truth in 3D" });
  const caption = make("figcaption");
  const draw = () => {
    const person = view.person;
    drawRoom(said, known, [{ joints: known.people[person].mm, ghost: true }, { joints: answers[person].mm }]);
    drawRoom(truth, known, [{ joints: known.people[person].mm }]);
    caption.textContent = `the file, ${answers[person].error_mm.toFixed(1)} mm off; the truth in grey`;
    [...strip.children].forEach((button, index) => button.setAttribute("aria-pressed", index === person));
  };
  view.person = Math.min(view.person, answers.length - 1);
  answers.forEach((answer, index) => {
    const canvas = make("canvas", { width: 176, height: 176 });
    drawOnPicture(canvas, known, index, answer.px);
    strip.append(make("button", { type: "button", title: known.people[index].name, onclick: () => ((view.person = index), draw()) }, canvas, `${answer.error_mm.toFixed(0)} mm`));
  });
  for (const canvas of [said, truth]) turnable(canvas, draw);
  const rooms = make("div", { class: "rooms" }, make("figure", {}, said, caption), make("figure", {}, truth, make("figcaption", {}, "the truth; drag to turn")));
  requestAnimationFrame(draw); // once it has a width
  return [heading, strip, rooms];
}

function stageTable(row, more) {
  const places = more.stages.of[columns.id[row]];
  if (!places) return [make("p", { class: "fine" }, "Its stages are not known here.")];
  const body = make("tbody");
  for (const place of places) {
    const [name, reads, channels, size, params, macs, memory] = more.stages.rows[place];
    body.append(
      make("tr", { title: `reads ${reads}` }, make("td", { class: "text" }, name), make("td", {}, `${channels} × ${size}²`),
        make("td", {}, params.toLocaleString("en")), make("td", {}, (macs / 1e6).toFixed(2)), make("td", {}, (memory / 1024).toFixed(0))),
    );
  }
  const head = make("tr", {}, make("th", { class: "text" }, "stage"), ...["channels × px²", "params", "M MACs", "INT8 KiB"].map((title) => make("th", {}, title)));
  return [make("h4", {}, "Stage by stage"), make("div", { class: "scroll" }, make("table", { class: "stages" }, make("thead", {}, head), body))];
}

function certificate(row, more) {
  const found = more.certificates[columns.bundle[row]]?.certificate;
  if (!found || !Object.keys(found).length) return [];
  const parts = [make("h4", {}, "Certificate")];
  const gates = Array.isArray(found.gates) ? found.gates : [];
  if (gates.length) {
    const body = make("tbody");
    for (const gate of gates) {
      body.append(make("tr", { title: gate.holds ? "" : gate.fix },
        make("td", { class: `text ${gate.holds ? "holds" : "short"}` }, gate.holds ? "holds" : "falls short"), make("td", { class: "text" }, `${gate.name}`),
        make("td", { class: "text" }, `${gate.asked}`), make("td", {}, `${gate.measured}`)));
    }
    parts.push(make("div", { class: "scroll" }, make("table", {}, body)));
  }
  for (const [between, numbers] of Object.entries(found.deviations ?? {})) {
    const said = Object.entries(numbers ?? {}).filter(([, value]) => typeof value === "number").map(([key, value]) => `${key} ${value.toFixed(2)} mm`);
    parts.push(make("p", { class: "fine" }, `${between}: ${said.join(", ")}`));
  }
  const facts = [["int8_share", "MACs in INT8"], ["delegated", "delegated"]].filter(([key]) => typeof found[key] === "number").map(([key, title]) => `${title} ${(100 * found[key]).toFixed(1)}%`);
  if (typeof found.partitions === "number") facts.push(`${found.partitions} partitions`);
  if (typeof found.transposes === "number") facts.push(`${found.transposes} transposes`);
  const costly = Object.entries(found.steps_mm ?? {}).filter(([, mm]) => typeof mm === "number").slice(0, 3);
  if (costly.length) parts.push(make("p", { class: "fine" }, `8 bits cost most in ${costly.map(([step, mm]) => `${step} ${mm.toFixed(2)} mm`).join(", ")}`));
  if (facts.length) parts.push(make("p", { class: "fine" }, facts.join(", ")));
  return parts;
}

const quoted = (text) => (/^[\w@.\/:=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

function commandsOf(row, more) {
  const kind = columns.kind[row];
  if (kind === "reference") return columns.bundle[row] ? more.commands.reference.replace("{BUNDLE}", () => quoted(columns.bundle[row])) : "";
  const fields = more.networks[columns.id[row]];
  if (!fields) return more.commands.all;
  const net = columns.id[row];
  const file = `${net}.yaml`;
  const lines = more.commands[kind].replaceAll("{ARCH}", () => quoted(file)).replaceAll("{NET}", () => quoted(net)).replaceAll("{RUNTIME}", () => quoted(columns.runtime[row])).replaceAll("{RECIPE}", () => quoted(columns.recipe[row]));
  return `echo ${`'${JSON.stringify(fields).replaceAll("'", `'\\''`)}'`} > ${quoted(file)}\n${lines}`;
}

function reproduce(row, more) {
  const text = commandsOf(row, more);
  if (!text) return [];
  const button = make("button", { type: "button", onclick: () => copy(text, button) }, "copy");
  return [make("h4", {}, "Make it again ", button), make("pre", { class: "command" }, text)];
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "copied";
  } catch {
    button.textContent = "mark the text and copy it";
  }
}
