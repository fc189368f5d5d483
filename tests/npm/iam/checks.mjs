// Checks the decisions of IAM. Each call recorded for a function must be allowed. Every other combination of the same
// actions, resources and conditions must be refused.
import { createValidatedPolicy, validateIdentityPolicy, validateResourcePolicy } from "@cloud-copilot/iam-policy";
import { runSimulation, runUnsafeSimulation } from "@cloud-copilot/iam-simulate";
import { ACCOUNT, REGION, arn } from "./template.mjs";

/** Actions that no function calls, and that would do harm. */
const NEVER = {
  cloudformation: ["DeleteStack", "UpdateStack"],
  codedeploy: ["CreateDeployment", "StopDeployment"],
  dynamodb: ["DeleteItem", "PartiQLDelete", "PartiQLSelect"],
  events: [],
  kms: ["CreateGrant", "Encrypt", "ReEncryptFrom"],
  lambda: ["UpdateAlias", "UpdateFunctionCode"],
  logs: [],
  secretsmanager: ["PutSecretValue"],
  sqs: ["DeleteQueue", "PurgeQueue", "SetQueueAttributes"],
};
/** Keys that belong to no tenant. */
const NO_ROWS = ["", "7", "CARD#7", "TN-7#CARD#7", "#CARD#7", "STACK", "STACK#DENIED#7", "STACK#RATE"];
/** Services to try the key with: all those of the stack, and one that is not part of it. */
const SERVICES = ["dynamodb", "events", "lambda", "s3", "secretsmanager", "sqs"];
const EVENTS = "events.amazonaws.com";
const CLOUDTRAIL = "cloudtrail.amazonaws.com";
const LOGS = `logs.${REGION}.amazonaws.com`;

/** The kind of a row, by its key: `BULK` of `TN-…#BULK#7`. */
const kindOf = (key) => key.split("#")[1];
const serviceOf = (action) => action.split(":")[0];
/** The function of an event source mapping. */
const FUNCTION_OF = "lambda:FunctionArn";
const isOfMapping = (action) => action.endsWith("EventSourceMapping");
const ofMapping = ({ ownFunction }, action) => (isOfMapping(action) ? { [FUNCTION_OF]: ownFunction } : {});
const elsewhere = (service, resource) => ({ "another's": arn(service, resource) });
/** Whether this resource, perhaps a pattern, includes the other. */
const covers = (resource, id) => resource === id || (resource.endsWith("*") && id.startsWith(resource.slice(0, -1)));
const another = (rule) => rule.replace(/[^/]*$/, "another");

// Condition keys of a request.
const ANOTHERS = { [FUNCTION_OF]: arn("lambda", "function:another") };
const NO_TLS = { "aws:SecureTransport": "false" };
const leading = (...keys) => ({ "dynamodb:LeadingKeys": keys });
const through = (service) => ({ "kms:ViaService": `${service}.${REGION}.amazonaws.com` });
const source = (rule) => ({ "aws:SourceArn": rule });
const kept = (bus) => ({ "kms:EncryptionContext:aws:events:event-bus:arn": bus });
const recorded = (trail) => ({ ...source(trail), "kms:EncryptionContext:aws:cloudtrail:arn": trail });
const logged = (group) => ({ "kms:EncryptionContext:aws:logs:arn": group.replace(/:\*$/, "") });

class Checks {
  constructor(world, calls) {
    this.world = world;
    this.calls = calls.filter((call) => world.key || serviceOf(call.action) !== "kms");
    // One row of each kind.
    this.rows = new Map(this.calls.flatMap((call) => call.leading_keys).map((key) => [kindOf(key), key]));
    this.counts = { allowed: 0, refused: 0 };
    this.violations = [];
    this.functions = this.policies(world.functions, validateIdentityPolicy);
    const { key, keyPolicy, queues, queuePolicies } = world;
    const ofQueues = this.policies(queuePolicies, validateResourcePolicy);
    this.resources = Object.fromEntries(Object.entries(queues).map(([id, queue]) => [queue, ofQueues[id]]));
    if (key) this.resources[key] = this.policies({ key: keyPolicy.Statement }, validateResourcePolicy).key;
  }

  policies(statements, validate) {
    const policy = ([name, Statement]) => {
      const policy = createValidatedPolicy({ Version: "2012-10-17", Statement }, validate, { name });
      for (const error of policy.errors) this.violations.push(`no policy: ${name}: ${JSON.stringify(error)}`);
      return [name, policy];
    };
    return Object.fromEntries(Object.entries(statements).map(policy));
  }

  places(service) {
    const { queues, buses, secrets, logs, others } = this.world;
    const stream = ([id, group]) => [id, group.replace(/\*$/, "log-stream:one")];
    switch (service) {
      case "cloudformation":
        return { ...others.cloudformation, ...elsewhere("cloudformation", "stack/another/1234abcd") };
      case "codedeploy":
        return { ...others.codedeploy, ...elsewhere("codedeploy", "deploymentgroup:another/group") };
      case "events":
        return { ...buses, ...others.events, ...elsewhere("events", "event-bus/default") };
      case "lambda":
        return { ...others.lambda, ...elsewhere("lambda", "function:another:7") };
      case "logs":
        return Object.fromEntries(Object.entries(logs).map(stream));
      case "secretsmanager":
        return { ...secrets, ...elsewhere("secretsmanager", "secret:Other-a1b2c3") };
      default:
        return { ...queues, ...elsewhere("sqs", "another") };
    }
  }

  actions(service) {
    const recorded = this.calls.map(({ action }) => action).filter((action) => serviceOf(action) === service);
    return [...new Set([...recorded, ...NEVER[service].map((action) => `${service}:${action}`)])];
  }

  request(principal, action, resource, context, identityPolicies) {
    const contextVariables = { "aws:SecureTransport": "true", ...ofMapping(this.world, action), ...context };
    return {
      request: { principal, action, resource: { resource, accountId: ACCOUNT }, contextVariables },
      identityPolicies,
      resourcePolicy: this.resources[resource],
      serviceControlPolicies: [],
      resourceControlPolicies: [],
    };
  }

  ofFunction(name, action, resource, context) {
    const principal = `arn:aws:sts::${ACCOUNT}:assumed-role/${name}/${name}`;
    return this.request(principal, action, resource, context, [{ name, policy: this.functions[name] }]);
  }

  note(expected, result, what) {
    this.counts[expected ? "allowed" : "refused"] += 1;
    const isAllowed = result === "Allowed";
    if (isAllowed !== expected) this.violations.push(`${isAllowed ? "allowed" : `refused (${result})`}: ${what}`);
  }

  /** Checks that a recorded call is allowed, and that its action, resource and condition keys exist. */
  async allowed(name, { action, resource, leading_keys: keys, through: service }) {
    const context = keys.length ? leading(...keys) : service ? through(service) : {};
    const place = { "*": "*", KmsKeyArn: this.world.key, Table: this.world.table }[resource];
    const asked = this.ofFunction(name, action, place ?? this.places(serviceOf(action))[resource], context);
    const simulated = await runSimulation(asked, {});
    const what = `${name}, ${action} on ${resource} ${Object.values(context)}`;
    const ignored = simulated.result?.ignoredContextKeys ?? [];
    if (simulated.resultType === "single" && ignored.length === 0) this.note(true, simulated.overallResult, what);
    else this.violations.push(`not understood: ${what}: ${JSON.stringify(simulated.errors ?? ignored)}`);
  }

  refused(name, action, resource, context, what) {
    const result = runUnsafeSimulation(this.ofFunction(name, action, resource, context), {});
    this.note(false, result, `${name}, ${action} ${what}`);
  }

  // Not validated, because the validation does not know `kms:EncryptionContext:…`.
  /** Checks a request by an AWS service, or by a stranger. */
  service(expected, principal, action, resource, context) {
    const result = runUnsafeSimulation(this.request(principal, action, resource, context, []), {});
    this.note(expected, result, `${principal}, ${action} on ${resource} ${JSON.stringify(context)}`);
  }

  async function(name) {
    const mine = this.calls.filter((call) => call.function === name);
    for (const call of mine) await this.allowed(name, call);
    this.table(name, mine);
    const services = ["cloudformation", "codedeploy", "events", "lambda", "logs", "secretsmanager", "sqs"];
    for (const service of services) this.elsewhere(name, mine, service);
    if (this.world.key) this.key(name, mine);
  }

  /** Tries every action on every queue, bus, secret and log. */
  elsewhere(name, mine, service) {
    for (const action of this.actions(service)) {
      // The service has no narrower resource for it.
      if (mine.some((call) => call.action === action && call.resource === "*")) continue;
      for (const [id, place] of Object.entries(this.places(service))) {
        const made = mine.some((call) => call.action === action && covers(call.resource, id));
        if (!made) this.refused(name, action, place, {}, `on ${id}`);
        else if (service === "sqs") this.refused(name, action, place, NO_TLS, `on ${id}, without TLS`);
        else if (isOfMapping(action)) this.refused(name, action, place, ANOTHERS, "of another's function");
      }
    }
  }

  /** Tries every action on rows of every kind, without a row, and with invalid keys. */
  table(name, mine) {
    const { table, otherTables } = this.world;
    for (const action of this.actions("dynamodb")) {
      const calls = mine.filter((call) => call.action === action);
      const kinds = new Set(calls.flatMap((call) => call.leading_keys.map(kindOf)));
      const strange = [...this.rows].filter(([kind]) => !kinds.has(kind));
      for (const [kind, key] of strange) this.refused(name, action, table, leading(key), `of ${kind}`);
      for (const key of NO_ROWS) this.refused(name, action, table, leading(key), `of the row "${key}"`);
      this.refused(name, action, table, {}, "of no row");
      for (const kind of kinds) {
        const own = this.rows.get(kind);
        for (const other of otherTables) this.refused(name, action, other, leading(own), `of ${kind} in ${other}`);
        for (const [other, key] of strange) {
          this.refused(name, action, table, leading(own, key), `of ${kind} and ${other}`);
          const alike = key + own.slice(own.indexOf("#"));
          this.refused(name, action, table, leading(alike), `of ${other} that ends like ${kind}`);
        }
      }
    }
  }

  /** Tries every use of the key, through every service and without one. */
  key(name, mine) {
    for (const action of this.actions("kms")) {
      for (const service of SERVICES) {
        const made = mine.some((call) => call.action === action && call.through === service);
        if (!made) this.refused(name, action, this.world.key, through(service), `through ${service}`);
      }
      this.refused(name, action, this.world.key, {}, "by itself");
    }
  }

  /** Checks that each queue accepts events only from the rules that target it. */
  targets() {
    const { queues, rules } = this.world;
    for (const queue of Object.values(queues)) {
      const asked = (expected, context) => this.service(expected, EVENTS, "sqs:SendMessage", queue, context);
      for (const rule of rules) {
        asked(rule.targets.includes(queue), source(rule.arn));
        asked(false, { ...source(rule.arn), ...NO_TLS });
      }
      asked(false, source(another(rules[0].arn)));
      asked(false, {});
    }
  }

  /** Checks that the key serves only the bus and its archive, the rules' queues, and the logs. */
  keyPolicy() {
    const { buses, key, logs, rules } = this.world;
    const asked = (expected, principal, actions, context) => {
      for (const action of actions) this.service(expected, principal, `kms:${action}`, key, context);
    };
    const uses = ["Decrypt", "GenerateDataKey"];
    const keeps = [...uses, "ReEncryptFrom", "ReEncryptTo"];
    for (const rule of rules) asked(true, EVENTS, uses, source(rule.arn));
    asked(false, EVENTS, uses, source(another(rules[0].arn)));
    for (const bus of Object.values(buses)) {
      asked(true, EVENTS, keeps, kept(bus));
      asked(false, EVENTS, keeps, kept(`${bus}-of-another`));
      asked(false, EVENTS, ["CreateGrant", "PutKeyPolicy"], kept(bus));
      for (const stranger of ["sns.amazonaws.com", "arn:aws:iam::444455556666:role/another"]) {
        asked(false, stranger, keeps, kept(bus));
      }
    }
    asked(true, EVENTS, ["DescribeKey"], {});
    for (const group of Object.values(logs)) asked(true, LOGS, uses, logged(group));
    asked(false, LOGS, uses, logged(arn("logs", "log-group:/aws/lambda/another")));
    const { trail } = this.world;
    asked(true, CLOUDTRAIL, ["GenerateDataKey"], recorded(trail));
    asked(true, CLOUDTRAIL, ["DescribeKey"], source(trail));
    asked(false, CLOUDTRAIL, ["Decrypt", "CreateGrant"], recorded(trail));
    for (const other of [another(trail), `${trail}-of-another`]) {
      asked(false, CLOUDTRAIL, ["GenerateDataKey", "DescribeKey"], recorded(other));
    }
    for (const principal of [CLOUDTRAIL, EVENTS, LOGS]) asked(false, principal, keeps, {});
  }
}

/** Checks these functions. Without any, checks all functions and the policies of queues and key. */
export async function check(world, calls, functions = undefined) {
  const checks = new Checks(world, calls);
  for (const name of functions ?? Object.keys(world.functions)) await checks.function(name);
  if (!functions?.length) checks.targets();
  if (!functions?.length && world.key) checks.keyPolicy();
  return checks;
}
