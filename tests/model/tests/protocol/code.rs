//! The code does what the model does. From states of the model, the real worker's binary gets a message. It must make
//! the model's calls in the model's order, leave the model's rows, publish its events and send its messages.
//!
//! Each scenario is walked at random (with fixed seeds), with crashes, repetitions and everything else that may
//! happen in the model. In the states that are compared, all running processes have crashed. Only what the model
//! omits on purpose is ignored here (see [`of_model`] and [`of_code`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, Mutex};

use aws_sdk_dynamodb::types::AttributeValue;
use fastrand::Rng;
use model::scenario::Scenario;
use model::{AnyMessage, Bindery, Broken, Instruction, Place, Task, World};
use rstest::rstest;
use serde::Serialize;
use serde_json::{Value, json};
use shared::domain::acceptance::expires_at;
use shared::domain::time::Timestamp;
use shared::message::StartStep;
use stateright::Model;
use tests::capacity::dynoxide;
use tests::contract;
use tests::function::{Function, Invocation};
use tests::payloads::batch;
use tests::proxy::{Call, Moment, Proxy, Step};
use tests::test_env::TestEnv;
use time::{Duration, OffsetDateTime};

use super::scenarios;

/// States of each scenario that are compared.
const STATES: usize = 30;
/// Steps of a walk.
const STEPS: usize = 60;

/// The effects of handling one message.
#[derive(Debug, PartialEq)]
struct Done {
    calls: Vec<String>,
    rows: BTreeMap<(String, String), Value>,
    events: BTreeSet<String>,
    sent: BTreeSet<String>,
}

#[rstest]
#[case(scenarios::binds())]
#[case(scenarios::reissues())]
#[case(scenarios::reissues_and_bind())]
#[case(scenarios::bind_and_reissue())]
#[case(scenarios::cancel_chunks())]
#[case(scenarios::start_and_cancel())]
#[case(scenarios::start_cancel_and_bind())]
#[case(scenarios::two_ends())]
#[case(scenarios::full_and_partial())]
#[case(scenarios::held())]
#[tokio::test]
async fn the_code_does_what_the_model_does(#[case] scenario: Scenario) {
    if let Some(difference) = difference(scenario, Broken::Nothing).await {
        panic!("{difference}");
    }
}

/// Checks that a difference between code and model would be found.
#[rstest]
#[case(scenarios::binds(), Broken::RefusalNotStored)]
#[case(scenarios::reissues(), Broken::ReissueInTwoWrites)]
#[case(scenarios::cancel_chunks(), Broken::CompletesBeforePublishing)]
#[case(scenarios::start_and_cancel(), Broken::PlansWithoutSeal)]
#[case(scenarios::held(), Broken::HeldLooksAtItemAlone)]
#[tokio::test]
async fn a_difference_is_seen(#[case] scenario: Scenario, #[case] broken: Broken) {
    assert!(difference(scenario, broken).await.is_some());
}

/// Returns the first difference between the code and this model.
async fn difference(scenario: Scenario, broken: Broken) -> Option<String> {
    let code = Code::new().await;
    let model = Bindery { scenario: scenario.clone(), broken: Broken::Nothing };
    for (state, message) in states(&model) {
        let (after, calls) = undisturbed(&Bindery { scenario: scenario.clone(), broken }, &state, &message);
        let expected = of_model(&state, &after, &message, calls);
        let done = code.handle(&state, &after, &message).await;
        if done != expected {
            return Some(format!("{:?}: {done:#?}, not {expected:#?}, in {state:#?}", Task::Message(message)));
        }
    }
    None
}

/// Returns states of the model, each with a message to be delivered.
fn states(model: &Bindery) -> Vec<(World, AnyMessage)> {
    let mut rng = Rng::with_seed(7);
    let mut found = HashMap::new();
    for _ in 0..1000 {
        let mut state = model.init_states().remove(0);
        for _ in 0..rng.usize(0..STEPS) {
            let mut actions = Vec::new();
            model.actions(&state, &mut actions);
            let Some(action) = rng.choice(actions) else { break };
            state = model.next_state(&state, action).unwrap_or(state);
        }
        // No process is running, and every change is visible. Earlier messages and events do not matter.
        (state.processes, state.bus) = (Vec::new(), BTreeMap::new());
        state = state.settled();
        // The code always reads the operation first.
        state.may_miss = true;
        let messages = std::mem::take(&mut state.messages).into_iter().filter(|(_, place)| *place == Place::Queue);
        let Some((message, place)) = rng.choice(messages.collect::<Vec<_>>()) else { continue };
        state.messages.insert(message.clone(), place);
        let key = format!("{:?} {message:?}", rows(&state));
        found.insert(key, (state, message));
        if found.len() == STATES {
            break;
        }
    }
    assert!(found.len() > STATES / 3, "only {} states", found.len());
    found.into_values().collect()
}

/// Returns the time on the model's clocks: one that occurs in no state.
fn now() -> Timestamp {
    model::scenario::times()[1].plus_days(1)
}

/// Returns the state after a process alone has handled the message, and its calls.
fn undisturbed(model: &Bindery, state: &World, message: &AnyMessage) -> (World, Vec<&'static str>) {
    model.alone(state, &Task::Message(message.clone()), now()).unwrap()
}

/// Returns the effects that the code must have. A start's chunk also reads what never changes, so its reads are
/// ignored.
fn of_model(before: &World, after: &World, message: &AnyMessage, calls: Vec<&'static str>) -> Done {
    let calls = calls.iter().map(|call| match call.split(' ').next().unwrap() {
        "UPDATE" => "BatchExecuteStatement",
        "SendMessage" => "SendMessageBatch",
        call => call,
    });
    let calls = calls.filter(|call| *call != "DeleteMessage" && !(is_start(message) && is_read(call)));
    let mut calls: Vec<String> = calls.map(ToOwned::to_owned).collect();
    calls.dedup();
    let events = after.bus.values().flatten().map(|event| alike(as_json(&**event)).to_string());
    let sent = after.messages.keys().filter(|sent| !before.messages.contains_key(*sent));
    Done {
        calls,
        rows: rows(after).into_iter().map(|(key, row)| (key, alike(row))).collect(),
        events: events.collect(),
        sent: sent.map(|message| alike(body(message)).to_string()).collect(),
    }
}

fn is_start(message: &AnyMessage) -> bool {
    matches!(&message.instruction, Instruction::Start(start) if matches!(start.step, StartStep::Chunk(_)))
}

fn is_read(call: &str) -> bool {
    ["GetItem", "BatchGetItem", "Query"].contains(&call)
}

fn body(message: &AnyMessage) -> Value {
    match &message.instruction {
        Instruction::Bind(bind) => as_json(&message.next(bind.clone())),
        Instruction::Start(start) => as_json(&message.next(start.clone())),
        Instruction::Cancel(cancel) => as_json(&message.next(cancel.clone())),
        Instruction::CancelOrder(order) => json!(order),
        Instruction::ChangeOrder(change) => as_json(change),
    }
}

fn as_json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

/// Returns the table of a state, as the code stores it.
fn rows(world: &World) -> BTreeMap<(String, String), Value> {
    let mut rows = BTreeMap::new();
    let org = world.operations.values().next().map(|operation| operation.org_id.to_string()).unwrap();
    let mut put = |pk: String, sk: String, row: Value| rows.insert((format!("{org}#{pk}"), sk), row);
    for (id, card) in &world.cards {
        put(format!("CARD#{id}"), "CARD".to_owned(), as_json(&card.row));
    }
    let bulk = format!("BULK#{}", world.bulk.bulk_id);
    put(bulk.clone(), "BULK".to_owned(), as_json(&*world.bulk));
    for item in &world.items {
        put(bulk.clone(), format!("I#{}", item.row.external_id), as_json(&item.row));
    }
    for (id, operation) in &world.operations {
        put(format!("OP#{id}"), "OP".to_owned(), as_json(&**operation));
    }
    for (id, names) in world.named.iter() {
        for (number, name) in names.iter().enumerate() {
            put(format!("OP#{id}"), format!("CHUNK#{number:05}"), json!({ "ids": [name] }));
        }
    }
    for ((id, number), result) in &world.results {
        put(format!("OP#{id}"), format!("RESULT#{number:05}"), as_json(&**result));
    }
    for (id, number) in &world.held {
        let since = model::scenario::times()[0];
        put(format!("OP#{id}"), format!("RESULT#{number:05}"), json!({ "held_since": since }));
    }
    rows
}

/// The model's times, and the times that replace them in the code: its operations must not have expired.
static TIMES: LazyLock<[(String, String); 3]> = LazyLock::new(|| {
    let days_ago = |days| Timestamp::new(OffsetDateTime::now_utc() - Duration::days(days)).to_string();
    let [first, second] = model::scenario::times();
    let times = [(model::scenario::accepted_at(), 9), (first, 8), (second, 7)];
    times.map(|(time, days)| (time.to_string(), days_ago(days)))
});

/// Removes what depends on the time of the run. All times outside the state become one. An event is identified by its
/// content, because its ID contains a time. (Golden vectors and the simulation's checker test the ID.)
fn alike(value: Value) -> Value {
    match value {
        Value::String(text) => {
            let known = TIMES.iter().position(|(model, code)| text == *model || text == *code);
            let is_time = text.len() == "2026-11-22T03:04:05.678Z".len() && text.ends_with('Z');
            if is_time { json!(known.map_or("now".to_owned(), |known| format!("time {known}"))) } else { json!(text) }
        }
        Value::Array(values) => values.into_iter().map(alike).collect(),
        Value::Object(members) => members
            .into_iter()
            .filter(|(name, _)| name != "event_id")
            .map(|(name, value)| (name, alike(value)))
            .collect(),
        other => other,
    }
}

/// The real workers, on a table of their own.
struct Code {
    env: TestEnv,
    workers: HashMap<&'static str, Function>,
    calls: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Code {
    async fn new() -> Self {
        let dynamodb = dynoxide().await;
        let env = TestEnv::with_table_at(&dynamodb).await;
        let calls = Arc::<Mutex<Vec<_>>>::default();
        let noted = Arc::clone(&calls);
        let note = move |call: &Call<'_>, moment| {
            if moment == Moment::Before {
                let name = call.target.rsplit('.').next().unwrap().to_owned();
                noted.lock().unwrap().push((name, serde_json::from_slice(call.body).unwrap()));
            }
            Step::Pass
        };
        let environment = env.environment_behind(&Proxy::before(&dynamodb).start(note).await);
        let mut workers = HashMap::new();
        for name in ["bind-card-worker", "start-bulk-worker", "cancel-bulk-worker"] {
            workers.insert(name, Function::new(name, environment.clone()).await);
        }
        Self { env, workers, calls }
    }

    /// Hands the message to its worker in this state. `after` determines the ID of a new card.
    async fn handle(&self, before: &World, after: &World, message: &AnyMessage) -> Done {
        self.lay(before, after).await;
        self.calls.lock().unwrap().clear();
        let worker = match &message.instruction {
            Instruction::Bind(_) => "bind-card-worker",
            Instruction::Start(_) => "start-bulk-worker",
            Instruction::Cancel(_) => "cancel-bulk-worker",
            Instruction::CancelOrder(_) => "cancel-orders-worker",
            Instruction::ChangeOrder(_) => "order-feed-worker",
        };
        let result = self.workers[worker].invoke(batch(&[(for_code(&body(message)).to_string(), 1)])).await;
        assert_eq!(result, Invocation::Responded(json!({ "batchItemFailures": [] })));
        let calls = std::mem::take(&mut *self.calls.lock().unwrap());
        self.of_code(message, calls).await
    }

    /// Returns the effects of the call. The source of card IDs is not in the model.
    async fn of_code(&self, message: &AnyMessage, calls: Vec<(String, Value)>) -> Done {
        let entries = |name: &str, member: &str, check: fn(&str)| {
            let calls = calls.iter().filter(|(call, _)| call == name);
            let entries = calls.flat_map(|(_, body)| body["Entries"].as_array().unwrap().clone());
            let read = |entry: Value| {
                let text = entry[member].as_str().unwrap();
                check(text);
                alike(serde_json::from_str(text).unwrap()).to_string()
            };
            entries.map(read).collect()
        };
        let check_event = |event: &str| contract::check_event(&serde_json::from_str(event).unwrap());
        let events = entries("PutEvents", "Detail", check_event);
        let sent = entries("SendMessageBatch", "MessageBody", contract::check_message);
        // The model has no watch messages.
        let watches = |body: &Value| body.get("DelaySeconds").is_some();
        let of_counter = |body: &Value| body["Key"]["pk"]["S"].as_str().is_some_and(|pk| pk.ends_with("#COUNTER"));
        let names = calls.iter().filter(|(_, body)| !of_counter(body) && !watches(body)).map(|(name, _)| name.clone());
        let mut names: Vec<_> = names.filter(|name| !(is_start(message) && is_read(name))).collect();
        names.dedup();
        let rows = self.env.rows().await.into_iter().filter(|((pk, _), _)| !pk.ends_with("#COUNTER"));
        let row = |mut row: Value| {
            let members = row.as_object_mut().unwrap();
            members.retain(|name, _| !["pk", "sk", "expires_at"].contains(&name.as_str()));
            for name in ["batches", "done", "settled"] {
                let sort = |set: &mut Value| set.as_array_mut().unwrap().sort_by_key(Value::as_u64);
                members.get_mut(name).map(sort);
            }
            alike(row)
        };
        Done { calls: names, rows: rows.map(|(key, value)| (key, row(value))).collect(), events, sent }
    }

    /// Writes the state to the table.
    async fn lay(&self, before: &World, after: &World) {
        let (dynamodb, table) = (&self.env.dynamodb, &self.env.table);
        let text = |text: &str| AttributeValue::S(text.to_owned());
        for (pk, sk) in self.env.rows().await.into_keys() {
            let delete = dynamodb.delete_item().table_name(table);
            delete.key("pk", text(&pk)).key("sk", text(&sk)).send().await.unwrap();
        }
        let new_card = after.cards.keys().find(|card| !before.cards.contains_key(*card)).map_or(1, |card| card.get());
        let org = &before.operations.values().next().unwrap().org_id;
        let counter = ((format!("{org}#COUNTER"), "CARD".to_owned()), json!({ "last": new_card - 1 }));
        let expires_at = expires_at(serde_json::from_value(json!(TIMES[0].1)).unwrap());
        for ((pk, sk), row) in rows(before).into_iter().chain([counter]) {
            let mut item: HashMap<String, AttributeValue> = serde_dynamo::to_item(for_code(&row)).unwrap();
            for name in ["batches", "done", "settled"] {
                if let Some(numbers) = row[name].as_array() {
                    item.insert(name.to_owned(), AttributeValue::Ns(numbers.iter().map(ToString::to_string).collect()));
                }
            }
            for name in ["starting", "canceling"] {
                if let Some(texts) = row[name].as_array() {
                    let texts = texts.iter().map(|text| text.as_str().unwrap().to_owned()).collect();
                    item.insert(name.to_owned(), AttributeValue::Ss(texts));
                }
            }
            item.extend([("pk".to_owned(), text(&pk)), ("sk".to_owned(), text(&sk))]);
            item.insert("expires_at".to_owned(), AttributeValue::N(expires_at.to_string()));
            dynamodb.put_item().table_name(table).set_item(Some(item)).send().await.unwrap();
        }
    }
}

/// Replaces the model's times by the code's.
fn for_code(value: &Value) -> Value {
    let shifted = TIMES.iter().fold(value.to_string(), |text, (model, code)| text.replace(model, code));
    serde_json::from_str(&shifted).unwrap()
}
