// The worker `bind-card-worker` for Node: the same writes, outcomes, events and dead letters as in functions.
//
// Left out: giving up before Lambda's deadline, optional members of a message that are null instead of missing, two
// members of one name, and a limit on PutEvents calls by their bytes (ten of these events stay far below it).

import { EventBridgeClient, PutEventsCommand } from "@aws-sdk/client-eventbridge";
import { SendMessageCommand } from "@aws-sdk/client-sqs";
import { apply } from "./binding.mjs";
import { serve } from "./bootstrap.mjs";
import { Broken, CONFIG, Conflict, Metrics, Unexpected, isFinal, log, sleep, sqs, timed } from "./common.mjs";
import { read } from "./message.mjs";

const eventbridge = timed(new EventBridgeClient(CONFIG));

const BUS = process.env.EVENT_BUS_NAME;
const DEAD_LETTERS = process.env.BIND_CARD_DLQ_URL;
const MAX_RECEIVES = Number(process.env.MAX_RECEIVES);

// Deliveries that find an impossible state before their message is dead-lettered.
const MAX_UNEXPECTED = 3;
const MAX_ENTRIES = 10;
const MAX_ROUNDS = 3;
const ROUND_WAIT_MS = 50;
const MAX_REASON = 512;

/** Applies the messages of a batch independently, and reports those to be retried. */
export async function handler(event) {
  const metrics = new Metrics();
  const deliveries = await Promise.all(event.Records.map(deliver));
  await publish(deliveries, metrics);
  const acknowledged = await Promise.all(deliveries.map((delivery) => settle(delivery, metrics)));
  metrics.flush();
  const failed = deliveries.filter((_, index) => !acknowledged[index]);
  return { batchItemFailures: failed.map(({ id }) => ({ itemIdentifier: id })) };
}

/** Applies one message, and returns its state during the invocation. */
async function deliver({ messageId: id, body, attributes }) {
  const receive_count = Number(attributes.ApproximateReceiveCount ?? 1);
  const delivery = { id, body, receive_count, started: performance.now(), message: {}, events: [] };
  try {
    delivery.message = read(body);
    Object.assign(delivery, await apply(delivery.message));
  } catch (error) {
    if (error instanceof Unexpected) delivery.isBroken = receive_count >= MAX_UNEXPECTED;
    else delivery.isBroken = error instanceof Broken || (isFinal(error) && !(error instanceof Conflict));
    delivery.failure = error instanceof Conflict ? "the rows are busy" : error.message;
  }
  return delivery;
}

/** Publishes the events of all messages in few calls, and retries those that were not taken. */
async function publish(deliveries, metrics) {
  let open = deliveries.flatMap((delivery) => delivery.events.map((event) => ({ delivery, event })));
  for (let number = 0; number < MAX_ROUNDS && open.length; number += 1) {
    if (number) await sleep(ROUND_WAIT_MS * 2 ** (number - 1) * Math.random());
    const calls = [];
    for (let at = 0; at < open.length; at += MAX_ENTRIES) calls.push(open.slice(at, at + MAX_ENTRIES));
    await Promise.all(calls.map(put));
    for (const { delivery, event, reason } of open) if (!reason) count(delivery, event, metrics);
    open = open.filter(({ reason }) => reason);
  }
  for (const { delivery, reason } of open) delivery.failure = `EventBridge PutEvents: ${reason}`;
}

/** Records for each event why it is not, or may not be, on the bus. */
async function put(call) {
  const Entries = call.map(({ event }) => ({
    EventBusName: BUS,
    Source: "bindery",
    DetailType: event.event_type,
    Detail: JSON.stringify(event),
  }));
  let reason = () => undefined;
  try {
    const output = await eventbridge.send(new PutEventsCommand({ Entries }));
    if (output.FailedEntryCount) {
      reason = ({ EventId, ErrorCode }) => (EventId ? undefined : (ErrorCode ?? "no event ID"));
    }
    call.forEach((open, index) => (open.reason = reason(output.Entries[index])));
  } catch (error) {
    for (const open of call) open.reason = error.name;
  }
}

/** Counts an event that is on the bus. */
function count({ message }, { event_type, data }, metrics) {
  if (event_type === "bind_card") {
    if (data.message_code) metrics.count(data.message_code, metrics.refused);
    else metrics.count("Applied");
  }
  metrics.toEvent[message.accepted_at] = Math.max(0, Date.now() - Date.parse(message.accepted_at));
}

/** Returns whether the message can be deleted: it is handled, or in the dead-letter queue with its reason. */
async function settle(delivery, metrics) {
  const { id, body, receive_count, started, message, outcome, failure, isBroken } = delivery;
  const { kind, operation_id, org_id: tenant, cid } = message;
  const fields = { message_id: id, kind, operation_id, tenant, cid, receive_count };
  if (!failure) {
    log("INFO", "message handled", started, { ...fields, outcome });
    return true;
  }
  metrics.count("Failed");
  if (!isBroken && receive_count < MAX_RECEIVES) {
    log("WARN", "will be retried", started, { ...fields, outcome: "RETRY", reason: failure });
    metrics.count("Retried");
    return false;
  }
  log("ERROR", "moving to the dead-letter queue", started, { ...fields, outcome: "DEAD_LETTER", reason: failure });
  try {
    await deadLetter(id, body, failure);
  } catch (error) {
    const fields = { message_id: id, error: error.message };
    log("ERROR", "not sent to the dead-letter queue: the next delivery tries again, or SQS moves it", started, fields);
    return false;
  }
  metrics.count("DeadLettered");
  return true;
}

/** Sends the unchanged message to the dead-letter queue, with the reason as an attribute. */
async function deadLetter(id, body, reason) {
  const text = (StringValue) => ({ DataType: "String", StringValue });
  const printable = reason.replace(/[^ -~]/g, "?").slice(0, MAX_REASON);
  const MessageAttributes = { reason: text(printable), source_message_id: text(id) };
  await sqs.send(new SendMessageCommand({ QueueUrl: DEAD_LETTERS, MessageBody: body, MessageAttributes }));
}

serve(import.meta.url, handler);
