//! Resolves the template's conditions, as `CloudFormation` does for one deployment.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use tests::template::{Template, list};

/// The prefix of names that `CloudFormation` itself defines.
const PSEUDO: &str = "AWS::";

/// The template of one deployment: without conditions, and without what its parameters turn off.
pub struct Deployed {
    /// The resources that are created.
    pub resources: BTreeMap<String, Value>,
    /// The outputs that the deployment shows.
    pub outputs: BTreeMap<String, Value>,
    resolver: Resolver,
}

/// The parameters' values and the template's conditions.
struct Resolver {
    parameters: BTreeMap<String, String>,
    conditions: Value,
    rules: Value,
}

impl Deployed {
    /// Resolves the template with these parameters. All others have their defaults.
    pub fn with(parameters: &[(&str, &str)]) -> Self {
        let template = Template::read();
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        let all = template.section("Parameters").as_object().unwrap();
        let mut values: BTreeMap<String, String> =
            all.iter().map(|(name, parameter)| (name.clone(), text(&parameter["Default"]))).collect();
        for (name, value) in parameters {
            assert!(values.insert((*name).to_owned(), (*value).to_owned()).is_some(), "there is no parameter {name}");
        }
        let section = |name: &str| template.section(name).clone();
        let resolver = Resolver { parameters: values, conditions: section("Conditions"), rules: section("Rules") };
        let exists = |one: &Value| one["Condition"].as_str().is_none_or(|condition| resolver.condition(condition));
        let present = |name: &str| -> BTreeMap<String, Value> {
            let all = section(name);
            let kept = all.as_object().unwrap().iter().filter(|(_, one)| exists(one));
            let unconditional = |one: &Value| {
                let mut one = resolver.value(one).unwrap();
                one.as_object_mut().unwrap().remove("Condition");
                one
            };
            kept.map(|(id, one)| (id.clone(), unconditional(one))).collect()
        };
        Self { resources: present("Resources"), outputs: present("Outputs"), resolver }
    }

    /// Returns the descriptions of the rules that refuse these parameters.
    pub fn refusals(&self) -> BTreeSet<String> {
        let rules = self.resolver.rules.as_object().unwrap().values();
        let applied = rules.filter(|rule| self.resolver.holds(&rule["RuleCondition"]));
        let assertions = applied.flat_map(|rule| list(&rule["Assertions"]));
        let broken = assertions.filter(|assertion| !self.resolver.holds(&assertion["Assert"]));
        broken.map(|assertion| assertion["AssertDescription"].as_str().unwrap().to_owned()).collect()
    }

    /// Returns the created resources of this type.
    pub fn of_type(&self, kind: &str) -> BTreeMap<&String, &Value> {
        self.resources.iter().filter(|(_, one)| one["Type"] == kind).collect()
    }

    /// Returns the resource's properties.
    pub fn properties(&self, id: &str) -> &Value {
        &self.resources.get(id).unwrap_or_else(|| panic!("{id} is not created"))["Properties"]
    }

    /// Returns the template for tools that read files. They take a parameter's default for its value.
    pub fn template(&self) -> Value {
        let mut whole = Map::new();
        for name in ["AWSTemplateFormatVersion", "Transform", "Parameters", "Globals"] {
            let section = Template::read().section(name).clone();
            whole.insert(name.to_owned(), self.resolver.value(&section).unwrap());
        }
        for (name, value) in &self.resolver.parameters {
            let parameter = &mut whole["Parameters"][name];
            if parameter["Type"] == "String" {
                parameter["Default"] = json!(value);
            }
        }
        whole.extend([("Resources".to_owned(), json!(self.resources)), ("Outputs".to_owned(), json!(self.outputs))]);
        whole.into()
    }

    /// Returns the references to resources that are not created, each with who refers to it.
    pub fn dangling(&self) -> BTreeSet<(String, String)> {
        let of_sam: Vec<&String> = self.of_type("AWS::Serverless::HttpApi").into_keys().collect();
        let is_known = |name: &str| {
            // SAM names what it creates after the resource.
            let made_by_sam = of_sam.iter().any(|id| name.starts_with(*id));
            let known = self.resources.contains_key(name) || self.resolver.parameters.contains_key(name);
            known || name.starts_with(PSEUDO) || made_by_sam
        };
        let mut found = BTreeSet::new();
        for (id, one) in self.resources.iter().chain(&self.outputs) {
            let mut names = references(one);
            names.extend(list(&one["DependsOn"]).iter().map(|name| name.as_str().unwrap().to_owned()));
            found.extend(names.into_iter().filter(|name| !is_known(name)).map(|name| (id.clone(), name)));
        }
        found
    }
}

impl Resolver {
    fn condition(&self, name: &str) -> bool {
        self.holds(&self.conditions[name])
    }

    fn holds(&self, expression: &Value) -> bool {
        let (function, argument) = expression.as_object().and_then(|one| one.iter().next()).unwrap();
        match function.as_str() {
            "Fn::Equals" => self.text(&argument[0]) == self.text(&argument[1]),
            "Fn::Not" => !self.holds(&argument[0]),
            other => panic!("add {other} here"),
        }
    }

    fn text(&self, value: &Value) -> String {
        value["Ref"].as_str().map_or_else(|| value.as_str().unwrap().to_owned(), |name| self.parameters[name].clone())
    }

    /// Returns the value without conditions, or `None` for `AWS::NoValue`.
    fn value(&self, value: &Value) -> Option<Value> {
        match value {
            Value::Object(members) => {
                if members.get("Ref").is_some_and(|name| name == "AWS::NoValue") {
                    return None;
                }
                if let Some(choice) = members.get("Fn::If") {
                    let holds = self.condition(choice[0].as_str().unwrap());
                    return self.value(&choice[if holds { 1 } else { 2 }]);
                }
                let kept = members.iter().filter_map(|(name, one)| Some((name.clone(), self.value(one)?)));
                Some(kept.collect::<Map<_, _>>().into())
            }
            Value::Array(all) => Some(all.iter().filter_map(|one| self.value(one)).collect()),
            other => Some(other.clone()),
        }
    }
}

/// Returns all names in `Ref`, `Fn::GetAtt` and `Fn::Sub`.
fn references(value: &Value) -> BTreeSet<String> {
    let first = |name: &str| name.split('.').next().unwrap().to_owned();
    let in_text = |text: &str| text.split("${").skip(1).map(|rest| first(rest.split('}').next().unwrap())).collect();
    match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, one)| match (name.as_str(), one) {
                ("Ref" | "Fn::GetAtt", Value::String(name)) => BTreeSet::from([first(name)]),
                ("Fn::GetAtt", Value::Array(parts)) => BTreeSet::from([parts[0].as_str().unwrap().to_owned()]),
                ("Fn::Sub", Value::String(text)) => in_text(text),
                // The variables are the text's own.
                ("Fn::Sub", Value::Array(parts)) => {
                    let own: BTreeSet<String> = parts[1].as_object().unwrap().keys().cloned().collect();
                    let named: BTreeSet<String> = in_text(parts[0].as_str().unwrap());
                    &(&named - &own) | &references(&parts[1])
                }
                _ => references(one),
            })
            .collect(),
        Value::Array(all) => all.iter().flat_map(references).collect(),
        _ => BTreeSet::new(),
    }
}
