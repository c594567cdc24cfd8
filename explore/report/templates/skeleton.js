// Poses drawn on pictures, and in 3D views that rotate with the pointer.
const view = { yaw: 0.6, pitch: 0.12, person: 0 };
const SIDE = 176; // px of a picture
const decoded = []; // images by person

function decode(people, person) {
  if (!decoded[person]) {
    decoded[person] = new Image();
    decoded[person].src = `data:image/jpeg;base64,${people.people[person].jpeg}`;
  }
  return decoded[person].decode().then(() => decoded[person]);
}

// joints: (x, y) as fractions of the picture's side
async function drawOnPicture(canvas, people, person, joints) {
  const image = await decode(people, person);
  canvas.width = canvas.height = SIDE;
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0, SIDE, SIDE);
  context.lineCap = "round";
  for (const [width, outline] of [[5, true], [3, false]]) {
    people.edges.forEach(([start, end], edge) => {
      context.strokeStyle = outline ? "#000a" : { left: "#ff8a1f", right: "#2f8fff", middle: "#ffffff" }[people.sides[edge]];
      context.lineWidth = width;
      line(context, joints[start].map((value) => value * SIDE), joints[end].map((value) => value * SIDE));
    });
  }
}

function line(context, [fromX, fromY], [toX, toY]) {
  context.beginPath();
  context.moveTo(fromX, fromY);
  context.lineTo(toX, toY);
  context.stroke();
}

// Rotate camera coordinates in mm (x right, y down, z away) by the yaw and pitch of the view.
function rotate([x, y, z]) {
  const [cy, sy, cp, sp] = [Math.cos(view.yaw), Math.sin(view.yaw), Math.cos(view.pitch), Math.sin(view.pitch)];
  const across = cy * x - sy * z, away = sy * x + cy * z;
  return [across, cp * y + sp * away, cp * away - sp * y];
}

// poses: joints in mm from the root; a pose with `faint` is drawn in grey
function draw3D(canvas, people, poses) {
  const size = Math.max(160, canvas.clientWidth) * devicePixelRatio;
  canvas.width = canvas.height = size;
  const context = canvas.getContext("2d");
  const joints = poses.flatMap((pose) => pose.joints);
  const reach = Math.max(600, ...joints.map((joint) => Math.hypot(...joint)));
  const floor = Math.max(...joints.map((joint) => joint[1]));
  const project = (point) => {
    const [x, y, z] = rotate(point);
    const zoom = (size * 0.43) / reach / (1 + (0.25 * z) / reach);
    return [size / 2 + x * zoom, size / 2 + y * zoom, z];
  };
  context.lineCap = "round";
  context.strokeStyle = colour("grid");
  context.lineWidth = devicePixelRatio;
  for (let at = -1000; at <= 1000; at += 250) {
    line(context, project([at, floor, -1000]), project([at, floor, 1000]));
    line(context, project([-1000, floor, at]), project([1000, floor, at]));
  }
  for (const pose of poses) {
    const points = pose.joints.map(project);
    const depth = ([start, end]) => points[start][2] + points[end][2];
    const farthestFirst = people.edges.map((_, edge) => edge).sort((a, b) => depth(people.edges[b]) - depth(people.edges[a]));
    for (const edge of farthestFirst) {
      const [start, end] = people.edges[edge];
      context.strokeStyle = colour(pose.faint ? "truth" : people.sides[edge]);
      context.lineWidth = ((pose.faint ? 3 : 5) * size) / 260;
      line(context, points[start], points[end]);
    }
  }
}

function makeRotatable(canvas, redraw) {
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
