//! infra/template.yaml with its loops expanded, as the local stack read it: what functions there are, and what roles allow.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Value, json};

/// The template.
#[derive(Debug, Clone)]
pub struct Template(Value);

/// A function of the template.
#[derive(Debug, Clone)]
pub struct FunctionResource {
    /// Its binary's name.
    pub name: String,
    /// Its resource's logical ID.
    pub logical_id: String,
    /// Its properties.
    pub properties: Value,
}

/// A statement of a policy.
#[derive(Debug, Clone)]
pub struct Statement {
    /// What it allows.
    pub actions: BTreeSet<String>,
    /// On what: `Table`, as a resource's logical ID, or what else is written there.
    pub resources: BTreeSet<String>,
    /// What it is limited to: of the table, kinds of rows, as `CARD#*`; of the key, services that use it, as `sqs`.
    pub limits: BTreeSet<String>,
}

/// The function whose route has no authorizer in front: it checks tokens itself.
pub const CHECKS_TOKENS: &str = "cancel-orders";
/// What every limit to rows begins with: any organisation, and nothing that is none.
const ANY_ORGANISATION: &str = "TN-????????-????-????-????-????????????#";
/// What every limit to services ends with.
const HERE: &str = ".${AWS::Region}.amazonaws.com";
/// The table that was restored, as a name and as a resource: what alone may stand in the table's place.
const RESTORED: [&str; 2] =
    ["RestoredTable", "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${RestoredTable}"];

impl Template {
    /// As the stack that the tests run on was deployed from.
    #[must_use]
    pub fn read() -> Self {
        let file = PathBuf::from(crate::variable("BINDERY_LOCAL_DIR")).join("template.json");
        Self(serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap())
    }

    /// A section.
    #[must_use]
    pub fn section(&self, name: &str) -> &Value {
        &self.0[name]
    }

    /// The resources of this type, by their logical IDs.
    #[must_use]
    pub fn resources(&self, kind: &str) -> BTreeMap<String, Value> {
        let all = self.0["Resources"].as_object().unwrap();
        all.iter().filter(|(_, one)| one["Type"] == kind).map(|(id, one)| (id.clone(), one.clone())).collect()
    }

    /// The functions.
    #[must_use]
    pub fn functions(&self) -> Vec<FunctionResource> {
        let function = |(logical_id, resource): (String, Value)| FunctionResource {
            name: resource["Metadata"]["BuildProperties"]["Binary"].as_str().unwrap().to_owned(),
            logical_id,
            properties: resource["Properties"].clone(),
        };
        self.resources("AWS::Serverless::Function").into_iter().map(function).collect()
    }

    /// The statements of a role's own policies. Those on the table are limited to rows, those on the key to services.
    #[must_use]
    pub fn statements(&self, role: &str) -> Vec<Statement> {
        let policies = self.0["Resources"][role]["Properties"]["Policies"].as_array().unwrap();
        let statements = policies.iter().flat_map(|policy| policy["PolicyDocument"]["Statement"].as_array().unwrap());
        statements.map(|statement| Statement::read(role, statement)).collect()
    }

    /// The environment of a function, with what all have: for each variable the resource or parameter that it
    /// names.
    #[must_use]
    pub fn environment(&self, function: &FunctionResource) -> BTreeMap<String, String> {
        let all = &self.0["Globals"]["Function"]["Environment"]["Variables"];
        let own = &function.properties["Environment"]["Variables"];
        let variables = all.as_object().unwrap().iter().chain(own.as_object().unwrap());
        variables.map(|(name, value)| (name.clone(), named(value))).collect()
    }
}

impl Statement {
    fn read(role: &str, statement: &Value) -> Self {
        // One that is there only with a key of one's own is its second word.
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
            // A call that names no row matches all values of none, so it must name one.
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

/// The kind of rows, as `CARD#*`.
fn named_kind(rows: &Value) -> String {
    let kind = rows.as_str().unwrap().strip_prefix(ANY_ORGANISATION);
    kind.unwrap_or_else(|| panic!("{rows}: whose are these?")).to_owned()
}

/// The service, as `sqs`.
fn named_service(host: &Value) -> String {
    let host = named(host);
    host.strip_suffix(HERE).unwrap_or_else(|| panic!("{host}: where is that?")).to_owned()
}

/// One or many.
#[must_use]
pub fn list(value: &Value) -> Vec<Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(all) => all.clone(),
        one => vec![one.clone()],
    }
}

/// What a value refers to: a resource's or parameter's name, or else its text. Of the table and the one that was
/// restored, the table.
#[must_use]
pub fn named(value: &Value) -> String {
    let of = |function: &str| value.get(function);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    if let Some(choice) = of("Fn::If") {
        assert!(choice[0] == "HasRestoredTable" && RESTORED.contains(&named(&choice[1]).as_str()), "{value}");
        return named(&choice[2]);
    }
    match (of("Ref"), of("Fn::GetAtt"), of("Fn::Sub")) {
        (Some(name), _, _) | (_, _, Some(name)) => text(&list(name)[0]),
        (_, Some(attribute), _) => text(&list(attribute)[0]),
        _ => value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned),
    }
}
