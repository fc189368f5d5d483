//! `GET /cards/v1/cards/{cardId}`: returns the current state of a card of the caller's organization.
//!
//! With an account token, the response for another account's card has only its ID.

use serde::Serialize;
use shared::Error;
use shared::aws::Service;
use shared::domain::card::{Card, CardFacts, CardStatus};
use shared::domain::ids::{AccountId, CardId, CustomerId};
use shared::environment::Environment;
use shared::http::{ApiResponse, Endpoint, Problem, RequestContext, Scope};
use shared::store::Store;

/// The endpoint and the store that it uses.
#[derive(Debug, Clone)]
pub struct GetCard {
    /// The store, for reading cards.
    pub store: Store,
}

#[derive(Serialize)]
struct Body {
    card_id: CardId,
    /// The card's details; left out for cards of other accounts.
    #[serde(flatten)]
    details: Option<Details>,
}

#[derive(Serialize)]
struct Details {
    status: CardStatus,
    #[serde(flatten)]
    facts: CardFacts,
    /// The account; left out until the card is bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<AccountId>,
    /// The customer; left out until the card is bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<CustomerId>,
    /// The card that replaced this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    new_card_id: Option<CardId>,
}

impl Body {
    /// Returns the body for a caller whose token is limited to this account, if to any.
    fn of(card: Card, account: Option<AccountId>) -> Self {
        let (card_id, is_open) = (card.card_id, card.is_open_to(account));
        Self { card_id, details: is_open.then(|| Details::from(card)) }
    }
}

impl From<Card> for Details {
    fn from(card: Card) -> Self {
        Self {
            status: card.status,
            facts: card.facts,
            account_id: card.bound.as_ref().map(|bound| bound.account_id),
            customer_id: card.bound.as_ref().map(|bound| bound.customer_id),
            new_card_id: card.replaced.map(|replaced| replaced.new_card_id),
        }
    }
}

impl Endpoint for GetCard {
    const NAME: &'static str = "get-card";
    const SCOPE: Scope = Scope::CardsRead;
    const TOKENS: u32 = 1;
    const CALLS: &'static [Service] = &[Service::DYNAMODB];

    fn from_env(environment: &Environment) -> Result<Self, Error> {
        Ok(Self { store: environment.store() })
    }

    /// Returns the card.
    ///
    /// # Errors
    /// 400 if the ID is malformed; 404 if the organization has no such card.
    async fn handle(&self, context: &RequestContext) -> Result<ApiResponse, Problem> {
        let card_id = context.path("cardId").map_err(|invalid| Problem::invalid(vec![invalid]))?;
        let card = self.store.card(&context.identity.org_id, card_id).await?.ok_or_else(Problem::not_found)?;
        ApiResponse::ok(&Body::of(card, context.identity.account_id))
    }
}
