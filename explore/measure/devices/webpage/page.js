// Time the models in interleaved rounds and post every round; the server decides when to stop.
import { loadLiteRt, loadAndCompile, Tensor } from "@litertjs/core";

const element = (id) => document.getElementById(id);
let hidden = document.hidden;
let again = false;  // return for the next measurement
document.addEventListener("visibilitychange", () => { hidden ||= document.hidden; });

async function post(name, body) {
  const answer = await fetch(name, { method: "POST", body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

function showStatus(text, share) {
  element("text").textContent = text;
  if (share !== undefined) element("bar").value = share;
}

// Resolution of the clock, ms: 0.005 in an isolated page, 0.1 or more elsewhere.
function clockStep() {
  let step = Infinity;
  for (let index = 0; index < 20; index++) {
    const before = performance.now();
    let now = before;
    while (now === before) now = performance.now();
    step = Math.min(step, now - before);
  }
  return step;
}

async function once(model) {
  for (const output of await model.compiled.run(model.input)) output.delete();
}

// Mean ms of a call in each of `calls` samples; a sample is long compared with the clock's resolution.
async function timed(model, calls) {
  const times = [];
  await once(model);
  for (let index = 0; index < calls; index++) {
    const began = performance.now();
    for (let repeat = 0; repeat < model.batch; repeat++) await once(model);
    times.push((performance.now() - began) / model.batch);
  }
  return times;
}

async function open(request, threads, step) {
  const models = [];
  for (const given of request.models) {
    const bytes = new Uint8Array(await (await fetch(given.url)).arrayBuffer());
    const began = performance.now();
    const compiled = await loadAndCompile(bytes, { accelerator: "wasm", cpuOptions: { numThreads: threads } });
    const loaded = performance.now();
    const shape = Array.from(compiled.getInputDetails()[0].shape);
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, index) => Math.sin(index));
    const model = { compiled, input: new Tensor(values, shape), load: loaded - began, batch: 1 };
    const started = performance.now();
    await once(model);
    model.first = performance.now() - started;
    let fastest = Infinity;
    for (let index = 0; index < 5; index++) {
      const at = performance.now();
      await once(model);
      fastest = Math.min(fastest, performance.now() - at);
    }
    model.batch = Math.max(1, Math.min(100, Math.ceil((50 * step) / Math.max(fastest, step))));
    models.push(model);
  }
  return models;
}

function shuffled(count) {
  const order = [...Array(count).keys()];
  for (let index = count - 1; index > 0; index--) {
    const other = Math.floor(Math.random() * (index + 1));
    [order[index], order[other]] = [order[other], order[index]];
  }
  return order;
}

function show(request, threads, times) {
  element("latencies").replaceChildren(...request.models.map((given, index) => {
    const row = document.createElement("tr");
    const middle = [...times[index]].sort((a, b) => a - b)[times[index].length >> 1];
    for (const text of [given.name, `${threads} thread${threads > 1 ? "s" : ""}`, `${middle.toFixed(2)} ms`]) {
      row.insertCell().textContent = text;
    }
    return row;
  }));
}

async function measure() {
  const request = await post("hello", {
    agent: navigator.userAgent,
    platform: navigator.userAgentData?.platform || navigator.platform,
    cores: navigator.hardwareConcurrency || null,
    memory_gb: navigator.deviceMemory || null,
    isolated: self.crossOriginIsolated,
  });
  again = request.again;
  const threaded = request.threads.some((count) => count > 1);
  if (threaded && !self.crossOriginIsolated) {
    throw new Error("several threads need a page of localhost or https; measure with --threads 1");
  }
  await loadLiteRt("./core/wasm/", { threads: threaded });
  const step = clockStep();
  for (const [index, threads] of request.threads.entries()) {
    showStatus(`Compiling for ${threads} thread${threads > 1 ? "s" : ""}`);
    const models = await open(request, threads, step);
    await post("loaded", {
      threads,
      step_ms: step,
      models: models.map((model) => ({
        load_ms: model.load, first_ms: model.first, full: model.compiled.isFullyAccelerated,
      })),
    });
    for (let round = 1, more = true; more; round++) {
      hidden = document.hidden;
      const times = models.map(() => []);
      for (const at of shuffled(models.length)) times[at] = await timed(models[at], request.calls);
      const answer = await post("round", { threads, hidden, times });
      more = answer.more;
      show(request, threads, times);
      showStatus(`${threads} thread${threads > 1 ? "s" : ""}, round ${round}`, (index + answer.share) / request.threads.length);
    }
    for (const model of models) {
      model.input.delete();
      model.compiled.delete();
    }
  }
  await post("done", {});
  if (again) return waitForNext();
  showStatus("Done. The results are shown where the measurement was started; this page can be closed.", 1);
}

// The server runs only during a measurement.
async function waitForNext() {
  showStatus("Waiting for the next measurement; keep this page in the foreground.", 1);
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const answer = await fetch("./").catch(() => null);
    if (answer?.ok) return location.reload();
  }
}

measure().catch(async (error) => {
  element("text").className = "bad";
  showStatus(`Failed: ${error.message ?? error}`);
  await fetch("error", { method: "POST", body: JSON.stringify({ error: String(error.message ?? error) }) }).catch(() => null);
  if (again) await waitForNext();
});
