// Dialogs that ask the user a question or show data.

import { make } from "./dom.js";

/**
 * Asks the user, and resolves to the entered values by name, or to null. A field is
 * `{ name, label, hint, ...properties of its input }`. With `choices` it is a group of check boxes, and its value is
 * the list of the checked ones.
 */
export function ask({ title, text, fields = [], submit, danger = false }) {
  const errors = make("p", { className: "hint" }, text ?? "");
  const form = make("form", { method: "dialog" },
    make("h2", { id: "dialog-title" }, title), errors, ...fields.map(field),
    make("div", { className: "buttons" },
      make("button", { type: "button", onclick: () => dialog.close() }, "Back"),
      make("button", { className: danger ? "danger" : "primary", value: "yes" }, submit)));
  errors.hidden = !text;
  const dialog = make("dialog", { "aria-labelledby": "dialog-title" }, form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes" ? values(form, fields) : null);
    });
  });
}

function field({ name, label, hint, choices, multiline, suggestions, ...properties }) {
  if (choices) {
    const boxes = choices.map((choice) =>
      make("label", { className: "check" },
        make("input", { type: "checkbox", name, value: choice, checked: properties.value.includes(choice) }), choice));
    return make("fieldset", {}, make("legend", {}, label), ...boxes);
  }
  const input = make(multiline ? "textarea" : "input",
    { name, id: `field-${name}`, autocomplete: "off", spellcheck: false, ...properties });
  const parts = [make("label", { htmlFor: input.id }, label), input];
  if (suggestions) {
    const list = make("datalist", { id: `list-${name}` }, ...suggestions.map((value) => make("option", { value })));
    input.setAttribute("list", list.id);
    parts.push(list);
  }
  if (hint) {
    parts.push(make("p", { className: "hint", id: `hint-${name}` }, hint));
    input.setAttribute("aria-describedby", `hint-${name}`);
  }
  return make("div", { className: "field" }, ...parts);
}

function values(form, fields) {
  const data = new FormData(form);
  return Object.fromEntries(fields.map(({ name, choices }) => [name, choices ? data.getAll(name) : data.get(name)]));
}

/** Shows an event as JSON. */
export function showData(data) {
  const dialog = make("dialog", { "aria-labelledby": "dialog-title" },
    make("h2", { id: "dialog-title" }, data.event_type),
    make("pre", { tabIndex: 0 }, JSON.stringify(data, null, 2)),
    make("form", { method: "dialog", className: "buttons" }, make("button", {}, "Close")));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
