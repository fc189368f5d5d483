// Faults in policies. The checks must find each of them.

const kind = (kind) => ({ "dynamodb:LeadingKeys": `TN-????????-????-????-????-????????????#${kind}#*` });
const named = { Null: { "dynamodb:LeadingKeys": "false" } };

/** Gives the function one more permission. */
const more = (what, name, Action, resource, Condition = {}) => ({
  what,
  name,
  apply: (world) => world.functions[name].push({ Effect: "Allow", Action, Resource: resource(world), Condition }),
});
const any = () => "*";
const table = (world) => world.table;

/** Replaces the function's statements. */
const instead = (what, name, statements) => ({
  what,
  name,
  apply: (world) => (world.functions[name] = world.functions[name].flatMap(statements)),
});

/** Returns a separate statement for each kind of row. */
function apart(statement) {
  const kinds = [statement.Condition?.["ForAllValues:StringLike"]?.["dynamodb:LeadingKeys"] ?? []].flat();
  const limited = (kind) => ({ ...statement.Condition, "ForAllValues:StringLike": { "dynamodb:LeadingKeys": kind } });
  return kinds.length ? kinds.map((kind) => ({ ...statement, Condition: limited(kind) })) : [statement];
}

const isOfTable = ({ Action }) => `${Action}`.startsWith("dynamodb:");
const unconditional = (statements) =>
  statements.filter(({ Effect }) => Effect === "Allow").forEach((one) => delete one.Condition);
const isForTrail = ({ Principal }) => Principal.Service === "cloudtrail.amazonaws.com";
const isForLogs = ({ Principal }) => `${Principal.Service}`.startsWith("logs.");

/** The faults, with the function that shows each. Without one, it shows in the policies of queues and key. */
export const faults = [
  more("rows of another kind", "cancel-orders", "dynamodb:PutItem", table, {
    ...named,
    "ForAllValues:StringLike": kind("PERSON"),
  }),
  more("the deny list", "get-card", "dynamodb:UpdateItem", table, {
    ...named,
    "ForAllValues:StringLike": { "dynamodb:LeadingKeys": "STACK#DENIED" },
  }),
  more("no row", "get-card", "dynamodb:GetItem", table, { "ForAllValues:StringLike": kind("CARD") }),
  more("any row beside", "get-card", "dynamodb:GetItem", table, { ...named, "ForAnyValue:StringLike": kind("CARD") }),
  more("any table", "get-card", "dynamodb:GetItem", any, { ...named, "ForAllValues:StringLike": kind("CARD") }),
  more("another queue", "webhook-worker", "sqs:SendMessage", (world) => world.queues.OrderFeedQueue),
  more("any bus", "bind-card-worker", "events:PutEvents", any),
  more("any function", "pre-traffic", "lambda:InvokeFunction", any),
  more("any deployment", "pre-traffic", "codedeploy:GetDeployment", any),
  more("any secret", "cancel-orders", "secretsmanager:GetSecretValue", any),
  more("any log", "get-card", "logs:PutLogEvents", any),
  more("the key by itself", "get-card", "kms:Decrypt", (world) => world.key),
  instead("no table", "get-card", (statement) => (isOfTable(statement) ? [] : [statement])),
  instead("each kind of rows by itself", "cancel-orders", apart),
  { what: "a queue without TLS", name: "bind-card", apply: (world) => (world.queuePolicies.BindCardQueue = []) },
  { what: "a queue for any rule", apply: (world) => unconditional(world.queuePolicies.EventsQueue) },
  { what: "a key for any bus and log", apply: (world) => unconditional(world.keyPolicy.Statement) },
  {
    what: "a key for any trail",
    apply: ({ keyPolicy }) => unconditional(keyPolicy.Statement.filter((one) => isForTrail(one))),
  },
  {
    what: "a key for no log",
    apply: ({ keyPolicy }) => (keyPolicy.Statement = keyPolicy.Statement.filter((one) => !isForLogs(one))),
  },
];

/** The faults in operators' policies. */
export const faultsOfOperators = [
  more("any function", "LookPolicy", "lambda:GetPolicy", any),
  more("any stack", "LookPolicy", "cloudformation:DescribeStacks", any),
  more("mappings of any function", "RedrivePolicy", "lambda:UpdateEventSourceMapping", any),
  more("any queue", "RedrivePolicy", "sqs:SendMessage", any),
  more("any replay", "LookPolicy", "events:StartReplay", any),
  more("any row", "LookPolicy", "dynamodb:GetItem", table),
  more("any secret", "SetPinsPolicy", "secretsmanager:GetSecretValue", any),
  instead("no table", "SetPinsPolicy", (statement) => (isOfTable(statement) ? [] : [statement])),
];
