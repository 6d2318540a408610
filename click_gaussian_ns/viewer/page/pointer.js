// Clicks, rectangles and lassos in the picture, beside viser's camera: a press that neither moves nor lasts is a click.
const MOST_PX = 4;
const MOST_MS = 600;
const AGAIN_MS = 350;
const AGAIN_PX = 6;
const REST_MS = 150;
const NOTHING = 0; // camera-controls' ACTION.NONE

let tool = "click";
let press = null;
let lastClick = null;
let resting = 0;
const controls = () => viewer.cameraControlRef.current;
const drawing = element("canvas", { class: "drawing" });
const hint = element("div", { class: "hint", hidden: true });
overlay.append(drawing, hint);

// the middle of the CSS pixel, in [0, 1] of the picture, as viser reports places
function place(x, y) {
  const box = canvas.getBoundingClientRect();
  return [(x - box.left + 0.5) / canvas.clientWidth, (y - box.top + 0.5) / canvas.clientHeight];
}

function modeOf(event) {
  if (event.altKey) return "not this";
  if (event.ctrlKey || event.metaKey) return "remove";
  return event.shiftKey ? "add" : null;
}

let orbit = null;
function chooseTool(name) {
  const camera = controls();
  if (orbit === null) orbit = { left: camera.mouseButtons.left, one: camera.touches.one };
  tool = name;
  camera.mouseButtons.left = name === "click" ? orbit.left : NOTHING;
  camera.touches.one = name === "click" ? orbit.one : NOTHING;
  canvas.style.cursor = name === "click" ? "auto" : "crosshair";
  showTool();
}
cleanups.push(() => orbit && chooseTool("click"));

function draw() {
  const box = canvas.getBoundingClientRect();
  drawing.width = box.width;
  drawing.height = box.height;
  if (press === null || tool === "click" || press.points.length < 2) return;
  const context = drawing.getContext("2d");
  const points = press.points.map(([x, y]) => [x - box.left, y - box.top]);
  context.beginPath();
  if (tool === "rectangle") {
    const [x, y] = points[0];
    const [right, bottom] = points[points.length - 1];
    context.rect(x, y, right - x, bottom - y);
  } else points.forEach(([x, y]) => context.lineTo(x, y));
  context.fillStyle = "rgba(80, 160, 255, 0.2)";
  context.fill();
  context.setLineDash([6, 4]);
  context.strokeStyle = "#50a0ff";
  context.lineWidth = 1.5;
  context.stroke();
}

listen(window, "pointerdown", (event) => {
  hint.hidden = true;
  clearTimeout(resting);
  if (event.target !== canvas) return;
  if (isTyping(document.activeElement)) document.activeElement.blur();
  // viser's gizmo has taken the press if it has switched the camera off; a second finger is no click
  const taken = press !== null || event.button !== 0 || controls().enabled === false;
  press = taken ? null : { points: [[event.clientX, event.clientY]], at: event.timeStamp, mode: modeOf(event) };
});

listen(window, "pointermove", (event) => {
  hint.hidden = true;
  clearTimeout(resting);
  if (press !== null) {
    press.points.push([event.clientX, event.clientY]);
    draw();
  } else if (event.target === canvas && event.buttons === 0 && tool === "click") {
    const [x, y] = [event.clientX, event.clientY];
    resting = setTimeout(() => {
      const [u, v] = place(x, y);
      send({ type: "hover", x: u, y: v });
    }, REST_MS);
  }
});

listen(window, "pointercancel", () => {
  press = null;
  draw();
});

listen(window, "pointerup", (event) => {
  if (press === null) return;
  const { points, at, mode } = press;
  const [x, y] = points[0];
  const moved = Math.max(...points.map(([px, py]) => Math.hypot(px - x, py - y)));
  const kind = tool;
  press = null;
  draw();
  if (kind !== "click") {
    if (moved <= MOST_PX) return;
    const inside = points.map((point) => place(...point).map((value) => Math.min(Math.max(value, 0), 1)));
    const every = Math.ceil(inside.length / 500);
    if (kind === "rectangle") send({ type: "rectangle", from: inside[0], to: inside[inside.length - 1], mode });
    else send({ type: "lasso", points: inside.filter((_, i) => i % every === 0), mode });
    return;
  }
  // viser shows a hand over what is a button in the scene: nerfstudio's cameras
  if (moved > MOST_PX || event.timeStamp - at > MOST_MS || document.body.style.cursor === "pointer") return;
  const again = lastClick !== null && event.timeStamp - lastClick.at < AGAIN_MS;
  const twice = again && Math.hypot(x - lastClick.x, y - lastClick.y) <= AGAIN_PX;
  lastClick = twice ? null : { x, y, at: event.timeStamp };
  const [u, v] = place(x, y);
  send({ type: "click", x: u, y: v, mode, whole: twice });
});

handlers.hover = ({ x, y, name }) => {
  const box = canvas.getBoundingClientRect();
  hint.textContent = name;
  hint.style.left = `${x * box.width + 14}px`;
  hint.style.top = `${y * box.height + 14}px`;
  hint.hidden = !name;
};
