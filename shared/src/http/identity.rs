//! Who calls: the token's claims, checked by the gateway in front or, where none stands, here.
//!
//! Closed by default: without an authorizer's claims in the request context, and without a key set
//! to verify against, nobody gets in.

use std::collections::HashMap;

use lambda_http::Request;
use lambda_http::RequestExt;
use lambda_http::http::header::AUTHORIZATION;
use lambda_http::request::RequestContext;
use serde_json::{Map, Value};

use super::problem::Problem;
use super::token::Verifier;
use crate::domain::ids::{AccountId, OrgId};
use crate::number::whole;

/// What a token may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Give instructions about cards.
    CardsWrite,
    /// Read cards and bulks.
    CardsRead,
    /// Read operations.
    OperationsRead,
    /// Cancel orders.
    OrdersCancel,
}

impl Scope {
    /// The word in a token.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CardsWrite => "cards:write",
            Self::CardsRead => "cards:read",
            Self::OperationsRead => "operations:read",
            Self::OrdersCancel => "orders:cancel",
        }
    }
}

/// The caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The tenant.
    pub org_id: OrgId,
    /// Set in an account token.
    pub account_id: Option<AccountId>,
}

/// The claims that Bindery reads, as texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Claims {
    tenant_id: Option<String>,
    account_id: Option<String>,
    /// Words with spaces between them.
    scope: Option<String>,
}

impl Claims {
    /// Those of a token, or of what the gateway makes of one: there are texts alone, and `[a b]` is a list. `scp` is read
    /// where there is no `scope`.
    pub(super) fn read(claims: &Map<String, Value>) -> Self {
        let claim = |name: &str| claims.get(name).filter(|value| !value.is_null());
        Self {
            tenant_id: claim("tenant_id").map(text),
            account_id: claim("account_id").map(text),
            scope: claim("scope").or_else(|| claim("scp")).map(words),
        }
    }

    /// What [`Self::read`] reads the same claims of.
    pub(super) fn into_texts(self) -> HashMap<String, String> {
        let Self { tenant_id, account_id, scope } = self;
        let claims = [("tenant_id", tenant_id), ("account_id", account_id), ("scope", scope)];
        claims.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    fn identity(&self, scope: Scope) -> Result<Identity, Problem> {
        let scopes = self.scope.as_deref().unwrap_or_default();
        if !scopes.split(' ').any(|granted| granted == scope.as_str()) {
            return Err(Problem::forbidden("The access token lacks the scope for this request."));
        }
        let org_id = self.tenant_id.as_deref().and_then(|tenant| tenant.parse().ok());
        let org_id = org_id.ok_or_else(|| Problem::forbidden("The access token names no organisation."))?;
        // Who is limited to an account must not pass for one who is not.
        let account_id = self.account_id.as_deref().map(str::parse).transpose();
        let account_id = account_id.map_err(|_| Problem::forbidden("The access token names no possible account."))?;
        Ok(Identity { org_id, account_id })
    }
}

/// A text, the digits of a number; and of anything else its JSON, which names nothing.
fn text(value: &Value) -> String {
    let of_other = || {
        let json = value.to_string();
        whole(&json).map_or(json, |number| number.to_string())
    };
    value.as_str().map_or_else(of_other, ToOwned::to_owned)
}

fn words(value: &Value) -> String {
    match value {
        Value::Array(words) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        value => {
            let words = text(value);
            let list = words.strip_prefix('[').and_then(|words| words.strip_suffix(']'));
            list.map(ToOwned::to_owned).unwrap_or(words)
        }
    }
}

/// Who calls, if they may do what `scope` says.
///
/// # Errors
/// 401 without a valid token; 403 without the scope, or without a well-formed tenant.
pub(super) async fn identify(request: &Request, scope: Scope, verifier: &Verifier) -> Result<Identity, Problem> {
    let claims = match gateway_claims(request) {
        Some(claims) => claims,
        None => verifier.verify(bearer(request).ok_or_else(Problem::unauthorized)?).await?,
    };
    claims.identity(scope)
}

/// The claims that the gateway's JWT authorizer verified and put into the request context, which no
/// client can write.
fn gateway_claims(request: &Request) -> Option<Claims> {
    let RequestContext::ApiGatewayV2(context) = request.request_context_ref()? else { return None };
    let claims = &context.authorizer.as_ref()?.jwt.as_ref()?.claims;
    Some(Claims::read(&claims.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect()))
}

/// The token, after `Bearer` or, as the gateway takes it too, by itself.
fn bearer(request: &Request) -> Option<&str> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let Some((scheme, token)) = value.split_once(' ') else { return Some(value) };
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    const TENANT: &str = "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11";

    fn read(claims: &Value) -> Claims {
        Claims::read(claims.as_object().unwrap())
    }

    #[rstest]
    #[case(json!({ "scope": "cards:write" }), true)]
    #[case(json!({ "scope": "cards:read cards:write" }), true)]
    #[case(json!({ "scope": "[cards:read cards:write]" }), true)]
    #[case(json!({ "scope": ["cards:read", 5, "cards:write"] }), true)]
    #[case(json!({ "scp": "[cards:write]" }), true)]
    #[case(json!({ "scp": ["cards:write"], "scope": null }), true)]
    #[case(json!({ "scp": ["cards:write"], "scope": "" }), false)]
    #[case(json!({ "scope": "cards:writer" }), false)]
    #[case(json!({ "scope": "cards:write,cards:read" }), false)]
    #[case(json!({ "scope": "CARDS:WRITE" }), false)]
    #[case(json!({ "scope": "" }), false)]
    #[case(json!({ "scope": true }), false)]
    #[case(json!({ "scope": { "cards:write": true } }), false)]
    #[case(json!({ "scope": [["cards:write"]] }), false)]
    #[case(json!({}), false)]
    fn a_scope_is_one_of_the_words(#[case] mut claims: Value, #[case] granted: bool) {
        claims["tenant_id"] = TENANT.into();
        assert_eq!(read(&claims).identity(Scope::CardsWrite).is_ok(), granted);
    }

    #[rstest]
    #[case(json!(null))]
    #[case(json!(""))]
    #[case(json!("TN-1"))]
    #[case(json!(["TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11"]))]
    #[case(json!("TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11#CARD#1"))]
    fn without_a_well_formed_tenant_nobody_is_known(#[case] tenant: Value) {
        let claims = read(&json!({ "tenant_id": tenant, "scope": "cards:write" }));
        assert_eq!(claims.identity(Scope::CardsWrite).unwrap_err().status(), 403);
    }

    #[rstest]
    #[case(json!(null), "any account")]
    #[case(json!(5), "account 5")]
    #[case(json!("5"), "account 5")]
    #[case(json!(5.0), "account 5")]
    #[case(json!(5.5), "refused")]
    #[case(json!("5.0"), "refused")]
    #[case(json!(""), "refused")]
    #[case(json!(0), "refused")]
    #[case(json!(true), "refused")]
    #[case(json!([5]), "refused")]
    #[case(json!("five"), "refused")]
    fn who_is_limited_to_an_account_is_never_taken_for_one_who_is_not(#[case] account: Value, #[case] known: &str) {
        let claims = read(&json!({ "tenant_id": TENANT, "account_id": account, "scope": "cards:write" }));
        let is = match claims.identity(Scope::CardsWrite) {
            Ok(Identity { account_id: None, .. }) => "any account".to_owned(),
            Ok(Identity { account_id: Some(account), .. }) => format!("account {}", account.get()),
            Err(_) => "refused".to_owned(),
        };
        assert_eq!(is, known);
    }

    #[test]
    fn what_the_gateway_hands_on_is_read_as_what_it_was_made_of() {
        let claims = read(&json!({ "tenant_id": TENANT, "account_id": 5, "scp": ["a", "b"], "email_verified": true }));
        let texts = claims.clone().into_texts();
        assert_eq!(Claims::read(&texts.into_iter().map(|(name, value)| (name, value.into())).collect()), claims);
    }
}
