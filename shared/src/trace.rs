//! The trace that an invocation is part of.

use crate::config;

/// Returns the trace header of this invocation, which the runtime stores in the environment.
///
/// SQS rejects a message whose `AWSTraceHeader` is not "a correctly formatted X-Ray trace header string"
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>). No instruction may
/// fail for that reason, so a header that may be malformed is omitted.
#[must_use]
pub fn header() -> Option<String> {
    config::optional("_X_AMZN_TRACE_ID").filter(|header| is_well_formed(header))
}

/// Returns whether the header has a root, and every member is well formed
/// (<https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html>, "Tracing header").
fn is_well_formed(header: &str) -> bool {
    let members: Option<Vec<_>> = header.split(';').map(|member| member.split_once('=')).collect();
    let is_known = |(name, value): &(&str, &str)| match *name {
        "Root" => is_root(value),
        "Parent" => is_hex(value, 16),
        "Sampled" => matches!(*value, "0" | "1" | "?"),
        // Lambda's own members, and future ones.
        _ => header.len() <= MAX_LENGTH && member_text(name) && member_text(value),
    };
    members.is_some_and(|members| members.iter().any(|(name, _)| *name == "Root") && members.iter().all(is_known))
}

/// Maximum length of a header that is passed on. Our limit.
const MAX_LENGTH: usize = 500;

fn is_root(value: &str) -> bool {
    let parts: Vec<_> = value.split('-').collect();
    matches!(parts[..], ["1", time, id] if is_hex(time, 8) && is_hex(id, 24))
}

fn is_hex(value: &str, length: usize) -> bool {
    value.len() == length && value.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn member_text(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":|-_.,".contains(&byte))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("Root=1-5759e988-bd862e3fe1be46a994272793", true)]
    #[case("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1", true)]
    #[case("Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0;Lineage=a87bd80c:1|68fd508a:5", true)]
    #[case("Sampled=1;Root=1-5759e988-bd862e3fe1be46a994272793;Lineage=1:a87bd80c:0", true)]
    #[case("", false)]
    #[case("Sampled=1", false)]
    #[case("Root=1-5759e988-bd862e3f", false)]
    #[case("Root=2-5759e988-bd862e3fe1be46a994272793", false)]
    #[case("Root=1-5759e988-bd862e3fe1be46a994272793;", false)]
    #[case("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=x", false)]
    #[case("Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=yes", false)]
    #[case("Root=1-5759e988-bd862e3fe1be46a994272793;Self=\u{7f}", false)]
    #[case("arn::myarn", false)]
    fn only_a_well_formed_header_is_passed_on(#[case] header: &str, #[case] well_formed: bool) {
        assert_eq!(is_well_formed(header), well_formed);
    }
}
