//! `GET /cards/v1/cards/{cardId}`: any card of the caller's organisation, as it is now.
//!
//! Of another account's card, an account token is told that it is there and no more.

use serde::Serialize;
use shared::aws::{Aws, Service};
use shared::domain::card::{Card, CardFacts, CardStatus};
use shared::domain::ids::{AccountId, CardId, CustomerId};
use shared::http::{self, Answer, Call, Problem, Scope};
use shared::store::Store;
use shared::{Error, config, telemetry};

/// The endpoint and what it may touch.
#[derive(Debug, Clone)]
pub struct GetCard {
    /// Reads cards.
    pub store: Store,
}

#[derive(Serialize)]
struct Body {
    card_id: CardId,
    /// Absent of other accounts' cards.
    #[serde(flatten)]
    details: Option<Details>,
}

#[derive(Serialize)]
struct Details {
    status: CardStatus,
    #[serde(flatten)]
    facts: CardFacts,
    /// Absent until the card is bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<AccountId>,
    /// Absent until the card is bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<CustomerId>,
    /// The card that replaced this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    new_card_id: Option<CardId>,
}

impl Body {
    /// What a caller is told of the card that is limited to this account, or to none.
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

impl GetCard {
    /// Answers a request.
    ///
    /// # Errors
    /// 400 if the ID is none; 404 if the organisation has no such card.
    pub async fn handle(&self, call: &Call) -> Result<Answer, Problem> {
        let card_id = call.path("cardId").map_err(|invalid| Problem::invalid(vec![invalid]))?;
        let card = self.store.card(&call.identity.org_id, card_id).await?.ok_or_else(Problem::not_found)?;
        Answer::ok(&Body::of(card, call.identity.account_id))
    }
}

/// Serves what Lambda hands to this function, until the process is stopped.
///
/// # Errors
///
/// Returns an error if the environment lacks something, or Lambda cannot be reached.
pub async fn run() -> Result<(), Error> {
    telemetry::init();
    let [table] = config::required(["TABLE_NAME"])?;
    let aws = Aws::from_env()?;
    let endpoint = GetCard { store: Store::new(aws.dynamodb(), table) };
    aws.warm_up(&[Service::DYNAMODB]).await;
    http::run(Scope::CardsRead, move |call| {
        let endpoint = endpoint.clone();
        async move { endpoint.handle(&call).await }
    })
    .await
}
