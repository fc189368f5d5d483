// Checks the template's roles and policies with an IAM simulator: node simulate.mjs STACK PAGE WHOSE
//
// WHOSE is `functions` or `operators`. STACK is a folder with template.json and WHOSE-calls.json, the recorded calls of
// each function, or of each operators' policy. PAGE contains the policy of a customer managed key. Writes the policies,
// as CloudFormation creates them, to WHOSE-policies.json in STACK.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { check } from "./checks.mjs";
import { faults, faultsOfOperators } from "./faulty.mjs";
import { world } from "./template.mjs";

/** Returns the policy in the page, which is its only JSON block with KMS actions. */
function keyPolicy(page) {
  const blocks = [...page.matchAll(/^```json\n(.*?)^```/gms)].map(([, text]) => text);
  const policies = blocks.filter((text) => text.includes("kms:"));
  if (policies.length !== 1) throw new Error(`the page has ${policies.length} key policies instead of one`);
  return JSON.parse(policies[0]);
}

const [stack, page, whose] = process.argv.slice(2);
const read = (name) => JSON.parse(readFileSync(join(stack, name), "utf8"));
const [template, calls] = [read("template.json"), read(`${whose}-calls.json`)];
const areOperators = whose === "operators";

function made(withKey) {
  const whole = world(template, keyPolicy(readFileSync(page, "utf8")), withKey);
  return areOperators ? { ...whole, functions: whole.operators } : whole;
}

for (const withKey of [false, true]) {
  const one = made(withKey);
  const { counts, violations } = await check(one, calls, areOperators ? Object.keys(one.functions) : undefined);
  violations.forEach((violation) => console.log(violation));
  const what = withKey ? "with a key and a restored table" : "without key and restored table";
  const { allowed, refused } = counts;
  console.log(`${what}: ${allowed} to be allowed, ${refused} to be refused, ${violations.length} violations`);
  if (violations.length) process.exitCode = 1;
}
for (const { what, name, apply } of areOperators ? faultsOfOperators : faults) {
  const one = made(true);
  apply(one);
  const { violations } = await check(one, calls, name ? [name] : []);
  console.log(`faulty policy, ${what}: ${violations.length} violations`);
  if (violations.length === 0) process.exitCode = 1;
}
const { functions, roles } = made(true);
writeFileSync(join(stack, `${whose}-policies.json`), JSON.stringify(areOperators ? functions : roles));
