// Requests to the API, through the console's proxy.

import { identity, token } from "./identity.js";

/** Returns the response's body and operation. Throws an Error with the API's reason if the request fails. */
export async function call(method, path, body) {
  const headers = {
    Authorization: `Bearer ${token}`,
    "x-account-id": identity.account,
    "x-customer-id": identity.customer,
    "x-correlation-id": `console-${crypto.randomUUID()}`,
  };
  if (method !== "GET") headers["Idempotency-Key"] = `"${crypto.randomUUID()}"`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(`/proxy${path}`, { method, headers, body: body && JSON.stringify(body) });
  const text = await response.text();
  let parsed;
  try {
    parsed = JSON.parse(text);
  } catch {
    parsed = text;
  }
  if (!response.ok) throw new Error(`${response.status}: ${reason(parsed)}`);
  return { body: parsed, operation: response.headers.get("location")?.split("/").pop() };
}

function reason(body) {
  if (typeof body === "string") return body;
  const fields = (body.errors ?? []).map(({ pointer, detail }) => `${pointer ?? ""} ${detail}`.trim());
  return [body.detail ?? body.message ?? body.title, ...fields].filter(Boolean).join("; ");
}
