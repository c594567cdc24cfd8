// People: the network's answer drawn on the picture, and in a room that turns with the pointer.
const view = { yaw: 0.6, pitch: 0.12, person: 0 };
const pictures = []; // decoded once

function picture(people, index) {
  if (!pictures[index]) {
    pictures[index] = new Image();
    pictures[index].src = `data:image/jpeg;base64,${people.people[index].jpeg}`;
  }
  return pictures[index].decode().then(() => pictures[index]);
}

async function drawOnPicture(canvas, people, index, joints) {
  const image = await picture(people, index);
  const side = (canvas.width = canvas.height = 176);
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0, side, side);
  pen.lineCap = "round";
  for (const [width, casing] of [[5, true], [3, false]]) {
    people.edges.forEach(([start, end], edge) => {
      pen.strokeStyle = casing ? "#000a" : { left: "#ff8a1f", right: "#2f8fff", middle: "#ffffff" }[people.sides[edge]];
      pen.lineWidth = width;
      pen.beginPath();
      pen.moveTo(joints[start][0] * side, joints[start][1] * side);
      pen.lineTo(joints[end][0] * side, joints[end][1] * side);
      pen.stroke();
    });
  }
}

// Camera mm (x right, y down, z away) as seen after turning about the upright axis and tipping.
function turned([x, y, z]) {
  const [cy, sy, cp, sp] = [Math.cos(view.yaw), Math.sin(view.yaw), Math.cos(view.pitch), Math.sin(view.pitch)];
  const across = cy * x - sy * z, away = sy * x + cy * z;
  return [across, cp * y + sp * away, cp * away - sp * y];
}

function drawRoom(canvas, people, figures) {
  const size = Math.max(160, canvas.clientWidth) * devicePixelRatio;
  canvas.width = canvas.height = size;
  const pen = canvas.getContext("2d");
  const every = figures.flatMap((each) => each.joints);
  const reach = Math.max(600, ...every.map((joint) => Math.hypot(...joint)));
  const floor = Math.max(...every.map((joint) => joint[1]));
  const place = (point) => {
    const [x, y, z] = turned(point);
    const zoom = (size * 0.43) / reach / (1 + (0.25 * z) / reach);
    return [size / 2 + x * zoom, size / 2 + y * zoom, z];
  };
  pen.lineCap = "round";
  pen.strokeStyle = colour("grid");
  pen.lineWidth = devicePixelRatio;
  for (let at = -1000; at <= 1000; at += 250) {
    for (const [a, b] of [[[at, floor, -1000], [at, floor, 1000]], [[-1000, floor, at], [1000, floor, at]]]) {
      const [from, to] = [place(a), place(b)];
      pen.beginPath();
      pen.moveTo(from[0], from[1]);
      pen.lineTo(to[0], to[1]);
      pen.stroke();
    }
  }
  for (const { joints, ghost } of figures) {
    const seen = joints.map(place);
    const order = people.edges.map((edge, index) => [seen[edge[0]][2] + seen[edge[1]][2], index]).sort((a, b) => b[0] - a[0]);
    for (const [, index] of order) {
      const [start, end] = people.edges[index];
      pen.strokeStyle = ghost ? colour("truth") : colour(people.sides[index]);
      pen.lineWidth = (ghost ? 3 : 5) * devicePixelRatio * (size / devicePixelRatio / 260);
      pen.beginPath();
      pen.moveTo(seen[start][0], seen[start][1]);
      pen.lineTo(seen[end][0], seen[end][1]);
      pen.stroke();
    }
  }
}

function turnable(canvas, redraw) {
  let from = null;
  canvas.addEventListener("pointerdown", (event) => {
    from = [event.clientX, event.clientY];
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!from) return;
    view.yaw += (event.clientX - from[0]) / 90;
    view.pitch = Math.max(-1.3, Math.min(1.3, view.pitch + (event.clientY - from[1]) / 160));
    from = [event.clientX, event.clientY];
    redraw();
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (from = null));
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -0.15, ArrowRight: 0.15 }[event.key];
    if (step) {
      view.yaw += step;
      redraw();
    }
  });
}
