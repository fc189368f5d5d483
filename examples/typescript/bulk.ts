// A bulk of cards by a typed client: created, started, one card bound, the rest canceled; then what came of each.
// The types are generated from infra/api/openapi.yaml, so that what the document does not know does not compile.
// `source target/local/env`, then here: npm ci --ignore-scripts && npm run generate && npm run build && npm start

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

// The milliseconds that `Retry-After` asks for: as seconds, or as a date (RFC 9110, 10.2.3), which is in GMT.
function toldToWait(told: string, otherwise: number): number {
  if (/^\d+$/.test(told)) return 1000 * Number(told);
  const wait = Date.parse(told.endsWith("GMT") ? told : `${told} GMT`) - Date.now();
  return Number.isNaN(wait) ? otherwise : Math.max(0, wait);
}

// What may work later is asked again, when the answer says so. An instruction has a key: sent again, it is the same.
async function patiently(request: Request): Promise<Response> {
  for (let attempt = 1; ; attempt++) {
    let wait = 200 * 2 ** attempt;
    try {
      const answer = await fetch(request.clone());
      if (![429, 503].includes(answer.status) || attempt === TRIES) return answer;
      wait = toldToWait(answer.headers.get("Retry-After") ?? "", wait);
    } catch (error) {
      if (attempt === TRIES) throw error;
    }
    await sleep(wait);
  }
}

const api = createClient<paths>({
  baseUrl: variable("BINDERY_URL"),
  fetch: patiently,
  headers: { Authorization: `Bearer ${variable("BINDERY_TOKEN")}`, "x-correlation-id": CID },
});
const key = (name: string) => ({ "Idempotency-Key": `"${CID}-${name}"` });

// The answer's body, or the end.
function good<T>(answer: { data?: T; error?: unknown; response: Response }): T {
  if (answer.data === undefined) throw new Error(`${answer.response.status}: ${JSON.stringify(answer.error)}`);
  return answer.data;
}

// Waits for the operation's end.
async function follow(accepted: { operation_id: string }) {
  const path = { operationId: accepted.operation_id };
  const deadline = Date.now() + PATIENCE_MS;
  while (Date.now() < deadline) {
    const operation = good(await api.GET("/operations/{operationId}", { params: { path } }));
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
const bulkID = good(created).id;
console.log("bulk", bulkID);

const started = await api.POST("/cards/v1/bulks/{bulkID}/start", {
  params: { path: { bulkID }, header: key("start") },
});
await follow(good(started));

const bulk = good(await api.GET("/cards/v1/bulks/{bulkID}", { params: { path: { bulkID } } }));
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
await follow(good(bound));

const canceled = await api.POST("/cards/v1/bulks/{bulkID}/cancel", {
  params: { path: { bulkID }, header: key("cancel") },
  body: { cancel_type: "PARTIAL", external_ids: ["b", "c"] },
});
const operation = await follow(good(canceled));
for (const result of operation.results) console.log(JSON.stringify(result));
