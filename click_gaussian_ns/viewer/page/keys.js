// Keys, unless something is being typed.
const KEYS = {
  Delete: "delete", Backspace: "delete", f: "frame", h: "hide", 1: "move", 2: "turn", 3: "resize",
  "[": "narrower", "]": "wider", ",": "previous photo", ".": "next photo", Home: "start view",
};
const TOOL_KEYS = { v: "click", r: "rectangle", l: "lasso" };

listen(window, "keydown", (event) => {
  if (isTyping(event.target) || event.altKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey || event.metaKey) {
    const known = { z: event.shiftKey ? "redo" : "undo", y: "redo" }[key];
    if (known) {
      event.preventDefault();
      command(known);
    }
  } else if (key === "Escape") {
    if (press !== null) {
      press = null;
      draw();
    } else if (tool !== "click") chooseTool("click");
    else command("clear");
  } else if (key === "?") toggleHelp();
  else if (key === "o") toggleObjects();
  else if (key in TOOL_KEYS) chooseTool(TOOL_KEYS[key]);
  else if (key in KEYS) {
    event.preventDefault();
    command(KEYS[key]);
  }
});

// viser moves the camera by w, a, s, d, q, e wherever they are typed: not while a name is
for (const type of ["keydown", "keyup"])
  listen(document.body, type, (event) => {
    if (isTyping(event.target)) event.stopPropagation();
  });
