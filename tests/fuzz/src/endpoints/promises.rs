//! The promises that hold for every request.

use serde_json::Value;

use super::contract::Route;
use super::gateway::tenant;
use crate::aws::{Call, Service};
use crate::input::Input;
use crate::orders::assert_well_formed;
use crate::workers::can_read;
use crate::world::{ACCOUNT, CUSTOMER, DENIED_ORG, assert_no_secret};

/// The response to a request, and what was done for it.
#[derive(Debug)]
pub(super) struct Exchange {
    /// The response as the gateway gets it.
    pub(super) response: Value,
    /// The calls to AWS.
    pub(super) calls: Vec<Call>,
    /// The log lines.
    pub(super) logs: String,
}

impl Exchange {
    pub(super) fn status(&self) -> u16 {
        self.response["statusCode"].as_u64().and_then(|status| status.try_into().ok()).expect("a status")
    }

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status())
    }

    fn header(&self, name: &str) -> &str {
        self.response["headers"][name].as_str().unwrap_or_default()
    }

    fn body(&self) -> &str {
        self.response["body"].as_str().expect("a body that is text")
    }

    /// Returns the effects of the calls to this service.
    fn effects(&self, service: Service) -> Vec<&Value> {
        self.calls.iter().filter(|call| call.service == service).flat_map(|call| &call.effects).collect()
    }

    /// Panics if a promise is broken.
    pub(super) fn check(&self, route: &Route, input: &Input<'_>, bytes: &[u8]) {
        let status = self.status();
        assert!(route.statuses.contains(&status), "{} must not return {status}", route.name);
        assert!(!self.header("x-correlation-id").is_empty());
        assert_eq!(self.header("www-authenticate") == "Bearer", status == 401);
        assert_eq!(self.header("retry-after") == "1", status == 503);
        // An event that the gateway would not make may name any caller and any target.
        if input.setting("put").is_some() {
            return;
        }
        if self.is_success() {
            self.check_success(route, input);
        } else {
            self.check_error(route);
        }
        if (400..500).contains(&status) {
            self.check_refusal(route);
        }
        if tenant(input) == DENIED_ORG {
            assert!(status == 401 || status == 403, "shut out, and served");
            assert!(self.calls.is_empty(), "shut out, and read");
        }
        self.check_secrecy(input, bytes);
    }

    fn check_success(&self, route: &Route, input: &Input<'_>) {
        let location = self.header("location").rsplit_once("operations/").map(|(_, id)| id);
        if self.header("content-type").contains("xml") {
            assert_well_formed(self.body());
        } else {
            let body: Value = serde_json::from_str(self.body()).expect("JSON");
            assert!(self.header("content-type").contains("json"));
            if self.status() == 202 {
                assert_eq!(location, body["operation_id"].as_str());
            }
        }
        let messages = self.effects(Service::Sqs);
        // An operation that was recorded before need not be sent again.
        if location.is_some() && input.setting("operation").is_none() {
            assert!(!messages.is_empty(), "accepted, and not sent");
        }
        for message in messages {
            assert!(can_be_read(route, &message["MessageBody"]), "no worker can read {message}");
        }
    }

    fn check_error(&self, route: &Route) {
        let (status, content_type) = (self.status(), self.header("content-type"));
        if route.name == "cancel-orders" {
            assert!(
                status != 503 || self.effects(Service::Sqs).is_empty(),
                "the response states that nothing was sent, but it was"
            );
            if content_type.contains("xml") {
                assert_well_formed(self.body());
                assert!(self.body().starts_with("<string "));
            } else {
                assert!(!serde_json::from_str::<String>(self.body()).expect("a JSON string").is_empty());
            }
            return;
        }
        assert_eq!(content_type, "application/problem+json");
        let problem: Value = serde_json::from_str(self.body()).expect("JSON");
        assert_eq!(problem["status"], status);
        for member in ["type", "title", "detail", "instance"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member} of {problem}");
        }
        let errors = problem["errors"].as_array().map_or(&[][..], Vec::as_slice);
        assert_eq!(errors.is_empty(), status != 400, "{problem}");
        for error in errors {
            let places = ["pointer", "header", "parameter"].iter().filter(|place| error[**place].is_string());
            assert!(places.count() == 1 && error["detail"].is_string(), "{error}");
        }
    }

    /// Checks that a refused request has no effects.
    fn check_refusal(&self, route: &Route) {
        assert!(self.effects(Service::Sqs).is_empty(), "refused, and sent");
        let allowed = |partition: &str| match (route.name.as_str(), self.status()) {
            // A batch that is still open when the bulk is sealed stays invisible. Its request can be repeated.
            ("increment-bulk", 404 | 409) => partition.contains("#BULK#") || partition.contains("#OP#"),
            // A wrong PIN counts, even if the request then turns out to misuse its key.
            ("cancel-orders", 422) => partition.contains("#PERSON#") || partition.contains("#PINS#"),
            _ => false,
        };
        for partition in self.effects(Service::DynamoDb) {
            assert!(allowed(partition.as_str().unwrap()), "refused, and written: {partition}");
        }
    }

    /// Checks that no row of another tenant is touched, and that no secret leaves.
    fn check_secrecy(&self, input: &Input<'_>, bytes: &[u8]) {
        let own = format!("{}#", tenant(input));
        for partition in self.calls.iter().flat_map(|call| &call.partitions) {
            assert!(partition.starts_with(&own), "{partition} is not the caller's");
        }
        let response = self.response.to_string();
        let requests = self.calls.iter().map(|call| call.request.as_str());
        assert_no_secret(bytes, requests.chain([response.as_str(), &self.logs]));
        let is_cid = |(name, value): &(String, String), number| name == "x-correlation-id" && value.contains(number);
        for number in [ACCOUNT, CUSTOMER] {
            let is_logged = self.logs.contains(number) && !input.headers.iter().any(|header| is_cid(header, number));
            assert!(!is_logged, "an account or a customer is logged: {}", self.logs);
        }
        // A caller that is limited to an account learns of no other account, nor of its customer.
        let account = input.setting("account").filter(|account| !account.is_empty());
        if account.is_some_and(|account| account.parse::<u64>().ok() != ACCOUNT.parse().ok()) {
            for number in [ACCOUNT, CUSTOMER] {
                let is_asked = String::from_utf8_lossy(bytes).contains(number);
                assert!(is_asked || !response.contains(number), "another account is revealed: {response}");
            }
        }
        // The clients log too, when a service fails.
        let own = self.logs.lines().filter(|line| line.contains(r#""target":"shared::http""#));
        assert_eq!(own.count(), 1, "{}", self.logs);
    }

    /// Returns whether the request's operation was recorded, so that the same request with the same key is a
    /// repetition.
    pub(super) fn is_recorded(&self, route: &Route, input: &Input<'_>) -> bool {
        // The input's own rows need not match the request.
        let is_own = input.setting("operation").is_some();
        let has_key = input.headers.iter().any(|(name, _)| name == "idempotency-key");
        // If no order was accepted, nothing is recorded.
        let is_nothing = route.name == "cancel-orders" && self.header("location").is_empty();
        self.is_success() && route.method != "GET" && has_key && !is_own && !is_nothing
    }

    /// Panics if this repetition of a request gets another response than the first request.
    pub(super) fn check_repeated(&self, first: &Self) {
        assert_eq!(self.status(), first.status());
        assert_eq!(self.header("location"), first.header("location"));
        // Without a location, the response shows the current bulk.
        if !first.header("location").is_empty() {
            assert_eq!(self.body(), first.body());
        }
    }
}

/// Returns whether the endpoint's worker can read this message.
fn can_be_read(route: &Route, message: &Value) -> bool {
    let text = message.as_str().unwrap();
    let is_printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    is_printable && can_read(&route.name, text)
}
