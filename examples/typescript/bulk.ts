// Creates and starts a bulk of cards with a typed client, binds one card, cancels the rest, and prints the results.
// The types are generated from infra/api/openapi.yaml, so a request that the document does not allow does not compile.
// Run `source target/local/env`, then in this folder: npm ci --ignore-scripts && npm run generate && npm run build && npm start

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import createClient from "openapi-fetch";

import type { paths } from "./generated/bindery.js";

const CID = `example-typescript-${randomUUID()}`;
const TRIES = 6;
const PATIENCE_MS = 120_000;

function variable(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set: source target/local/env`);
  return value;
}

// Returns the milliseconds that `Retry-After` asks for, in seconds or as a date in GMT (RFC 9110, 10.2.3).
function millisecondsToWait(retryAfter: string, otherwise: number): number {
  if (/^\d+$/.test(retryAfter)) return 1000 * Number(retryAfter);
  const wait = Date.parse(retryAfter.endsWith("GMT") ? retryAfter : `${retryAfter} GMT`) - Date.now();
  return Number.isNaN(wait) ? otherwise : Math.max(0, wait);
}

// Retries a request that may succeed later, when `Retry-After` says so. An instruction has a key, so repeating it is safe.
async function fetchWithRetries(request: Request): Promise<Response> {
  for (let attempt = 1; ; attempt++) {
    let wait = 200 * 2 ** attempt;
    try {
      const response = await fetch(request.clone());
      if (![429, 503].includes(response.status) || attempt === TRIES) return response;
      wait = millisecondsToWait(response.headers.get("Retry-After") ?? "", wait);
    } catch (error) {
      if (attempt === TRIES) throw error;
    }
    await sleep(wait);
  }
}

const api = createClient<paths>({
  baseUrl: variable("BINDERY_URL"),
  fetch: fetchWithRetries,
  headers: { Authorization: `Bearer ${variable("BINDERY_TOKEN")}`, "x-correlation-id": CID },
});
const key = (name: string) => ({ "Idempotency-Key": `"${CID}-${name}"` });

// Returns the response's body, or throws if it is an error.
function dataOf<T>(result: { data?: T; error?: unknown; response: Response }): T {
  if (result.data === undefined) throw new Error(`${result.response.status}: ${JSON.stringify(result.error)}`);
  return result.data;
}

// Waits until the operation ends.
async function follow(accepted: { operation_id: string }) {
  const path = { operationId: accepted.operation_id };
  const deadline = Date.now() + PATIENCE_MS;
  while (Date.now() < deadline) {
    const operation = dataOf(await api.GET("/operations/{operationId}", { params: { path } }));
    if (operation.status === "FAILED") throw new Error(`the operation failed: ${JSON.stringify(operation)}`);
    if (operation.status === "SUCCEEDED") {
      console.log(operation.kind, operation.status, operation.counts);
      return operation;
    }
    await sleep(300);
  }
  throw new Error("the operation did not end in time");
}

const created = await api.POST("/cards/v1/bulks", {
  params: { header: key("create") },
  body: { program_id: 1, external_ids: ["a", "b", "c"] },
});
const bulkID = dataOf(created).id;
console.log("bulk", bulkID);

const started = await api.POST("/cards/v1/bulks/{bulkID}/start", {
  params: { path: { bulkID }, header: key("start") },
});
await follow(dataOf(started));

const bulk = dataOf(await api.GET("/cards/v1/bulks/{bulkID}", { params: { path: { bulkID } } }));
const cardId = bulk.items[0]?.card_id;
if (cardId == null) throw new Error(`the first item has no card: ${JSON.stringify(bulk)}`);
const header = {
  ...key("bind"),
  "x-account-id": variable("BINDERY_ACCOUNT"),
  "x-customer-id": Number(variable("BINDERY_CUSTOMER")),
};
const bound = await api.PUT("/wallet/v2/cards/{cardId}/noname/bind", {
  params: { path: { cardId: String(cardId) }, header },
});
await follow(dataOf(bound));

const canceled = await api.POST("/cards/v1/bulks/{bulkID}/cancel", {
  params: { path: { bulkID }, header: key("cancel") },
  body: { cancel_type: "PARTIAL", external_ids: ["b", "c"] },
});
const operation = await follow(dataOf(canceled));
for (const result of operation.results) console.log(JSON.stringify(result));
