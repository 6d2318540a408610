// The list of objects: a compact row each, in pages.
const PAGE = 40;
let listed = { level: "", items: [] };
let pageAt = 0;
let sorting = "size";
const rows = element("div", { class: "rows", role: "list" });
const search = element("input", { type: "search", placeholder: "Search", "aria-label": "Search objects", oninput: () => showRows(0) });
const order = element(
  "select", { "aria-label": "Sort objects", onchange: () => { sorting = order.value; showRows(0); } },
  element("option", { value: "size" }, "by size"), element("option", { value: "name" }, "by name"),
);
const back = element("button", { "aria-label": "Previous page", onclick: () => showRows(pageAt - 1) }, "‹");
const on = element("button", { "aria-label": "Next page", onclick: () => showRows(pageAt + 1) }, "›");
const where = element("span", { class: "where" });
const showAll = element("button", { onclick: () => command("show all") }, "Show all");
const objects = element(
  "div", { class: "box objects", role: "region", "aria-label": "Objects", hidden: window.innerWidth < 1000 },
  element("div", { class: "head" }, search, order), rows,
  element("div", { class: "head" }, back, where, on, showAll),
);
overlay.append(objects);

function toggleObjects() {
  objects.hidden = !objects.hidden;
  buttons.objects.setAttribute("aria-pressed", String(!objects.hidden));
}
buttons.objects.setAttribute("aria-pressed", String(!objects.hidden));

function ask(item, action, more) {
  send({ type: "object", action, level: listed.level, cluster: item.id, ...more });
}

function rename(item, name) {
  const field = element("input", { value: item.name, "aria-label": `New name of ${item.name}`, maxlength: 60 });
  let done = false;
  const end = (keep) => {
    if (done) return;
    done = true;
    field.replaceWith(name);
    if (keep && field.value !== item.name) ask(item, "rename", { name: field.value });
  };
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === "Escape") end(event.key === "Enter");
  });
  field.addEventListener("blur", () => end(true));
  name.replaceWith(field);
  field.focus();
  field.select();
}

function row(item) {
  const shown = item.hidden ? "Show" : "Hide";
  const secured = item.locked ? "Unlock" : "Lock";
  const name = element("button", {
    class: "name", title: `Select ${item.name}; F2 or double click renames`,
    onclick: (event) => ask(item, "select", { mode: modeOf(event) }),
    ondblclick: () => rename(item, name),
    onkeydown: (event) => event.key === "F2" && rename(item, name),
  }, item.name);
  const made = element(
    "div", { class: "row", role: "listitem", "aria-current": item.selected ? "true" : null },
    element("button", { "aria-label": `${shown} ${item.name}`, onclick: () => ask(item, shown.toLowerCase()) }, item.hidden ? "◌" : "●"),
    element("button", { "aria-label": `${secured} ${item.name}`, onclick: () => ask(item, secured.toLowerCase()) }, item.locked ? "🔒" : "🔓"),
    name, element("span", { class: "count" }, item.count.toLocaleString("en")),
    element("button", { "aria-label": `Rename ${item.name}`, onclick: () => rename(item, name) }, "✎"),
    element("button", { "aria-label": `Only ${item.name}`, title: "Hide all others; again shows them", onclick: () => ask(item, "only") }, "◎"),
  );
  made.firstChild.style.color = item.color;
  return made;
}

function showRows(page) {
  if (rows.querySelector("input")) return; // a name is being typed
  const wanted = search.value.trim().toLowerCase();
  const found = listed.items.filter((item) => item.name.toLowerCase().includes(wanted));
  if (sorting === "name") found.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
  const pages = Math.max(1, Math.ceil(found.length / PAGE));
  pageAt = Math.min(Math.max(page, 0), pages - 1);
  rows.replaceChildren(...found.slice(pageAt * PAGE, (pageAt + 1) * PAGE).map(row));
  where.textContent = `${found.length} objects` + (pages > 1 ? `, page ${pageAt + 1} of ${pages}` : "");
  back.disabled = pageAt === 0;
  on.disabled = pageAt === pages - 1;
}

handlers.objects = (message) => {
  listed = message;
  showAll.disabled = !message.hidden;
  showRows(pageAt);
};
