// The API reference: Swagger UI, with the stack's token filled in.

import { byId } from "./dom.js";
import { beSomeone, token } from "./identity.js";
import { mend } from "./mend.js";

// Swagger UI has its dark colours under this class.
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

async function show() {
  const answer = await fetch("/openapi.json");
  if (!answer.ok) {
    byId("notice").append("There is no infra/api/openapi.yaml to show.");
    return;
  }
  const spec = await answer.json();
  const schemes = Object.entries(spec.components?.securitySchemes ?? {});
  const [scheme] = schemes.find(([, { type, scheme }]) => type === "http" && scheme === "bearer") ?? [];
  mend(byId("reference"));
  let ui;
  const authorize = () => scheme && ui.preauthorizeApiKey(scheme, token);
  ui = window.SwaggerUIBundle({
    spec,
    dom_id: "#reference",
    displayRequestDuration: true,
    defaultModelsExpandDepth: 0,
    syntaxHighlight: { theme: "obsidian" },
    tryItOutEnabled: true,
    validatorUrl: null,
    onComplete: authorize,
  });
  return authorize;
}

let authorize;
await beSomeone(() => authorize?.());
authorize = await show();
