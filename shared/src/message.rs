//! What travels through the queues: one envelope, around the instruction of each worker.
//!
//! A message says everything that its worker needs, so that a redelivery means the same as the first
//! delivery. Members that this version does not know make a message *broken*: guessing at a newer
//! sender's meaning could move cards.

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

/// The one version of the envelope and of all instructions in it.
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

/// What a worker is to do.
pub trait Instruction: Serialize + DeserializeOwned + Send + Sync {
    /// The kind that its messages name. It is the name of the queue, too.
    const KIND: &'static str;
}

/// The kind of a message: that of its instruction, and no other.
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

/// The envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound(serialize = "T: Instruction", deserialize = "T: Instruction"))]
pub struct Message<T> {
    /// The version of the form.
    pub version: Version1,
    /// What the instruction is.
    pub kind: MessageKind<T>,
    /// The tenant, from the token of the request.
    pub org_id: OrgId,
    /// The operation that the instruction belongs to. Its row was written before the message was sent.
    pub operation_id: OperationId,
    /// The correlation ID of the request.
    pub cid: CorrelationId,
    /// When the operation was accepted.
    pub accepted_at: Timestamp,
    /// What to do.
    pub instruction: T,
}

impl<T> Message<T> {
    /// The first message of a recorded operation.
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

    /// Returns which operation it belongs to, as it was accepted.
    #[must_use]
    pub const fn acceptance(&self) -> Acceptance {
        Acceptance { operation_id: self.operation_id, accepted_at: self.accepted_at }
    }

    /// A further message of the same operation.
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

    /// What the events of this message's operation share.
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

/// For the bind-card worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindCard {
    /// The instruction.
    pub bind: Bind,
    /// The card's facts, for the event of a bind that finds no card any more.
    pub card: CardFacts,
}

impl Instruction for BindCard {
    const KIND: &'static str = "bind-card";
}

/// For the start-bulk worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartBulk {
    /// The bulk.
    pub bulk_id: BulkId,
    /// What to do about it.
    pub step: StartStep,
}

impl Instruction for StartBulk {
    const KIND: &'static str = "start-bulk";
}

/// A step of a start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartStep {
    /// Cut the bulk into chunks and send their messages.
    Plan(PlanCursor),
    /// Issue the cards of one chunk.
    Chunk(StartChunk),
    /// See whether the operation has ended.
    Watch(Watch),
}

/// A look at an operation that should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {}

/// Some of a start's items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartChunk {
    /// Its number in the operation, from 0.
    pub number: u32,
    /// Where they are.
    pub range: Range,
}

/// For the cancel-bulk worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelBulk {
    /// The bulk.
    pub bulk_id: BulkId,
    /// Its program, for the events.
    pub program_id: ProgramId,
    /// What to do about it.
    pub step: CancelStep,
}

impl Instruction for CancelBulk {
    const KIND: &'static str = "cancel-bulk";
}

/// A step of a cancel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelStep {
    /// FULL: cut the bulk into chunks and send their messages.
    PlanAll(PlanCursor),
    /// PARTIAL: look for the items that were named, and send their chunks' messages.
    PlanNamed(NamedPlan),
    /// Cancel one chunk.
    Chunk(CancelChunk),
    /// See whether the operation has ended.
    Watch(Watch),
}

/// What a client named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedPlan {
    /// How many chunks of names were stored with the operation.
    pub chunks: u32,
    /// The bulk's batches when it was asked.
    pub batches: BTreeSet<u32>,
}

/// Some of a cancel's items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelChunk {
    /// Its number in the operation, from 0.
    pub number: u32,
    /// The items, as the plan found them.
    pub items: Vec<ItemRef>,
    /// Names that are none of the bulk's items.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<ExternalId>,
}

/// For the cancel-orders worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelOrder {
    /// The order.
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
    #[case("/instruction/card", json!({ "program_id": 1, "contactless_enabled": true, "issuing_date": "2026-11-22T00:00:00Z",
        "expiration_date": "2032-11-22T00:00:00Z", "colour": "red" }))]
    fn anything_else_is_broken(#[case] pointer: &str, #[case] value: Value) {
        let mut message = golden();
        *message.pointer_mut(pointer).unwrap() = value;
        assert!(serde_json::from_value::<Message<BindCard>>(message).is_err());
    }

    #[test]
    fn a_member_of_an_unknown_name_is_broken() {
        let mut message = golden();
        message["priority"] = json!(1);
        assert!(serde_json::from_value::<Message<BindCard>>(message).is_err());
    }

    #[rstest]
    #[case("plan_all", json!({ "chunks": 0, "items": 0 }))]
    #[case("plan_all", json!({ "chunks": 1, "items": 9, "open": [{ "id": "a", "batch": 1, "card": 7 }], "after": "b" }))]
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
