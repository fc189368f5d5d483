//! `POST /cards/v1/bulks`: creates a bulk of blank cards. Nothing is issued until it is started.
//!
//! The items are written first, then the header, which makes all of them visible at once: a failure
//! halfway leaves nothing to be seen. With an `Idempotency-Key` the bulk's ID is recorded before
//! anything else, so that a repetition finishes the same bulk.

use serde::Serialize;
use serde_json::{Map, Value};
use shared::aws::{Aws, Service};
use shared::domain::bulk::{Bulk, BulkSettings, BulkState};
use shared::domain::ids::{BulkId, ExternalId, ProgramId};
use shared::domain::operation::Subject;
use shared::http::bulk::{BulkBody, MAX_BULK_BODY_BYTES, check_count, external_ids};
use shared::http::{self, Answer, Call, Invalid, Problem, Replay, Scope, operation, record};
use shared::store::Store;
use shared::{Error, config, telemetry};
use std::collections::BTreeSet;
use uuid::Uuid;

/// Part of every idempotency key's record. Never change it.
const ENDPOINT: &str = "create-bulk";
/// The batch of the items that a bulk is created with.
const FIRST_BATCH: u32 = 1;
/// Longest text of a setting, in characters. Ours.
pub const MAX_TEXT_CHARS: usize = 255;
/// Largest metadata, in bytes of JSON. Ours: the header's row holds them, and must stay small.
pub const MAX_METADATA_BYTES: usize = 16 * 1024;

/// The endpoint and what it may touch.
#[derive(Debug, Clone)]
pub struct CreateBulk {
    /// Records operations; writes bulks and items.
    pub store: Store,
}

#[derive(Serialize)]
struct Request {
    settings: BulkSettings,
    external_ids: BTreeSet<ExternalId>,
}

impl CreateBulk {
    /// Answers a request.
    ///
    /// # Errors
    /// Every answer but the 201.
    pub async fn handle(&self, call: &Call) -> Result<Answer, Problem> {
        let org = &call.identity.org_id;
        let request = read(call)?;
        let ticket = call.ticket(ENDPOINT, &request)?;
        check_count(request.external_ids.len())?;
        let mut bulk_id = BulkId::from_uuid(Uuid::now_v7());
        if ticket.keyed {
            let operation = operation(call, &ticket, Subject::CreateBulk { bulk_id }, call.now);
            let (operation, _, replay) = record(&self.store, call, &ticket, operation).await?;
            let Subject::CreateBulk { bulk_id: recorded } = operation.subject else {
                return Err(Problem::broken("the operation is of another kind"));
            };
            bulk_id = recorded;
            if replay == Replay::AnswerAgain {
                return self.answer(call, &bulk_id).await;
            }
        }

        let ids: Vec<ExternalId> = request.external_ids.into_iter().collect();
        // Those that are there already come from an earlier try of the same request.
        self.store.add_items(org, &bulk_id, FIRST_BATCH, &ids).await?;
        let bulk = Bulk {
            bulk_id: bulk_id.clone(),
            state: BulkState::Created,
            settings: request.settings,
            batches: BTreeSet::from([FIRST_BATCH]),
            last_batch: FIRST_BATCH,
            items: u32::try_from(ids.len()).map_err(Problem::broken)?,
            issued: 0,
            canceled: 0,
            sealed_by: None,
        };
        self.store.put_bulk(org, &bulk).await?;
        if !ticket.keyed {
            return Ok(Answer::ok(&BulkBody::from(bulk))?.created().counted(1, Vec::new()));
        }
        self.store.end_request(org, ticket.operation_id, call.now).await?;
        // An earlier try may have made it, and others have changed it since.
        Ok(self.answer(call, &bulk_id).await?.counted(1, Vec::new()))
    }

    /// The bulk as it is now.
    async fn answer(&self, call: &Call, bulk_id: &BulkId) -> Result<Answer, Problem> {
        let bulk = self.store.bulk(&call.identity.org_id, bulk_id).await?;
        let bulk = bulk.ok_or_else(|| Problem::broken("the created bulk is gone"))?;
        Ok(Answer::ok(&BulkBody::from(bulk))?.created())
    }
}

fn read(call: &Call) -> Result<Request, Problem> {
    let missing = || Problem::invalid(vec![Invalid::body("", "is required")]);
    let members = call.json_object(MAX_BULK_BODY_BYTES)?.ok_or_else(missing)?;
    let mut invalid = Vec::new();
    let ids = external_ids(&members).unwrap_or_else(|mut errors| {
        invalid.append(&mut errors);
        BTreeSet::new()
    });
    match read_settings(&members, &mut invalid) {
        Some(settings) if invalid.is_empty() => Ok(Request { settings, external_ids: ids }),
        _ => Err(Problem::invalid(invalid)),
    }
}

fn read_settings(members: &Map<String, Value>, invalid: &mut Vec<Invalid>) -> Option<BulkSettings> {
    let mut wrong = |name: &str, expected: &str| invalid.push(Invalid::body(format!("/{name}"), expected));
    let program_id = members.get("program_id").and_then(Value::as_u64).and_then(ProgramId::new);
    if program_id.is_none() {
        wrong("program_id", "must be an integer from 1 to 9007199254740991");
    }
    let pin_length = match members.get("pin_length").map(Value::as_u64) {
        None | Some(Some(4)) => 4,
        Some(Some(6)) => 6,
        Some(_) => {
            wrong("pin_length", "must be 4 or 6");
            4
        }
    };
    let contactless_enabled = match members.get("contactless_enabled") {
        None => true,
        Some(Value::Bool(enabled)) => *enabled,
        Some(_) => {
            wrong("contactless_enabled", "must be a boolean");
            true
        }
    };
    let mut text = |name: &str| match members.get(name) {
        None => None,
        Some(Value::String(text)) if text.chars().count() <= MAX_TEXT_CHARS => Some(text.clone()),
        Some(_) => {
            wrong(name, "must be a string of at most 255 characters");
            None
        }
    };
    let (template_id, embossing_custom_field) = (text("template_id"), text("embossing_custom_field"));
    let metadata = match members.get("metadata").map(|metadata| (metadata.is_object(), metadata.to_string())) {
        None => None,
        Some((true, metadata)) if metadata.len() <= MAX_METADATA_BYTES => Some(metadata),
        Some(_) => {
            wrong("metadata", "must be an object of at most 16384 bytes");
            None
        }
    };
    Some(BulkSettings {
        program_id: program_id?,
        template_id,
        pin_length,
        contactless_enabled,
        embossing_custom_field,
        metadata,
    })
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
    let endpoint = CreateBulk { store: Store::new(aws.dynamodb(), table) };
    aws.warm_up(&[Service::DYNAMODB]).await;
    http::run(Scope::CardsWrite, move |call| {
        let endpoint = endpoint.clone();
        async move { endpoint.handle(&call).await }
    })
    .await
}
