//! Cards: read, bound, reissued, canceled.

use shared::domain::bind::Bind;
use shared::domain::card::{Bound, CardStatus, Mark, Replaced};
use shared::domain::ids::CardId;

use super::{Changed, Conflict};
use crate::hashed::Transition;
use crate::world::{CardRow, World};

impl World {
    /// `GetItem` card.
    pub(crate) fn card(&self, card: CardId) -> Option<CardRow> {
        self.cards.get(&card).cloned()
    }

    /// `UpdateItem` card: UNBOUND → CREATED, with the mark.
    pub(crate) fn bind_change(&mut self, card: CardId, mark: &Bound) -> Changed<CardRow> {
        let row = self.cards.get_mut(&card).ok_or(None)?;
        if row.row.status != CardStatus::Unbound || row.row.bound.is_some() {
            return Err(Some(row.clone()));
        }
        row.apply(Transition::Bound, mark.by, |card| {
            (card.status, card.bound) = (CardStatus::Created, Some(mark.clone()));
        });
        Ok(())
    }

    /// `UpdateItem` card: its status as read → its status once replaced, with the mark.
    pub(crate) fn replace_change(
        &mut self,
        card: CardId,
        bind: &Bind,
        status: CardStatus,
        mark: &Replaced,
    ) -> Changed<CardRow> {
        let row = self.cards.get_mut(&card).ok_or(None)?;
        let is_theirs = row.row.is_bound_to(bind.account_id, bind.customer_id);
        if row.row.status != mark.previous_status || row.row.replaced.is_some() || !is_theirs {
            return Err(Some(row.clone()));
        }
        row.apply(Transition::Replaced, mark.by, |card| {
            (card.status, card.replaced) = (status, Some(mark.clone()));
        });
        Ok(())
    }

    /// `TransactWriteItems` reissue: both changes or neither.
    pub(crate) fn reissue(
        &mut self,
        bind: &Bind,
        reissued: CardId,
        status: CardStatus,
        (bound, replaced): (&Bound, &Replaced),
    ) -> Result<(), Conflict> {
        let before = self.cards.clone();
        let done = self.bind_change(bind.card_id, bound).is_ok()
            && self.replace_change(reissued, bind, status, replaced).is_ok();
        if done {
            return Ok(());
        }
        self.cards = before;
        Err(Conflict)
    }

    /// `BatchExecuteStatement` cancel: UNBOUND → CANCELED, with the mark. With `unguarded`, from any status.
    pub(crate) fn cancel_card(&mut self, card: CardId, mark: &Mark, unguarded: bool) -> Changed<CardRow> {
        let row = self.cards.get_mut(&card).ok_or(None)?;
        if row.row.status != CardStatus::Unbound && !unguarded {
            return Err(Some(row.clone()));
        }
        row.apply(Transition::Canceled, mark.by, |card| {
            (card.status, card.canceled) = (CardStatus::Canceled, Some(mark.clone()));
        });
        Ok(())
    }
}
