// The identity that the page acts as, and its token, which is only in this page's memory.

import { byId, shortened } from "./dom.js";
import { ask } from "./dialog.js";

const STORED = "identity";

/** `{ tenant, account, customer, scopes }`. */
export let identity;
export let token;
/** All scopes of the issuer. */
let scopesSupported;

/** Signs in with this tab's identity, or with the demo's. Calls `changed` after each change of the identity. */
export async function signIn(changed, tenants = () => []) {
  const stored = sessionStorage.getItem(STORED);
  const defaults = await (await fetch("/defaults.json")).json();
  scopesSupported = defaults.scopes;
  const first = stored ? JSON.parse(stored) : defaults;
  byId("identity").onclick = async () => {
    const chosen = await ask({
      title: "Act as",
      text: "The local stack's issuer signs a token for any identity. It is valid for a day, in this stack only.",
      fields: [
        { name: "tenant", label: "Tenant", value: identity.tenant, suggestions: tenants(), required: true },
        { name: "account", label: "Account", value: identity.account, hint: "If empty, the token has no account." },
        { name: "customer", label: "Customer", value: identity.customer, hint: "Cards are bound to this customer." },
        { name: "scopes", label: "Scopes", value: identity.scopes, choices: scopesSupported },
      ],
      submit: "Switch identity",
    });
    if (chosen) await become(chosen, changed);
  };
  await become(first, changed);
}

async function become(wanted, changed) {
  const { tenant, account, scopes } = wanted;
  const response = await fetch("/token", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ tenant, account, scope: scopes.join(" ") }),
  });
  if (!response.ok) throw new Error(`The console issued no token: ${response.status}`);
  ({ token } = await response.json());
  identity = wanted;
  sessionStorage.setItem(STORED, JSON.stringify(wanted));
  const all = scopesSupported.length;
  const limited = scopes.length < all ? ` · ${scopes.length} of ${all} scopes` : "";
  const account_ = account ? `account ${account}` : "no account";
  byId("identity").textContent = `Acting as ${shortened(tenant)} · ${account_}${limited}`;
  changed();
}
