//! The message that the broker's order system sends to the order-feed queue.

use serde::Deserialize;
use shared::domain::ids::{OperationId, OrgId};
use shared::domain::order::{
    CancellationCode, MAX_AUTHORIZED, MAX_VERSION, OrderChange, OrderRef, OrderStatus, PersonId,
};
use shared::domain::time::Timestamp;
use shared::number::Integer;
use shared::worker::{LogFields, QueueMessage};
use uuid::Uuid;

/// A change of an order, as the broker's order system sends it to the order-feed queue. The schema is
/// `infra/schemas/order-feed.schema.json`. Members that are not in the schema belong to the order system and are
/// ignored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "FeedForm")]
pub struct OrderFeed {
    /// The tenant's ID.
    pub org_id: OrgId,
    /// The change of the order.
    pub change: OrderChange,
}

impl QueueMessage for OrderFeed {
    const KIND: &'static str = "order-feed";

    fn log_fields(&self) -> LogFields {
        LogFields { tenant: self.org_id.to_string(), operation_id: None, cid: None }
    }
}

#[derive(Deserialize)]
struct FeedForm {
    org_id: OrgId,
    order_id: Option<Integer<i32>>,
    international_order_uid: Option<Uuid>,
    creator_id: Integer<PersonId>,
    authorized_ids: Option<Vec<Integer<PersonId>>>,
    status: OrderStatus,
    version: Integer<u64>,
    updated_at: Timestamp,
    cancel_rejected: Option<FeedRejection>,
}

#[derive(Deserialize)]
struct FeedRejection {
    operation_id: OperationId,
    code: CancellationCode,
}

impl TryFrom<FeedForm> for OrderFeed {
    type Error = &'static str;

    fn try_from(form: FeedForm) -> Result<Self, &'static str> {
        let order = match (form.order_id, form.international_order_uid) {
            (Some(Integer(id)), None) => OrderRef::Domestic(id),
            (None, Some(uid)) => OrderRef::International(uid),
            _ => return Err("a change must have either order_id or international_order_uid"),
        };
        let rejected = form.cancel_rejected.map(|rejection| (rejection.operation_id, rejection.code));
        if rejected.is_some_and(|(_, code)| code == CancellationCode::Canceled) {
            return Err("the code of a rejected cancellation must not be CANCELED");
        }
        if rejected.is_some() && form.status == OrderStatus::Canceled {
            return Err("an order whose cancellation was rejected must not be CANCELED");
        }
        let FeedForm { org_id, creator_id: Integer(creator_id), status, version: Integer(version), updated_at, .. } =
            form;
        if version > MAX_VERSION {
            return Err("the version is too large");
        }
        if form.authorized_ids.as_ref().is_some_and(|ids| ids.len() > MAX_AUTHORIZED) {
            return Err("the change has too many authorized persons");
        }
        let authorized_ids = form.authorized_ids.map(|ids| ids.into_iter().map(|Integer(id)| id).collect());
        let change = OrderChange { order, creator_id, authorized_ids, status, version, updated_at, rejected };
        Ok(Self { org_id, change })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn feed() -> Value {
        json!({
            "org_id": "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11", "order_id": 7, "creator_id": 9, "status": "ACTIVE",
            "version": 3, "updated_at": "2026-11-22T03:04:05.678Z", "venue": "the order system's own",
        })
    }

    #[test]
    fn a_change_of_an_order_is_read() {
        let read: OrderFeed = serde_json::from_value(feed()).unwrap();
        assert_eq!((read.change.order, read.change.version), (OrderRef::Domestic(7), 3));
        // The limits and values are those of the schema.
        let schema: Value =
            serde_json::from_str(include_str!("../../../infra/schemas/order-feed.schema.json")).unwrap();
        assert_eq!(schema["properties"]["authorized_ids"]["maxItems"], MAX_AUTHORIZED);
        assert_eq!(schema["properties"]["version"]["maximum"], MAX_VERSION);
        for status in schema["properties"]["status"]["enum"].as_array().unwrap() {
            let mut feed = feed();
            feed["status"] = status.clone();
            assert!(serde_json::from_value::<OrderFeed>(feed).is_ok(), "{status}");
        }
        let codes = &schema["properties"]["cancel_rejected"]["properties"]["code"]["enum"];
        for code in codes.as_array().unwrap() {
            let mut feed = feed();
            feed["cancel_rejected"] = json!({ "operation_id": "0192d1c0-0000-7000-8000-000000000001", "code": code });
            assert!(serde_json::from_value::<OrderFeed>(feed).is_ok(), "{code}");
        }
    }

    #[rstest]
    #[case::null(json!(null), None)]
    #[case::no_one(json!([]), Some(&[][..]))]
    #[case::twice(json!([8, 7, 8]), Some(&[7, 8][..]))]
    #[case::with_a_fraction_of_nothing(json!([8.0, -7]), Some(&[-7, 8][..]))]
    #[case::as_many_as_may_be(json!(vec![8; 50]), Some(&[8][..]))]
    fn authorized_persons_are_read(#[case] ids: Value, #[case] expected: Option<&[PersonId]>) {
        let mut feed = feed();
        feed["authorized_ids"] = ids;
        let read: OrderFeed = serde_json::from_value(feed).unwrap();
        assert_eq!(read.change.authorized_ids, expected.map(|ids| ids.iter().copied().collect()));
    }

    #[rstest]
    #[case::too_many(json!(vec![8; 51]))]
    #[case::with_a_fraction(json!([8.5]))]
    #[case::too_large(json!([2_147_483_648_u64]))]
    #[case::text(json!(["8"]))]
    #[case::null(json!([null]))]
    #[case::no_list(json!(8))]
    fn invalid_authorized_persons_are_refused(#[case] ids: Value) {
        let mut feed = feed();
        feed["authorized_ids"] = ids;
        assert!(serde_json::from_value::<OrderFeed>(feed).is_err());
    }

    #[rstest]
    #[case("/order_id", json!(7.0), 3)]
    #[case("/creator_id", json!(9.0), 3)]
    #[case("/version", json!(5.0), 5)]
    #[case("/version", json!(0), 0)]
    #[case("/version", json!(9_007_199_254_740_991_u64), MAX_VERSION)]
    #[case("/international_order_uid", json!(null), 3)]
    #[case("/cancel_rejected", json!(null), 3)]
    fn numbers_with_zero_fractions_and_nulls_are_read(
        #[case] pointer: &str,
        #[case] value: Value,
        #[case] version: u64,
    ) {
        let mut feed = feed();
        feed[&pointer[1..]] = value;
        let OrderFeed { change, .. } = serde_json::from_value(feed).unwrap();
        assert_eq!((change.order, change.creator_id, change.version), (OrderRef::Domestic(7), 9, version));
        assert_eq!((change.authorized_ids, change.rejected), (None, None));
    }

    #[rstest]
    #[case("/org_id", json!("TN-1"))]
    #[case("/order_id", json!(null))]
    #[case("/order_id", json!(2_147_483_648_u64))]
    #[case("/order_id", json!(7.5))]
    #[case("/creator_id", json!(null))]
    #[case("/creator_id", json!("9"))]
    #[case("/version", json!(9_007_199_254_740_992_u64))]
    #[case("/version", json!(1e300))]
    #[case("/version", json!(3.5))]
    #[case("/version", json!("3"))]
    #[case("/status", json!("SHINY"))]
    #[case("/version", json!(-1))]
    #[case("/updated_at", json!("yesterday"))]
    #[case("/venue", json!(null))]
    fn a_malformed_change_is_refused(#[case] pointer: &str, #[case] value: Value) {
        let mut feed = feed();
        let is_own = pointer == "/venue";
        *feed.pointer_mut(pointer).unwrap() = value;
        assert_eq!(serde_json::from_value::<OrderFeed>(feed).is_ok(), is_own);
    }

    #[test]
    fn a_contradictory_change_is_refused() {
        let mut two = feed();
        two["international_order_uid"] = json!("6269c403-5b9f-47dd-b8c3-7ecbef8f686d");
        assert!(serde_json::from_value::<OrderFeed>(two).is_err());
        let mut wrong = feed();
        wrong["cancel_rejected"] =
            json!({ "operation_id": "0192d1c0-0000-7000-8000-000000000001", "code": "CANCELED" });
        assert!(serde_json::from_value::<OrderFeed>(wrong.clone()).is_err());
        wrong["cancel_rejected"]["code"] = json!("OTHER");
        wrong["status"] = json!("CANCELED");
        assert!(serde_json::from_value::<OrderFeed>(wrong).is_err());
    }
}
