// Requests to the API, through the console's proxy.

import { identity, token } from "./identity.js";

/** The answer's body and operation; what is not expected is an Error that says what the API said. */
export async function call(method, path, body) {
  const headers = {
    Authorization: `Bearer ${token}`,
    "x-account-id": identity.account,
    "x-customer-id": identity.customer,
    "x-correlation-id": `console-${crypto.randomUUID()}`,
  };
  if (method !== "GET") headers["Idempotency-Key"] = `"${crypto.randomUUID()}"`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(`/proxy${path}`, { method, headers, body: body && JSON.stringify(body) });
  const text = await answer.text();
  let read;
  try {
    read = JSON.parse(text);
  } catch {
    read = text;
  }
  if (!answer.ok) throw new Error(`${answer.status}: ${reason(read)}`);
  return { body: read, operation: answer.headers.get("location")?.split("/").pop() };
}

function reason(body) {
  if (typeof body === "string") return body;
  const fields = (body.errors ?? []).map(({ pointer, detail }) => `${pointer ?? ""} ${detail}`.trim());
  return [body.detail ?? body.message ?? body.title, ...fields].filter(Boolean).join("; ");
}
