//! Checks that our `OpenAPI` document accepts each client of the contract's documents (tests/schemathesis/fixtures).
//!
//! Ours may say more than theirs, unless that makes a request or a response of theirs invalid. Where it does, the
//! difference is listed here with its reason.

use std::collections::BTreeSet;

use serde_json::Value;
use tests::contract::{DOCUMENT, Operation, operations, resolved};

use crate::file;

const SEEDS: [&str; 2] = ["bind-noname-card", "cancel-noname-bulk"];

/// The places where our document accepts less than theirs: the place, the keyword and the reason.
const DIFFERENCES: [(&str, &str, &str); 12] = [
    ("path cardId", "pattern", "a card ID is a positive integer below 2^53"),
    ("header x-account-id", "pattern", "an account ID is a string of digits"),
    ("header x-customer-id", "minimum", "a customer ID is a positive integer"),
    ("header x-customer-id", "maximum", "below 2^53, as all integers of JavaScript"),
    ("path bulkID", "minLength", "an empty ID makes another path"),
    ("path bulkID", "maxLength", "a longer ID is never found: 404"),
    ("body/reissued_card_id", "minimum", "a card ID is a positive integer"),
    ("body/reissued_card_id", "maximum", "below 2^53, as all integers of JavaScript"),
    (
        "body",
        "if",
        "their description says that PARTIAL needs external_ids; FULL with them is ambiguous, and could cancel cards",
    ),
    (
        "body/external_ids",
        "minItems",
        "theirs has minLength, which means nothing for arrays; its description says the same",
    ),
    (
        "body/external_ids",
        "maxItems",
        "theirs has maxLength, which means nothing for arrays; its description says the same",
    ),
    ("body/external_ids/items", "pattern", "no item has such a name: embossers get names that fit on a line"),
];

/// Keywords that make fewer values valid.
const NARROWING: [&str; 19] = [
    "const",
    "enum",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
    "additionalProperties",
    "oneOf",
    "allOf",
    "not",
    "if",
];

/// The errors and the differences that a comparison found.
#[derive(Default)]
struct Findings {
    wrong: Vec<String>,
    seen: BTreeSet<(String, String)>,
}

impl Findings {
    fn wrong(&mut self, place: &str, what: &str) {
        self.wrong.push(format!("{place}: {what}"));
    }

    /// Checks that every value that their schema accepts is valid in ours.
    fn schema(&mut self, place: &str, seed: &Value, theirs: &Value, ours: &Value) {
        let (theirs, ours) = (resolved(seed, theirs), without_null(resolved(&DOCUMENT, ours)));
        let or_null = ours["type"].as_array().is_some_and(|kinds| kinds.contains(&theirs["type"]));
        if ours["type"] != theirs["type"] && !or_null {
            self.wrong(place, &format!("type {} is {} in ours", theirs["type"], ours["type"]));
        }
        for word in theirs["enum"].as_array().into_iter().flatten() {
            if !ours["enum"].as_array().is_some_and(|words| words.contains(word)) {
                self.wrong(place, &format!("{word} is not accepted"));
            }
        }
        let required = theirs["required"].as_array().cloned().unwrap_or_default();
        for name in ours["required"].as_array().into_iter().flatten().filter(|name| !required.contains(name)) {
            self.wrong(place, &format!("{name} is required"));
        }
        let narrows = |keyword: &&str| match (ours.get(keyword), theirs.get(keyword)) {
            // The values of enumerations were compared above.
            (Some(_), Some(_)) if *keyword == "enum" => false,
            (own, other) => own.is_some() && own != other,
        };
        self.seen.extend(NARROWING.into_iter().filter(narrows).map(|keyword| (place.to_owned(), keyword.to_owned())));
        for (name, property) in theirs["properties"].as_object().into_iter().flatten() {
            match ours["properties"].get(name) {
                Some(own) => self.schema(&format!("{place}/{name}"), seed, property, own),
                None => self.wrong(place, &format!("{name} is missing")),
            }
        }
        if let Some(items) = theirs.get("items") {
            self.schema(&format!("{place}/items"), seed, items, &ours["items"]);
        }
    }

    fn parameters(&mut self, seed: &Value, theirs: Operation<'_>, ours: Operation<'_>) {
        let own = parameters(&DOCUMENT, ours);
        for parameter in parameters(seed, theirs) {
            let place = format!("{} {}", parameter["in"].as_str().unwrap(), parameter["name"].as_str().unwrap());
            match own.iter().find(|own| own["in"] == parameter["in"] && own["name"] == parameter["name"]) {
                Some(own) if own["required"] == parameter["required"] => {
                    self.schema(&place, seed, &parameter["schema"], &own["schema"]);
                }
                _ => self.wrong(&place, "is missing, or required in only one of the documents"),
            }
        }
        let known = |own: &Value| parameters(seed, theirs).iter().any(|parameter| parameter["name"] == own["name"]);
        for more in own.iter().filter(|own| own["required"] == true && !known(own)) {
            self.wrong(&more["name"].to_string(), "is required");
        }
    }

    fn operation(&mut self, seed: &Value, theirs: Operation<'_>) {
        let is_same = |own: &Operation<'_>| (own.method, own.path) == (theirs.method, theirs.path);
        let Some(ours) = operations(&DOCUMENT).into_iter().find(is_same) else {
            return self.wrong(theirs.path, "is missing");
        };
        if ours.node["operationId"] != theirs.node["operationId"] {
            self.wrong(theirs.path, "has another operationId");
        }
        self.parameters(seed, theirs, ours);
        let body = |node: &Value| node["requestBody"]["required"].as_bool().unwrap_or(false);
        if body(ours.node) != body(theirs.node) {
            self.wrong("body", "is required in only one of the documents");
        }
        for (kind, media) in theirs.node["requestBody"]["content"].as_object().into_iter().flatten() {
            match ours.node["requestBody"]["content"].get(kind) {
                Some(own) => self.schema("body", seed, &media["schema"], &own["schema"]),
                None => self.wrong("body", &format!("{kind} is not accepted")),
            }
        }
        for (status, response) in theirs.node["responses"].as_object().unwrap() {
            let Some(own) = ours.node["responses"].get(status) else {
                self.wrong(theirs.path, &format!("{status} is missing"));
                continue;
            };
            let (response, own) = (resolved(seed, response), resolved(&DOCUMENT, own));
            for (kind, media) in response["content"].as_object().into_iter().flatten() {
                match own["content"].get(kind) {
                    Some(own) => self.schema(status, seed, &media["schema"], &own["schema"]),
                    None => self.wrong(status, &format!("{kind} is not among the responses")),
                }
            }
        }
    }
}

/// Returns the schema that ours combines with null, because null means absence; otherwise the schema itself.
fn without_null(schema: &Value) -> &Value {
    let choices = schema["anyOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    let [choice, null] = choices else { return schema };
    if null["type"] == "null" { resolved(&DOCUMENT, choice) } else { schema }
}

/// Returns an operation's parameters, including those of its path.
fn parameters<'a>(document: &'a Value, operation: Operation<'a>) -> Vec<&'a Value> {
    let all = [&operation.node["parameters"], &operation.item["parameters"]];
    let all = all.into_iter().filter_map(Value::as_array).flatten();
    all.map(|parameter| resolved(document, parameter)).collect()
}

#[test]
fn a_client_of_the_contract_is_accepted() {
    let mut findings = Findings::default();
    for seed in SEEDS {
        let seed: Value =
            serde_json::from_str(&file(&format!("tests/schemathesis/fixtures/{seed}.openapi.json"))).unwrap();
        let operations = operations(&seed);
        assert!(!operations.is_empty());
        for operation in operations {
            findings.operation(&seed, operation);
        }
        let scheme = seed["components"]["securitySchemes"]["BearerAuth"].as_object().unwrap();
        let own = &DOCUMENT["components"]["securitySchemes"]["BearerAuth"];
        assert!(scheme.iter().all(|(name, value)| name == "description" || own[name] == *value), "{own}");
    }
    assert_eq!(findings.wrong, Vec::<String>::new(), "fix infra/api/openapi.yaml: a client of the contract would fail");
    let listed = DIFFERENCES.map(|(place, keyword, _)| (place.to_owned(), keyword.to_owned()));
    assert_eq!(findings.seen, BTreeSet::from(listed), "left: differences that were found; right: DIFFERENCES");
}
