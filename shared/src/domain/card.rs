//! A card: its status, and the marks that its transitions leave.
//!
//! Each transition happens at most once in a card's life and leaves its own **mark**: the operation that made it, the
//! time when that was accepted, and the time of the transition. A mark is never overwritten. So an operation can
//! always determine whether it has been applied already, whatever has happened to the card since.

use serde::{Deserialize, Serialize};

use super::acceptance::Acceptance;
use super::ids::{AccountId, BulkId, CardId, CustomerId, ExternalId, OperationId, ProgramId};
use super::time::{Date, Timestamp};

/// A card's status, as the contract spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CardStatus {
    /// Issued, but not bound to an account: a noname card.
    Unbound,
    /// Bound to an account and a customer.
    Created,
    /// Activated by another system.
    Normal,
    /// Temporarily blocked: BLOCKED.
    Blocked,
    /// Temporarily blocked: PENDING.
    Pending,
    /// Temporarily blocked: WARNING.
    Warning,
    /// Replaced by a new card; usable until that one is activated.
    Reissued,
    /// Terminated: canceled by a cancel of its bulk, or by another system.
    Canceled,
    /// Terminated: LOST in the contract.
    Lost,
    /// Terminated: ROBBED in the contract.
    Robbed,
    /// Terminated: FRAUD in the contract.
    Fraud,
    /// Terminated: DAMAGED in the contract.
    Damaged,
    /// Terminated: EXPIRED in the contract.
    Expired,
    /// Terminated: DELETED in the contract.
    Deleted,
    /// Terminated: BROKEN in the contract.
    Broken,
    /// Terminated: THEFT in the contract.
    Theft,
    /// Terminated: DEFECT in the contract.
    Defect,
    /// Terminated: INOPERATIVE in the contract.
    Inoperative,
}

/// The mark of a transition that has no other data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The operation that made the transition.
    pub by: OperationId,
    /// The time when the operation was accepted.
    pub accepted_at: Timestamp,
    /// The time of the transition.
    pub at: Timestamp,
}

impl Mark {
    /// Returns the mark that this operation leaves at `now`.
    #[must_use]
    pub const fn new(Acceptance { operation_id, accepted_at }: Acceptance, now: Timestamp) -> Self {
        Self { by: operation_id, accepted_at, at: now }
    }

    /// Returns whether the operation with this ID and this time of acceptance left the mark.
    #[must_use]
    pub fn is_of(&self, acceptance: Acceptance) -> bool {
        self.by == acceptance.operation_id && self.accepted_at == acceptance.accepted_at
    }
}

/// The mark of a bind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// The operation that bound the card.
    pub by: OperationId,
    /// The time when the operation was accepted.
    pub accepted_at: Timestamp,
    /// The time of the bind.
    pub at: Timestamp,
    /// The account that the card is bound to.
    pub account_id: AccountId,
    /// The customer that the card is bound to.
    pub customer_id: CustomerId,
    /// The card that this one replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reissued_card_id: Option<CardId>,
}

impl Bound {
    /// Returns the mark for the card that this one replaces, given that card's previous status.
    #[must_use]
    pub fn replaces(&self, new_card_id: CardId, previous_status: CardStatus) -> Replaced {
        Replaced { by: self.by, accepted_at: self.accepted_at, at: self.at, new_card_id, previous_status }
    }
}

/// The mark of a card's replacement by a reissue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// The operation that replaced the card.
    pub by: OperationId,
    /// The time when the operation was accepted.
    pub accepted_at: Timestamp,
    /// The time of the replacement.
    pub at: Timestamp,
    /// The card that replaced this one.
    pub new_card_id: CardId,
    /// The card's status before the replacement.
    pub previous_status: CardStatus,
}

/// A card as stored in its row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// The card's ID.
    pub card_id: CardId,
    /// The current status.
    pub status: CardStatus,
    /// The facts that never change.
    #[serde(flatten)]
    pub facts: CardFacts,
    /// The mark of the bind, once bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<Bound>,
    /// The mark of the replacement, once replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced: Option<Replaced>,
    /// The mark of the cancel, once canceled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canceled: Option<Mark>,
}

/// The facts of a card that never change after its issue, so that messages may contain copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardFacts {
    /// The program under which the card was issued.
    pub program_id: ProgramId,
    /// The bulk in which the card was issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bulk_id: Option<BulkId>,
    /// The client's name for the card in that bulk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<ExternalId>,
    /// True if the card can be used for contactless payments.
    pub contactless_enabled: bool,
    /// The day of issue.
    pub issuing_date: Date,
    /// The day of expiry.
    pub expiration_date: Date,
}

impl Card {
    /// Returns whether this caller may see the card's data. A caller limited to an account may not see another
    /// account's card, but may learn that it exists.
    #[must_use]
    pub fn is_open_to(&self, account: Option<AccountId>) -> bool {
        let is_held_by = |account| self.bound.as_ref().is_none_or(|bound| bound.account_id == account);
        account.is_none_or(is_held_by)
    }

    /// Returns whether the card belongs to this account and this customer.
    #[must_use]
    pub fn is_bound_to(&self, account_id: AccountId, customer_id: CustomerId) -> bool {
        self.bound.as_ref().is_some_and(|bound| bound.account_id == account_id && bound.customer_id == customer_id)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    const OPERATION: &str = "0192d1c0-0000-7000-8000-000000000001";
    const ANOTHER: &str = "0192d1c0-0000-7000-8000-000000000002";
    const ACCEPTED: &str = "2026-11-22T03:04:05.678Z";
    const EARLIER: &str = "2026-08-01T00:00:00.000Z";

    /// Returns a card that is bound to account 8 and customer 9, or not bound.
    fn card(is_bound: bool) -> Card {
        let bound = json!({
            "by": OPERATION, "accepted_at": ACCEPTED, "at": ACCEPTED, "account_id": 8, "customer_id": 9,
        });
        let card = json!({
            "card_id": 7, "status": "UNBOUND", "program_id": 1, "contactless_enabled": true,
            "issuing_date": "2026-11-22T00:00:00Z", "expiration_date": "2032-11-22T00:00:00Z",
            "bound": is_bound.then_some(bound),
        });
        serde_json::from_value(card).unwrap()
    }

    #[rstest]
    #[case::same(OPERATION, ACCEPTED, true)]
    #[case::another_operation(ANOTHER, ACCEPTED, false)]
    #[case::same_key_used_again(OPERATION, EARLIER, false)]
    #[case::neither(ANOTHER, EARLIER, false)]
    fn a_mark_is_of_one_acceptance_of_one_operation(#[case] by: &str, #[case] accepted_at: &str, #[case] is_of: bool) {
        let time = |text: &str| serde_json::from_value(json!(text)).unwrap();
        let mark = Mark { by: by.parse().unwrap(), accepted_at: time(accepted_at), at: time(ACCEPTED) };
        let acceptance = Acceptance { operation_id: OPERATION.parse().unwrap(), accepted_at: time(ACCEPTED) };
        assert_eq!(mark.is_of(acceptance), is_of);
    }

    #[test]
    fn an_account_sees_its_own_cards_and_unbound_ones() {
        let callers = [None, AccountId::new(8), AccountId::new(7)];
        assert_eq!(callers.map(|account| card(true).is_open_to(account)), [true, true, false]);
        assert_eq!(callers.map(|account| card(false).is_open_to(account)), [true; 3]);
    }

    #[rstest]
    #[case(8, 9, true)]
    #[case(7, 9, false)]
    #[case(8, 7, false)]
    #[case(7, 7, false)]
    fn a_card_belongs_to_its_account_and_its_customer(#[case] account: u64, #[case] customer: u64, #[case] is: bool) {
        let (account, customer) = (AccountId::new(account).unwrap(), CustomerId::new(customer).unwrap());
        assert_eq!(card(true).is_bound_to(account, customer), is);
        assert!(!card(false).is_bound_to(account, customer));
    }

    #[test]
    fn a_status_is_spelt_as_in_the_contract() {
        let spelt = |status| serde_json::to_string(&status).unwrap();
        assert_eq!(spelt(CardStatus::Unbound), r#""UNBOUND""#);
        assert_eq!(spelt(CardStatus::Canceled), r#""CANCELED""#);
    }
}
