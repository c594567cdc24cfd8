// Draws skeletons over the camera image, and in a 3D view that rotates.

const OUTLINE = "#1b222b";
const TILE = 500; // mm between two lines of the ground grid
const personColour = (config, index) => config.people[index % config.people.length];

function drawBones(context, config, joints, thickness, order = config.edges.map((_, index) => index)) {
  context.lineCap = "round";
  for (const index of order) {
    const [start, end] = config.edges[index];
    for (const [width, colour] of [[thickness + 2, OUTLINE], [thickness, config.colours[index]]]) {
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.beginPath();
      context.moveTo(...joints[start]);
      context.lineTo(...joints[end]);
      context.stroke();
    }
  }
}

function drawJoints(context, joints, radius, colour) {
  for (const [x, y] of joints) {
    context.beginPath();
    context.arc(x, y, radius, 0, 7);
    context.fillStyle = colour;
    context.fill();
    context.lineWidth = Math.max(radius / 3, 0.8);
    context.strokeStyle = "#fff";
    context.stroke();
  }
}

// people: [{box, px}] in px of the camera image; the canvas has the size of the image.
export function drawOverlay(canvas, config, people) {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  const thickness = Math.max(2, Math.max(canvas.width, canvas.height) / 160);
  people.forEach((person, index) => {
    context.lineWidth = thickness / 3;
    context.strokeStyle = personColour(config, index);
    context.strokeRect(...person.box);
    drawBones(context, config, person.px, thickness);
    drawJoints(context, person.px, thickness * 0.75, personColour(config, index));
  });
}

// middle and radius of the people and height of the ground, in camera mm, averaged over frames
const smoothed = { middle: null, radius: 1000, ground: 0 };

// people: [{mm}] in camera coordinates (x right, y down, z away); azimuth in radians.
export function drawView(canvas, config, people, azimuth, dark) {
  const ratio = window.devicePixelRatio || 1, bounds = canvas.getBoundingClientRect();
  canvas.width = Math.round(bounds.width * ratio);
  canvas.height = Math.round(bounds.height * ratio);
  const context = canvas.getContext("2d"), size = Math.min(canvas.width, canvas.height);
  context.fillStyle = dark ? "#15181c" : "#eef1f5";
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (people.length) updateView(people.flatMap((person) => person.mm));
  if (!smoothed.middle) return;
  const [cos, sin] = [Math.cos(azimuth), Math.sin(azimuth)], elevation = 0.3, distance = 3.2 * smoothed.radius + 500;
  const project = ([x, y, z]) => {
    const [dx, dy, dz] = [x - smoothed.middle[0], y - smoothed.middle[1], z - smoothed.middle[2]];
    const [rx, rz] = [dx * cos + dz * sin, dz * cos - dx * sin];
    const up = -dy * Math.cos(elevation) + rz * Math.sin(elevation);
    const depth = rz * Math.cos(elevation) + dy * Math.sin(elevation);
    const zoom = (1.6 * size) / (depth + distance);
    return [canvas.width / 2 + rx * zoom, canvas.height / 2 - up * zoom, depth];
  };
  drawGround(context, project, dark);
  const shown = people.map((person, index) => ({ index, person, joints: person.mm.map(project) }));
  for (const { person } of shown) {
    context.strokeStyle = dark ? "#0a0c0e" : "#aeb8c4"; // shadow
    context.lineWidth = 2 * ratio;
    for (const edge of config.edges) {
      context.beginPath();
      for (const joint of edge) context.lineTo(...project([person.mm[joint][0], smoothed.ground, person.mm[joint][2]]).slice(0, 2));
      context.stroke();
    }
  }
  const meanDepth = (joints) => joints.reduce((sum, joint) => sum + joint[2], 0) / joints.length;
  for (const { index, joints } of shown.sort((a, b) => meanDepth(b.joints) - meanDepth(a.joints))) {
    const depth = (edge) => joints[config.edges[edge][0]][2] + joints[config.edges[edge][1]][2];
    const order = config.edges.map((_, edge) => edge).sort((a, b) => depth(b) - depth(a));
    const thickness = size / 95;
    drawBones(context, config, joints.map((joint) => joint.slice(0, 2)), thickness, order);
    drawJoints(context, joints, thickness * 0.7, personColour(config, index));
  }
}

function updateView(points) {
  const low = [0, 1, 2].map((axis) => Math.min(...points.map((point) => point[axis])));
  const high = [0, 1, 2].map((axis) => Math.max(...points.map((point) => point[axis])));
  const middle = low.map((value, axis) => (value + high[axis]) / 2);
  const weight = smoothed.middle ? 0.1 : 1;
  smoothed.middle = (smoothed.middle || middle).map((value, axis) => value + weight * (middle[axis] - value));
  smoothed.ground += (weight < 1 ? 0.25 : 1) * (high[1] - smoothed.ground);
  const radius = Math.hypot(...low.map((value, axis) => high[axis] - value)) / 2;
  smoothed.radius = Math.max(smoothed.radius + weight * (radius - smoothed.radius), 900);
}

function drawGround(context, project, dark) {
  const half = TILE * Math.ceil((1.1 * smoothed.radius + 300) / TILE);
  const from = [0, 2].map((axis) => Math.floor((smoothed.middle[axis] - half) / TILE) * TILE);
  const to = from.map((value) => value + 2 * half);
  const path = (points) => {
    context.beginPath();
    for (const [x, z] of points) context.lineTo(...project([x, smoothed.ground, z]).slice(0, 2));
  };
  path([[from[0], from[1]], [to[0], from[1]], [to[0], to[1]], [from[0], to[1]]]);
  context.fillStyle = dark ? "#1d2127" : "#fbfcfd";
  context.fill();
  context.strokeStyle = dark ? "#333a44" : "#cfd6df";
  for (let step = 0; step <= (2 * half) / TILE; step++) {
    context.lineWidth = step % 2 ? 1 : 1.6;
    for (const line of [
      [[from[0] + step * TILE, from[1]], [from[0] + step * TILE, to[1]]],
      [[from[0], from[1] + step * TILE], [to[0], from[1] + step * TILE]],
    ]) {
      path(line);
      context.stroke();
    }
  }
}
