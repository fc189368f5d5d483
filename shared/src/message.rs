//! What travels through the queues: one envelope, around the instruction of each worker.
//!
//! A message says everything that its worker needs, so that a redelivery means the same as the first
//! delivery. Members that this version does not know make a message *broken*: guessing at a newer
//! sender's meaning could move cards.

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::domain::bind::Bind;
use crate::domain::bulk::{Chunk, NamedChunk, PlanCursor};
use crate::domain::card::CardFacts;
use crate::domain::event::EventContext;
use crate::domain::ids::{BulkId, CorrelationId, OperationId, OrgId, ProgramId};
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

/// The envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message<T> {
    /// The version of the form.
    pub version: Version1,
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
    /// A further message of the same operation.
    #[must_use]
    pub fn next<U>(&self, instruction: U) -> Message<U> {
        let Self { version, org_id, operation_id, cid, accepted_at, .. } = self;
        Message {
            version: *version,
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
        EventContext { org_id: self.org_id.clone(), operation_id: self.operation_id, cid: self.cid.clone() }
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

/// For the start-bulk worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartBulk {
    /// The bulk.
    pub bulk_id: BulkId,
    /// What to do about it.
    pub step: BulkStep,
}

/// A step of an operation on a bulk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BulkStep {
    /// Cut it into chunks and send their messages.
    Plan(PlanCursor),
    /// Go through one chunk.
    Chunk(Chunk),
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

/// A step of a cancel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelStep {
    /// Of a FULL one.
    All(BulkStep),
    /// Of a PARTIAL one.
    Named(NamedStep),
}

/// A step of an operation on named items of a bulk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamedStep {
    /// Send the messages of the chunks that were stored with the operation.
    Plan {
        /// How many there are.
        chunks: u32,
    },
    /// Go through one chunk.
    Chunk(NamedChunk),
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn golden() -> Value {
        json!({
            "version": 1,
            "org_id": "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11",
            "operation_id": "0192d1c0-0000-7000-8000-000000000001",
            "cid": "c-1",
            "accepted_at": "2026-11-22T03:04:05.678Z",
            "instruction": {
                "bind": { "card_id": 7, "account_id": 8, "customer_id": 9, "reissued_card_id": 6 },
                "card": {
                    "program_id": 1, "bulk_id": "b", "external_id": "e#1", "contactless_enabled": true,
                    "issuing_date": "2026-11-22", "expiration_date": "2032-11-22"
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
    #[case("/org_id", json!("TN-1"))]
    #[case("/instruction/bind/card_id", json!(0))]
    #[case("/instruction/bind/card_id", json!(9_007_199_254_740_992_u64))]
    #[case("/instruction/bind", json!({ "card_id": 7, "account_id": 8, "customer_id": 9, "pin": 1 }))]
    #[case("/instruction", json!({}))]
    #[case("/instruction/card", json!({ "program_id": 1, "contactless_enabled": true, "issuing_date": "2026-11-22",
        "expiration_date": "2032-11-22", "colour": "red" }))]
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
    #[case(json!({ "all": { "plan": { "chunks": 0, "items": 0 } } }))]
    #[case(json!({ "all": { "chunk": { "number": 3, "first": "a", "last": "b", "items": 2, "batches": [1, 4] } } }))]
    #[case(json!({ "named": { "plan": { "chunks": 10 } } }))]
    #[case(json!({ "named": { "chunk": { "number": 0, "ids": ["a", "#"], "batches": [1] } } }))]
    fn the_form_of_a_cancel_is_fixed(#[case] step: Value) {
        let mut message = golden();
        message["instruction"] = json!({ "bulk_id": "b", "program_id": 1, "step": step });
        let read: Message<CancelBulk> = serde_json::from_value(message.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), message);
        message["instruction"]["step"]["named"] = json!(null);
        assert!(serde_json::from_value::<Message<CancelBulk>>(message).is_err());
    }
}
