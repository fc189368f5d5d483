// The API reference: Swagger UI, with the stack's token filled in.

import { byId } from "./dom.js";
import { fixAccessibility } from "./a11y-fixes.js";
import { signIn, token } from "./identity.js";

// Swagger UI uses its dark colors under this class.
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

async function show() {
  const response = await fetch("/openapi.json");
  if (!response.ok) {
    byId("notice").append("infra/api/openapi.yaml was not found.");
    return;
  }
  const spec = await response.json();
  const schemes = Object.entries(spec.components?.securitySchemes ?? {});
  const [scheme] = schemes.find(([, { type, scheme }]) => type === "http" && scheme === "bearer") ?? [];
  fixAccessibility(byId("reference"));
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
await signIn(() => authorize?.());
authorize = await show();
