// Code that the endpoint and the worker share: clients, rows, the rules of a bind, log lines and metrics.

import { DynamoDBClient, GetItemCommand } from "@aws-sdk/client-dynamodb";
import { SQSClient } from "@aws-sdk/client-sqs";
import { marshall, unmarshall } from "@aws-sdk/util-dynamodb";

// Clients live as long as the process, and keep their connections (as the SDK does by default).
export const CONFIG = {
  maxAttempts: 3,
  requestHandler: { connectionTimeout: 1000, requestTimeout: 1500, throwOnRequestTimeout: true },
};

// Milliseconds of each call that has ended, by the call's name, and their attempts beyond the first.
let callTimes = {};
let callRetries = 0;

/** Returns the client, which adds the times of its calls. */
export function timed(client) {
  const time = (next, { clientName, commandName }) => async (call) => {
    const started = performance.now();
    let metadata;
    try {
      const result = await next(call);
      metadata = result.output.$metadata;
      return result;
    } catch (error) {
      metadata = error.$metadata;
      throw error;
    } finally {
      const name = `${clientName.replace(/Client$/, "")}.${commandName.replace(/Command$/, "")}`;
      (callTimes[name] ??= []).push(Math.round(performance.now() - started));
      callRetries += (metadata?.attempts ?? 1) - 1;
    }
  };
  client.middlewareStack.add(time, { step: "initialize", name: "time" });
  return client;
}

export const dynamodb = timed(new DynamoDBClient(CONFIG));
// As in the other SDKs, SQS's endpoint is the configured one, and the checksums of its responses are not verified.
export const sqs = timed(new SQSClient({ ...CONFIG, useQueueUrlAsEndpoint: false, md5: false }));

export const TABLE = process.env.TABLE_NAME;
const STACK = process.env.STACK_NAME;
const FUNCTION = process.env.AWS_LAMBDA_FUNCTION_NAME;

export const ORG = /^TN-[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$/;
export const CORRELATION_ID = /^[ -~]{1,255}$/;

// Attributes that a card has from its issue on and that never change, so they may be copied into messages.
export const FACTS = ["program_id", "bulk_id", "external_id", "contactless_enabled", "issuing_date", "expiration_date"];
export const OPTIONAL_FACTS = ["bulk_id", "external_id"];

/** The status of a card after it is replaced, by its status before. */
export const AFTER_REISSUE = {
  CREATED: "REISSUED",
  NORMAL: "REISSUED",
  BLOCKED: "BLOCKED",
  PENDING: "PENDING",
  WARNING: "WARNING",
};
export const REFUSALS = {
  CARD_NOT_FOUND: "The card was not found.",
  CARD_NOT_UNBOUND: "The card is not UNBOUND.",
  REISSUED_CARD_NOT_FOUND: "The card to be reissued was not found.",
  REISSUED_CARD_NOT_ELIGIBLE: "The card to be reissued is in a final status.",
  REISSUED_CARD_ALREADY_REPLACED: "The card to be reissued was already replaced.",
};

// DynamoDB error codes for requests that are wrong in themselves. All other errors are worth a retry.
const FINAL_CODES = ["ItemCollectionSizeLimitExceededException", "ValidationException", "ValidationError"];
const CONFLICT_ATTEMPTS = 6;
const CONFLICT_WAIT_MS = 20;

/** A permanent failure: a bug, or bad data. */
export class Broken extends Error {}
/** A state that is impossible, unless it is only partly visible yet. */
export class Unexpected extends Error {}
/** Another transaction holds the rows, or they changed between read and write. */
export class Conflict extends Error {}

export const toItem = (row) => marshall(row);
export const fromItem = (item) => unmarshall(item);

/** Returns the row with this key, read consistently. */
export async function get(key) {
  const { Item } = await dynamodb.send(
    new GetItemCommand({ TableName: TABLE, Key: toItem(key), ConsistentRead: true }),
  );
  return Item && fromItem(Item);
}

export const cardKey = (org, card) => ({ pk: `${org}#CARD#${card}`, sk: "CARD" });
export const operationKey = (org, operationId) => ({ pk: `${org}#OP#${operationId}`, sk: "OP" });

export const seconds = (date) => Math.trunc(date / 1000);

/** Returns the operation's row, unless it has expired. */
export async function getOperation(org, operationId, now) {
  const operation = await get(operationKey(org, operationId));
  return operation?.expires_at > seconds(now) ? operation : undefined;
}

/** Returns why the card may not be bound, if it may not. */
export function checkCard(card) {
  if (!card) return "CARD_NOT_FOUND";
  return card.status === "UNBOUND" && !card.bound ? undefined : "CARD_NOT_UNBOUND";
}

/** Returns why the bind may not replace the card, if it may not. */
export function checkReissued(card, bind) {
  const { account_id: account, customer_id: customer } = card?.bound ?? {};
  if (account !== bind.account_id || customer !== bind.customer_id) return "REISSUED_CARD_NOT_FOUND";
  if (card.replaced || card.status === "REISSUED") return "REISSUED_CARD_ALREADY_REPLACED";
  return card.status in AFTER_REISSUE ? undefined : "REISSUED_CARD_NOT_ELIGIBLE";
}

/** Retries an attempt that ends in a conflict, a few times after short waits. */
export async function retrying(attempt) {
  for (let number = 0; number < CONFLICT_ATTEMPTS - 1; number += 1) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof Conflict)) throw error;
      await sleep(CONFLICT_WAIT_MS * 2 ** number * Math.random());
    }
  }
  return attempt();
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Returns whether the same call would fail again. Errors of neither AWS nor a connection are our own. */
export const isFinal = (error) =>
  FINAL_CODES.includes(error.name) || !(error.$metadata || error.$retryable || error.code);

/** Returns the attributes that make the worker's trace a part of this invocation's. */
export function trace() {
  const header = process.env._X_AMZN_TRACE_ID;
  return header ? { AWSTraceHeader: { DataType: "String", StringValue: header } } : undefined;
}

const LEVELS = { DEBUG: 0, INFO: 1, WARN: 2, ERROR: 3 };
const LEVEL = LEVELS[process.env.AWS_LAMBDA_LOG_LEVEL] ?? 1;

/** Writes one JSON object on a line. */
export function log(level, message, started, fields) {
  if (LEVELS[level] < LEVEL) return;
  const duration_ms = Math.trunc(performance.now() - started);
  write({ timestamp: new Date().toISOString(), level, message, ...fields, duration_ms });
}

const write = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

/** The counts of an invocation, written in CloudWatch's embedded metric format. */
export class Metrics {
  counts = {};
  refused = {};
  toEvent = {};

  count(name, by = this.counts) {
    by[name] = (by[name] ?? 0) + 1;
  }

  /** Writes the counts. */
  flush() {
    const values = { ...this.counts };
    const waited = Object.values(this.toEvent);
    if (waited.length) values.AcceptanceToEvent = waited.slice(0, 100);
    if (callRetries) values.CallRetries = callRetries;
    const times = Object.fromEntries(Object.entries(callTimes).map(([name, times]) => [name, times.slice(0, 100)]));
    callTimes = {};
    callRetries = 0;
    if (Object.keys({ ...values, ...times }).length) this.#write({}, values, times);
    for (const [Code, count] of Object.entries(this.refused)) this.#write({ Code }, { Refused: count }, {});
  }

  #write(more, values, times) {
    const dimensions = { Stack: STACK, Function: FUNCTION, ...more };
    const unit = (value) => (Array.isArray(value) ? "Milliseconds" : "Count");
    const directives = Object.entries({ Bindery: values, BinderyCalls: times })
      .map(([Namespace, members]) => {
        const Metrics = Object.entries(members).map(([Name, value]) => ({ Name, Unit: unit(value) }));
        return { Namespace, Dimensions: [Object.keys(dimensions)], Metrics };
      })
      .filter(({ Metrics }) => Metrics.length);
    write({ _aws: { Timestamp: Date.now(), CloudWatchMetrics: directives }, ...dimensions, ...values, ...times });
  }
}
