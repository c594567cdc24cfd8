// What the page carries, compressed: text of a script element by its id.
async function unpack(id) {
  const packed = Uint8Array.from(atob(document.getElementById(id).textContent.trim()), (c) => c.charCodeAt(0));
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

async function unpackJson(id) {
  return JSON.parse(await unpack(id));
}

// plotly.js runs as a script of the page's own, under its nonce.
const nonce = document.currentScript.nonce;
async function loadPlotly() {
  const script = document.createElement("script");
  script.nonce = nonce;
  script.textContent = await unpack("plotly");
  document.head.append(script);
}

// An element with attributes and children; texts become text, never markup.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== false && value !== null) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const $ = (id) => document.getElementById(id);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
