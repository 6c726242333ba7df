// Reads the content of the page again: live (when something is published or delivered), every few seconds, or never.
// Waits while the tab is hidden, while something is selected or typed, and while a form is open; says when it is stale.
(function () {
  "use strict";
  const LIVE_PAUSE = 2000, LIVE_AT_LEAST = 15000, STALE_AFTER = 10000, RECONNECT = 5000;
  let mode = "30", last = Date.now(), wanted = false, failedSince = null, stream = null;

  const content = () => document.getElementById("content");

  function stored() {
    try { return localStorage.getItem("bridge-refresh"); } catch { return null; }
  }

  function isBusy() {
    const main = content();
    if (document.hidden || !main || main.querySelector("input[type=checkbox]:checked, details.action[open], details.keep[open]")) return true;
    if (document.querySelector("dialog[open]")) return true;
    const active = document.activeElement;
    if (active && main.contains(active) && active.matches("input, select, textarea")) return true;
    const selection = document.getSelection();
    return Boolean(selection && !selection.isCollapsed && main.contains(selection.anchorNode));
  }

  function refresh() {
    const main = content();
    if (!main || main.hasAttribute("data-no-refresh")) return;
    last = Date.now();
    wanted = false;
    window.htmx.trigger(main, "refresh");
  }

  function showStale(text) {
    const mark = document.querySelector(".stale");
    if (!mark) return;
    mark.hidden = !text;
    if (mark.textContent !== text) mark.textContent = text;
  }

  function failed() {
    failedSince = failedSince || Date.now();
  }

  function tick() {
    if (failedSince) showStale(`The bridge does not answer; this page is ${Math.round((Date.now() - failedSince) / 1000)} s old`);
    else if (mode !== "off" && Date.now() - last > STALE_AFTER + period() && isBusy() && !document.hidden) showStale("Refresh is paused while something is selected or open");
    else showStale("");
    const since = Date.now() - last;
    const due = mode === "live" ? (wanted && since >= LIVE_PAUSE) || since >= LIVE_AT_LEAST : mode !== "off" && since >= period();
    if (due && !isBusy()) refresh();
    if (mode === "live" && !document.hidden) openStream();
    else closeStream();
  }

  function period() {
    return mode === "live" ? LIVE_AT_LEAST : mode === "off" ? Infinity : Number(mode) * 1000;
  }

  function openStream() {
    if (stream || document.body.dataset.ownStream) return;
    stream = new EventSource("/api/v1/events/stream?topics=events,alarms,deliveries");
    const heard = () => { wanted = true; };
    for (const name of ["attempt.completed", "attempt.revised", "attempt.voided", "attempt.overdue", "delivery.delivered",
      "delivery.handed_over", "delivery.failed", "delivery.dead", "source.silent", "source.recovered",
      "subscription.failing", "subscription.recovered", "subscription.disabled", "bridge.gap"]) stream.addEventListener(name, heard);
    stream.addEventListener("error", () => { closeStream(); stream = { close() {} }; setTimeout(() => { stream = null; }, RECONNECT); });
  }

  function closeStream() {
    if (stream) stream.close();
    stream = null;
  }

  document.addEventListener("DOMContentLoaded", () => {
    const select = document.getElementById("refresh");
    if (!select) return;
    const known = [...select.options].map((option) => option.value);
    mode = known.includes(stored()) ? stored() : content().dataset.refresh || "30";
    select.value = mode;
    select.closest("label").hidden = false;
    select.addEventListener("change", () => {
      mode = select.value;
      try { localStorage.setItem("bridge-refresh", mode); } catch { /* only until the page is left */ }
      if (mode !== "off") refresh();
    });
    setInterval(tick, 500);
  });
  window.addEventListener("pagehide", closeStream);
  document.addEventListener("bridge:refresh", refresh);
  document.addEventListener("htmx:afterOnLoad", () => { failedSince = null; });
  for (const name of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) document.addEventListener(name, failed);
})();
