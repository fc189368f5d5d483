//! `PUT /wallet/v2/cards/{cardId}/noname/bind`: checks a bind, records its operation and sends it to the queue.
//!
//! A 202 promises that the operation ends and that its event is published (see [`shared::http::accept`]). The state
//! checked here can change before the worker acts. The worker's conditional write decides.

use shared::aws::Service;
use shared::domain::bind::{Bind, BindRefusal, carried_out_by, check_card, check_reissued};
use shared::domain::ids::{CardId, OperationId};
use shared::domain::operation::Subject;
use shared::environment::Environment;
use shared::http::{ApiResponse, Endpoint, Invalid, Prepared, Problem, ProblemCode, RequestContext, Scope, accept};
use shared::number::whole;
use shared::queue::Queue;
use shared::store::Store;
use shared::{Error, message};

/// The endpoint and the services that it uses.
#[derive(Debug, Clone)]
pub struct BindCard {
    /// The store, for reading cards and for reading and recording operations.
    pub store: Store,
    /// The queue for the instructions.
    pub queue: Queue,
}

impl Endpoint for BindCard {
    const NAME: &'static str = "bind-card";
    const SCOPE: Scope = Scope::CardsBind;
    const TOKENS: u32 = 1;
    const CALLS: &'static [Service] = &[Service::DYNAMODB, Service::SQS];
    const MAX_BODY_BYTES: usize = 64 * 1024;

    fn from_env(environment: &Environment) -> Result<Self, Error> {
        Ok(Self { store: environment.store(), queue: environment.queue(Self::NAME) })
    }

    async fn handle(&self, context: &RequestContext) -> Result<ApiResponse, Problem> {
        let bind = read(context)?;
        let idempotency = context.idempotency(Self::NAME, &bind)?;
        let subject =
            Subject::BindCard { card_id: bind.card_id, reissued_card_id: bind.reissued_card_id, outcome: None };
        let prepare = |recorded| self.prepare(context, idempotency.operation_id, bind.clone(), recorded);
        accept(&self.store, &self.queue, context, &idempotency, subject, prepare).await
    }
}

impl BindCard {
    /// Returns the instruction of the message. It is the same each time, because a card's facts never change.
    ///
    /// If the operation is not recorded but the card shows that it was carried out, the operation's row was lost. The
    /// endpoint then records the operation again, with its original time of acceptance, and the worker publishes its
    /// event.
    async fn prepare(
        &self,
        context: &RequestContext,
        operation: OperationId,
        bind: Bind,
        recorded: bool,
    ) -> Result<Prepared<message::BindCard>, Problem> {
        let org = &context.identity.org_id;
        let card = self.store.card(org, bind.card_id).await?;
        let accepted_at = carried_out_by(operation, &bind, card.as_ref(), context.now).filter(|_| !recorded);
        if !recorded && accepted_at.is_none() {
            check_card(card.as_ref()).map_err(refusal)?;
            if let Some(reissued) = bind.reissued_card_id {
                let reissued = self.store.card(org, reissued).await?;
                check_reissued(reissued.as_ref(), &bind).map_err(refusal)?;
            }
        }
        let card = card.ok_or_else(|| Problem::broken("the operation's card is gone"))?;
        Ok(Prepared { instruction: message::BindCard { bind, card: card.facts }, accepted_at })
    }
}

/// Returns the instruction, if the request is well-formed and for the account of the token.
fn read(context: &RequestContext) -> Result<Bind, Problem> {
    const FORBIDDEN: &str = "The access token is not for this account.";
    let account = context.identity.account_id.ok_or_else(|| Problem::forbidden(FORBIDDEN))?;
    let mut invalid = Vec::new();
    let card_id = collect_error(context.path("cardId"), &mut invalid);
    let account_id = collect_error(context.header("x-account-id"), &mut invalid);
    let customer_id = collect_error(context.header("x-customer-id"), &mut invalid);
    let body = context.json_object();
    let reissued = match &body {
        Ok(Some(members)) => members.text("reissued_card_id"),
        Ok(None) | Err(_) => None,
    };
    let reissued_card_id = reissued.and_then(|text| collect_error(read_reissued(text, card_id), &mut invalid));
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

fn read_reissued(text: &str, card_id: Option<CardId>) -> Result<CardId, Invalid> {
    let invalid = |detail| Invalid::body("/reissued_card_id", detail);
    let reissued = whole(text).and_then(|number| u64::try_from(number).ok()).and_then(CardId::new);
    let reissued = reissued.ok_or_else(|| invalid("must be an integer from 1 to 9007199254740991"))?;
    if Some(reissued) == card_id {
        return Err(invalid("must be another card than the one that is bound"));
    }
    Ok(reissued)
}

fn collect_error<T>(result: Result<T, Invalid>, invalid: &mut Vec<Invalid>) -> Option<T> {
    result.map_err(|error| invalid.push(error)).ok()
}

/// Returns the problem for a refused bind.
fn refusal(refusal: BindRefusal) -> Problem {
    let code = match refusal {
        BindRefusal::CardNotFound => ProblemCode::CardNotFound,
        BindRefusal::ReissuedCardNotFound => ProblemCode::ReissuedCardNotFound,
        BindRefusal::CardNotUnbound => ProblemCode::CardNotUnbound,
        BindRefusal::ReissuedCardNotEligible => ProblemCode::ReissuedCardNotEligible,
        BindRefusal::ReissuedCardAlreadyReplaced => ProblemCode::ReissuedCardAlreadyReplaced,
    };
    Problem::new(code, refusal)
}
