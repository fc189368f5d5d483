// A table that is updated in place: rows that stay keep their elements, and so the focus.

import { make } from "./dom.js";

export class Table {
  #body = make("tbody");
  #empty;
  #columns;
  #key;
  #shown = new Map();

  /**
   * Columns are `{ title, cell(row), className }`. A cell is a text, a node or a list of those.
   * `key` is the name of the row's ID.
   */
  constructor(place, caption, key, columns, empty) {
    this.#key = key;
    this.#columns = columns;
    this.#empty = make("p", { className: "empty" }, empty);
    const heads = columns.map(({ title, className = "", hidden }) =>
      make("th", { scope: "col", className }, hidden ? make("span", { className: "hidden" }, title) : title),
    );
    place.append(
      make("table", {}, make("caption", { className: "hidden" }, caption), make("thead", {}, make("tr", {}, ...heads)),
        this.#body),
      this.#empty,
    );
  }

  update(rows) {
    const wanted = new Set(rows.map((row) => row[this.#key]));
    for (const [key, { element }] of this.#shown) {
      if (!wanted.has(key)) {
        element.remove();
        this.#shown.delete(key);
      }
    }
    rows.forEach((row, index) => {
      const element = this.#element(row);
      const there = this.#body.children[index];
      if (there !== element) this.#body.insertBefore(element, there ?? null);
    });
    this.#empty.hidden = rows.length > 0;
  }

  #element(row) {
    const key = row[this.#key];
    const text = JSON.stringify(row);
    const known = this.#shown.get(key);
    if (known?.text === text) return known.element;
    const element = known?.element ?? make("tr");
    const focused = element.contains(document.activeElement) ? document.activeElement.dataset.action : null;
    element.replaceChildren(
      ...this.#columns.map(({ cell, className = "" }) => make("td", { className }, ...[cell(row)].flat())),
    );
    // If the focused action is gone, focus the next one in the row, or the table itself.
    if (focused) {
      const next = element.querySelector(`[data-action="${focused}"]`) ?? element.querySelector("button");
      (next ?? this.#body.closest("[tabindex]")).focus();
    }
    this.#shown.set(key, { element, text });
    return element;
  }
}
