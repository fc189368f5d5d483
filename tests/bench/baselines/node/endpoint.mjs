// The endpoint `bind-card` for Node: the same checks, rows, message and responses as functions/bind-card.
//
// Left out: verifying a token where no gateway has, giving up before Lambda's deadline, headers that come twice or in
// capitals, parameters of a structured-field key, and a token's account that is written as a float. In JSON, also left
// out: duplicate members (the last counts), lone surrogates, invalid UTF-8, and numbers that are integers only when
// rounded.

import { STATUS_CODES } from "node:http";
import { ConditionalCheckFailedException, PutItemCommand } from "@aws-sdk/client-dynamodb";
import { SendMessageCommand } from "@aws-sdk/client-sqs";
import { v7 as uuid7 } from "uuid";
import { serve } from "./bootstrap.mjs";
import {
  CORRELATION_ID,
  FACTS,
  Metrics,
  ORG,
  REFUSALS,
  TABLE,
  cardKey,
  checkCard,
  checkReissued,
  dynamodb,
  fromItem,
  get,
  getOperation,
  isFinal,
  log,
  operationKey,
  seconds,
  sqs,
  toItem,
  trace,
} from "./common.mjs";
import { Problem, broken, forbidden, integerId, invalid, read, unavailable } from "./request.mjs";

const QUEUE_URL = process.env.BIND_CARD_QUEUE_URL;
// The relative path from a bind's URL to the start of the API's paths. Only the client knows what comes before them.
const WAY_UP = "../../../../../";
const RETENTION_SECONDS = 90 * 24 * 60 * 60;
// A missing card is 403, because it must look the same as another account's card.
const REFUSAL_STATUS = { CARD_NOT_FOUND: 403, REISSUED_CARD_NOT_FOUND: 403 };
const MORE_HEADERS = { 401: { "www-authenticate": "Bearer" }, 503: { "retry-after": "1" } };

/** Handles a request. */
export async function handler(event, context) {
  const started = performance.now();
  const metrics = new Metrics();
  const seen = { request_id: context.awsRequestId, cid: event.headers["x-correlation-id"] ?? uuid7() };
  try {
    const { operationId: operation_id, sent, replayed } = await bindCard(event, seen);
    if (sent) metrics.count("Accepted");
    log("INFO", "request handled", started, { ...seen, operation_id, outcome: 202 });
    const headers = { "content-type": "application/json", location: `${WAY_UP}operations/${operation_id}` };
    if (replayed) headers["idempotent-replayed"] = "true";
    return response(202, headers, seen, { operation_id, status: "PENDING" });
  } catch (error) {
    return refuse(error, seen, started, metrics);
  } finally {
    metrics.flush();
  }
}

/** Returns an error response (RFC 9457). */
function refuse(error, seen, started, metrics) {
  const problem = error instanceof Problem ? error : isFinal(error) ? broken(error) : unavailable(error);
  const { status, code, message: detail, cause, errors } = problem;
  const fields = { ...seen, outcome: status, code };
  if (cause) log("ERROR", "request failed", started, { ...fields, cause });
  else log("INFO", "request refused", started, fields);
  if (status >= 500) metrics.count("Failed");
  else metrics.count(code, metrics.refused);
  const type = `urn:bindery:problem:${code}`;
  const body = { type, title: STATUS_CODES[status], status, detail, instance: seen.request_id, errors };
  return response(status, { "content-type": "application/problem+json", ...MORE_HEADERS[status] }, seen, body);
}

const response = (statusCode, headers, { cid }, body) => ({
  statusCode,
  headers: { ...headers, "cache-control": "no-store", "x-correlation-id": cid },
  body: JSON.stringify(body),
});

/** Returns the request's operation, whether its message was sent now, and whether it was recorded before. */
async function bindCard(event, seen) {
  const { cid } = seen;
  const malformed = !CORRELATION_ID.test(cid);
  if (malformed) seen.cid = uuid7();
  const claims = event.requestContext.authorizer?.jwt?.claims;
  if (!claims) throw new Problem(401, "unauthorized", "The access token is missing or invalid.");
  const scopes = (claims.scope ?? "").split(" ");
  if (!scopes.includes("cards:bind") && !scopes.includes("cards:write")) {
    throw forbidden("The access token lacks the scope for this request.");
  }
  const org = claims.tenant_id;
  if (!ORG.test(org ?? "")) throw forbidden("The access token names no organization.");
  seen.tenant = org;
  if (malformed) {
    const isAscii = /^[\x00-\x7f]*$/.test(cid);
    const detail = isAscii ? "must be 1 to 255 printable ASCII characters" : "must be printable ASCII";
    throw invalid({ header: "x-correlation-id", detail });
  }
  return accept(read(event, org, integerId(claims.account_id), cid));
}

/** Records the operation, then sends its message. A repeated request does what is still to be done. */
async function accept(request) {
  const { org, operationId } = request;
  const before = { operationId, sent: false, replayed: true };
  let known = await recorded(request);
  if (known && isUnderWay(known, request)) return before;
  let prepared;
  try {
    prepared = await prepare(request, known !== undefined);
  } catch (problem) {
    // The refusal may come from this very operation, recorded meanwhile by another copy of the request.
    known = known ? undefined : await recorded(request);
    if (!known) throw problem;
    if (isUnderWay(known, request)) return before;
    prepared = await prepare(request, true);
  }
  const { instruction, acceptedAt } = prepared;
  let made;
  if (!known) ({ made, known } = await record(request, acceptedAt ?? request.now));
  const operation = made ?? known;
  if (!operation) return before;
  const message = {
    version: 1,
    kind: "bind-card",
    org_id: org,
    operation_id: operationId,
    cid: operation.cid,
    accepted_at: operation.created_at,
    instruction,
  };
  const command = new SendMessageCommand({
    QueueUrl: QUEUE_URL,
    MessageBody: asciiJson(message),
    MessageGroupId: org,
    MessageSystemAttributes: trace(),
  });
  try {
    await sqs.send(command);
  } catch (error) {
    throw unavailable(error);
  }
  return { operationId, sent: true, replayed: !made };
}

/** Returns JSON in ASCII alone, because SQS refuses some characters. */
const asciiJson = (value) =>
  JSON.stringify(value).replace(/[\x7f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** Returns the operation of an earlier request with the same key. */
async function recorded({ org, operationId, keyed, now }) {
  return keyed ? getOperation(org, operationId, now) : undefined;
}

/** Returns whether only the response is left to do. Otherwise the message may still have to be sent. */
function isUnderWay(operation, { fingerprint }) {
  if (operation.fingerprint !== fingerprint) {
    throw new Problem(422, "idempotency-key-reused", "The Idempotency-Key was used with another request.");
  }
  return operation.state !== "PENDING";
}

/**
 * Returns the message's instruction. If the operation was carried out and its row is gone, also returns when it was
 * accepted. The cards' state counts only before the operation is recorded.
 */
async function prepare(request, isRecorded) {
  const { org, bind } = request;
  const card = await get(cardKey(org, bind.card_id));
  const acceptedAt = isRecorded ? undefined : carriedOut(request, card);
  if (!isRecorded && !acceptedAt) {
    let code = checkCard(card);
    if (!code && bind.reissued_card_id) {
      code = checkReissued(await get(cardKey(org, bind.reissued_card_id)), bind);
    }
    if (code) {
      throw new Problem(REFUSAL_STATUS[code] ?? 409, code.toLowerCase().replaceAll("_", "-"), REFUSALS[code]);
    }
  }
  if (!card) throw broken("the operation's card is gone");
  return { instruction: { bind, card: Object.fromEntries(FACTS.map((name) => [name, card[name]])) }, acceptedAt };
}

/** Returns when the operation was accepted that made this very bind, by the card's mark, unless it has expired. */
function carriedOut({ operationId, bind, now }, card) {
  const mark = card?.bound;
  const isThis = ["account_id", "customer_id", "reissued_card_id"].every((name) => mark?.[name] === bind[name]);
  if (mark?.by !== operationId || !isThis) return undefined;
  const acceptedAt = new Date(mark.accepted_at);
  return acceptedAt.getTime() + RETENTION_SECONDS * 1000 > now ? acceptedAt : undefined;
}

/** Records the operation and returns it. Returns an operation with this ID that is recorded, unless it is under way. */
async function record(request, acceptedAt) {
  const { org, operationId, fingerprint, cid, now, bind } = request;
  const operation = {
    org_id: org,
    operation_id: operationId,
    account_id: bind.account_id,
    state: "PENDING",
    fingerprint,
    cid,
    created_at: acceptedAt.toISOString(),
    kind: "BIND_CARD",
    card_id: bind.card_id,
    ...(bind.reissued_card_id && { reissued_card_id: bind.reissued_card_id }),
  };
  const expires_at = seconds(acceptedAt) + RETENTION_SECONDS;
  const row = { ...operation, ...operationKey(org, operationId), expires_at };
  const command = new PutItemCommand({
    TableName: TABLE,
    Item: toItem(row),
    ConditionExpression: "attribute_not_exists(pk) OR expires_at <= :now",
    ExpressionAttributeValues: toItem({ ":now": seconds(now) }),
    ReturnValuesOnConditionCheckFailure: "ALL_OLD",
  });
  try {
    await dynamodb.send(command);
  } catch (error) {
    if (!(error instanceof ConditionalCheckFailedException)) throw error;
    const existing = fromItem(error.Item);
    return { known: isUnderWay(existing, request) ? undefined : existing };
  }
  return { made: operation };
}

serve(import.meta.url, handler);
