//! Rows of cards: read, bound and reissued.

use super::change::{Change, Changed, reserved};
use super::{Store, StoreError, attribute, card_key, read, retrying};
use crate::domain::acceptance::Acceptance;
use crate::domain::bind::{
    Bind, BindEffect, HalfSeen, ReplacedCard, bound_by, check_card, check_reissued, reissued_before,
};
use crate::domain::card::{Bound, Card, CardStatus, Replaced};
use crate::domain::ids::{CardId, OrgId};
use crate::domain::time::Timestamp;

impl Store {
    /// Returns the card, read consistently.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn card(&self, org: &OrgId, card: CardId) -> Result<Option<Card>, StoreError> {
        const CALL: &str = "GetItem card";
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(card_key(org, card)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| StoreError::of(CALL, &error))?;
        output.item.map(|item| read(CALL, item)).transpose()
    }

    /// Binds the card, and replaces the reissued card if there is one. Does so only if the rules allow it and the
    /// operation has not done so before.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn bind(
        &self,
        org: &OrgId,
        acceptance: Acceptance,
        bind: &Bind,
        now: Timestamp,
    ) -> Result<BindEffect, StoreError> {
        let mark = bind.mark(acceptance, now);
        match bind.reissued_card_id {
            None => self.bind_plain(org, acceptance, bind.card_id, &mark).await,
            Some(reissued) => retrying(|| self.reissue(org, acceptance, bind, reissued, &mark)).await,
        }
    }

    /// Makes one conditional write. Returns whether the bind was made now or earlier by this operation, or the reason
    /// of its refusal.
    async fn bind_plain(
        &self,
        org: &OrgId,
        acceptance: Acceptance,
        card: CardId,
        mark: &Bound,
    ) -> Result<BindEffect, StoreError> {
        const CALL: &str = "UpdateItem card";
        let found = match self.change(bind_change(CALL, org, card, mark)?).await? {
            Changed::Yes(_) => return Ok(BindEffect::Bound { at: mark.at, replaced: None }),
            Changed::No(found) => found,
        };
        let card: Option<Card> = found.map(|item| read(CALL, item)).transpose()?;
        if let Some(at) = bound_by(acceptance, card.as_ref()) {
            return Ok(BindEffect::Bound { at, replaced: None });
        }
        match check_card(card.as_ref()) {
            Err(code) => Ok(BindEffect::refused(code, card.as_ref())),
            Ok(_) => Err(StoreError::Unexpected { call: CALL, reason: "refused a card that is UNBOUND" }),
        }
    }

    /// Reads both cards, decides, and writes both in one transaction, on condition that they are unchanged.
    ///
    /// The two reads are separate. Another copy of the message may change the cards between them, so that only one of
    /// the changes is visible. So both cards are checked for this operation's mark, and if they disagree, both are
    /// read again.
    async fn reissue(
        &self,
        org: &OrgId,
        acceptance: Acceptance,
        bind: &Bind,
        reissued: CardId,
        mark: &Bound,
    ) -> Result<BindEffect, StoreError> {
        const CALL: &str = "TransactWriteItems reissue";
        let card = self.card(org, bind.card_id).await?;
        let old = self.card(org, reissued).await?;
        match reissued_before(acceptance, card.as_ref(), old.as_ref()) {
            Ok(None) => {}
            Ok(Some(before)) => return Ok(before),
            Err(HalfSeen) => return Err(StoreError::Conflict { call: CALL }),
        }
        let checked = check_card(card.as_ref()).and_then(|_| check_reissued(old.as_ref(), bind));
        let (old, new_status) = match checked {
            Ok(checked) => checked,
            Err(code) => return Ok(BindEffect::refused(code, card.as_ref())),
        };
        let replaced = mark.replaces(bind.card_id, old.status);
        let writes = vec![
            bind_change(CALL, org, bind.card_id, mark)?.in_transaction(self)?,
            replace_change(CALL, org, reissued, bind, new_status, &replaced)?.in_transaction(self)?,
        ];
        self.transact(CALL, writes).await?;
        let replaced = ReplacedCard { card_id: reissued, previous_status: old.status, facts: old.facts.clone() };
        Ok(BindEffect::Bound { at: mark.at, replaced: Some(replaced) })
    }
}

/// Returns the change from UNBOUND to CREATED, with the mark.
fn bind_change(call: &'static str, org: &OrgId, card: CardId, mark: &Bound) -> Result<Change, StoreError> {
    Ok(Change {
        call,
        key: card_key(org, card),
        update: "SET #status = :created, #bound = :mark",
        condition: "#status = :unbound AND attribute_not_exists(#bound)",
        names: reserved(&["status", "bound"]),
        values: vec![
            (":unbound", attribute(call, CardStatus::Unbound)?),
            (":created", attribute(call, CardStatus::Created)?),
            (":mark", attribute(call, mark)?),
        ],
    })
}

/// Returns the change from the card's status as read to its status once replaced, with the mark.
fn replace_change(
    call: &'static str,
    org: &OrgId,
    card: CardId,
    bind: &Bind,
    status: CardStatus,
    mark: &Replaced,
) -> Result<Change, StoreError> {
    Ok(Change {
        call,
        key: card_key(org, card),
        update: "SET #status = :status, #replaced = :mark",
        condition: "#status = :previous AND attribute_not_exists(#replaced) \
                    AND #bound.account_id = :account AND #bound.customer_id = :customer",
        names: reserved(&["status", "bound", "replaced"]),
        values: vec![
            (":previous", attribute(call, mark.previous_status)?),
            (":status", attribute(call, status)?),
            (":mark", attribute(call, mark)?),
            (":account", attribute(call, bind.account_id)?),
            (":customer", attribute(call, bind.customer_id)?),
        ],
    })
}
