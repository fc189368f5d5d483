// The page's actions. Each sends one request to the API.

import { make } from "./dom.js";
import { ask } from "./dialog.js";
import { call } from "./api.js";
import { identity } from "./identity.js";

const NEW_ITEMS = 5;

/** Asks for a bulk's items, and creates the bulk. */
export async function createBulk() {
  const name = crypto.randomUUID().slice(0, 8);
  const suggested = Array.from({ length: NEW_ITEMS }, (_, index) => `${name}-${index + 1}`).join("\n");
  const asked = await ask({
    title: "New bulk",
    fields: [
      { name: "program", label: "Program", value: "1", type: "number", min: 1, required: true },
      {
        name: "items", label: "External IDs", value: suggested, multiline: true, rows: 7, required: true,
        hint: "One per line, at most 1,000. Each gets a blank card.",
      },
    ],
    submit: "Create",
  });
  if (!asked) return null;
  const externalIds = asked.items.split("\n").map((line) => line.trim()).filter(Boolean);
  const request = { program_id: Number(asked.program), external_ids: externalIds };
  const { body } = await call("POST", "/cards/v1/bulks", request);
  return { text: `A bulk of ${externalIds.length} items was created`, bulk: body.id };
}

/** Starts a bulk, which issues its cards. */
export async function startBulk(bulk) {
  const { body } = await call("POST", `/cards/v1/bulks/${encodeURIComponent(bulk)}/start`);
  return { text: "The start was accepted", operation: body.operation_id };
}

/** Asks for confirmation, and cancels a whole bulk or the given items. */
export async function cancelBulk(bulk, externalIds) {
  const text = externalIds
    ? `This permanently cancels ${externalIds.length} of its items, with their cards.`
    : "This permanently cancels all its items, with their cards. The bulk can then neither grow nor be started.";
  const sure = await ask({ title: "Cancel the bulk", text, submit: "Cancel items", danger: true });
  if (!sure) return null;
  const request = externalIds ? { cancel_type: "PARTIAL", external_ids: externalIds } : { cancel_type: "FULL" };
  const { body } = await call("POST", `/cards/v1/bulks/${encodeURIComponent(bulk)}/cancel`, request);
  return { text: "The cancel was accepted", operation: body.operation_id };
}

/** Asks for confirmation, and binds a card to the identity's customer. */
export async function bindCard(card) {
  const asked = await ask({
    title: `Bind card ${card}`,
    text: `To customer ${identity.customer} of account ${identity.account}.`,
    fields: [
      { name: "replaced", label: "Replaces card", inputMode: "numeric", hint: "A card of this customer, or empty." },
    ],
    submit: "Bind",
  });
  if (!asked) return null;
  const request = asked.replaced ? { reissued_card_id: Number(asked.replaced) } : undefined;
  const { body } = await call("PUT", `/wallet/v2/cards/${card}/noname/bind`, request);
  return { text: `The bind of card ${card} was accepted`, operation: body.operation_id };
}

/** Asks for the PIN, and requests the cancellation of an order. */
export async function cancelOrder(order) {
  const asked = await ask({
    title: `Cancel order ${order.order_id || order.international_order_uid}`,
    text: "This only requests the cancellation. The order is canceled once the order system says so.",
    fields: [
      { name: "pin", label: "PIN", type: "password", hint: `PIN of creator ${order.creator_id}, if they have one.` },
    ],
    submit: "Request cancellation",
    danger: true,
  });
  if (!asked) return null;
  const { order_id, international_order_uid: uid, creator_id } = order;
  const named = order_id
    ? { OrderID: Number(order_id) }
    : { IsInternationalOrder: true, InternationalOrderUID: uid, CreatorID: Number(creator_id) };
  const { body, operation } = await call("POST", "/api/orders/cancellations", [{ ...named, PIN: asked.pin || null }]);
  const [result] = body;
  if (!result.Success) throw new Error(result.Errors.join(" "));
  return { text: "The cancellation was requested", operation };
}

/** Returns a function that runs an action and shows its outcome in the notice. */
export function withNotice(notice, action, showOperation) {
  return async (...details) => {
    notice.replaceChildren();
    try {
      const done = await action(...details);
      if (!done) return;
      notice.className = "notice good";
      notice.replaceChildren(done.text);
      if (done.operation) {
        notice.append(" ", make("button", { type: "button", onclick: () => showOperation(done.operation) },
          "Show operation"));
      }
    } catch (error) {
      notice.className = "notice bad";
      notice.replaceChildren(error.message);
    }
  };
}
