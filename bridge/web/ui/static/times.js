// Times in the zone of the viewer, with how long ago they are; UTC stays in the title. Copies ids and commands.
(function () {
  "use strict";
  const STEPS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const TIME = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
  const today = new Intl.DateTimeFormat(undefined, TIME);
  const otherDay = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric", ...TIME });

  function local(moment, now) {
    const isToday = new Date(moment).toDateString() === new Date(now).toDateString();
    return (isToday ? today : otherDay).format(moment);
  }

  function relative(seconds) {
    const past = seconds >= 0;
    const size = Math.abs(seconds);
    const [unit, name] = STEPS.find(([each]) => size >= each) || [1, "s"];
    const text = `${Math.floor(size / unit)} ${name}`;
    return past ? `${text} ago` : `in ${text}`;
  }

  function showTimes(root) {
    const now = Date.now();
    for (const element of root.querySelectorAll("time[datetime]")) {
      const moment = Date.parse(element.dateTime);
      if (Number.isNaN(moment)) continue;
      const text = `${local(moment, now)} (${relative(Math.round((now - moment) / 1000))})`;
      if (element.textContent !== text) element.textContent = text;
    }
  }

  function addCopyButtons(root) {
    if (!navigator.clipboard) return; // not available on pages over plain http from another machine
    for (const element of root.querySelectorAll("[data-copy], [data-copy-block]")) {
      if (element.dataset.copies) continue;
      element.dataset.copies = "true";
      const button = document.createElement("button");
      button.type = "button";
      button.className = "copy";
      button.textContent = "copy";
      button.setAttribute("aria-label", `Copy ${element.dataset.copy || "this text"}`.slice(0, 80));
      button.addEventListener("click", async (event) => {
        event.preventDefault();
        event.stopPropagation();
        try {
          await navigator.clipboard.writeText(element.dataset.copy || element.textContent);
          button.textContent = "copied";
        } catch {
          button.textContent = "not allowed";
        }
        setTimeout(() => { button.textContent = "copy"; }, 1500);
      });
      element.after(button);
    }
  }

  function prepare(root) {
    showTimes(root);
    addCopyButtons(root);
  }

  document.addEventListener("DOMContentLoaded", () => prepare(document));
  document.addEventListener("htmx:afterSwap", () => prepare(document));
  setInterval(() => { if (!document.hidden) showTimes(document); }, 1000);
})();
