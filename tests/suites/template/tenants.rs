//! Checks what a request to each route counts as, for the limit of each tenant.

use std::collections::BTreeMap;

use local_runner::{Visitor, visit};
use shared::http::Endpoint;
use shared::worker::Worker;
use tests::requests;
use tests::template::Template;

/// The tokens that a request to each endpoint takes.
struct Tokens(BTreeMap<&'static str, u32>);

impl Visitor for Tokens {
    fn endpoint<E: Endpoint>(&mut self) {
        self.0.insert(E::NAME, E::TOKENS);
    }

    fn worker<W: Worker>(&mut self) {}
}

/// Otherwise a tenant within its limit could take all of a route whose own limit is low.
#[test]
fn a_tenants_limit_is_the_same_share_of_every_route() {
    let template = Template::read();
    let settings = &template.resources("AWS::Serverless::HttpApi")["Api"]["Properties"]["RouteSettings"];
    let rates = requests::Endpoint::all().into_iter().map(|endpoint| {
        let rate = settings[endpoint.route()]["ThrottlingRateLimit"].as_f64();
        (endpoint.function, rate.expect("give the route a limit in RouteSettings"))
    });
    let rates: BTreeMap<&str, f64> = rates.collect();
    let fastest = rates.values().copied().fold(0.0, f64::max);
    let expected: BTreeMap<&str, f64> = rates.iter().map(|(name, rate)| (*name, (fastest / rate).ceil())).collect();
    let mut tokens = Tokens(BTreeMap::new());
    visit(&mut tokens);
    let tokens: BTreeMap<&str, f64> = tokens.0.into_iter().map(|(name, tokens)| (name, tokens.into())).collect();
    assert_eq!(tokens, expected, "left: TOKENS of each endpoint; right: from the limits of the routes");
}

/// The limit is off unless an environment sets it, and every endpoint gets it.
#[test]
fn the_limit_is_off_by_default() {
    let template = Template::read();
    let parameters = template.section("Parameters");
    assert_eq!((&parameters["TenantRate"]["Default"], &parameters["TenantBurst"]["MinValue"]), (&0.into(), &1.into()));
    for endpoint in requests::Endpoint::all() {
        let functions = template.functions();
        let function = functions.iter().find(|function| function.name == endpoint.function).unwrap();
        let variables = template.environment(function);
        let limit = ["TENANT_RATE", "TENANT_BURST"].map(|name| variables[name].as_str());
        assert_eq!(limit, ["TenantRate", "TenantBurst"], "{}", endpoint.function);
    }
}
