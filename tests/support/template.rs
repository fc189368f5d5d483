//! Reads infra/template.yaml as the local stack was deployed from it, with its loops expanded.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Value, json};

/// The expanded template.
#[derive(Debug, Clone)]
pub struct Template(Value);

/// A function of the template.
#[derive(Debug, Clone)]
pub struct FunctionResource {
    /// The name of its binary.
    pub name: String,
    /// The resource's logical ID.
    pub logical_id: String,
    /// The resource's properties.
    pub properties: Value,
}

/// A statement of a policy.
#[derive(Debug, Clone)]
pub struct Statement {
    /// The allowed actions.
    pub actions: BTreeSet<String>,
    /// The resources, as logical IDs such as `Table`, or as the text in the template.
    pub resources: BTreeSet<String>,
    /// The limits by condition: kinds of rows of the table, such as `CARD#*`, or services that use the key, such as
    /// `sqs`.
    pub limits: BTreeSet<String>,
}

/// The function whose route has no authorizer. It checks tokens itself.
pub const CHECKS_TOKENS: &str = "cancel-orders";
/// The prefix of every limit to rows, other than the deny list. It matches the ID of any organization, and no other
/// text.
const ANY_ORGANIZATION: &str = "TN-????????-????-????-????-????????????#";
/// The partition of the deny list, the only row that belongs to no organization.
pub const DENY_LIST: &str = "STACK#DENIED";
/// The suffix of every limit to services.
const HERE: &str = ".${AWS::Region}.amazonaws.com";
/// The restored table, as a name and as an ARN. Only these may replace the table.
const RESTORED: [&str; 2] =
    ["RestoredTable", "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${RestoredTable}"];

impl Template {
    /// Reads the template that the local stack was deployed from.
    #[must_use]
    pub fn read() -> Self {
        let file = PathBuf::from(crate::variable("BINDERY_LOCAL_DIR")).join("template.json");
        Self(serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap())
    }

    /// Returns a section of the template.
    #[must_use]
    pub fn section(&self, name: &str) -> &Value {
        &self.0[name]
    }

    /// Returns the resources of this type, by their logical IDs.
    #[must_use]
    pub fn resources(&self, kind: &str) -> BTreeMap<String, Value> {
        let all = self.0["Resources"].as_object().unwrap();
        all.iter().filter(|(_, one)| one["Type"] == kind).map(|(id, one)| (id.clone(), one.clone())).collect()
    }

    /// Returns the functions of the template.
    #[must_use]
    pub fn functions(&self) -> Vec<FunctionResource> {
        let function = |(logical_id, resource): (String, Value)| FunctionResource {
            name: resource["Metadata"]["BuildProperties"]["Binary"].as_str().unwrap().to_owned(),
            logical_id,
            properties: resource["Properties"].clone(),
        };
        self.resources("AWS::Serverless::Function").into_iter().map(function).collect()
    }

    /// Returns the statements of a role's inline policies. Panics unless those on the table are limited to rows, and
    /// those on the key to services.
    #[must_use]
    pub fn statements(&self, role: &str) -> Vec<Statement> {
        let policies = self.0["Resources"][role]["Properties"]["Policies"].as_array().unwrap();
        let statements = policies.iter().flat_map(|policy| policy["PolicyDocument"]["Statement"].as_array().unwrap());
        statements.map(|statement| Statement::read(role, statement)).collect()
    }

    /// Returns a function's environment variables, including the global ones, each with the resource or parameter
    /// that it refers to.
    #[must_use]
    pub fn environment(&self, function: &FunctionResource) -> BTreeMap<String, String> {
        let all = &self.0["Globals"]["Function"]["Environment"]["Variables"];
        let own = &function.properties["Environment"]["Variables"];
        let variables = all.as_object().unwrap().iter().chain(own.as_object().into_iter().flatten());
        variables.map(|(name, value)| (name.clone(), named(value))).collect()
    }
}

impl Statement {
    fn read(role: &str, statement: &Value) -> Self {
        // A statement that exists only with a customer managed key is the second operand of `Fn::If`.
        let statement = statement.get("Fn::If").map_or(statement, |choice| {
            assert_eq!((&choice[0], &choice[2]["Ref"]), (&"HasKey".into(), &"AWS::NoValue".into()), "{role}");
            &choice[1]
        });
        assert_eq!(statement["Effect"], "Allow", "{role}");
        let actions: BTreeSet<String> = list(&statement["Action"]).iter().map(named).collect();
        let resources = list(&statement["Resource"]).iter().map(named).collect();
        let is_of = |service: &str| actions.iter().any(|action| action.starts_with(service));
        let condition = &statement["Condition"];
        let keys = &condition["ForAllValues:StringLike"]["dynamodb:LeadingKeys"];
        let services = &condition["StringEquals"]["kms:ViaService"];
        let (limited, limits) = if is_of("dynamodb:") {
            // `ForAllValues` also matches a call without any row key, so the `Null` condition requires one.
            let named = json!({ "dynamodb:LeadingKeys": "false" });
            let rows = json!({ "Null": named, "ForAllValues:StringLike": { "dynamodb:LeadingKeys": keys } });
            (Some(rows), list(keys).iter().map(named_kind).collect())
        } else if is_of("kms:") {
            let through = json!({ "StringEquals": { "kms:ViaService": services } });
            (Some(through), list(services).iter().map(named_service).collect())
        } else {
            (None, BTreeSet::new())
        };
        assert_eq!(statement.get("Condition"), limited.as_ref(), "{role}");
        assert_eq!(limits.is_empty(), limited.is_none(), "{role}");
        Self { actions, resources, limits }
    }
}

/// Returns the kind of rows, such as `CARD#*`. Panics if the limit does not begin with an organization.
#[must_use]
pub fn named_kind(rows: &Value) -> String {
    if rows == DENY_LIST {
        return DENY_LIST.to_owned();
    }
    let kind = rows.as_str().unwrap().strip_prefix(ANY_ORGANIZATION);
    kind.unwrap_or_else(|| panic!("{rows}: the limit does not begin with an organization's ID")).to_owned()
}

/// Returns the service's name, such as `sqs`.
fn named_service(host: &Value) -> String {
    let host = named(host);
    host.strip_suffix(HERE).unwrap_or_else(|| panic!("{host}: not a service of the stack's region")).to_owned()
}

/// Returns a value as a list: absent, single or several.
#[must_use]
pub fn list(value: &Value) -> Vec<Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(all) => all.clone(),
        one => vec![one.clone()],
    }
}

/// Returns the name of the resource or parameter that a value refers to, or else its text. If it chooses between the
/// restored table and the table, returns the table, and if between the domain and the API's own endpoint, the endpoint.
#[must_use]
pub fn named(value: &Value) -> String {
    let of = |function: &str| value.get(function);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    if let Some(choice) = of("Fn::If") {
        let is_restored = choice[0] == "HasRestoredTable" && RESTORED.contains(&named(&choice[1]).as_str());
        assert!(is_restored || choice[0] == "HasDomain", "{value}");
        return named(&choice[2]);
    }
    match (of("Ref"), of("Fn::GetAtt"), of("Fn::Sub")) {
        (Some(name), _, _) | (_, _, Some(name)) => text(&list(name)[0]),
        (_, Some(attribute), _) => text(&list(attribute)[0]),
        _ => value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned),
    }
}
