//! `GET /cards/v1/bulks/{bulkID}`: returns a bulk, and a page of its items with their current states.

use std::collections::HashMap;

use serde::Serialize;
use shared::Error;
use shared::aws::Service;
use shared::domain::bulk::{Bulk, BulkItem, ItemState};
use shared::domain::card::CardStatus;
use shared::domain::ids::{BulkId, CardId, ExternalId, OrgId};
use shared::environment::Environment;
use shared::http::bulk::BulkBody;
use shared::http::{ApiResponse, Endpoint, Problem, RequestContext, Scope, cursor, page};
use shared::store::Store;

/// The maximum number of calls for the items of one page. Items that do not count are skipped. They are few, unless
/// increments often crash halfway.
const MAX_CALLS: usize = 20;

/// The endpoint and the store that it uses.
#[derive(Debug, Clone)]
pub struct GetBulk {
    /// The store, for reading bulks, items and cards.
    pub store: Store,
}

#[derive(Serialize)]
struct Body {
    #[serde(flatten)]
    bulk: BulkBody,
    items: Vec<ItemBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

#[derive(Serialize)]
struct ItemBody {
    external_id: ExternalId,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    card_id: Option<CardId>,
}

/// The state of an item, or of its card once that is issued.
#[derive(Serialize)]
#[serde(untagged)]
enum State {
    Item(ItemState),
    Card(CardStatus),
}

impl Endpoint for GetBulk {
    const NAME: &'static str = "get-bulk";
    const SCOPE: Scope = Scope::CardsRead;
    const TOKENS: u32 = 100;
    const CALLS: &'static [Service] = &[Service::DYNAMODB];

    fn from_env(environment: &Environment) -> Result<Self, Error> {
        Ok(Self { store: environment.store() })
    }

    /// Returns the bulk and a page of its items.
    ///
    /// # Errors
    /// 400 if `limit` or `cursor` is malformed; 404 if the organization has no such bulk.
    async fn handle(&self, context: &RequestContext) -> Result<ApiResponse, Problem> {
        let org = &context.identity.org_id;
        let bulk_id: BulkId = context.path("bulkID").map_err(|_| Problem::not_found())?;
        let (limit, after) = page::<ExternalId>(context).map_err(|invalid| Problem::invalid(vec![invalid]))?;
        let bulk = self.store.bulk(org, &bulk_id).await?.ok_or_else(Problem::not_found)?;
        let (items, more) = self.page(org, &bulk, after, limit).await?;
        let cursor = more.as_ref().map(cursor);
        let items = self.as_of_now(org, items).await?;
        ApiResponse::ok(&Body { bulk: bulk.into(), items, cursor })
    }
}

impl GetBulk {
    /// Returns the next items that count. If another page follows, also returns the last item of this page.
    async fn page(
        &self,
        org: &OrgId,
        bulk: &Bulk,
        mut after: Option<ExternalId>,
        limit: usize,
    ) -> Result<(Vec<BulkItem>, Option<ExternalId>), Problem> {
        let mut items: Vec<BulkItem> = Vec::new();
        for _ in 0..MAX_CALLS {
            // One item more than the page has shows whether another page follows.
            let wanted = limit + 1 - items.len();
            let page = self.store.items_after(org, &bulk.bulk_id, after.as_ref(), wanted).await?;
            after = page.items.last().map(|item| item.external_id.clone()).or(after);
            items.extend(page.items.into_iter().filter(|item| bulk.batches.contains(&item.batch)));
            if items.len() > limit {
                items.truncate(limit);
                let last = items.last().map(|item| item.external_id.clone());
                return Ok((items, last));
            }
            if !page.more {
                return Ok((items, None));
            }
        }
        Ok((items, after))
    }

    async fn as_of_now(&self, org: &OrgId, items: Vec<BulkItem>) -> Result<Vec<ItemBody>, Problem> {
        let issued: Vec<CardId> = items.iter().filter_map(|item| item.card_id).collect();
        let cards = self.store.cards(org, &issued).await?;
        let statuses: HashMap<CardId, CardStatus> = cards.into_iter().map(|card| (card.card_id, card.status)).collect();
        let as_of_now = |item: BulkItem| {
            let card = item.card_id.and_then(|card| statuses.get_key_value(&card));
            let state = match (card, item.state) {
                (Some((_, status)), _) => State::Card(*status),
                // The item is visible as issued, but its card is not yet. (A transaction's rows can become visible
                // one by one.) Show the item's state before both, so that a client that gets a card's ID finds the
                // card.
                (None, ItemState::Issued) => State::Item(ItemState::Pending),
                (None, state) => State::Item(state),
            };
            ItemBody { external_id: item.external_id, state, card_id: card.map(|(card, _)| *card) }
        };
        Ok(items.into_iter().map(as_of_now).collect())
    }
}
