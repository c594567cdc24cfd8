// Skeletons over the camera's picture, and in a room that turns.

const CASING = "#1b222b", FLOOR = 500; // mm of a tile
const hue = (about, number) => about.people[number % about.people.length];

function bones(pen, about, spots, thick, order = about.edges.map((_, index) => index)) {
  pen.lineCap = "round";
  for (const at of order) {
    const [start, end] = about.edges[at];
    for (const [width, colour] of [[thick + 2, CASING], [thick, about.colours[at]]]) {
      pen.lineWidth = width;
      pen.strokeStyle = colour;
      pen.beginPath();
      pen.moveTo(...spots[start]);
      pen.lineTo(...spots[end]);
      pen.stroke();
    }
  }
}

function joints(pen, spots, radius, colour) {
  for (const [x, y] of spots) {
    pen.beginPath();
    pen.arc(x, y, radius, 0, 7);
    pen.fillStyle = colour;
    pen.fill();
    pen.lineWidth = Math.max(radius / 3, 0.8);
    pen.strokeStyle = "#fff";
    pen.stroke();
  }
}

// found: [{box, px, mm}] in px of the picture; canvas has the picture's size.
export function overlay(canvas, about, found) {
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, canvas.width, canvas.height);
  const thick = Math.max(2, Math.max(canvas.width, canvas.height) / 160);
  found.forEach((person, number) => {
    pen.lineWidth = thick / 3;
    pen.strokeStyle = hue(about, number);
    pen.strokeRect(...person.box);
    bones(pen, about, person.px, thick);
    joints(pen, person.px, thick * 0.75, hue(about, number));
  });
}

const calm = { middle: null, radius: 1000, floor: 0 };

// found: people with mm in camera axes (x right, y down, z away); turn in radians.
export function room(canvas, about, found, turn, dark) {
  const ratio = window.devicePixelRatio || 1, box = canvas.getBoundingClientRect();
  canvas.width = Math.round(box.width * ratio);
  canvas.height = Math.round(box.height * ratio);
  const pen = canvas.getContext("2d"), size = Math.min(canvas.width, canvas.height);
  pen.fillStyle = dark ? "#15181c" : "#eef1f5";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  if (found.length) follow(found.flatMap((person) => person.mm));
  if (!calm.middle) return;
  const [cos, sin] = [Math.cos(turn), Math.sin(turn)], rise = 0.3, away = 3.2 * calm.radius + 500;
  // room: x right, y up above the floor, z away, about the people's middle
  const project = ([x, y, z]) => {
    const [dx, dy, dz] = [x - calm.middle[0], y - calm.middle[1], z - calm.middle[2]];
    const [rx, rz] = [dx * cos + dz * sin, dz * cos - dx * sin];
    const [up, deep] = [-dy * Math.cos(rise) + rz * Math.sin(rise), rz * Math.cos(rise) + dy * Math.sin(rise)];
    const zoom = (1.6 * size) / (deep + away);
    return [canvas.width / 2 + rx * zoom, canvas.height / 2 - up * zoom, deep];
  };
  tiles(pen, project, dark);
  const shown = found.map((person, number) => ({ number, person, spots: person.mm.map(project) }));
  for (const { person } of shown) {
    pen.strokeStyle = dark ? "#0a0c0e" : "#aeb8c4";
    pen.lineWidth = 2 * ratio;
    for (const [start, end] of about.edges) {
      pen.beginPath();
      for (const joint of [start, end]) pen.lineTo(...project([person.mm[joint][0], calm.floor, person.mm[joint][2]]).slice(0, 2));
      pen.stroke();
    }
  }
  const depth = (spots) => spots.reduce((sum, spot) => sum + spot[2], 0) / spots.length;
  for (const { number, spots } of shown.sort((a, b) => depth(b.spots) - depth(a.spots))) {
    const order = about.edges.map((_, index) => index);
    const deep = (at) => spots[about.edges[at][0]][2] + spots[about.edges[at][1]][2];
    const thick = size / 95;
    bones(pen, about, spots.map((spot) => spot.slice(0, 2)), thick, order.sort((a, b) => deep(b) - deep(a)));
    joints(pen, spots, thick * 0.7, hue(about, number));
  }
}

function follow(points) {
  const low = [0, 1, 2].map((axis) => Math.min(...points.map((point) => point[axis])));
  const high = [0, 1, 2].map((axis) => Math.max(...points.map((point) => point[axis])));
  const middle = low.map((value, axis) => (value + high[axis]) / 2);
  const share = calm.middle ? 0.1 : 1;
  calm.middle = (calm.middle || middle).map((value, axis) => value + share * (middle[axis] - value));
  calm.floor = calm.floor + (share < 1 ? 0.25 : 1) * (high[1] - calm.floor);
  const radius = Math.hypot(...low.map((value, axis) => high[axis] - value)) / 2;
  calm.radius = Math.max(calm.radius + share * (radius - calm.radius), 900);
}

function tiles(pen, project, dark) {
  const half = FLOOR * Math.ceil((1.1 * calm.radius + 300) / FLOOR);
  const from = [0, 2].map((axis) => Math.floor((calm.middle[axis] - half) / FLOOR) * FLOOR);
  const path = (points) => {
    pen.beginPath();
    for (const [x, z] of points) pen.lineTo(...project([x, calm.floor, z]).slice(0, 2));
  };
  const to = from.map((value) => value + 2 * half);
  path([[from[0], from[1]], [to[0], from[1]], [to[0], to[1]], [from[0], to[1]]]);
  pen.fillStyle = dark ? "#1d2127" : "#fbfcfd";
  pen.fill();
  pen.strokeStyle = dark ? "#333a44" : "#cfd6df";
  for (let step = 0; step <= (2 * half) / FLOOR; step++) {
    pen.lineWidth = step % 2 ? 1 : 1.6;
    for (const line of [
      [[from[0] + step * FLOOR, from[1]], [from[0] + step * FLOOR, to[1]]],
      [[from[0], from[1] + step * FLOOR], [to[0], from[1] + step * FLOOR]],
    ]) {
      path(line);
      pen.stroke();
    }
  }
}
