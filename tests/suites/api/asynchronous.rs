//! Checks that the `AsyncAPI` document has all queues and messages, and that the code can parse its examples.

use std::collections::BTreeSet;

use serde_json::Value;
use tests::contract::{MESSAGES_AND_EVENTS, check_event, check_message, event_types, example, queue_of, queues};
use tests::template::Template;

use crate::{registry, schema_names};

fn names(node: &Value) -> BTreeSet<String> {
    node.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn every_queue_with_a_worker_has_a_channel() {
    let document = &*MESSAGES_AND_EVENTS;
    let queues = Template::read().resources("AWS::SQS::Queue").into_values();
    let queues = queues.map(|queue| queue["Properties"]["QueueName"]["Fn::Sub"].as_str().unwrap().to_owned());
    let queues = queues.map(|name| name.replace("${AWS::StackName}", "{stack}"));
    // Dead-letter queues and the queue of parked messages have other queues' messages, and the webhook's queue has the
    // bus's events.
    let has_others =
        |name: &str| name.ends_with("-dead-letters") || ["{stack}-parked", "{stack}-webhook"].contains(&name);
    let has_its_own = |name: &String| !has_others(name);
    let queues: BTreeSet<_> = queues.filter(has_its_own).collect();
    let channels = document["channels"].as_object().unwrap().values();
    let addresses: BTreeSet<_> = channels.map(|channel| channel["address"].as_str().unwrap().to_owned()).collect();
    assert_eq!(addresses, queues, "left: channels in infra/api/asyncapi.yaml; right: queues in infra/template.yaml");
    let bus = &Template::read().resources("AWS::Events::EventBus")["EventBus"]["Properties"]["Name"]["Fn::Sub"];
    assert_eq!(
        bus,
        &document["channels"]["events"]["address"].as_str().unwrap().replace("{stack}", "${AWS::StackName}")
    );
}

#[test]
fn every_schema_belongs_to_a_message() {
    let document = &*MESSAGES_AND_EVENTS;
    let mut queues = names(&document["channels"]);
    assert!(queues.remove("events"));
    let mut queue_schemas = schema_names("schemas");
    assert!(queue_schemas.remove("common"));
    assert_eq!(queues, queue_schemas, "left: channels in infra/api/asyncapi.yaml; right: infra/schemas");
    for queue in &queues {
        assert_eq!(names(&document["channels"][queue]["messages"]), BTreeSet::from([queue.clone()]), "{queue}");
    }
    let events = names(&document["channels"]["events"]["messages"]);
    assert_eq!(events, schema_names("schemas/events"));
    assert_eq!(names(&document["components"]["messages"]), queues.union(&events).cloned().collect());
}

/// Returns the payloads of a message's examples.
fn examples(message: &str) -> Vec<&'static Value> {
    let examples = MESSAGES_AND_EVENTS["components"]["messages"][message]["examples"].as_array();
    let payloads: Vec<_> = examples.into_iter().flatten().map(|example| &example["payload"]).collect();
    assert!(!payloads.is_empty(), "give {message} an example in infra/api/asyncapi.yaml");
    payloads
}

#[test]
fn the_code_reads_the_examples() {
    for queue in queues() {
        for payload in examples(queue) {
            assert!(registry::reads(queue, payload), "{queue}: {payload}");
            assert_eq!(queue_of(&payload.to_string()), queue);
            check_message(&payload.to_string());
        }
    }
    for event_type in event_types() {
        for payload in examples(event_type) {
            assert_eq!(payload["event_type"], event_type);
            check_event(payload);
        }
    }
}

/// The schemas refuse additional, missing and unknown members.
#[test]
fn a_message_that_violates_its_schema_is_refused() {
    let refused = |check: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).is_err();
    for name in schema_names("schemas/events") {
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
    // The order feed's messages have optional members.
    for queue in queues().into_iter().filter(|queue| *queue != "order-feed") {
        for member in names(&example(queue)) {
            let mut less = example(queue);
            less.as_object_mut().unwrap().remove(&member);
            assert!(refused(&|| check_message(&less.to_string())), "{queue}: {member}");
        }
    }
    assert!(refused(&|| check_message("{}")) && refused(&|| check_message("no JSON")));
}
