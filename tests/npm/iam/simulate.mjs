// Asks a simulator of IAM about the template's roles and policies: node simulate.mjs STACK PAGE
// STACK is a folder with template.json, and calls.json, which says what each function was recorded to call. PAGE has
// the policy of a key of one's own. Leaves the roles' policies in STACK, as CloudFormation makes them: policies.json.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { check } from "./checks.mjs";
import { spoiled } from "./spoiled.mjs";
import { world } from "./template.mjs";

/** The policy in the page: the one piece of JSON there that is about a key. */
function keyPolicy(page) {
  const blocks = [...page.matchAll(/^```json\n(.*?)^```/gms)].map(([, text]) => text);
  const policies = blocks.filter((text) => text.includes("kms:"));
  if (policies.length !== 1) throw new Error(`the page has ${policies.length} policies of a key`);
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
for (const { what, name, spoil } of spoiled) {
  const one = made(true);
  spoil(one);
  const { violations } = await check(one, calls, name ? [name] : []);
  console.log(`spoiled, ${what}: ${violations.length} violations`);
  if (violations.length === 0) process.exitCode = 1;
}
writeFileSync(join(stack, "policies.json"), JSON.stringify(made(true).roles));
