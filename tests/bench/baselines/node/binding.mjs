// The conditional writes of a bind, and the events that report its outcome.

import {
  ConditionalCheckFailedException,
  TransactWriteItemsCommand,
  TransactionCanceledException,
  TransactionConflictException,
  UpdateItemCommand,
} from "@aws-sdk/client-dynamodb";
import { v5 as uuid5 } from "uuid";
import {
  AFTER_REISSUE,
  Broken,
  Conflict,
  REFUSALS,
  TABLE,
  Unexpected,
  cardKey,
  checkCard,
  checkReissued,
  dynamodb,
  fromItem,
  get,
  getOperation,
  operationKey,
  retrying,
  toItem,
} from "./common.mjs";

const BUSY_CODES = [
  "None",
  "ConditionalCheckFailed",
  "TransactionConflict",
  "ThrottlingError",
  "ProvisionedThroughputExceeded",
];

/** Binds the card, stores the outcome on the operation if it has none, and returns the outcome with its events. */
export async function apply(message) {
  const { org_id: org, operation_id: operation, accepted_at, instruction } = message;
  const { bind } = instruction;
  const started = new Date();
  // The outcome must be published, which is possible only if the operation is known.
  const known = await getOperation(org, operation, started);
  if (known?.created_at !== accepted_at) throw new Broken("the operation has no row");
  // The common start of all of the operation's marks, which distinguishes them from other operations' marks.
  const accepted = { by: operation, accepted_at };
  const now = started.toISOString();
  const effect = bind.reissued_card_id
    ? await retrying(() => reissue(org, accepted, bind, now))
    : await bindPlain(org, accepted, bind, now);
  const { at, code, card_status, replaced } = effect;
  const found = code ? { status: "FAILURE", at: now, code, card_status } : { status: "SUCCESS", at };
  const outcome = await end(org, operation, found);
  if ((outcome.status === "FAILURE") !== (code !== undefined)) {
    throw new Unexpected("the stored outcome contradicts the card's marks");
  }
  return { outcome: outcome.status, events: events(message, outcome, replaced) };
}

/** Binds with one conditional write. Finds out whether this operation did it before, or why it is impossible. */
async function bindPlain(org, accepted, bind, now) {
  const { done, row: card } = await change(bindChange(org, accepted, bind, now));
  if (done) return { at: now };
  if (isMine(card?.bound, accepted)) return { at: card.bound.at };
  const code = checkCard(card);
  if (code) return refused(code, card);
  throw new Unexpected("DynamoDB refused a card that is UNBOUND");
}

/** Reads both cards, decides, and writes both at once on the condition that they have not changed since. */
async function reissue(org, accepted, bind, now) {
  const card = await get(cardKey(org, bind.card_id));
  const old = await get(cardKey(org, bind.reissued_card_id));
  const before = reissuedBefore(accepted, card, old);
  if (before) return before;
  const code = checkCard(card) ?? checkReissued(old, bind);
  if (code) return refused(code, card);
  const mark = { ...accepted, at: now, new_card_id: bind.card_id, previous_status: old.status };
  const writes = [bindChange(org, accepted, bind, now), replaceChange(org, bind, AFTER_REISSUE[old.status], mark)];
  const TransactItems = writes.map((write) => ({ Update: update(write) }));
  try {
    await dynamodb.send(new TransactWriteItemsCommand({ TransactItems }));
  } catch (error) {
    const isBusy =
      error instanceof TransactionCanceledException &&
      error.CancellationReasons.every((reason) => BUSY_CODES.includes(reason.Code));
    throw isBusy ? new Conflict() : error;
  }
  return { at: now, replaced: replaced(old, old.status) };
}

/** Returns what this reissue did before, if it did. Throws a conflict if only one of its two marks is visible yet. */
function reissuedBefore(accepted, card, old) {
  const mine = [card?.bound, old?.replaced].map((mark) => isMine(mark, accepted));
  if (mine.every(Boolean)) return { at: card.bound.at, replaced: replaced(old, old.replaced.previous_status) };
  const isBlankAndNew = card && !card.bound && old?.replaced?.new_card_id === card.card_id;
  if (mine.some(Boolean) || isBlankAndNew) throw new Conflict();
  return undefined;
}

/** Returns whether this operation left the mark, with the same time of acceptance. */
const isMine = (mark, { by, accepted_at }) => mark?.by === by && mark.accepted_at === accepted_at;

/** Returns what an event reports of the replaced card. */
const replaced = ({ card_id, contactless_enabled, program_id, issuing_date, expiration_date }, previous_status) => ({
  previous_status,
  card_id,
  contactless_enabled,
  program_id,
  issuing_date,
  expiration_date,
});

/** Returns the refusal of a card that does not carry the operation's mark. A missing card was last known as UNBOUND. */
const refused = (code, card) => ({ code, card_status: card?.status ?? "UNBOUND" });

/** Returns the change UNBOUND → CREATED, with the mark. */
function bindChange(org, accepted, { card_id, ...whose }, at) {
  return {
    key: cardKey(org, card_id),
    expression: "SET #status = :created, #bound = :mark",
    condition: "#status = :unbound AND attribute_not_exists(#bound)",
    names: ["status", "bound"],
    values: { ":unbound": "UNBOUND", ":created": "CREATED", ":mark": { ...accepted, at, ...whose } },
  };
}

/** Returns the change from the status that was read to the status of a replaced card, with the mark. */
function replaceChange(org, bind, status, mark) {
  return {
    key: cardKey(org, bind.reissued_card_id),
    expression: "SET #status = :status, #replaced = :mark",
    condition:
      "#status = :previous AND attribute_not_exists(#replaced) " +
      "AND #bound.account_id = :account AND #bound.customer_id = :customer",
    names: ["status", "bound", "replaced"],
    values: {
      ":previous": mark.previous_status,
      ":status": status,
      ":mark": mark,
      ":account": bind.account_id,
      ":customer": bind.customer_id,
    },
  };
}

/** Ends the operation with this outcome, unless it has one already. Returns the first outcome, which never changes. */
async function end(org, operation, outcome) {
  const { done, row } = await change({
    key: operationKey(org, operation),
    expression: "SET #state = :state, outcome = :outcome, ended_at = :at",
    condition: "attribute_exists(pk) AND attribute_not_exists(outcome)",
    names: ["state"],
    values: {
      ":state": outcome.status === "SUCCESS" ? "SUCCEEDED" : "FAILED",
      ":outcome": outcome,
      ":at": outcome.at,
    },
  });
  if (done) return outcome;
  if (!row) throw new Broken("the operation has no row");
  return row.outcome;
}

/** Returns the parameters of a conditional update. */
const update = ({ key, expression, condition, names, values }) => ({
  TableName: TABLE,
  Key: toItem(key),
  UpdateExpression: expression,
  ConditionExpression: condition,
  ExpressionAttributeNames: Object.fromEntries(names.map((name) => [`#${name}`, name])),
  ExpressionAttributeValues: toItem(values),
});

/** Makes the update. Returns whether the condition held, and if not, the row. */
function change(write) {
  const returned = { ReturnValues: "ALL_NEW", ReturnValuesOnConditionCheckFailure: "ALL_OLD" };
  return retrying(async () => {
    try {
      await dynamodb.send(new UpdateItemCommand({ ...update(write), ...returned }));
      return { done: true };
    } catch (error) {
      if (error instanceof TransactionConflictException) throw new Conflict();
      if (!(error instanceof ConditionalCheckFailedException)) throw error;
      return { done: false, row: error.Item && fromItem(error.Item) };
    }
  });
}

/** Returns the events of a bind, made from stored values, so that they are the same every time. */
function events(message, { at, code, card_status, status }, old) {
  const { bind, card } = message.instruction;
  const made = [
    event(message, at, "bind_card", bind.card_id, {
      account_id: bind.account_id,
      customer_id: bind.customer_id,
      card_id: bind.card_id,
      card_status: code ? card_status : "CREATED",
      card_previous_status: code ? undefined : "UNBOUND",
      card_name: "",
      card_printed_name: "",
      program_id: card.program_id,
      issuing_date: card.issuing_date,
      expiration_date: card.expiration_date,
      bulk_id: card.bulk_id,
      external_id: card.external_id,
      operation_type: bind.reissued_card_id ? "BIND_REISSUE" : "BIND_NONAME",
      status,
      message_code: code,
      message: REFUSALS[code],
    }),
  ];
  if (old) {
    const data = {
      account_id: bind.account_id,
      card_id: old.card_id,
      card_status: AFTER_REISSUE[old.previous_status],
      card_previous_status: old.previous_status,
      card_type: "PLASTIC",
      card_name: "",
      card_printed_name: null,
      card_hash: null,
      card_last_four_numbers: null,
      activation_date: null,
      contactless_enabled: old.contactless_enabled,
      operation_type: "BIND_REISSUE",
      new_card_id: bind.card_id,
      program_id: old.program_id,
      issuing_date: old.issuing_date,
      expiration_date: old.expiration_date,
      status: "SUCCESS",
    };
    made.push(event(message, at, "update", old.card_id, data));
  }
  return made;
}

/** Returns the envelope, which is the same for every repetition of one fact. */
const event = ({ operation_id, accepted_at, org_id, cid }, timestamp, event_type, item, data) => ({
  event_id: uuid5(`${accepted_at}\n${event_type}\n${item}`, operation_id),
  schema_version: 1,
  domain: "cards",
  event_type,
  org_id,
  cid,
  timestamp,
  data,
});
