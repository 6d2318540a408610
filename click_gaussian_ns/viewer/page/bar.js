// The bar over the picture: tools, steps, views; what is selected; the keys.
const TOOLS = [["click", "Select", "V"], ["rectangle", "Rectangle", "R"], ["lasso", "Lasso", "L"]];
const STEPS = [
  ["undo", "Undo", "Ctrl+Z"], ["redo", "Redo", "Ctrl+Shift+Z"], null,
  ["narrower", "Narrower", "["], ["wider", "Wider", "]"], null,
  ["move", "Move", "1"], ["turn", "Turn", "2"], ["resize", "Resize", "3"], ["delete", "Delete", "Del"], null,
  ["frame", "Frame", "F"], ["previous photo", "◀ Photo", ","], ["next photo", "Photo ▶", "."], ["start view", "Home", "Home"],
];
const HELP = [
  ["Click", "select"], ["Shift + click", "add"], ["Ctrl or Cmd + click", "take away"], ["Alt + click", "not this"],
  ["Double click", "the whole object"], ["Escape", "select nothing"], ["[ and ]", "narrower and wider"],
  ["Drag", "turn the view"], ["Right drag", "shift the view"], ["Wheel", "nearer and farther"],
  ["F", "frame the selection"], [", and .", "photo before and after"], ["Home", "the first view"],
  ["V, R, L", "click, rectangle, lasso"], ["1, 2, 3", "move, turn, resize"], ["H", "hide what is selected"],
  ["Delete", "delete"], ["Ctrl + Z", "undo"], ["Ctrl + Shift + Z", "redo"], ["?", "this list"],
];

const buttons = {};
function button(name, label, key, press) {
  const made = element("button", { title: `${label} (${key})`, onclick: press }, label);
  buttons[name] = made;
  return made;
}

const help = element("div", { class: "box help", hidden: true, role: "dialog", "aria-label": "Keys" });
for (const [keys, what] of HELP) help.append(element("kbd", {}, keys), element("span", {}, what));
function toggleHelp() {
  help.hidden = !help.hidden;
}

const bar = element("div", { class: "box bar", role: "toolbar", "aria-label": "Click-Gaussian" });
for (const [name, label, key] of TOOLS) bar.append(button(name, label, key, () => chooseTool(name)));
for (const step of [null, ...STEPS])
  bar.append(step === null ? element("span", { class: "gap" }) : button(step[0], step[1], step[2], () => command(step[0])));
bar.append(element("span", { class: "gap" }), button("objects", "Objects", "O", () => toggleObjects()));
bar.append(button("keys", "Keys", "?", toggleHelp));
const told = element("div", { class: "box told", role: "status", "aria-label": "Selected" }, "Nothing selected");
overlay.append(element("div", { class: "bottom" }, told, bar), help);

function showTool() {
  for (const [name] of TOOLS) buttons[name].setAttribute("aria-pressed", String(name === tool));
}
showTool();

handlers.state = ({ title, gizmo, can }) => {
  told.textContent = title;
  for (const [name, possible] of Object.entries(can)) buttons[name].disabled = !possible;
  for (const name of ["move", "turn", "resize"])
    buttons[name].setAttribute("aria-pressed", String(gizmo === name || gizmo === "all"));
};
