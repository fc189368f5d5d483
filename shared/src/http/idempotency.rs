//! `Idempotency-Key`: a request repeated with the same key is the same operation.
//!
//! The key makes the operation's ID; the operation's row is the key's record. A fingerprint of what
//! was asked tells a repetition from a misuse of the key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lambda_http::Request;
use ring::digest::{SHA256, digest};
use serde::Serialize;
use sfv::{BareItem, Item, Parser};
use uuid::Uuid;

use super::identity::Identity;
use super::problem::{Invalid, Problem};
use crate::domain::ids::OperationId;
use crate::domain::operation::{Operation, OperationState};

const HEADER: &str = "idempotency-key";
/// Longest key, in bytes. Ours.
pub const MAX_KEY_BYTES: usize = 255;

/// The identity of an instruction before it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// Its operation.
    pub operation_id: OperationId,
    /// Whether the client named it, so that it may have been recorded before.
    pub keyed: bool,
    /// What was asked.
    pub fingerprint: String,
}

impl IdempotencyRecord {
    /// `asked` must hold all that makes the instruction what it is (and no PIN: a hash of four digits
    /// can be searched).
    pub(super) fn new(
        request: &Request,
        caller: &Identity,
        endpoint: &'static str,
        asked: &impl Serialize,
    ) -> Result<Self, Problem> {
        let key = key(request)?;
        let operation_id = match &key {
            // Accounts of one organisation do not know of each other's keys.
            Some(key) => OperationId::from_key(&caller.org_id, caller.account_id, endpoint, key),
            None => OperationId::from_uuid(Uuid::now_v7()),
        };
        let asked = serde_json::to_string(&(endpoint, asked)).map_err(Problem::broken)?;
        let hash = digest(&SHA256, asked.as_bytes());
        let fingerprint = URL_SAFE_NO_PAD.encode(hash);
        Ok(Self { operation_id, keyed: key.is_some(), fingerprint })
    }

    /// What to do about an operation that was recorded under this ticket's ID.
    ///
    /// # Errors
    /// 422 if the key came with another request.
    pub fn replay(&self, recorded: &Operation) -> Result<Replay, Problem> {
        if recorded.fingerprint != self.fingerprint {
            return Err(Problem::key_reused());
        }
        Ok(match recorded.state {
            OperationState::Pending => Replay::SendAgain,
            OperationState::Running | OperationState::Succeeded | OperationState::Failed => Replay::AnswerAgain,
        })
    }
}

/// What a repeated request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// The rest of the work: the first request may have ended after its row. A message too many is
    /// harmless; one too few is an instruction lost.
    SendAgain,
    /// Nothing but the answer.
    AnswerAgain,
}

/// The key: a structured-field string (RFC 8941), or the same text bare. Several keys, which a gateway
/// joins with commas, are none: which one is meant?
fn key(request: &Request) -> Result<Option<String>, Problem> {
    let invalid = |detail: &str| Problem::invalid(vec![Invalid::header(HEADER, detail)]);
    let mut values = request.headers().get_all(HEADER).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value,
        (Some(_), Some(_)) => return Err(invalid("must come once")),
    };
    let text = value.to_str().map_err(|_| invalid("must be printable ASCII"))?.trim();
    let key = if text.starts_with('"') {
        match Parser::new(text).parse::<Item>() {
            // What a parameter would mean is not said anywhere, so none is passed over.
            Ok(Item { bare_item: BareItem::String(key), params }) if params.is_empty() => key.as_str().to_owned(),
            _ => return Err(invalid("is not a structured-field string")),
        }
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b',' | b'"')) {
        return Err(invalid("is neither a structured-field string nor a bare word"));
    } else {
        text.to_owned()
    };
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(invalid("must have 1 to 255 characters"));
    }
    Ok(Some(key))
}

#[cfg(test)]
mod tests {
    use lambda_http::{Body, http};
    use rstest::rstest;

    use super::*;

    fn request(key: &str) -> Request {
        http::Request::builder().header(HEADER, key).body(Body::Empty).unwrap()
    }

    #[rstest]
    #[case(r#""8e03978e-40d5-43e8-bc93-6894a57f9324""#, Some("8e03978e-40d5-43e8-bc93-6894a57f9324"))]
    #[case("8e03978e-40d5-43e8-bc93-6894a57f9324", Some("8e03978e-40d5-43e8-bc93-6894a57f9324"))]
    #[case(r#""a \"b\" c""#, Some(r#"a "b" c"#))]
    #[case("a b", None)]
    #[case("a\tb", None)]
    #[case(r#""a";b"#, None)]
    #[case(r#""a";b=1"#, None)]
    #[case("a,b", None)]
    #[case(r#""a", "b""#, None)]
    #[case(r#""open"#, None)]
    #[case(r#""""#, None)]
    #[case("  ", None)]
    fn a_key_is_a_string_or_bare(#[case] header: &str, #[case] expected: Option<&str>) {
        assert_eq!(key(&request(header)).ok().flatten().as_deref(), expected);
    }

    #[test]
    fn a_key_has_a_limit() {
        assert!(key(&request(&"k".repeat(MAX_KEY_BYTES))).is_ok());
        assert_eq!(key(&request(&"k".repeat(MAX_KEY_BYTES + 1))).unwrap_err().status(), 400);
    }

    #[test]
    fn a_key_comes_once_and_is_ascii() {
        let request = |keys: &[&[u8]]| {
            let request = http::Request::builder();
            let request = keys.iter().fold(request, |request, key| request.header(HEADER, *key));
            request.body(Body::Empty).unwrap()
        };
        assert_eq!(key(&request(&[])), Ok(None));
        assert_eq!(key(&request(&[b"k"])), Ok(Some("k".to_owned())));
        let refused: [&[&[u8]]; 3] = [&[b"k", b"k"], &[b"k\xe4"], &[b""]];
        assert!(refused.iter().all(|keys| key(&request(keys)).unwrap_err().status() == 400));
    }

    fn caller(account: Option<u64>) -> Identity {
        let account_id = account.and_then(crate::domain::ids::AccountId::new);
        Identity { org_id: "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11".parse().unwrap(), account_id }
    }

    #[test]
    fn without_a_key_each_request_is_an_operation_of_its_own() {
        let no_key = http::Request::builder().body(Body::Empty).unwrap();
        let [one, other] =
            [1, 1].map(|asked| IdempotencyRecord::new(&no_key, &caller(None), "bind-card", &asked).unwrap());
        assert_ne!(one.operation_id, other.operation_id);
        assert!(!one.keyed && IdempotencyRecord::new(&request("k"), &caller(None), "bind-card", &1).unwrap().keyed);
    }

    #[test]
    fn a_key_is_of_its_account_and_endpoint() {
        let ticket = |account, endpoint| IdempotencyRecord::new(&request("k"), &caller(account), endpoint, &1).unwrap();
        let one = ticket(Some(7), "bind-card");
        assert_ne!(one.operation_id, ticket(Some(8), "bind-card").operation_id);
        assert_ne!(one.operation_id, ticket(None, "bind-card").operation_id);
        assert_ne!(one.operation_id, ticket(Some(7), "start-bulk").operation_id);
        assert_ne!(one.fingerprint, ticket(Some(7), "start-bulk").fingerprint);
    }

    #[rstest]
    #[case("PENDING", Replay::SendAgain)]
    #[case("RUNNING", Replay::AnswerAgain)]
    #[case("SUCCEEDED", Replay::AnswerAgain)]
    #[case("FAILED", Replay::AnswerAgain)]
    fn what_may_not_have_been_sent_is_sent_again(#[case] state: &str, #[case] expected: Replay) {
        let ticket = IdempotencyRecord::new(&request("k"), &caller(None), "bind-card", &1).unwrap();
        let recorded = |fingerprint: &str| -> Operation {
            let operation = serde_json::json!({
                "org_id": caller(None).org_id, "operation_id": ticket.operation_id, "state": state, "fingerprint": fingerprint,
                "cid": "c", "created_at": "2026-11-22T03:04:05.678Z", "kind": "CREATE_BULK", "bulk_id": "b",
            });
            serde_json::from_value(operation).unwrap()
        };
        assert_eq!(ticket.replay(&recorded(&ticket.fingerprint)), Ok(expected));
        assert_eq!(ticket.replay(&recorded("another")).unwrap_err().status(), 422);
    }

    #[test]
    fn the_same_key_with_another_request_is_a_misuse() {
        let org = Identity { org_id: "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11".parse().unwrap(), account_id: None };
        let one = IdempotencyRecord::new(&request("k"), &org, "bind-card", &1).unwrap();
        let same = IdempotencyRecord::new(&request("\"k\""), &org, "bind-card", &1).unwrap();
        let other = IdempotencyRecord::new(&request("k"), &org, "bind-card", &2).unwrap();
        assert_eq!(one, same);
        assert_eq!(one.operation_id, other.operation_id);
        assert_ne!(one.fingerprint, other.fingerprint);
    }
}
