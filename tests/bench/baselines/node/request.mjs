// Reading a request to bind a card: the instruction if it is well formed, and the error responses if it is not.

import { createHash } from "node:crypto";
import { v5 as uuid5, v7 as uuid7 } from "uuid";
import { CORRELATION_ID } from "./common.mjs";

const MAX_BODY_BYTES = 64 * 1024;
const BYTE_ORDER_MARK = Buffer.from("\ufeff");
const OPERATION_NAMESPACE = "6f1d6c0e-3b0a-4f3c-9a55-1b1de29c0b47";
const INTEGER_ID = "must be an integer from 1 to 9007199254740991";
const FOREIGN = "The access token is not for this account.";
const UNAVAILABLE =
  "The service is temporarily unavailable. Repeat the request with the same Idempotency-Key.";

/** A response other than success. */
export class Problem extends Error {
  constructor(status, code, detail, { errors, cause } = {}) {
    super(detail);
    Object.assign(this, { status, code, errors, cause: cause && String(cause) });
  }
}

export const forbidden = (detail) => new Problem(403, "forbidden", detail);
export const broken = (cause) => new Problem(500, "internal-error", "Internal server error.", { cause });
export const unavailable = (cause) => new Problem(503, "unavailable", UNAVAILABLE, { cause });

/** Returns the problem for these invalid parts of the request. */
export function invalid(...errors) {
  let detail = `${errors.length} parts of the request are invalid.`;
  if (errors.length === 1) {
    const [{ header, parameter, pointer, detail: what }] = errors;
    const place = header ? `The header ${header}` : parameter && `The parameter ${parameter}`;
    detail = `${place ?? (pointer ? `The body's ${pointer}` : "The body")} ${what}.`;
  }
  return new Problem(400, "invalid-request", detail, { errors });
}

/** Returns the instruction, if it is well formed and for the token's own account. */
export function read(event, org, account, cid) {
  const bind = readBind(event, account);
  const key = readKey(event.headers);
  const keyed = key !== undefined;
  return {
    org,
    cid,
    now: new Date(),
    bind,
    keyed,
    operationId: keyed ? uuid5(`${org}\n${account}\nbind-card\n${key}`, OPERATION_NAMESPACE) : uuid7(),
    fingerprint: createHash("sha256").update(JSON.stringify(["bind-card", bind])).digest("base64url"),
  };
}

function readBind(event, account) {
  if (account === undefined) throw forbidden(FOREIGN);
  const { headers, pathParameters } = event;
  const errors = [];
  const card_id = integerId(pathParameters?.cardId);
  if (card_id === undefined) errors.push({ parameter: "cardId", detail: INTEGER_ID });
  const fromHeader = (header) => {
    const id = integerId(headers[header]);
    if (id === undefined) errors.push({ header, detail: header in headers ? INTEGER_ID : "is required" });
    return id;
  };
  const bind = { card_id, account_id: fromHeader("x-account-id"), customer_id: fromHeader("x-customer-id") };
  let members = {};
  try {
    members = readBody(event);
  } catch (problem) {
    if (!errors.length) throw problem;
  }
  if ("reissued_card_id" in members) {
    const pointer = "/reissued_card_id";
    bind.reissued_card_id = members.reissued_card_id;
    if (!Number.isSafeInteger(bind.reissued_card_id) || bind.reissued_card_id < 1) {
      errors.push({ pointer, detail: INTEGER_ID });
    } else if (bind.reissued_card_id === card_id) {
      errors.push({ pointer, detail: "must be another card than the one that is bound" });
    }
  }
  if (errors.length) throw invalid(...errors);
  if (bind.account_id !== account) throw forbidden(FOREIGN);
  return bind;
}

/** Returns the members of the body's JSON object except null ones. An absent body or null counts as an empty object. */
function readBody({ headers, body, isBase64Encoded }) {
  let bytes = Buffer.from(body ?? "", isBase64Encoded ? "base64" : "utf8");
  if (bytes.length > MAX_BODY_BYTES) {
    throw new Problem(413, "body-too-large", `The body must not exceed ${MAX_BODY_BYTES} bytes.`);
  }
  if (bytes.subarray(0, 3).equals(BYTE_ORDER_MARK)) bytes = bytes.subarray(3);
  if (!bytes.length) return {};
  if (headers["content-type"]?.split(";")[0].trim().toLowerCase() !== "application/json") {
    throw invalid({ header: "content-type", detail: "must be application/json" });
  }
  let members;
  try {
    members = JSON.parse(bytes.toString());
  } catch {
    throw invalid({ pointer: "", detail: "is not valid JSON" });
  }
  if (members === null) return {};
  if (typeof members !== "object" || Array.isArray(members)) {
    throw invalid({ pointer: "", detail: "must be a JSON object" });
  }
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== null));
}

/** Returns the idempotency key: a structured-field string, or the same text without quotes. */
function readKey(headers) {
  const header = "idempotency-key";
  let text = headers[header]?.trim();
  if (text === undefined) return undefined;
  if (text.startsWith('"')) {
    const structured = /^"((?:[ !#-\[\]-~]|\\["\\])*)"$/.exec(text);
    if (!structured) throw invalid({ header, detail: "is not a structured-field string" });
    text = structured[1].replace(/\\(.)/g, "$1");
  } else if (/[, "]/.test(text)) {
    throw invalid({ header, detail: "is neither a structured-field string nor a bare word" });
  }
  if (!CORRELATION_ID.test(text)) throw invalid({ header, detail: "must have 1 to 255 characters" });
  return text;
}

/** Returns the ID, if these are its decimal digits. */
export function integerId(text) {
  const value = /^[0-9]+$/.test(text ?? "") ? Number(text) : 0;
  return Number.isSafeInteger(value) && value >= 1 ? value : undefined;
}
