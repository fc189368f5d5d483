// Resolves the template's roles, queues, rules and policies as CloudFormation does, for a fictional account.

export const ACCOUNT = "111122223333";
export const REGION = "eu-central-1";
const STACK = "bindery-test";
const KEY = arn("kms", "key/1234abcd-12ab-34cd-56ef-1234567890ab");
const RESTORED = "bindery-restored";
// Parameters that enable everything that has a policy.
const ALWAYS = {
  BackupCopyVaultArn: "arn:aws:backup:eu-west-1:444455556666:backup-vault:copies",
  Stage: "prod",
  WithBackup: "true",
  WithCanary: "true",
  WithOperatorPolicies: "true",
  WithTrail: "operators",
  WithEventsQueue: "true",
  WithWebhook: "true",
  ApiDestinationUrl: "https://consumer.example",
  ApiDestinationSecret: arn("secretsmanager", "secret:api-key-a1b2c3"),
};
const NO_VALUE = Symbol("AWS::NoValue");
const PSEUDO = {
  "AWS::AccountId": ACCOUNT,
  "AWS::NoValue": NO_VALUE,
  "AWS::Partition": "aws",
  "AWS::Region": REGION,
  "AWS::StackName": STACK,
};

/** The name that SAM gives to the application of CodeDeploy. */
const SAM_APPLICATION = "ServerlessDeploymentApplication";
/** Resources of calls that the template does not define, by their text in the template. */
const OTHERS = {
  cloudformation: { "cloudformation:stack/${AWS::StackName}/*": `stack/${STACK}/1234abcd` },
  codedeploy: {
    [`codedeploy:application:\${AWS::StackName}-${SAM_APPLICATION}-*`]: `application:${STACK}-${SAM_APPLICATION}-1A2B`,
    [`codedeploy:deploymentgroup:\${AWS::StackName}-${SAM_APPLICATION}-*/*`]:
      `deploymentgroup:${STACK}-${SAM_APPLICATION}-1A2B/any-3C4D`,
  },
  events: { "events:replay/*": `replay/${STACK}-1234abcd` },
  lambda: {
    "lambda:event-source-mapping:*": "event-source-mapping:1234abcd",
    "lambda:function:${AWS::StackName}-*": `function:${STACK}-bind-card`,
    "lambda:function:${AWS::StackName}-*:*": `function:${STACK}-get-card:7`,
  },
};

export function arn(service, resource) {
  return `arn:aws:${service}:${REGION}:${ACCOUNT}:${resource}`;
}

/** The values of a resource's `Ref` and `Arn`, by its type. */
const IDENTITIES = {
  "AWS::Backup::BackupVault": (id, { BackupVaultName: name }) => [name, arn("backup", `backup-vault:${name}`)],
  "AWS::DynamoDB::Table": (id) => [`${STACK}-${id}`, arn("dynamodb", `table/${STACK}-${id}`)],
  "AWS::Events::ApiDestination": (id, { Name }) => [Name, arn("events", `api-destination/${Name}/1234abcd`)],
  "AWS::Events::Archive": (id, { ArchiveName }) => [ArchiveName, arn("events", `archive/${ArchiveName}`)],
  "AWS::Events::Connection": (id, { Name }) => [Name, arn("events", `connection/${Name}/1234abcd`)],
  "AWS::Events::EventBus": (id, { Name }) => [Name, arn("events", `event-bus/${Name}`)],
  "AWS::Events::Rule": (id, { EventBusName, Name }) => [Name, arn("events", `rule/${EventBusName}/${Name}`)],
  "AWS::IAM::Role": (id) => [id, `arn:aws:iam::${ACCOUNT}:role/${id}`],
  "AWS::Logs::LogGroup": (id, { LogGroupName }) => [LogGroupName, arn("logs", `log-group:${LogGroupName}:*`)],
  "AWS::SecretsManager::Secret": (id) => Array(2).fill(arn("secretsmanager", `secret:${id}-a1b2c3`)),
  // A queue's real Ref is its URL, which no policy uses. The ARN in its place lets a target find its queue.
  "AWS::SQS::Queue": (id, { QueueName }) => Array(2).fill(arn("sqs", QueueName)),
};

/** Resolves a template with values for its parameters. */
class Resolver {
  constructor(template, parameters) {
    this.template = template;
    const defaults = Object.entries(template.Parameters).map(([name, { Default }]) => [name, Default]);
    this.parameters = { ...Object.fromEntries(defaults), ...parameters };
  }

  identity(id) {
    const { Type } = this.template.Resources[id] ?? {};
    if (!IDENTITIES[Type]) throw new Error(`${id} is a ${Type}, whose Ref and Arn are not defined here`);
    return IDENTITIES[Type](id, this.properties(id));
  }

  properties(id) {
    return this.value(this.template.Resources[id].Properties ?? {});
  }

  /** Returns the IDs of the resources of this type that exist with these parameters. */
  ofType(type) {
    const is = ([, one]) => one.Type === type && (!one.Condition || this.holds(one.Condition));
    return Object.entries(this.template.Resources).filter(is).map(([id]) => id);
  }

  holds(condition) {
    return this.value(this.template.Conditions[condition]);
  }

  reference(name) {
    if (name in PSEUDO) return PSEUDO[name];
    if (name.includes(".")) return this.attribute(name.split("."));
    return name in this.parameters ? this.parameters[name] : this.identity(name)[0];
  }

  attribute([id, name]) {
    if (!["Arn", "BackupVaultArn"].includes(name)) throw new Error(`${id}.${name} is not known`);
    return this.identity(id)[1];
  }

  value(given) {
    if (Array.isArray(given)) return given.map((one) => this.value(one)).filter((one) => one !== NO_VALUE);
    if (given === null || typeof given !== "object") return given;
    const [[name, argument] = [], ...more] = Object.entries(given);
    if (more.length === 0 && (name === "Ref" || name?.startsWith("Fn::"))) return this.call(name, argument);
    const members = Object.entries(given).map(([key, one]) => [key, this.value(one)]);
    return Object.fromEntries(members.filter(([, one]) => one !== NO_VALUE));
  }

  call(name, argument) {
    switch (name) {
      case "Ref":
        return this.reference(argument);
      case "Fn::GetAtt":
        return this.attribute(Array.isArray(argument) ? argument : argument.split("."));
      case "Fn::Sub":
        return argument.replaceAll(/\$\{([^}]+)\}/g, (_, one) => this.reference(one));
      case "Fn::If":
        return this.value(argument[this.holds(argument[0]) ? 1 : 2]);
      case "Fn::Equals":
        return this.value(argument[0]) === this.value(argument[1]);
      case "Fn::Not":
        return !this.value(argument[0]);
      default:
        throw new Error(`${name} is not known`);
    }
  }
}

/** Returns the ARNs by the text in the template, by service. */
function others(archives) {
  const text = (key) => key.replace(/^(\w+):/, "arn:${AWS::Partition}:$1:${AWS::Region}:${AWS::AccountId}:");
  const entries = Object.entries(OTHERS).map(([service, all]) => {
    const named = Object.entries(all).map(([key, resource]) => [text(key), arn(service, resource)]);
    return [service, Object.fromEntries(named)];
  });
  const all = Object.fromEntries(entries);
  return { ...all, events: { ...all.events, ...archives } };
}

/** Returns the statements of all these policies. */
const statements = (policies) => policies.flatMap(({ PolicyDocument }) => PolicyDocument.Statement);

/**
 * Returns everything that the checks need, by logical ID, and roles by function name: either with a key and a restored
 * table, or with neither. `keyPolicy` has placeholders for account, region and stack.
 */
export function world(template, keyPolicy, withKey) {
  const parameters = { ...ALWAYS, ...(withKey ? { KmsKeyArn: KEY, RestoredTable: RESTORED } : {}) };
  const resolver = new Resolver(template, parameters);
  const arns = (type) => Object.fromEntries(resolver.ofType(type).map((id) => [id, resolver.identity(id)[1]]));
  const roles = resolver.ofType("AWS::IAM::Role").map((id) => [id, statements(resolver.properties(id).Policies)]);
  const byId = Object.fromEntries(roles);
  const functions = resolver.ofType("AWS::Serverless::Function").map((id) => {
    const { Metadata, Properties } = template.Resources[id];
    return [Metadata.BuildProperties.Binary, byId[Properties.Role["Fn::GetAtt"][0]]];
  });
  const managed = resolver.ofType("AWS::IAM::ManagedPolicy").map((id) => [id, statements([resolver.properties(id)])]);
  const policies = resolver.ofType("AWS::SQS::QueuePolicy").map((id) => resolver.properties(id));
  const ofQueue = (queue) => statements(policies.filter(({ Queues }) => Queues.includes(queue)));
  const queues = arns("AWS::SQS::Queue");
  const own = arns("AWS::DynamoDB::Table").Table;
  return {
    roles: byId,
    operators: Object.fromEntries(managed),
    ownFunction: arn("lambda", `function:${STACK}-bind-card:live`),
    others: others(arns("AWS::Events::Archive")),
    trail: arn("cloudtrail", `trail/${STACK}`),
    functions: Object.fromEntries(functions),
    queues,
    queuePolicies: Object.fromEntries(Object.entries(queues).map(([id, queue]) => [id, ofQueue(queue)])),
    rules: resolver.ofType("AWS::Events::Rule").filter((id) => resolver.properties(id).Targets).map((id) => ({
      arn: resolver.identity(id)[1],
      targets: resolver.properties(id).Targets.flatMap((target) => [target.Arn, target.DeadLetterConfig.Arn]),
    })),
    table: withKey ? arn("dynamodb", `table/${RESTORED}`) : own,
    otherTables: withKey ? [own, arn("dynamodb", "table/another")] : [arn("dynamodb", "table/another")],
    buses: arns("AWS::Events::EventBus"),
    secrets: arns("AWS::SecretsManager::Secret"),
    logs: arns("AWS::Logs::LogGroup"),
    key: withKey ? KEY : undefined,
    keyPolicy: JSON.parse(
      JSON.stringify(keyPolicy).replaceAll("ACCOUNT", ACCOUNT).replaceAll("REGION", REGION).replaceAll("STACK", STACK),
    ),
  };
}
