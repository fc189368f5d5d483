//! The `AsyncAPI` document has the queues and messages that there are, and the code reads its examples.

use std::collections::BTreeSet;

use serde_json::Value;
use tests::contract::{MESSAGES_AND_EVENTS, check_event, check_message, event_types, example, queue_of, queues};
use tests::template::Template;

use crate::{forms, registry};

fn names(node: &Value) -> BTreeSet<String> {
    node.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn every_queue_with_a_worker_has_a_channel() {
    let document = &*MESSAGES_AND_EVENTS;
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
    let document = &*MESSAGES_AND_EVENTS;
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

/// The payloads of a message's examples.
fn examples(message: &str) -> Vec<&'static Value> {
    let examples = MESSAGES_AND_EVENTS["components"]["messages"][message]["examples"].as_array();
    let payloads: Vec<_> = examples.into_iter().flatten().map(|example| &example["payload"]).collect();
    assert!(!payloads.is_empty(), "{message} has no example");
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

/// What a form is for: what is not of it is seen.
#[test]
fn what_has_not_its_form_is_refused() {
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
    // The order feed has members that need not be there.
    for queue in queues().into_iter().filter(|queue| *queue != "order-feed") {
        for member in names(&example(queue)) {
            let mut less = example(queue);
            less.as_object_mut().unwrap().remove(&member);
            assert!(refused(&|| check_message(&less.to_string())), "{queue}: {member}");
        }
    }
    assert!(refused(&|| check_message("{}")) && refused(&|| check_message("no JSON")));
}
