// What the endpoint and the worker share: clients, rows, the rules of a bind, log lines and metrics.

import { DynamoDBClient, GetItemCommand } from "@aws-sdk/client-dynamodb";
import { SQSClient } from "@aws-sdk/client-sqs";
import { marshall, unmarshall } from "@aws-sdk/util-dynamodb";

// Clients live as long as the process, and keep their connections (as the SDK does by default).
export const CONFIG = {
  maxAttempts: 3,
  requestHandler: { connectionTimeout: 1000, requestTimeout: 1500, throwOnRequestTimeout: true },
};
export const dynamodb = new DynamoDBClient(CONFIG);
// As the other SDKs do: SQS is where the client is told, and its answers' checksums are not checked.
export const sqs = new SQSClient({ ...CONFIG, useQueueUrlAsEndpoint: false, md5: false });

export const TABLE = process.env.TABLE_NAME;
const STACK = process.env.STACK_NAME;
const FUNCTION = process.env.AWS_LAMBDA_FUNCTION_NAME;

export const ORG = /^TN-[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$/;
export const CORRELATION_ID = /^[ -~]{1,255}$/;

// What a card's row says from its issue on, and so may be copied into messages.
export const FACTS = ["program_id", "bulk_id", "external_id", "contactless_enabled", "issuing_date", "expiration_date"];
export const OPTIONAL_FACTS = ["bulk_id", "external_id"];

/** The status that a reissue leaves a card in, by the one that it had. */
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

// Codes of DynamoDB's that say the request itself is wrong; every other is worth another try.
const FINAL_CODES = ["ItemCollectionSizeLimitExceededException", "ValidationException", "ValidationError"];
const CONFLICT_ATTEMPTS = 6;
const CONFLICT_WAIT_MS = 20;

/** It will never work: a bug, or bad data. */
export class Broken extends Error {}
/** What was found cannot be, unless it was not all to be seen yet. */
export class Unexpected extends Error {}
/** Another transaction holds the rows, or they changed between read and write. */
export class Conflict extends Error {}

export const toItem = (row) => marshall(row);
export const fromItem = (item) => unmarshall(item);

/** The row of this key, read consistently. */
export async function get(key) {
  const { Item } = await dynamodb.send(
    new GetItemCommand({ TableName: TABLE, Key: toItem(key), ConsistentRead: true }),
  );
  return Item && fromItem(Item);
}

export const cardKey = (org, card) => ({ pk: `${org}#CARD#${card}`, sk: "CARD" });
export const operationKey = (org, operationId) => ({ pk: `${org}#OP#${operationId}`, sk: "OP" });

export const seconds = (date) => Math.trunc(date / 1000);

/** The operation's row, unless it has expired. */
export async function getOperation(org, operationId, now) {
  const operation = await get(operationKey(org, operationId));
  return operation?.expires_at > seconds(now) ? operation : undefined;
}

/** Why the card may not be bound, if it may not. */
export function checkCard(card) {
  if (!card) return "CARD_NOT_FOUND";
  return card.status === "UNBOUND" && !card.bound ? undefined : "CARD_NOT_UNBOUND";
}

/** Why the bind may not replace the card, if it may not. */
export function checkReissued(card, bind) {
  const { account_id: account, customer_id: customer } = card?.bound ?? {};
  if (account !== bind.account_id || customer !== bind.customer_id) return "REISSUED_CARD_NOT_FOUND";
  if (card.replaced || card.status === "REISSUED") return "REISSUED_CARD_ALREADY_REPLACED";
  return card.status in AFTER_REISSUE ? undefined : "REISSUED_CARD_NOT_ELIGIBLE";
}

/** Tries again at once, a few times, what ends in a conflict. */
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

/** Whether the same call would fail again. Errors that are not AWS's, nor a connection's, are our own. */
export const isFinal = (error) =>
  FINAL_CODES.includes(error.name) || !(error.$metadata || error.$retryable || error.code);

/** What makes the worker's trace a part of this invocation's. */
export function trace() {
  const header = process.env._X_AMZN_TRACE_ID;
  return header ? { AWSTraceHeader: { DataType: "String", StringValue: header } } : undefined;
}

const LEVELS = { DEBUG: 0, INFO: 1, WARN: 2, ERROR: 3 };
const LEVEL = LEVELS[process.env.AWS_LAMBDA_LOG_LEVEL] ?? 1;

/** One JSON object a line. */
export function log(level, message, started, fields) {
  if (LEVELS[level] < LEVEL) return;
  const duration_ms = Math.trunc(performance.now() - started);
  write({ timestamp: new Date().toISOString(), level, message, ...fields, duration_ms });
}

const write = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

/** What an invocation counts, written in CloudWatch's embedded metric format. */
export class Metrics {
  counts = {};
  refused = {};
  toEvent = {};

  count(name, by = this.counts) {
    by[name] = (by[name] ?? 0) + 1;
  }

  /** Writes what was counted. */
  flush() {
    const values = { ...this.counts };
    const waited = Object.values(this.toEvent);
    if (waited.length) values.AcceptanceToEvent = waited.slice(0, 100);
    if (Object.keys(values).length) this.#write({}, values);
    for (const [Code, count] of Object.entries(this.refused)) this.#write({ Code }, { Refused: count });
  }

  #write(more, values) {
    const dimensions = { Stack: STACK, Function: FUNCTION, ...more };
    const unit = (name) => (name === "AcceptanceToEvent" ? "Milliseconds" : "Count");
    const metrics = Object.keys(values).map((Name) => ({ Name, Unit: unit(Name) }));
    const directive = { Namespace: "Bindery", Dimensions: [Object.keys(dimensions)], Metrics: metrics };
    write({ _aws: { Timestamp: Date.now(), CloudWatchMetrics: [directive] }, ...dimensions, ...values });
  }
}
