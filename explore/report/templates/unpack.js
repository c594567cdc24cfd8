// Decompress the text of a script element.
async function unpack(id) {
  const packed = Uint8Array.from(atob(document.getElementById(id).textContent.trim()), (c) => c.charCodeAt(0));
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

async function unpackJson(id) {
  return JSON.parse(await unpack(id));
}

// plotly.js runs under the nonce of the page's own script.
const nonce = document.currentScript.nonce;
async function loadPlotly() {
  const script = document.createElement("script");
  script.nonce = nonce;
  script.textContent = await unpack("plotly");
  document.head.append(script);
}

// Create an element; attributes that begin with "on" are listeners. Children that are strings become text, never markup.
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
