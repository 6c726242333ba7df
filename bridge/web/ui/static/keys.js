// Keys: / searches, g and a letter goes to a page, j and k move, Enter opens, x selects, r replays, ? shows them all.
(function () {
  "use strict";
  const AFTER_G = 1500;
  let pressedG = 0, place = null;

  const rows = () => [...document.querySelectorAll("#content [data-row]")];

  function current() {
    return rows().find((row) => row.dataset.row === place) || null;
  }

  function mark(row) {
    for (const each of rows()) each.classList.toggle("current", each === row);
    if (!row) return;
    place = row.dataset.row;
    row.scrollIntoView({ block: "nearest" });
    const link = row.querySelector("a[href]");
    if (link) link.focus({ preventScroll: true });
  }

  function move(step) {
    const all = rows();
    if (!all.length) return;
    const index = all.indexOf(current());
    mark(all[index < 0 ? 0 : Math.min(Math.max(index + step, 0), all.length - 1)]);
  }

  function replay() {
    const row = current();
    const boxes = [...document.querySelectorAll("#content [data-select]")];
    if (row && boxes.length && !boxes.some((box) => box.checked)) {
      const box = row.querySelector("[data-select]");
      if (box) { box.checked = true; box.dispatchEvent(new Event("change", { bubbles: true })); }
    }
    const elsewhere = [...document.querySelectorAll("#content [data-replay]")].find((each) => !each.closest("[data-row]"));
    const action = (row && row.querySelector("[data-replay]")) || elsewhere;
    if (!action) return;
    // What leads to a preview changes nothing yet.
    if (action.matches("a")) { action.click(); return; }
    if (action.matches("form[method=get]")) { if (boxes.some((box) => box.checked)) action.requestSubmit(); return; }
    action.open = true;
    const target = action.querySelector("button[type=submit], input:not([type=hidden])");
    if (target) target.focus();
  }

  const ACTIONS = {
    "/": () => { const box = document.querySelector("[data-search]"); if (box) { box.focus(); box.select(); } },
    "?": () => document.getElementById("keys").showModal(),
    j: () => move(1),
    k: () => move(-1),
    x: () => { const row = current(); const box = row && row.querySelector("[data-select]"); if (box) box.click(); },
    r: replay,
    ".": () => document.dispatchEvent(new Event("bridge:refresh")),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.matches("input:not([type=checkbox]), textarea, select")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (Date.now() - pressedG < AFTER_G) {
      pressedG = 0;
      const link = document.querySelector(`[data-go="${CSS.escape(event.key)}"]`);
      if (link) { event.preventDefault(); link.click(); }
      return;
    }
    if (event.key === "g") { pressedG = Date.now(); return; }
    const act = Object.hasOwn(ACTIONS, event.key) && document.getElementById("keys") ? ACTIONS[event.key] : null;
    if (act) { event.preventDefault(); act(); }
  });

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector("[data-help-button]");
    if (!button) return;
    button.hidden = false;
    button.addEventListener("click", ACTIONS["?"]);
  });
  document.addEventListener("htmx:afterSwap", () => {
    const row = current();
    if (!row) return;
    row.classList.add("current");
    // The link that had the focus is gone with the old content: put it back, so that Enter opens the row as before.
    const link = row.querySelector("a[href]");
    if (link && document.activeElement === document.body) link.focus({ preventScroll: true });
  });
})();
