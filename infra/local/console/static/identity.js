// As whom the page acts, and the token for that, which is in this page's memory alone.

import { byId, shortened } from "./dom.js";
import { ask } from "./dialog.js";

const STORED = "identity";

/** `{ tenant, account, customer, scopes }`. */
export let identity;
export let token;
/** Every scope of the issuer. */
let scopesSupported;

/** Takes up the identity of this tab, or the demo's; calls `changed` with each new one. */
export async function beSomeone(changed, tenants = () => []) {
  const stored = sessionStorage.getItem(STORED);
  const defaults = await (await fetch("/defaults.json")).json();
  scopesSupported = defaults.scopes;
  const first = stored ? JSON.parse(stored) : defaults;
  byId("identity").onclick = async () => {
    const chosen = await ask({
      title: "Act as",
      text: "The local stack's issuer signs tokens for anybody. They are valid for a day, in this stack alone.",
      fields: [
        { name: "tenant", label: "Tenant", value: identity.tenant, suggestions: tenants(), required: true },
        { name: "account", label: "Account", value: identity.account, hint: "Empty: a token without an account." },
        { name: "customer", label: "Customer", value: identity.customer, hint: "Whom cards are bound to." },
        { name: "scopes", label: "Scopes", value: identity.scopes, choices: scopesSupported },
      ],
      submit: "Act as this one",
    });
    if (chosen) await become(chosen, changed);
  };
  await become(first, changed);
}

async function become(wanted, changed) {
  const { tenant, account, scopes } = wanted;
  const answer = await fetch("/token", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ tenant, account, scope: scopes.join(" ") }),
  });
  if (!answer.ok) throw new Error(`The console gave no token: ${answer.status}`);
  ({ token } = await answer.json());
  identity = wanted;
  sessionStorage.setItem(STORED, JSON.stringify(wanted));
  const limited = scopes.length < scopesSupported.length ? ` · ${scopes.length} of ${scopesSupported.length} scopes` : "";
  const account_ = account ? `account ${account}` : "no account";
  byId("identity").textContent = `Acting as ${shortened(tenant)} · ${account_}${limited}`;
  changed();
}
