//! Messages in the queues: an envelope around each worker's instruction.
//!
//! A message contains everything that its worker needs, so that a redelivery means the same as the first delivery. A
//! message with unknown members is invalid, because guessing a newer sender's meaning could affect cards.

use std::collections::BTreeSet;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::domain::acceptance::Acceptance;
use crate::domain::bind::Bind;
use crate::domain::bulk::{PlanCursor, Range};
use crate::domain::cancel::ItemRef;
use crate::domain::card::CardFacts;
use crate::domain::event::EventContext;
use crate::domain::ids::{BulkId, CorrelationId, ExternalId, OperationId, OrgId, ProgramId};
use crate::domain::operation::Operation;
use crate::domain::order::OrderRef;
use crate::domain::time::Timestamp;

/// The version of the envelope and of all instructions in it. There is only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version1;

const VERSION: u64 = 1;

impl Serialize for Version1 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(VERSION)
    }
}

impl<'de> Deserialize<'de> for Version1 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            VERSION => Ok(Self),
            other => Err(de::Error::custom(format!("unknown message version {other}"))),
        }
    }
}

/// An instruction for a worker.
pub trait Instruction: Serialize + DeserializeOwned + Send + Sync {
    /// The kind of its messages, which is also the name of the queue.
    const KIND: &'static str;
}

/// The kind of a message, which must be its instruction's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageKind<T>(PhantomData<T>);

impl<T> Default for MessageKind<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Instruction> Serialize for MessageKind<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(T::KIND)
    }
}

impl<'de, T: Instruction> Deserialize<'de> for MessageKind<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let kind = String::deserialize(deserializer)?;
        if kind == T::KIND { Ok(Self::default()) } else { Err(de::Error::custom("a message of another kind")) }
    }
}

/// The envelope of an instruction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound(serialize = "T: Instruction", deserialize = "T: Instruction"))]
pub struct Message<T> {
    /// The version of the message.
    pub version: Version1,
    /// The kind of the instruction.
    pub kind: MessageKind<T>,
    /// The tenant, from the token of the request.
    pub org_id: OrgId,
    /// The operation of the instruction. Its row was written before the message was sent.
    pub operation_id: OperationId,
    /// The correlation ID of the request.
    pub cid: CorrelationId,
    /// The time when the operation was accepted.
    pub accepted_at: Timestamp,
    /// The instruction for the worker.
    pub instruction: T,
}

impl<T> Message<T> {
    /// Creates the first message of a recorded operation.
    #[must_use]
    pub fn of(operation: &Operation, instruction: T) -> Self {
        Self {
            version: Version1,
            kind: MessageKind::default(),
            org_id: operation.org_id.clone(),
            operation_id: operation.operation_id,
            cid: operation.cid.clone(),
            accepted_at: operation.created_at,
            instruction,
        }
    }

    /// Returns the operation's ID and its time of acceptance.
    #[must_use]
    pub const fn acceptance(&self) -> Acceptance {
        Acceptance { operation_id: self.operation_id, accepted_at: self.accepted_at }
    }

    /// Creates another message of the same operation.
    #[must_use]
    pub fn next<U>(&self, instruction: U) -> Message<U> {
        let Self { version, org_id, operation_id, cid, accepted_at, .. } = self;
        Message {
            version: *version,
            kind: MessageKind::default(),
            org_id: org_id.clone(),
            operation_id: *operation_id,
            cid: cid.clone(),
            accepted_at: *accepted_at,
            instruction,
        }
    }

    /// Returns the data that the events of this message's operation share.
    #[must_use]
    pub fn event_context(&self) -> EventContext {
        let Self { org_id, operation_id, cid, accepted_at, .. } = self;
        EventContext {
            org_id: org_id.clone(),
            operation_id: *operation_id,
            cid: cid.clone(),
            accepted_at: *accepted_at,
        }
    }
}

/// A message for the bind-card worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindCard {
    /// The instruction to bind the card.
    pub bind: Bind,
    /// The card's facts, for the event of a bind whose card no longer exists.
    pub card: CardFacts,
}

impl Instruction for BindCard {
    const KIND: &'static str = "bind-card";
}

/// A message for the start-bulk worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartBulk {
    /// The bulk's ID.
    pub bulk_id: BulkId,
    /// The step to carry out.
    pub step: StartStep,
}

impl Instruction for StartBulk {
    const KIND: &'static str = "start-bulk";
}

/// A step of a start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartStep {
    /// Divides the bulk into chunks and sends their messages.
    Plan(PlanCursor),
    /// Issues the cards of one chunk.
    Chunk(StartChunk),
    /// Checks that the operation has ended.
    Watch(Watch),
}

/// A check that an operation has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {}

/// A chunk of a start's items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartChunk {
    /// The chunk's number in the operation, from 0.
    pub number: u32,
    /// The range of the chunk's items.
    pub range: Range,
}

/// A message for the cancel-bulk worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelBulk {
    /// The bulk's ID.
    pub bulk_id: BulkId,
    /// The bulk's card program, for the events.
    pub program_id: ProgramId,
    /// The step to carry out.
    pub step: CancelStep,
}

impl Instruction for CancelBulk {
    const KIND: &'static str = "cancel-bulk";
}

/// A step of a cancel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelStep {
    /// Divides the bulk into chunks and sends their messages, for a FULL cancel.
    PlanAll(PlanCursor),
    /// Reads the named items and sends their chunks' messages, for a PARTIAL cancel.
    PlanNamed(NamedPlan),
    /// Cancels the items of one chunk.
    Chunk(CancelChunk),
    /// Checks that the operation has ended.
    Watch(Watch),
}

/// The items that a client named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedPlan {
    /// The number of chunks of names stored with the operation.
    pub chunks: u32,
    /// The bulk's batches when the request was accepted.
    pub batches: BTreeSet<u32>,
}

/// A chunk of a cancel's items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelChunk {
    /// The chunk's number in the operation, from 0.
    pub number: u32,
    /// The items, as the plan found them.
    pub items: Vec<ItemRef>,
    /// Names that match no item of the bulk.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<ExternalId>,
}

/// A message for the cancel-orders worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelOrder {
    /// The order to cancel.
    pub order: OrderRef,
}

impl Instruction for CancelOrder {
    const KIND: &'static str = "cancel-orders";
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn golden() -> Value {
        json!({
            "version": 1,
            "kind": "bind-card",
            "org_id": "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11",
            "operation_id": "0192d1c0-0000-7000-8000-000000000001",
            "cid": "c-1",
            "accepted_at": "2026-11-22T03:04:05.678Z",
            "instruction": {
                "bind": { "card_id": 7, "account_id": 8, "customer_id": 9, "reissued_card_id": 6 },
                "card": {
                    "program_id": 1, "bulk_id": "b", "external_id": "e#1", "contactless_enabled": true,
                    "issuing_date": "2026-11-22T00:00:00Z", "expiration_date": "2032-11-22T00:00:00Z"
                }
            }
        })
    }

    #[test]
    fn the_form_is_fixed() {
        let message: Message<BindCard> = serde_json::from_value(golden()).unwrap();
        assert_eq!(serde_json::to_value(message).unwrap(), golden());
    }

    #[rstest]
    #[case("/version", json!(2))]
    #[case("/version", json!("1"))]
    #[case("/kind", json!("cancel-bulk"))]
    #[case("/kind", json!(null))]
    #[case("/org_id", json!("TN-1"))]
    #[case("/instruction/bind/card_id", json!(0))]
    #[case("/instruction/bind/card_id", json!(9_007_199_254_740_992_u64))]
    #[case("/instruction/bind", json!({ "card_id": 7, "account_id": 8, "customer_id": 9, "pin": 1 }))]
    #[case("/instruction", json!({}))]
    #[case("/instruction/card", json!({
    "program_id": 1, "contactless_enabled": true, "issuing_date": "2026-11-22T00:00:00Z",
    "expiration_date": "2032-11-22T00:00:00Z", "color": "red",
}))]
    fn anything_else_is_invalid(#[case] pointer: &str, #[case] value: Value) {
        let mut message = golden();
        *message.pointer_mut(pointer).unwrap() = value;
        assert!(serde_json::from_value::<Message<BindCard>>(message).is_err());
    }

    #[test]
    fn an_unknown_member_is_invalid() {
        let mut message = golden();
        message["priority"] = json!(1);
        assert!(serde_json::from_value::<Message<BindCard>>(message).is_err());
    }

    #[rstest]
    #[case("plan_all", json!({ "chunks": 0, "items": 0 }))]
    #[case("plan_all", json!({
        "chunks": 1, "items": 9, "open": [{ "id": "a", "batch": 1, "card": 7 }], "after": "b",
    }))]
    #[case("plan_named", json!({ "chunks": 10, "batches": [1, 4] }))]
    #[case("chunk", json!({ "number": 0, "items": [{ "id": "#" }, { "id": "b", "card": 7 }], "missing": ["a"] }))]
    fn the_form_of_a_cancel_is_fixed(#[case] step: &str, #[case] content: Value) {
        let mut message = golden();
        message["kind"] = json!("cancel-bulk");
        message["instruction"] = json!({ "bulk_id": "b", "program_id": 1, "step": { step: content } });
        let read: Message<CancelBulk> = serde_json::from_value(message.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), message);
        message["instruction"]["step"][step]["x"] = json!(1);
        assert!(serde_json::from_value::<Message<CancelBulk>>(message).is_err());
    }

    #[rstest]
    #[case(json!({ "order_id": -7 }))]
    #[case(json!({ "international_order_uid": "6269c403-5b9f-47dd-b8c3-7ecbef8f686d" }))]
    fn the_form_of_a_cancellation_is_fixed(#[case] order: Value) {
        let mut message = golden();
        message["kind"] = json!("cancel-orders");
        message["instruction"] = json!({ "order": order });
        let read: Message<CancelOrder> = serde_json::from_value(message.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), message);
    }
}
