// The items of one bulk, which the API returns page by page.

import { badge, button, byId, make } from "./dom.js";
import { call } from "./api.js";
import { Table } from "./table.js";

const PAGE = 100;

export class Items {
  #bulk = null;
  #header = "";
  #pages = 1;
  #chosen = new Set();
  #table;

  /** Takes the actions `bind(card)` and `cancel(bulk, externalIds)`. */
  constructor({ bind, cancel }) {
    this.#table = new Table(byId("items"), "Items", "external_id", [
      { title: "Choose", hidden: true, className: "narrow", cell: (item) => this.#choice(item) },
      { title: "External ID", className: "long", cell: (item) => item.external_id },
      { title: "State", cell: (item) => badge(item.state) },
      { title: "Card", className: "number", cell: (item) => String(item.card_id ?? "") },
      {
        title: "Actions", hidden: true, className: "actions",
        cell: (item) => item.state === "UNBOUND"
          ? button("Bind", "bind", () => bind(item.card_id), { "aria-label": `Bind card ${item.card_id}` }) : [],
      },
    ], "No items.");
    byId("cancel-items").onclick = () => cancel(this.#bulk, [...this.#chosen]);
    byId("close-items").onclick = () => this.close();
    byId("items-more").firstElementChild.onclick = () => {
      this.#pages += 1;
      this.#read();
    };
  }

  open(bulk) {
    [this.#bulk, this.#header, this.#pages] = [bulk, "", 1];
    this.#choose(() => this.#chosen.clear());
    byId("items-section").hidden = false;
    byId("items-title").textContent = `Items of bulk …${bulk.slice(-8)}`;
    byId("items-title").focus();
    this.#table.update([]);
    this.#read();
  }

  close() {
    this.#bulk = null;
    byId("items-section").hidden = true;
  }

  /** Reads the items again if the bulk or one of its cards has changed. */
  refresh({ bulks, cards }) {
    if (!this.#bulk) return;
    const ours = ({ bulk_id }) => bulk_id === this.#bulk;
    const header = JSON.stringify([bulks.filter(ours), cards.filter(ours)]);
    if (header === this.#header) return;
    this.#header = header;
    this.#read();
  }

  async #read() {
    const bulk = this.#bulk;
    const found = [];
    let cursor = "";
    try {
      for (let page = 0; page < this.#pages && cursor !== undefined; page += 1) {
        const query = `limit=${PAGE}${cursor && `&cursor=${cursor}`}`;
        const { body } = await call("GET", `/cards/v1/bulks/${encodeURIComponent(bulk)}?${query}`);
        found.push(...body.items);
        cursor = body.cursor;
      }
    } catch (error) {
      byId("items-title").textContent = `Items: ${error.message}`;
      return;
    }
    if (bulk !== this.#bulk) return;
    this.#table.update(found);
    byId("items-more").hidden = cursor === undefined;
  }

  #choice(item) {
    if (item.state === "CANCELED") return "";
    return make("input", {
      type: "checkbox",
      checked: this.#chosen.has(item.external_id),
      dataset: { action: "choose" },
      "aria-label": `Choose ${item.external_id}`,
      onchange: ({ target }) =>
        this.#choose(() => this.#chosen[target.checked ? "add" : "delete"](item.external_id)),
    });
  }

  #choose(change) {
    change();
    byId("cancel-items").disabled = this.#chosen.size === 0;
  }
}
