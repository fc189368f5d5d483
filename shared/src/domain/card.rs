//! A card: its status, and the marks that its transitions leave.
//!
//! Each transition happens at most once in a card's life and leaves a **mark** of its own: the
//! operation that did it, when that was accepted, and when it did it. Nothing overwrites a mark, so "was this mine?" can be answered
//! for ever, whatever has become of the card since.

use serde::{Deserialize, Serialize};

use super::acceptance::Acceptance;
use super::ids::{AccountId, BulkId, CardId, CustomerId, ExternalId, OperationId, ProgramId};
use super::time::{Date, Timestamp};

/// What a card is, in the contract's own spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CardStatus {
    /// Issued, nobody's yet: a noname card.
    Unbound,
    /// Bound to an account and a customer.
    Created,
    /// Activated, outside this system.
    Normal,
    /// Temporarily blocked.
    Blocked,
    /// Temporarily blocked.
    Pending,
    /// Temporarily blocked.
    Warning,
    /// Replaced by a new card; usable until that one is activated.
    Reissued,
    /// Terminated.
    Canceled,
    /// Terminated.
    Lost,
    /// Terminated.
    Robbed,
    /// Terminated.
    Fraud,
    /// Terminated.
    Damaged,
    /// Terminated.
    Expired,
    /// Terminated.
    Deleted,
    /// Terminated.
    Broken,
    /// Terminated.
    Theft,
    /// Terminated.
    Defect,
    /// Terminated.
    Inoperative,
}

/// The mark of a transition that leaves nothing else behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The operation that did it.
    pub by: OperationId,
    /// When that was accepted.
    pub accepted_at: Timestamp,
    /// When it did.
    pub at: Timestamp,
}

impl Mark {
    /// Returns the mark that this operation leaves at `now`.
    #[must_use]
    pub const fn new(Acceptance { operation_id, accepted_at }: Acceptance, now: Timestamp) -> Self {
        Self { by: operation_id, accepted_at, at: now }
    }

    /// Whether it was left by this operation, as it was accepted then.
    #[must_use]
    pub fn is_of(&self, acceptance: Acceptance) -> bool {
        self.by == acceptance.operation_id && self.accepted_at == acceptance.accepted_at
    }
}

/// The mark of being bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// The operation that bound the card.
    pub by: OperationId,
    /// When that was accepted.
    pub accepted_at: Timestamp,
    /// When it did.
    pub at: Timestamp,
    /// The account that the card is bound to.
    pub account_id: AccountId,
    /// The customer that the card is bound to.
    pub customer_id: CustomerId,
    /// The card that was replaced with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reissued_card_id: Option<CardId>,
}

impl Bound {
    /// Returns the mark of the card that this one replaces, which had this status.
    #[must_use]
    pub fn replaces(&self, new_card_id: CardId, previous_status: CardStatus) -> Replaced {
        Replaced { by: self.by, accepted_at: self.accepted_at, at: self.at, new_card_id, previous_status }
    }
}

/// The mark of being replaced by a reissue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// The operation that replaced the card.
    pub by: OperationId,
    /// When that was accepted.
    pub accepted_at: Timestamp,
    /// When it did.
    pub at: Timestamp,
    /// The card that took its place.
    pub new_card_id: CardId,
    /// What the card was until then.
    pub previous_status: CardStatus,
}

/// A card as its row has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// The card.
    pub card_id: CardId,
    /// What it is now.
    pub status: CardStatus,
    /// The facts that never change.
    #[serde(flatten)]
    pub facts: CardFacts,
    /// Set once bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<Bound>,
    /// Set once replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced: Option<Replaced>,
    /// Set once canceled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canceled: Option<Mark>,
}

/// What is true of a card from its issue on, and so may be copied into messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardFacts {
    /// The program that it was issued under.
    pub program_id: ProgramId,
    /// The bulk that it was issued in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bulk_id: Option<BulkId>,
    /// The client's name for it in that bulk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<ExternalId>,
    /// Whether it pays without contact.
    pub contactless_enabled: bool,
    /// The day of its issue.
    pub issuing_date: Date,
    /// The day of its expiry.
    pub expiration_date: Date,
}

impl Card {
    /// Whether this caller may know more of it than that it is there: who is limited to an account may not, of another
    /// account's card.
    #[must_use]
    pub fn is_open_to(&self, account: Option<AccountId>) -> bool {
        let is_held_by = |account| self.bound.as_ref().is_none_or(|bound| bound.account_id == account);
        account.is_none_or(is_held_by)
    }

    /// Whether the card belongs to this account and this customer.
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

    /// A card of account 8 and customer 9, or of nobody.
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
    fn an_account_sees_its_own_cards_and_those_of_nobody() {
        let askers = [None, AccountId::new(8), AccountId::new(7)];
        assert_eq!(askers.map(|account| card(true).is_open_to(account)), [true, true, false]);
        assert_eq!(askers.map(|account| card(false).is_open_to(account)), [true; 3]);
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
