//! `PUT /wallet/v2/cards/{cardId}/noname/bind`: checks a bind, records its operation, enqueues it.
//!
//! A 202 promises that the operation ends, with its event. It is given only after the operation's row
//! is written and SQS has the message. Should this function die in between, the client has no 202; a
//! repetition with the same `Idempotency-Key` finds the row and sends the message (again).
//!
//! What is checked here can change before the worker acts; the worker's conditional write decides.

use lambda_http::http::StatusCode;
use serde_json::Value;
use shared::domain::bind::{Bind, BindRefusal, check_card, check_reissued};
use shared::domain::card::Card;
use shared::domain::ids::{CardId, OrgId};
use shared::domain::operation::{Operation, OperationState, Subject};
use shared::domain::time::Timestamp;
use shared::http::{Answer, Call, Invalid, Problem, Replay, Ticket};
use shared::message::{self, Message, Version1};
use shared::queue::Queue;
use shared::store::{Recorded, Store};

/// Part of every idempotency key's record. Never change it.
const ENDPOINT: &str = "bind-card";
/// Largest body (contract).
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The endpoint and what it may touch.
#[derive(Debug, Clone)]
pub struct BindCard {
    /// Reads cards; reads and records operations.
    pub store: Store,
    /// Takes the instructions.
    pub queue: Queue,
}

impl BindCard {
    /// Answers a request.
    ///
    /// # Errors
    /// Every answer but the 202.
    pub async fn handle(&self, call: &Call) -> Result<Answer, Problem> {
        let org = &call.identity.org_id;
        let bind = read(call)?;
        let ticket = call.ticket(ENDPOINT, &bind)?;

        // Before any check of state: what the first request changed must not change its answer.
        let recorded = self.recorded(org, &ticket, call.now).await?;
        if let Some(recorded) = &recorded
            && ticket.replay(recorded)? == Replay::AnswerAgain
        {
            return Ok(Answer::accepted(ticket.operation_id));
        }

        let card = self.store.card(org, bind.card_id).await?;
        let operation = if let Some(recorded) = recorded {
            recorded
        } else {
            if let Err(refusal) = self.check(org, &bind, card.as_ref()).await {
                // What refuses may be this very operation, recorded since we looked by the same request
                // sent twice.
                let recorded = self.recorded(org, &ticket, call.now).await?.ok_or(refusal)?;
                ticket.replay(&recorded)?;
                return Ok(Answer::accepted(ticket.operation_id));
            }
            let operation = new_operation(call, &bind, &ticket);
            match self.store.record_operation(&operation, call.now).await? {
                Recorded::New => operation,
                // A request with the same key came between, or the SDK repeated its own call.
                Recorded::Existing(existing) => match ticket.replay(&existing)? {
                    Replay::SendAgain => *existing,
                    Replay::AnswerAgain => return Ok(Answer::accepted(ticket.operation_id)),
                },
            }
        };
        let card = card.ok_or_else(|| Problem::broken("the operation's card is gone"))?;
        self.queue.send(&new_message(operation, bind, card)).await?;
        Ok(Answer::accepted(ticket.operation_id))
    }

    /// The operation of an earlier request with the same key.
    async fn recorded(&self, org: &OrgId, ticket: &Ticket, now: Timestamp) -> Result<Option<Operation>, Problem> {
        if !ticket.keyed {
            return Ok(None);
        }
        Ok(self.store.operation(org, ticket.operation_id, now).await?)
    }

    async fn check(&self, org: &OrgId, bind: &Bind, card: Option<&Card>) -> Result<(), Problem> {
        check_card(card).map_err(refusal)?;
        if let Some(reissued) = bind.reissued_card_id {
            let reissued = self.store.card(org, reissued).await?;
            check_reissued(reissued.as_ref(), bind).map_err(refusal)?;
        }
        Ok(())
    }
}

/// The instruction, if everything about the request is well formed, and is about the token's own
/// account.
fn read(call: &Call) -> Result<Bind, Problem> {
    const FORBIDDEN: &str = "The access token is not for this account.";
    let account = call.identity.account_id.ok_or_else(|| Problem::forbidden(FORBIDDEN))?;
    let mut invalid = Vec::new();
    let card_id = kept(call.path("cardId"), &mut invalid);
    let account_id = kept(call.header("x-account-id"), &mut invalid);
    let customer_id = kept(call.header("x-customer-id"), &mut invalid);
    let body = call.json_object(MAX_BODY_BYTES);
    let reissued = match &body {
        Ok(Some(members)) => members.get("reissued_card_id"),
        Ok(None) | Err(_) => None,
    };
    let reissued_card_id = reissued.and_then(|value| kept(read_reissued(value, card_id), &mut invalid));
    match (body, card_id, account_id, customer_id) {
        (Err(problem), ..) if invalid.is_empty() => Err(problem),
        (Ok(_), Some(card_id), Some(account_id), Some(customer_id)) if invalid.is_empty() => {
            if account_id != account {
                return Err(Problem::forbidden(FORBIDDEN));
            }
            Ok(Bind { card_id, account_id, customer_id, reissued_card_id })
        }
        _ => Err(Problem::invalid(invalid)),
    }
}

fn read_reissued(value: &Value, card_id: Option<CardId>) -> Result<CardId, Invalid> {
    let invalid = |detail| Invalid::body("/reissued_card_id", detail);
    let reissued = value.as_u64().and_then(CardId::new);
    let reissued = reissued.ok_or_else(|| invalid("must be an integer from 1 to 9007199254740991"))?;
    if Some(reissued) == card_id {
        return Err(invalid("must be another card than the one that is bound"));
    }
    Ok(reissued)
}

fn kept<T>(result: Result<T, Invalid>, invalid: &mut Vec<Invalid>) -> Option<T> {
    result.map_err(|error| invalid.push(error)).ok()
}

/// The contract's status for a bind that cannot be. A card that is not there is 403, not 404: the
/// contract has no 404 for it, and a foreign card must look the same.
fn refusal(code: BindRefusal) -> Problem {
    let (status, name) = match code {
        BindRefusal::CardNotFound => (StatusCode::FORBIDDEN, "card-not-found"),
        BindRefusal::ReissuedCardNotFound => (StatusCode::FORBIDDEN, "reissued-card-not-found"),
        BindRefusal::CardNotUnbound => (StatusCode::CONFLICT, "card-not-unbound"),
        BindRefusal::ReissuedCardNotEligible => (StatusCode::CONFLICT, "reissued-card-not-eligible"),
        BindRefusal::ReissuedCardAlreadyReplaced => (StatusCode::CONFLICT, "reissued-card-already-replaced"),
    };
    Problem::new(status, name, code)
}

fn new_operation(call: &Call, bind: &Bind, ticket: &Ticket) -> Operation {
    Operation {
        org_id: call.identity.org_id.clone(),
        operation_id: ticket.operation_id,
        state: OperationState::Pending,
        fingerprint: ticket.fingerprint.clone(),
        cid: call.cid.clone(),
        created_at: call.now,
        ended_at: None,
        subject: Subject::BindCard { card_id: bind.card_id, reissued_card_id: bind.reissued_card_id, outcome: None },
    }
}

/// The operation's message: the same one whenever it is sent, because the card's facts never change.
fn new_message(operation: Operation, bind: Bind, card: Card) -> Message<message::BindCard> {
    Message {
        version: Version1,
        org_id: operation.org_id,
        operation_id: operation.operation_id,
        cid: operation.cid,
        accepted_at: operation.created_at,
        instruction: message::BindCard { bind, card: card.facts },
    }
}
