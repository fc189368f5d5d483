//! The `AsyncAPI` document has the queues and messages that there are, and the code reads its examples.

use std::collections::BTreeSet;

use serde_json::Value;
use tests::contract::{check_event, check_message, queue_of, rendered};
use tests::template::Template;

use crate::registry;

fn document() -> Value {
    rendered("asyncapi.json")
}

fn names(node: &Value) -> BTreeSet<String> {
    node.as_object().unwrap().keys().cloned().collect()
}

/// The JSON Schemas in this folder of infra.
fn forms(folder: &str) -> BTreeSet<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra").join(folder);
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_suffix(".schema.json").map(ToOwned::to_owned)).collect()
}

#[test]
fn every_queue_with_a_worker_has_a_channel() {
    let document = document();
    let queues = Template::read().resources("AWS::SQS::Queue").into_values();
    let queues = queues.map(|queue| queue["Properties"]["QueueName"]["Fn::Sub"].as_str().unwrap().to_owned());
    let queues = queues.map(|name| name.replace("${AWS::StackName}", "{stack}"));
    // Dead letters are the queue's own messages. The queue of events has what the bus has, and so has the webhook's.
    let has_its_own = |name: &String| !name.ends_with("-dead-letters") && name != "{stack}-webhook";
    let queues: BTreeSet<_> = queues.filter(has_its_own).collect();
    let channels = document["channels"].as_object().unwrap().values();
    let addresses: BTreeSet<_> = channels.map(|channel| channel["address"].as_str().unwrap().to_owned()).collect();
    assert_eq!(addresses, queues, "in infra/api/asyncapi.yaml, and in infra/template.yaml");
    let bus = &Template::read().resources("AWS::Events::EventBus")["EventBus"]["Properties"]["Name"]["Fn::Sub"];
    assert_eq!(
        bus,
        &document["channels"]["events"]["address"].as_str().unwrap().replace("{stack}", "${AWS::StackName}")
    );
}

#[test]
fn every_form_is_that_of_a_message() {
    let document = document();
    let mut queues = names(&document["channels"]);
    assert!(queues.remove("events"));
    let mut forms_of_queues = forms("schemas");
    assert!(forms_of_queues.remove("common"));
    assert_eq!(queues, forms_of_queues, "in infra/api/asyncapi.yaml, and in infra/schemas");
    for queue in &queues {
        assert_eq!(names(&document["channels"][queue]["messages"]), BTreeSet::from([queue.clone()]), "{queue}");
    }
    let events = names(&document["channels"]["events"]["messages"]);
    assert_eq!(events, forms("schemas/events"));
    assert_eq!(names(&document["components"]["messages"]), queues.union(&events).cloned().collect());
}

#[test]
fn the_code_reads_the_examples() {
    let document = document();
    for (name, message) in document["components"]["messages"].as_object().unwrap() {
        for example in message["examples"].as_array().unwrap() {
            let payload = &example["payload"];
            if payload["event_type"] == *name {
                check_event(payload);
                continue;
            }
            assert!(registry::reads(name, payload), "{name}: {payload}");
            assert_eq!(&queue_of(&payload.to_string()), name);
            check_message(&payload.to_string());
        }
    }
}

/// What a form is for: what is not of it is seen.
#[test]
fn what_has_not_its_form_is_refused() {
    let document = document();
    let example = |name: &str| document["components"]["messages"][name]["examples"][0]["payload"].clone();
    let refused = |check: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).is_err();
    for name in forms("schemas/events") {
        let mut more = example(&name);
        more["data"]["x"] = 1.into();
        assert!(refused(&|| check_event(&more)), "{name}");
        for member in names(&example(&name)["data"]) {
            let mut less = example(&name);
            less["data"].as_object_mut().unwrap().remove(&member);
            let is_optional = ["bulk_id", "external_id", "card_id"].contains(&member.as_str()) && name != "create";
            assert!(refused(&|| check_event(&less)) || is_optional, "{name}: {member}");
        }
    }
    let mut unknown = example("create");
    unknown["event_type"] = "created".into();
    assert!(refused(&|| check_event(&unknown)));
    for name in ["bind-card", "start-bulk", "cancel-bulk", "cancel-orders"] {
        for member in names(&example(name)) {
            let mut less = example(name);
            less.as_object_mut().unwrap().remove(&member);
            assert!(refused(&|| check_message(&less.to_string())), "{name}: {member}");
        }
    }
    assert!(refused(&|| check_message("{}")) && refused(&|| check_message("no JSON")));
}
