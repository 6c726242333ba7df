// The page Live: rows come from the stream of the API as they are published, newest first. All their texts are text.
(function () {
  "use strict";
  const KEPT = 500, SHOW_EVERY = 250, RETRY = 3000, LONGEST_RETRY = 60000;
  const STOPS = [400, 401, 403, 404, 422];
  const root = document.getElementById("live");
  if (!root) return;
  const body = root.querySelector("tbody"), state = root.querySelector(".live-state"), button = root.querySelector("[data-pause]");
  const known = new Set([...body.rows].map((row) => row.dataset.row));
  let waiting = [], number = 0, isPaused = false, position = null, stream = null, retry = RETRY, timer = null, planned = null;

  function say(text) {
    if (state.textContent !== text) state.textContent = text;
  }

  // --- rows: built from text, never from markup --------------------------------------------------------------------
  function make(name, text, attributes) {
    const element = document.createElement(name);
    if (text !== undefined && text !== null) element.textContent = String(text);
    for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
    return element;
  }

  function link(text, ...path) {
    return make("a", text, { href: `/ui/${path.map((part) => encodeURIComponent(part)).join("/")}` });
  }

  // Events about a subscription have its name in place of a source.
  function sourceLink(source) {
    return source.includes("/") ? source : link(source, "sources", source);
  }

  function moment(text) {
    const plain = String(text).replace("T", " ").replace(/(\.\d+)?Z$/, "");
    return make("time", `${plain} UTC`, { datetime: text, title: `${plain} UTC` });
  }

  function row(key, cells) {
    const line = make("tr", null, { "data-row": key });
    for (const [label, content] of Object.entries(cells)) {
      const cell = make("td", null, { "data-label": label });
      cell.append(...(Array.isArray(content) ? content : [content]));
      line.append(cell);
    }
    return line;
  }

  function ofEvent(event) {
    // Viewers get "***" for an id that contains an e-mail address.
    const isAttempt = event.type.startsWith("attempt.") && event.attempt !== "***";
    const details = [event.revision === null ? "" : `revision ${event.revision}`, event.origin ? `by ${event.origin}` : ""];
    return row(event.id, {
      Time: moment(event.recorded_at),
      What: link(event.type, "events", event.id),
      Source: sourceLink(event.source),
      Concerns: isAttempt ? link(event.attempt, "attempts", event.source, event.attempt) : event.attempt,
      Details: details.filter(Boolean).join(", "),
    });
  }

  function ofTry(ended) {
    const details = [ended.reason.replaceAll("_", " "), ended.status === null ? "" : `status ${ended.status}`,
      `${Math.round(ended.seconds * 1000)} ms`, `try ${ended.tries}`];
    return row(`${ended.subscription}/${ended.event_id}/${ended.tries}`, {
      Time: moment(ended.at),
      What: link(`delivery.${ended.outcome}`, "deliveries", ended.subscription, ended.event_id),
      Source: sourceLink(ended.source),
      Concerns: [link(ended.subscription, "subscriptions", ended.subscription), ` ${ended.type}`],
      Details: details.filter(Boolean).join(", "),
    });
  }

  function remark(...content) {
    const line = make("tr", null, { class: "remark" });
    const cell = make("td", null, { colspan: "5" });
    cell.append(...content);
    line.append(cell);
    return line;
  }

  // --- showing: several at once, so that a burst is drawn once -----------------------------------------------------
  function show() {
    planned = null;
    if (isPaused || !waiting.length) return;
    const left = number - waiting.length;
    const rows = waiting.map((build) => build()).reverse();
    if (left > 0) rows.push(remark(`${left} more came and are not shown: this page keeps the newest ${KEPT}.`));
    waiting = [];
    number = 0;
    const nothing = root.querySelector("[data-nothing]");
    if (nothing) nothing.remove();
    body.prepend(...rows);
    while (body.rows.length > KEPT) body.lastElementChild.remove();
    label();
  }

  function add(build) {
    number += 1;
    waiting.push(build);
    if (waiting.length > KEPT) waiting.shift();
    if (isPaused) label();
    else if (planned === null) planned = setTimeout(show, SHOW_EVERY);
  }

  function label() {
    button.textContent = isPaused ? `Continue (${number} wait)` : "Pause";
    button.setAttribute("aria-pressed", String(isPaused));
  }

  // --- the stream --------------------------------------------------------------------------------------------------
  function read(message) {
    if (message.lastEventId) position = message.lastEventId;
    return JSON.parse(message.data);
  }

  function take(message) {
    const data = read(message);
    if (message.type.startsWith("delivery.")) {
      add(() => ofTry(data));
    } else if (!known.has(data.id)) {
      add(() => ofEvent(data));
    }
  }

  function momentOf(places, pick) {
    const times = String(places).split(",").map((place) => Number(place.split("-")[0])).filter((time) => time > 0);
    return times.length ? new Date(pick(...times)).toISOString() : "";
  }

  function gap(message) {
    const data = read(message);
    const query = new URLSearchParams({ since: momentOf(data.after, Math.min), until: momentOf(data.until, Math.max) });
    for (const [name, value] of [...query]) if (!value) query.delete(name);
    const list = make("a", "The list of events has those that are still kept.", { href: `/ui/events?${query}` });
    add(() => remark("Events are missing here: too many came at once, or they are older than bridge.retention.events. ", list));
  }

  function dropped(message) {
    const reason = read(message).reason;
    add(() => remark(`The bridge has ended the stream: ${reason}`));
  }

  function address() {
    const url = new URL(root.dataset.stream, location.href);
    if (position !== null) {
      url.searchParams.delete("since");
      url.searchParams.set("after", position);
    }
    return url;
  }

  function connect() {
    timer = null;
    stream = new EventSource(address());
    stream.addEventListener("open", () => { retry = RETRY; say("Live: new rows come at the top."); });
    for (const name of JSON.parse(root.dataset.types)) stream.addEventListener(name, take);
    stream.addEventListener("bridge.gap", gap);
    stream.addEventListener("bridge.dropped", dropped);
    stream.addEventListener("error", () => {
      if (stream.readyState === EventSource.CLOSED) refused();
      else say("Connection lost. Reconnecting…");
    });
  }

  // The browser does not say why a stream was refused: send the request again, and read the answer.
  async function refused() {
    stream = null;
    const end = new AbortController();
    let status = 0, detail = "the bridge does not answer";
    try {
      const answer = await fetch(address(), { signal: end.signal, headers: { Accept: "application/json" } });
      status = answer.status;
      if (!answer.ok) detail = (await answer.json()).detail;
    } catch { /* it does not answer */ }
    end.abort();
    if (STOPS.includes(status)) {
      say(`Cannot follow events: ${detail}`);
      return;
    }
    if (status === 200) detail = "the connection was closed";
    say(`The stream has ended: ${detail}. Reconnecting in ${Math.round(retry / 1000)} s…`);
    timer = setTimeout(connect, retry);
    retry = Math.min(retry * 2, LONGEST_RETRY);
  }

  function close() {
    if (stream) stream.close();
    if (timer !== null) clearTimeout(timer);
    stream = timer = null;
  }

  button.addEventListener("click", () => {
    isPaused = !isPaused;
    label();
    show();
  });
  root.querySelector(".live-bar").hidden = false;
  say("Connecting…");
  connect();
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => { if (event.persisted) connect(); });
})();
