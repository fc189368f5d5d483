//! `Idempotency-Key`: a request repeated with the same key is the same operation.
//!
//! The operation's ID derives from the key, and the operation's row is the key's record. A fingerprint of the request
//! distinguishes a retry from a misuse of the key.

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
/// Maximum length of a key, in bytes. Our limit.
pub const MAX_KEY_BYTES: usize = 255;

/// The identity of an instruction, known before it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// The operation's ID.
    pub operation_id: OperationId,
    /// True if the client sent a key, so that an earlier request may have recorded the operation.
    pub keyed: bool,
    /// A hash of the request's content.
    pub fingerprint: String,
}

impl IdempotencyRecord {
    /// Creates the record. `content` must contain everything that defines the instruction, except a PIN: a four-digit
    /// PIN could be found from its hash.
    pub(super) fn new(
        request: &Request,
        caller: &Identity,
        endpoint: &'static str,
        content: &impl Serialize,
    ) -> Result<Self, Problem> {
        let key = key(request)?;
        let operation_id = match &key {
            // Accounts of one organization do not see each other's keys.
            Some(key) => OperationId::from_key(&caller.org_id, caller.account_id, endpoint, key),
            None => OperationId::from_uuid(Uuid::now_v7()),
        };
        let content = serde_json::to_string(&(endpoint, content)).map_err(Problem::broken)?;
        let hash = digest(&SHA256, content.as_bytes());
        let fingerprint = URL_SAFE_NO_PAD.encode(hash);
        Ok(Self { operation_id, keyed: key.is_some(), fingerprint })
    }

    /// Returns what to do about an operation that was recorded under this ID.
    ///
    /// # Errors
    /// Returns 422 if the key was used with another request.
    pub fn replay(&self, recorded: &Operation) -> Result<Replay, Problem> {
        if recorded.fingerprint != self.fingerprint {
            return Err(Problem::key_reused());
        }
        Ok(match recorded.state {
            OperationState::Pending => Replay::SendAgain,
            OperationState::Running | OperationState::Succeeded | OperationState::Failed => Replay::RespondAgain,
        })
    }
}

/// The steps that a repeated request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// Repeats everything after the operation's row, because the first request may have ended there. A duplicate
    /// message is harmless, but a missing one loses the instruction.
    SendAgain,
    /// Returns the response again and does nothing else.
    RespondAgain,
}

/// Returns the key: a structured-field string (RFC 8941), or the same text without quotes. Several keys, which a
/// gateway joins with commas, are rejected as ambiguous.
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
            // No specification defines parameters here, so they are rejected and not ignored.
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
            [1, 1].map(|content| IdempotencyRecord::new(&no_key, &caller(None), "bind-card", &content).unwrap());
        assert_ne!(one.operation_id, other.operation_id);
        assert!(!one.keyed && IdempotencyRecord::new(&request("k"), &caller(None), "bind-card", &1).unwrap().keyed);
    }

    #[test]
    fn a_key_is_of_its_account_and_endpoint() {
        let record = |account, endpoint| IdempotencyRecord::new(&request("k"), &caller(account), endpoint, &1).unwrap();
        let one = record(Some(7), "bind-card");
        assert_ne!(one.operation_id, record(Some(8), "bind-card").operation_id);
        assert_ne!(one.operation_id, record(None, "bind-card").operation_id);
        assert_ne!(one.operation_id, record(Some(7), "start-bulk").operation_id);
        assert_ne!(one.fingerprint, record(Some(7), "start-bulk").fingerprint);
    }

    #[rstest]
    #[case("PENDING", Replay::SendAgain)]
    #[case("RUNNING", Replay::RespondAgain)]
    #[case("SUCCEEDED", Replay::RespondAgain)]
    #[case("FAILED", Replay::RespondAgain)]
    fn the_message_of_a_pending_operation_is_sent_again(#[case] state: &str, #[case] expected: Replay) {
        let record = IdempotencyRecord::new(&request("k"), &caller(None), "bind-card", &1).unwrap();
        let recorded = |fingerprint: &str| -> Operation {
            let operation = serde_json::json!({
                "org_id": caller(None).org_id, "operation_id": record.operation_id, "state": state,
                "fingerprint": fingerprint,
                "cid": "c", "created_at": "2026-11-22T03:04:05.678Z", "kind": "CREATE_BULK", "bulk_id": "b",
            });
            serde_json::from_value(operation).unwrap()
        };
        assert_eq!(record.replay(&recorded(&record.fingerprint)), Ok(expected));
        assert_eq!(record.replay(&recorded("another")).unwrap_err().status(), 422);
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
