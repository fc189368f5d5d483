//! The caller's identity, from a token that the gateway or, without a gateway, this module verified.
//!
//! Access is denied by default. A request without an authorizer's claims in its context is rejected if there is no
//! key set to verify its token with.

use lambda_http::Request;
use lambda_http::RequestExt;
use lambda_http::http::header::AUTHORIZATION;
use lambda_http::request::RequestContext;

use super::claims::Claims;
use super::problem::Problem;
use super::token::Verifier;
use crate::domain::ids::{AccountId, OrgId};

/// A scope: a permission that a token grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Binding cards to the token's own account.
    CardsBind,
    /// All instructions about cards and bulks.
    CardsWrite,
    /// Reading cards and bulks.
    CardsRead,
    /// Reading the state of operations.
    OperationsRead,
    /// Canceling orders of the organization.
    OrdersCancel,
}

impl Scope {
    /// Returns the words that grant the scope. Each of them suffices.
    #[must_use]
    pub const fn words(self) -> &'static [&'static str] {
        match self {
            // A caller that may write cards may also bind them. An account's token needs only the first word.
            Self::CardsBind => &["cards:bind", "cards:write"],
            Self::CardsWrite => &["cards:write"],
            Self::CardsRead => &["cards:read"],
            Self::OperationsRead => &["operations:read"],
            Self::OrdersCancel => &["orders:cancel"],
        }
    }
}

/// The authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The tenant's organization ID.
    pub org_id: OrgId,
    /// The account, if the token is limited to one.
    pub account_id: Option<AccountId>,
}

/// Returns the caller, if the token grants the scope.
///
/// # Errors
/// Returns 401 without a valid token, and 403 without the scope or a well-formed tenant.
pub(super) async fn identify(request: &Request, scope: Scope, verifier: &Verifier) -> Result<Identity, Problem> {
    let claims = match gateway_claims(request) {
        Some(claims) => claims,
        None => verifier.verify(bearer(request).ok_or_else(Problem::unauthorized)?).await?,
    };
    identity_of(&claims, scope)
}

/// Returns the caller that the claims name.
fn identity_of(claims: &Claims, scope: Scope) -> Result<Identity, Problem> {
    if !claims.scopes.iter().any(|word| scope.words().contains(&word.as_str())) {
        return Err(Problem::forbidden("The access token lacks the scope for this request."));
    }
    let org_id = claims.tenant_id.as_deref().and_then(|tenant| tenant.parse().ok());
    let org_id = org_id.ok_or_else(|| Problem::forbidden("The access token names no organization."))?;
    // A malformed account is an error, because a caller limited to an account must not gain access to all accounts.
    let account_id = claims.account_id.as_deref().map(str::parse).transpose();
    let account_id = account_id.map_err(|_| Problem::forbidden("The access token names an invalid account."))?;
    Ok(Identity { org_id, account_id })
}

/// Returns the claims that the gateway's JWT authorizer verified and put into the request context, which clients
/// cannot write.
fn gateway_claims(request: &Request) -> Option<Claims> {
    let RequestContext::ApiGatewayV2(context) = request.request_context_ref()? else { return None };
    let claims = &context.authorizer.as_ref()?.jwt.as_ref()?.claims;
    Some(Claims::of_gateway(&claims.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect()))
}

/// Returns the token that follows `Bearer`, or stands alone, which the gateway accepts too.
fn bearer(request: &Request) -> Option<&str> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let Some((scheme, token)) = value.split_once(' ') else { return Some(value) };
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use lambda_http::request::LambdaRequest;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::http::ApiGatewayRequest;

    const TENANT: &str = "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11";

    fn of_token(claims: &Value) -> Claims {
        Claims::of_token(claims.as_object().unwrap())
    }

    /// Returns whether the claims grant the scope: first as a token's own claims, then as the gateway's.
    fn gives(claims: &Value, scope: Scope) -> (bool, bool) {
        let mut claims = claims.as_object().unwrap().clone();
        claims.insert("tenant_id".to_owned(), TENANT.into());
        let gives = |claims: Claims| identity_of(&claims, scope).is_ok();
        (gives(Claims::of_token(&claims)), gives(Claims::of_gateway(&claims)))
    }

    #[rstest]
    #[case(json!({ "scope": "cards:write" }), true)]
    #[case(json!({ "scope": "cards:read cards:write" }), true)]
    #[case(json!({ "scope": ["cards:read", 5, "cards:write"] }), true)]
    #[case(json!({ "scp": ["cards:write"], "scope": null }), true)]
    #[case(json!({ "scp": ["cards:write"], "scope": "" }), false)]
    #[case(json!({ "scope": "cards:writer" }), false)]
    #[case(json!({ "scope": "cards:write,cards:read" }), false)]
    #[case(json!({ "scope": "CARDS:WRITE" }), false)]
    #[case(json!({ "scope": "cards:bind" }), false)]
    #[case(json!({ "scope": "" }), false)]
    #[case(json!({ "scope": true }), false)]
    #[case(json!({}), false)]
    fn a_scope_is_one_of_the_words(#[case] claims: Value, #[case] granted: bool) {
        assert_eq!(gives(&claims, Scope::CardsWrite), (granted, granted));
    }

    #[rstest]
    #[case("[a cards:write b]")]
    #[case("[cards:write]")]
    fn only_the_gateway_writes_a_list_as_a_text(#[case] list: &str) {
        assert_eq!(gives(&json!({ "scope": list }), Scope::CardsWrite), (false, true));
        assert_eq!(gives(&json!({ "scp": list }), Scope::CardsWrite), (false, true));
    }

    /// The scope is granted neither by a token's own claims nor by the gateway's.
    #[rstest]
    #[case(json!("[a cards:write b"))]
    #[case(json!("a cards:write b]"))]
    #[case(json!("[a [x cards:write y] b]"))]
    #[case(json!("[[cards:write]]"))]
    #[case(json!("[[[cards:write]]]"))]
    #[case(json!("map[a:x cards:write b]"))]
    #[case(json!("[map[a:x cards:write b]]"))]
    #[case(json!({ "a": "x cards:write b" }))]
    #[case(json!({ "cards:write": true }))]
    #[case(json!(["a cards:write b"]))]
    #[case(json!(["[cards:write]"]))]
    #[case(json!([["cards:write"], { "a": "cards:write" }]))]
    fn a_word_within_something_nested_is_no_scope(#[case] scope: Value) {
        assert_eq!(gives(&json!({ "scope": scope }), Scope::CardsWrite), (false, false));
        assert_eq!(gives(&json!({ "scp": scope }), Scope::CardsWrite), (false, false));
    }

    #[rstest]
    #[case("cards:bind", [true, false])]
    #[case("cards:write", [true, true])]
    #[case("cards:read operations:read orders:cancel", [false, false])]
    fn permission_to_bind_is_not_permission_to_write(#[case] scope: &str, #[case] granted: [bool; 2]) {
        let gives = |wanted| gives(&json!({ "scope": scope }), wanted).0;
        assert_eq!([Scope::CardsBind, Scope::CardsWrite].map(gives), granted);
    }

    #[rstest]
    #[case(Scope::CardsBind, &["cards:bind", "cards:write"])]
    #[case(Scope::CardsWrite, &["cards:write"])]
    #[case(Scope::CardsRead, &["cards:read"])]
    #[case(Scope::OperationsRead, &["operations:read"])]
    #[case(Scope::OrdersCancel, &["orders:cancel"])]
    fn each_scope_is_given_by_its_own_words(#[case] scope: Scope, #[case] words: &[&str]) {
        const ALL: [&str; 5] = ["cards:bind", "cards:write", "cards:read", "operations:read", "orders:cancel"];
        let given: Vec<_> = ALL.into_iter().filter(|word| gives(&json!({ "scope": word }), scope).0).collect();
        assert_eq!(given, words);
    }

    fn request(event: Value) -> Request {
        let event: ApiGatewayRequest = serde_json::from_value(event).unwrap();
        LambdaRequest::from(event).into()
    }

    #[rstest]
    #[case(None, None)]
    #[case(Some("Bearer t"), Some("t"))]
    #[case(Some("bEARER  t "), Some("t"))]
    #[case(Some("t"), Some("t"))]
    #[case(Some("Basic t"), None)]
    fn a_token_comes_after_bearer_or_bare(#[case] header: Option<&str>, #[case] expected: Option<&str>) {
        let headers = header.map_or_else(|| json!({}), |header| json!({ "authorization": header }));
        assert_eq!(bearer(&request(json!({ "headers": headers }))), expected);
    }

    /// Only claims that the gateway's authorizer verified count, and nothing else in the event.
    #[test]
    fn claims_are_those_of_the_gateways_authorizer() {
        let claims = json!({ "tenant_id": TENANT, "scope": "cards:write" });
        let event = |authorizer: Value| json!({ "requestContext": { "authorizer": authorizer }, "headers": claims });
        let found = gateway_claims(&request(event(json!({ "jwt": { "claims": claims } })))).unwrap();
        assert_eq!(
            identity_of(&found, Scope::CardsWrite).map(|caller| caller.org_id.to_string()),
            Ok(TENANT.to_owned())
        );
        for other in [json!(null), json!({}), json!({ "lambda": claims })] {
            assert_eq!(gateway_claims(&request(event(other))), None);
        }
    }

    #[rstest]
    #[case(json!(null))]
    #[case(json!(""))]
    #[case(json!("TN-1"))]
    #[case(json!(["TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11"]))]
    #[case(json!("TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11#CARD#1"))]
    fn a_caller_without_a_well_formed_tenant_is_rejected(#[case] tenant: Value) {
        let claims = of_token(&json!({ "tenant_id": tenant, "scope": "cards:write" }));
        assert_eq!(identity_of(&claims, Scope::CardsWrite).unwrap_err().status(), 403);
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
    fn a_caller_limited_to_an_account_never_gains_access_to_all(#[case] account: Value, #[case] known: &str) {
        let claims = of_token(&json!({ "tenant_id": TENANT, "account_id": account, "scope": "cards:write" }));
        let is = match identity_of(&claims, Scope::CardsWrite) {
            Ok(Identity { account_id: None, .. }) => "any account".to_owned(),
            Ok(Identity { account_id: Some(account), .. }) => format!("account {}", account.get()),
            Err(_) => "refused".to_owned(),
        };
        assert_eq!(is, known);
    }

    proptest! {
        #[test]
        fn claims_written_as_texts_are_read_unchanged(words in vec("[a\\[\\] :]{0,6}", 0..4), list: bool) {
            let scope = if list { json!(words) } else { json!(words.join(" ")) };
            let event = json!({ "tenant_id": TENANT, "account_id": 5, "scp": scope, "email_verified": true });
            let claims = Claims::of_gateway(event.as_object().unwrap());
            let texts = claims.clone().into_texts().into_iter().map(|(name, value)| (name, value.into())).collect();
            prop_assert_eq!(Claims::of_gateway(&texts), claims);
        }
    }
}
