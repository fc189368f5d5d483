// Reading a message of the bind-card queue. Every member is checked, because guessing could move cards.

import { Broken, CORRELATION_ID, OPTIONAL_FACTS, ORG } from "./common.mjs";

/** Returns the message, if it has the known form. */
export function read(body) {
  let message;
  try {
    // Some serializers write a byte order mark before a text.
    message = JSON.parse(body.replace(/^\ufeff/, ""));
  } catch {
    throw new Broken("unreadable message: not JSON");
  }
  if (!isMessage(message)) throw new Broken("unreadable message: not of the known form");
  // The form of times in marks and operations, which this one is compared with.
  message.accepted_at = new Date(message.accepted_at).toISOString();
  return message;
}

/** Returns a function that checks whether a value has the form's members, and no others. */
function conforms(form, optional = []) {
  const required = Object.keys(form).filter((name) => !optional.includes(name));
  return (value) =>
    typeof value === "object" &&
    value !== null &&
    required.every((name) => name in value) &&
    Object.entries(value).every(([name, member]) => Object.hasOwn(form, name) && form[name](member));
}

const matches = (pattern) => (value) => typeof value === "string" && pattern.test(value);
const isId = (value) => Number.isSafeInteger(value) && value >= 1;
const isName = (value) => typeof value === "string" && value !== "" && value.length <= 510 && [...value].length <= 255;
const isTime = (value) => !Number.isNaN(Date.parse(value));
// The date-time at which the day begins. `Date` would read a nonexistent day as one of the next month.
const isDate = (value) =>
  matches(/^\d{4}-\d\d-\d\dT00:00:00Z$/)(value) &&
  isTime(value) &&
  new Date(value).toISOString().startsWith(value.slice(0, -1));

const isBind = conforms({ card_id: isId, account_id: isId, customer_id: isId, reissued_card_id: isId }, [
  "reissued_card_id",
]);
const isCard = conforms(
  {
    program_id: isId,
    bulk_id: isName,
    external_id: isName,
    contactless_enabled: (value) => typeof value === "boolean",
    issuing_date: isDate,
    expiration_date: isDate,
  },
  OPTIONAL_FACTS,
);
const isMessage = conforms({
  version: (value) => value === 1,
  kind: (value) => value === "bind-card",
  org_id: matches(ORG),
  operation_id: matches(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/),
  cid: matches(CORRELATION_ID),
  accepted_at: (value) => matches(/T.*(Z|[+-]\d\d:\d\d)$/)(value) && isTime(value),
  instruction: conforms({ bind: isBind, card: isCard }),
});
