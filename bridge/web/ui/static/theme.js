// The theme: the system's, or the one chosen here. Runs before the page is painted.
(function () {
  "use strict";
  const NAMES = ["auto", "light", "dark"];
  const root = document.documentElement;

  function chosen() {
    try {
      const stored = localStorage.getItem("bridge-theme");
      return NAMES.includes(stored) ? stored : "auto";
    } catch {
      return "auto"; // a browser that stores nothing
    }
  }

  function apply(name) {
    if (name === "auto") root.removeAttribute("data-theme");
    else root.setAttribute("data-theme", name);
  }

  apply(chosen());
  root.classList.add("scripted");
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector("[data-theme-button]");
    if (!button) return;
    const show = () => { button.textContent = `Theme: ${chosen()}`; };
    button.hidden = false;
    show();
    button.addEventListener("click", () => {
      const next = NAMES[(NAMES.indexOf(chosen()) + 1) % NAMES.length];
      try { localStorage.setItem("bridge-theme", next); } catch { /* only until the page is left */ }
      apply(next);
      show();
      document.dispatchEvent(new Event("bridge:theme"));
    });
  });
})();
