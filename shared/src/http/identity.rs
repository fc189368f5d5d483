//! Who calls: the token's claims, checked by the gateway in front or, where none stands, here.
//!
//! Closed by default: without an authorizer's claims in the request context, and without a key set
//! to verify against, nobody gets in.

use lambda_http::Request;
use lambda_http::RequestExt;
use lambda_http::http::header::AUTHORIZATION;
use lambda_http::request::RequestContext;

use super::problem::Problem;
use super::token::Verifier;
use crate::domain::ids::{AccountId, OrgId};

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

/// The claims that Bindery reads, as the token has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Claims {
    pub tenant_id: Option<String>,
    pub account_id: Option<String>,
    pub scope: Option<String>,
}

impl Claims {
    fn identity(&self, scope: Scope) -> Result<Identity, Problem> {
        let scopes = self.scope.as_deref().unwrap_or_default();
        if !scopes.split(' ').any(|granted| granted == scope.as_str()) {
            return Err(Problem::forbidden("The access token lacks the scope for this request."));
        }
        let org_id = self.tenant_id.as_deref().and_then(|tenant| tenant.parse().ok());
        let org_id = org_id.ok_or_else(|| Problem::forbidden("The access token names no organisation."))?;
        let account_id = self.account_id.as_deref().and_then(|account| account.parse().ok());
        Ok(Identity { org_id, account_id })
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
    let claim = |name: &str| claims.get(name).cloned();
    Some(Claims { tenant_id: claim("tenant_id"), account_id: claim("account_id"), scope: claim("scope") })
}

fn bearer(request: &Request) -> Option<&str> {
    let (scheme, token) = request.headers().get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const TENANT: &str = "TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11";

    #[rstest]
    #[case("cards:write", true)]
    #[case("cards:read cards:write", true)]
    #[case("cards:writer", false)]
    #[case("[cards:write]", false)]
    #[case("CARDS:WRITE", false)]
    #[case("", false)]
    fn a_scope_is_one_of_the_words(#[case] scope: &str, #[case] granted: bool) {
        let claims = Claims { tenant_id: Some(TENANT.into()), scope: Some(scope.into()), ..Claims::default() };
        assert_eq!(claims.identity(Scope::CardsWrite).is_ok(), granted);
    }

    #[rstest]
    #[case(None)]
    #[case(Some(""))]
    #[case(Some("TN-1"))]
    #[case(Some("TN-6cf9a3a5-8ea1-4a37-9a43-5d6b1d4f0c11#CARD#1"))]
    fn without_a_well_formed_tenant_nobody_is_known(#[case] tenant: Option<&str>) {
        let claims =
            Claims { tenant_id: tenant.map(Into::into), scope: Some("cards:write".into()), ..Claims::default() };
        assert_eq!(claims.identity(Scope::CardsWrite).unwrap_err().status(), 403);
    }
}
