// Checks the template's roles and policies with an IAM simulator: node simulate.mjs STACK PAGE
//
// STACK is a folder with template.json and calls.json, the recorded calls of each function. PAGE contains the policy of
// a customer managed key. Writes the roles' policies, as CloudFormation creates them, to policies.json in STACK.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { check } from "./checks.mjs";
import { faults } from "./faulty.mjs";
import { world } from "./template.mjs";

/** Returns the policy in the page, which is its only JSON block with KMS actions. */
function keyPolicy(page) {
  const blocks = [...page.matchAll(/^```json\n(.*?)^```/gms)].map(([, text]) => text);
  const policies = blocks.filter((text) => text.includes("kms:"));
  if (policies.length !== 1) throw new Error(`the page has ${policies.length} key policies instead of one`);
  return JSON.parse(policies[0]);
}

const [stack, page] = process.argv.slice(2);
const read = (name) => JSON.parse(readFileSync(join(stack, name), "utf8"));
const [template, calls] = [read("template.json"), read("calls.json")];
const made = (withKey) => world(template, keyPolicy(readFileSync(page, "utf8")), withKey);

for (const withKey of [false, true]) {
  const { counts, violations } = await check(made(withKey), calls);
  violations.forEach((violation) => console.log(violation));
  const what = withKey ? "with a key and a restored table" : "without key and restored table";
  const { allowed, refused } = counts;
  console.log(`${what}: ${allowed} to be allowed, ${refused} to be refused, ${violations.length} violations`);
  if (violations.length) process.exitCode = 1;
}
for (const { what, name, apply } of faults) {
  const one = made(true);
  apply(one);
  const { violations } = await check(one, calls, name ? [name] : []);
  console.log(`faulty policy, ${what}: ${violations.length} violations`);
  if (violations.length === 0) process.exitCode = 1;
}
writeFileSync(join(stack, "policies.json"), JSON.stringify(made(true).roles));
