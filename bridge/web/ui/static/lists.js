// Lists: selecting rows, and suggestions for the filter.
(function () {
  "use strict";
  const SHOWN = 12;

  // --- selection: boxes of rows, one for the page, and the text of the bar -------------------------------------------
  function updateSelection() {
    for (const bar of document.querySelectorAll("[data-selection]")) {
      const boxes = [...document.querySelectorAll("#content [data-select]")];
      const number = boxes.filter((box) => box.checked).length;
      const all = document.querySelector("#content [data-select-all]");
      if (all) { all.checked = number > 0 && number === boxes.length; all.indeterminate = number > 0 && number < boxes.length; }
      const text = bar.querySelector("[data-selected]");
      if (text) text.textContent = number ? `${number} selected` : "";
    }
  }

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-select-all]")) {
      for (const box of document.querySelectorAll("#content [data-select]")) box.checked = event.target.checked;
    }
    if (event.target.matches("[data-select], [data-select-all]")) updateSelection();
  });
  document.addEventListener("htmx:afterSwap", updateSelection);

  // --- suggestions: fields of the list, then values of the field ---------------------------------------------------
  function wordAt(input) {
    const before = input.value.slice(0, input.selectionStart);
    return before.match(/[^\s]*$/)[0];
  }

  function suggestions(fields, word) {
    const text = word.replace(/^-/, "");
    const sign = word.startsWith("-") ? "-" : "";
    const colon = text.indexOf(":");
    if (colon < 0) {
      return fields.filter((field) => field.name.startsWith(text.toLowerCase()))
        .map((field) => ({ insert: `${sign}${field.name}:`, text: `${field.name}:`, about: `${field.meaning} (${field.syntax})` }));
    }
    const field = fields.find((each) => each.name === text.slice(0, colon));
    const value = text.slice(colon + 1);
    if (!field) return [];
    const values = (field.values || []).filter((each) => each.startsWith(value) && each !== value)
      .map((each) => ({ insert: `${sign}${field.name}:${each} `, text: each, about: "" }));
    return values.length ? values : [{ insert: null, text: field.syntax, about: "" }];
  }

  function addSuggestions(form) {
    const input = form.querySelector("[data-search]");
    const fields = JSON.parse(form.dataset.fields || "[]");
    if (!input || !fields.length || input.getAttribute("role") === "combobox") return;
    const list = document.createElement("ul");
    list.className = "suggestions";
    list.id = "suggestions";
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-label", "Suggestions");
    list.hidden = true;
    input.after(list);
    input.setAttribute("role", "combobox");
    input.setAttribute("aria-controls", list.id);
    input.setAttribute("aria-expanded", "false");
    input.setAttribute("aria-autocomplete", "list");
    let chosen = -1;

    function close() {
      list.hidden = true;
      chosen = -1;
      input.setAttribute("aria-expanded", "false");
      input.removeAttribute("aria-activedescendant");
    }

    function take(suggestion) {
      if (!suggestion.insert) return;
      const end = input.selectionStart, start = end - wordAt(input).length;
      input.value = input.value.slice(0, start) + suggestion.insert + input.value.slice(end);
      input.selectionStart = input.selectionEnd = start + suggestion.insert.length;
      input.focus();
      open();
    }

    function open() {
      const offered = suggestions(fields, wordAt(input)).slice(0, SHOWN);
      list.replaceChildren(...offered.map((suggestion, index) => {
        const item = document.createElement("li");
        item.id = `suggestion-${index}`;
        item.setAttribute("role", "option");
        item.setAttribute("aria-selected", "false");
        const name = document.createElement("strong");
        name.textContent = suggestion.text;
        item.append(name, suggestion.about ? ` ${suggestion.about}` : "");
        item.addEventListener("mousedown", (event) => { event.preventDefault(); take(suggestion); });
        item.take = () => take(suggestion);
        return item;
      }));
      chosen = -1;
      list.hidden = !offered.length;
      input.setAttribute("aria-expanded", String(!list.hidden));
      input.removeAttribute("aria-activedescendant");
    }

    input.addEventListener("input", open);
    input.addEventListener("focus", open);
    input.addEventListener("blur", close);
    input.addEventListener("keydown", (event) => {
      const items = [...list.children];
      if (list.hidden || !items.length) return;
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        chosen = (chosen + (event.key === "ArrowDown" ? 1 : -1) + items.length) % items.length;
        items.forEach((item, index) => item.setAttribute("aria-selected", String(index === chosen)));
        input.setAttribute("aria-activedescendant", items[chosen].id);
      } else if ((event.key === "Enter" || event.key === "Tab") && chosen >= 0) {
        event.preventDefault();
        items[chosen].take();
      } else if (event.key === "Escape") {
        event.stopPropagation();
        close();
      }
    });
  }

  function prepare() {
    for (const form of document.querySelectorAll("form.filter")) addSuggestions(form);
    updateSelection();
  }
  document.addEventListener("DOMContentLoaded", prepare);
  document.addEventListener("htmx:afterSwap", prepare);
})();
