// How this page talks with the server. Runs again after a lost connection: what an earlier run left is removed first.
window.clickGaussian?.remove();
const cleanups = [];
const handlers = {};
let count = 0;
let recent = [];

function listen(target, type, handler, options) {
  target.addEventListener(type, handler, options);
  cleanups.push(() => target.removeEventListener(type, handler, options));
}

// viser's server handles messages side by side: each carries the last few events, so that none is lost or late
function send(event) {
  count += 1;
  recent = [...recent, { ...event, n: count }].slice(-16);
  viewer.sendMessageRef.current({ type: "GuiUpdateMessage", id: CHANNEL, updates: { value: JSON.stringify(recent) } });
}

function command(name) {
  send({ type: "command", name });
}

function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

function isTyping(target) {
  return target instanceof Element && target.closest("input, textarea, select, [contenteditable=true]") !== null;
}

const canvas = viewer.canvasRef.current;
const overlay = element("div", { class: "click-gaussian" });
const style = element("style", {}, STYLE);
// a click on the overlay is none on the scene behind it
for (const type of ["pointerdown", "pointermove", "pointerup", "wheel", "click", "dblclick", "contextmenu"])
  overlay.addEventListener(type, (event) => event.stopPropagation());
document.head.append(style);
canvas.parentElement.parentElement.append(overlay);
cleanups.push(() => overlay.remove(), () => style.remove());

window.clickGaussian = {
  receive: (message) => handlers[message.type]?.(message),
  remove: () => cleanups.splice(0).forEach((cleanup) => cleanup()),
};
