// The live page: tables that follow the server's event stream.

import { badge, button, byId, clock, codeOf, make, shortened } from "./dom.js";
import { bindCard, cancelBulk, cancelOrder, createBulk, startBulk, withNotice } from "./actions.js";
import { identity, signIn } from "./identity.js";
import { Items } from "./items.js";
import { showData } from "./dialog.js";
import { Table } from "./table.js";

const EVENTS_KEPT = 500;

const notice = byId("notice");
const mine = new Set(); // operations of this page whose end it has not reported yet
let state;
let events = [];
let source;

function run(action) {
  const withOutcome = withNotice(notice, async (...details) => {
    const done = await action(...details);
    if (done?.operation) mine.add(done.operation);
    if (done?.bulk) items.open(done.bulk);
    return done;
  }, filterBy);
  return async (...details) => {
    await withOutcome(...details);
    // The stream may have reported the operation's end before the response arrived.
    if (state) reportEnds();
  };
}
const create = run(createBulk);
const start = run(startBulk);
const cancel = run(cancelBulk);
const bind = run(bindCard);
const cancelOrders = run(cancelOrder);

const items = new Items({ bind, cancel });

/** Creates a button that shows only the operations and events of one ID. */
const filterButton = (id, what) =>
  id ? button(shortened(id), `filter-${what}`, () => filterBy(id), { className: "id", title: `${what} ${id}` }) : "";

const bulkButton = (id) =>
  id ? button(shortened(id), "items", () => items.open(id), { className: "id", title: `Items of bulk ${id}` }) : "";

const bulks = new Table(byId("bulks"), "Bulks", "bulk_id", [
  { title: "Bulk", cell: (row) => bulkButton(row.bulk_id) },
  { title: "Status", cell: (row) => badge(row.status) },
  { title: "Items", className: "number", cell: (row) => String(row.items) },
  { title: "Issued", className: "number", cell: (row) => String(row.issued) },
  { title: "Canceled", className: "number", cell: (row) => String(row.canceled) },
  { title: "Cancellation", cell: (row) => (row.cancellation ? badge(row.cancellation) : "") },
  { title: "Actions", hidden: true, className: "actions", cell: bulkActions },
], "No bulks yet.");

function bulkActions(row) {
  const which = `bulk ending in ${row.bulk_id.slice(-8)}`;
  const startIt = button("Start", "start", () => start(row.bulk_id), { "aria-label": `Start ${which}` });
  const cancelIt = button("Cancel", "cancel", () => cancel(row.bulk_id), { "aria-label": `Cancel ${which}` });
  if (row.is_sealed) return [];
  return row.status === "COMPLETED" ? [cancelIt] : [startIt, cancelIt];
}

const cards = new Table(byId("cards"), "Cards", "card_id", [
  { title: "Card", cell: (row) => String(row.card_id) },
  { title: "Status", cell: (row) => badge(row.status) },
  { title: "External ID", className: "long", cell: (row) => row.external_id },
  { title: "Bulk", cell: (row) => bulkButton(row.bulk_id) },
  {
    title: "Bound to", className: "nowrap",
    cell: (row) => (row.customer_id ? `${row.customer_id} of ${row.account_id}` : ""),
  },
  {
    title: "Actions", hidden: true, className: "actions",
    cell: (row) => row.status === "UNBOUND"
      ? button("Bind", "bind", () => bind(row.card_id), { "aria-label": `Bind card ${row.card_id}` }) : [],
  },
], "No cards yet. Start a bulk.");

const orders = new Table(byId("orders"), "Orders", "id", [
  { title: "Order", className: "long", cell: (row) => (row.order_id || shortened(row.international_order_uid)) },
  { title: "Creator", className: "number", cell: (row) => String(row.creator_id) },
  { title: "Status", cell: (row) => badge(row.status) },
  { title: "Cancellation", cell: (row) => (row.pending ? ["pending: ", filterButton(row.pending, "Operation")] : "") },
  {
    title: "Actions", hidden: true, className: "actions",
    cell: (row) => ["ACTIVE", "PARTIALLY_FILLED"].includes(row.status) && !row.pending
      ? button("Cancel", "cancel", () => cancelOrders(row), { "aria-label": `Cancel order ${row.id}` }) : [],
  },
], "No orders yet. The order system feeds them; the demo plays its part.");

const queues = new Table(byId("queues"), "Queues", "queue", [
  { title: "Queue", cell: (row) => row.queue },
  { title: "Waiting", className: "number", cell: (row) => depth(row.waiting, "busy") },
  { title: "In flight", className: "number", cell: (row) => depth(row.working, "busy") },
  { title: "Dead letters", className: "number", cell: (row) => (row.dead === null ? "" : depth(row.dead, "bad")) },
], "Not read yet.");

const depth = (count, tone) => make("span", { className: count ? `badge ${tone}` : "" }, String(count));

const operations = new Table(byId("operations"), "Operations", "operation_id", [
  { title: "Operation", cell: (row) => filterButton(row.operation_id, "Operation") },
  { title: "Kind", className: "nowrap", cell: (row) => row.kind.replaceAll("_", " ").toLowerCase() },
  { title: "About", cell: about },
  { title: "State", cell: (row) => [badge(row.state), codeOf(row.code)] },
  { title: "Progress", cell: progress },
  { title: "Accepted", className: "nowrap", cell: (row) => clock(row.created_at) },
], "No operations yet.");

function about(row) {
  if (row.bulk_id) return bulkButton(row.bulk_id);
  if (row.card_id) return `card ${row.card_id}`;
  return row.orders.length === 1 ? `order ${shortened(row.orders[0])}` : `${row.orders.length} orders`;
}

function progress(row) {
  if (row.total === null) return "";
  const failed = row.failed ? `, ${row.failed} failed` : "";
  const bar = make("progress", { max: Math.max(row.total, 1), value: row.done, "aria-label": "Items done" });
  return [bar, make("span", { className: "nowrap" }, ` ${row.done} of ${row.total}${failed}`)];
}

const eventTable = new Table(byId("events"), "Events, newest first", "event_id", [
  { title: "Time", className: "nowrap", cell: (event) => clock(event.timestamp) },
  { title: "Event", cell: (event) => button(event.event_type, "data", () => showData(event), {
    className: "id", title: "Show the whole event", "aria-haspopup": "dialog" }) },
  { title: "About", className: "wide", cell: (event) => subject(event.data) },
  { title: "Outcome", cell: (event) => outcome(event.data) },
  { title: "Operation", cell: (event) => filterButton(event.operation_id, "Operation") },
  { title: "Correlation", cell: (event) => filterButton(event.cid, "Correlation ID") },
], "No events yet. They appear as they arrive on the bus.");

function subject(data) {
  const parts = [
    data.card_id && `card ${data.card_id}`,
    data.external_id,
    data.order_id && `order ${data.order_id}`,
    data.international_order_uid && `order ${shortened(data.international_order_uid)}`,
    data.issued !== undefined && `${data.issued} of ${data.requested} issued`,
    data.canceled !== undefined && `${data.canceled} of ${data.requested} canceled`,
  ];
  return parts.filter(Boolean).join(" · ");
}

function outcome(data) {
  const status = data.status ?? data.cancellation?.state ?? data.card_status;
  return status ? [badge(status), codeOf(data.status === "FAILURE" && data.message_code)] : "";
}

function filterBy(id) {
  byId("filter").value = id;
  show();
}

function show() {
  const wanted = byId("filter").value.trim();
  byId("clear-filter").hidden = !wanted;
  const fits = (row) => !wanted || row.cid === wanted || row.operation_id === wanted;
  const shownEvents = events.filter(fits);
  eventTable.update(shownEvents);
  byId("events-count").textContent = wanted ? `${shownEvents.length} of ${events.length}` : events.length;
  if (!state) return;
  bulks.update(state.bulks);
  cards.update(state.cards);
  orders.update(state.orders.map((row) => ({ ...row, id: row.order_id || row.international_order_uid })));
  operations.update(state.operations.filter(fits));
  for (const [kind, count] of Object.entries(state.counts)) byId(`${kind}-count`).textContent = count;
}

function reportEnds() {
  for (const { operation_id, kind, state: now, total, done, failed, code } of state.operations) {
    if (!mine.has(operation_id) || !["SUCCEEDED", "FAILED"].includes(now)) continue;
    mine.delete(operation_id);
    const tone = now === "FAILED" ? "bad" : failed ? "busy" : "good";
    const counts = total === null ? code : `${done - failed} of ${total} done, ${failed} failed`;
    notice.className = `notice ${tone}`;
    notice.replaceChildren(`${kind.replaceAll("_", " ")} ${now.toLowerCase()}${counts ? `: ${counts}` : ""} `,
      make("button", { type: "button", onclick: () => filterBy(operation_id) }, "Show operation"));
  }
}

function follow() {
  source?.close();
  [state, events] = [undefined, []];
  items.close();
  notice.replaceChildren();
  source = new EventSource(`/stream?tenant=${encodeURIComponent(identity.tenant)}`);
  source.onopen = () => connected("live");
  source.onerror = () => connected("not connected");
  source.addEventListener("state", ({ data }) => {
    state = JSON.parse(data);
    show();
    reportEnds();
    items.refresh(state);
  });
  source.addEventListener("queues", ({ data }) => queues.update(JSON.parse(data)));
  source.addEventListener("bus", ({ data }) => {
    // After a reconnect, the stream sends all known events again.
    const known = new Set(events.map((event) => event.event_id));
    const fresh = JSON.parse(data).filter((event) => !known.has(event.event_id));
    events = [...fresh.reverse(), ...events].slice(0, EVENTS_KEPT);
    show();
  });
}

function connected(text) {
  byId("connection").textContent = text;
  byId("connection").className = `connection ${text === "live" ? "good" : "bad"}`;
}

byId("create-bulk").onclick = create;
byId("filter").oninput = show;
byId("clear-filter").onclick = () => {
  filterBy("");
  byId("filter").focus();
};
await signIn(follow, () => state?.tenants ?? []);
