// Reads the content of the page again: live (when something is published or delivered), every few seconds, or never.
// Waits while the tab is hidden and while something is selected, typed or open; shows when the page is old, and why.
// Keeps the focus, the places of scrolled parts, and which details are open.
(function () {
  "use strict";
  const LIVE_PAUSE = 2000, LIVE_AT_LEAST = 15000, PAUSED_AFTER = 10000, OLD_AFTER = 60000, RECONNECT = 5000, LONGEST_WAIT = 60000;
  const FOCUSABLE = "a[href], button, summary, input, select, textarea, [tabindex]";
  const NAMES = ["attempt.completed", "attempt.revised", "attempt.voided", "attempt.overdue", "consent.withdrawn", "bridge.test",
    "source.webhooks_silent", "source.poll_failing", "source.budget_exhausted", "source.credentials_rejected",
    "subscription.failing", "subscription.recovered", "subscription.disabled",
    "delivery.delivered", "delivery.handed_over", "delivery.failed", "delivery.dead", "bridge.gap"];
  //: When the content was last read, and when that was last tried; whether a request is under way; whether one is wanted.
  let read = Date.now(), tried = Date.now(), isUnderWay = false, isWanted = false, isForced = false;
  let mode = "30", failures = 0, problem = "", stream = null, kept = null;

  const content = () => document.getElementById("content");
  const isStill = () => !content() || content().hasAttribute("data-no-refresh");

  function stored() {
    try { return localStorage.getItem("bridge-refresh"); } catch { return null; }
  }

  // --- whether it would disturb ------------------------------------------------------------------------------------
  function isChanged(field) {
    if (field.type === "hidden" || field.type === "submit") return false;
    if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
    if (field.tagName !== "SELECT") return field.value !== field.defaultValue;
    const options = [...field.options];
    const first = Math.max(options.findIndex((option) => option.defaultSelected), 0);
    return !field.multiple && field.selectedIndex !== first;
  }

  function isBusy() {
    const main = content();
    if (document.hidden || !main || main.querySelector("details.action[open], details.keep[open]")) return true;
    if (document.querySelector("dialog[open]")) return true;
    if ([...main.querySelectorAll("input, select, textarea")].some(isChanged)) return true;
    const active = document.activeElement;
    if (active && main.contains(active) && active.matches("input:not([type=checkbox]), select, textarea")) return true;
    const selection = document.getSelection();
    return Boolean(selection && !selection.isCollapsed && main.contains(selection.anchorNode));
  }

  // --- reading it again: one request at a time, later after each failure -------------------------------------------
  function period() {
    const plain = mode === "live" ? LIVE_AT_LEAST : mode === "off" ? Infinity : Number(mode) * 1000;
    return failures ? Math.max(plain, Math.min(RECONNECT * 2 ** (failures - 1), LONGEST_WAIT)) : plain;
  }

  function isDue() {
    const since = Date.now() - tried;
    return since >= period() || (mode === "live" && isWanted && !failures && since >= LIVE_PAUSE);
  }

  function refresh(isAsked) {
    if (isStill() || isUnderWay) return;
    tried = Date.now();
    isWanted = false;
    isForced = isAsked;
    window.htmx.trigger(content(), "refresh");
  }

  // --- what is said about it ---------------------------------------------------------------------------------------
  function age(milliseconds) {
    const seconds = Math.floor(milliseconds / 1000);
    return seconds < 60 ? `${Math.floor(seconds / 10) * 10} s` : seconds < 3600 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h`;
  }

  function mark() {
    const old = Date.now() - read;
    if (isStill()) return "";
    if (failures) return `${problem}: this page is ${age(old)} old`;
    if (mode === "off") return old >= OLD_AFTER ? `Refresh is off: this page is ${age(old)} old` : "";
    return old > PAUSED_AFTER + period() && isBusy() && !document.hidden ? "Refresh is paused while something is selected, typed or open" : "";
  }

  function tick() {
    const element = document.querySelector(".stale"), text = mark();
    if (element) {
      element.hidden = !text;
      if (element.textContent !== text) element.textContent = text;
    }
    if (!isStill() && isDue() && !isBusy()) refresh(false);
    if (mode === "live" && !document.hidden && !isStill()) openStream();
    else closeStream();
  }

  function openStream() {
    if (stream) return;
    stream = new EventSource("/api/v1/events/stream?topics=events,alarms,deliveries");
    const heard = () => { isWanted = true; };
    for (const name of NAMES) stream.addEventListener(name, heard);
    stream.addEventListener("error", () => { closeStream(); stream = { close() {} }; setTimeout(() => { stream = null; }, RECONNECT); });
  }

  function closeStream() {
    if (stream) stream.close();
    stream = null;
  }

  // --- what stays as it was ----------------------------------------------------------------------------------------
  function nameOf(element) {
    return [element.tagName, element.getAttribute("href"), element.getAttribute("name"), element.value, element.textContent.trim()].join("\n");
  }

  function partsOf(main, selector, name) {
    const numbers = new Map();
    return [...main.querySelectorAll(selector)].map((element) => {
      const plain = name(element), number = numbers.get(plain) || 0;
      numbers.set(plain, number + 1);
      return [`${number} ${plain}`, element];
    });
  }

  const detailsOf = (main) => partsOf(main, "details", (element) => (element.querySelector("summary") || element).textContent.trim());
  const scrolledOf = (main) => partsOf(main, ".scroll, pre", (element) => element.tagName);

  function rowOf(element) {
    const row = element.closest("[data-row]");
    return row ? row.dataset.row : null;
  }

  function focusOf(main) {
    const active = document.activeElement;
    if (!active || active === main || !main.contains(active)) return active === main ? { isMain: true } : null;
    return { row: rowOf(active), name: nameOf(active) };
  }

  function remember(main) {
    return {
      details: new Map(detailsOf(main).map(([name, element]) => [name, element.open])),
      scrolled: new Map(scrolledOf(main).map(([name, element]) => [name, [element.scrollLeft, element.scrollTop]])),
      focus: focusOf(main),
      page: [window.scrollX, window.scrollY],
    };
  }

  function restore(main, before) {
    for (const [name, element] of detailsOf(main)) if (before.details.has(name)) element.open = before.details.get(name);
    for (const [name, element] of scrolledOf(main)) {
      if (before.scrolled.has(name)) [element.scrollLeft, element.scrollTop] = before.scrolled.get(name);
    }
    window.scrollTo(...before.page);
    if (!before.focus || main.contains(document.activeElement)) return;
    const element = before.focus.isMain ? main : [...main.querySelectorAll(FOCUSABLE)].find((each) =>
      rowOf(each) === before.focus.row && nameOf(each) === before.focus.name);
    if (element) element.focus({ preventScroll: true });
  }

  const isOurs = (event) => event.detail.target === content() || event.detail.elt === content();

  document.addEventListener("htmx:beforeRequest", (event) => { if (isOurs(event)) isUnderWay = true; });
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (!isOurs(event) || !event.detail.shouldSwap) return;
    // It may have been selected, typed or opened while the answer was under way.
    if (!isForced && isBusy()) event.detail.shouldSwap = false;
    else kept = remember(content());
  });
  document.addEventListener("htmx:afterSwap", () => {
    if (!kept) return;
    read = Date.now();
    const before = kept;
    kept = null;
    restore(content(), before);
  });
  // Fires after each request, successful or not.
  document.addEventListener("htmx:afterRequest", (event) => {
    isUnderWay = false;
    tried = Date.now();
    const status = event.detail.xhr ? event.detail.xhr.status : 0;
    if (event.detail.successful) {
      failures = 0;
      return;
    }
    failures += 1;
    problem = status === 0 ? "The bridge does not answer" : status === 401 ? "You are no longer signed in"
      : status === 404 ? "What this page shows is gone" : `The bridge answers with ${status}`;
  });

  document.addEventListener("DOMContentLoaded", () => {
    const select = document.getElementById("refresh");
    if (!select || isStill()) return;
    const names = [...select.options].map((option) => option.value);
    mode = names.includes(stored()) ? stored() : content().dataset.refresh || "30";
    select.value = mode;
    select.closest("label").hidden = false;
    select.addEventListener("change", () => {
      mode = select.value;
      try { localStorage.setItem("bridge-refresh", mode); } catch { /* only until the page is left */ }
      if (mode !== "off" && !isBusy()) refresh(false);
    });
    setInterval(tick, 500);
  });
  window.addEventListener("pagehide", closeStream);
  document.addEventListener("bridge:refresh", () => refresh(true));
})();
