//! Checks the names of namespaces, which must be URI references (RFC 3986).

/// Returns whether this is a URI reference.
pub(super) fn is_uri_reference(text: &str) -> bool {
    let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (text, query) = text.split_once('?').unwrap_or((text, ""));
    let (scheme, text) = match text.split_once(':') {
        Some((scheme, rest)) if !scheme.contains('/') => (Some(scheme), rest),
        _ => (None, text),
    };
    let (authority, path) = match text.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", text),
    };
    scheme.is_none_or(is_scheme)
        && is_authority(authority)
        && is_made_of(path, b":@/")
        && is_made_of(query, b":@/?")
        // RFC 3986 does not allow brackets here. libxml2 accepts them, and nothing depends on it.
        && is_made_of(fragment, b":@/?[]")
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn is_authority(text: &str) -> bool {
    let (user, text) = text.split_once('@').unwrap_or(("", text));
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => (address, rest),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let is_literal = text.starts_with('[');
    let is_number = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<i32>().is_ok();
    let is_port = |port: &str| port.strip_prefix(':').is_some_and(is_number);
    is_made_of(user, b":")
        && is_made_of(host, if is_literal { b":" } else { b"" })
        && (port.is_empty() || is_port(port))
}

/// Returns whether the text contains only unreserved characters, sub-delimiters, percent-encoded bytes and the given
/// characters.
fn is_made_of(text: &str, others: &[u8]) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let is_good = match byte {
            b'%' => bytes.by_ref().take(2).filter(u8::is_ascii_hexdigit).count() == 2,
            _ => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte) || others.contains(&byte),
        };
        if !is_good {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("http://schemas.datacontract.org/2004/07/")]
    #[case("urn:uuid:6269c403-5b9f-47dd-b8c3-7ecbef8f686d")]
    #[case("")]
    #[case("u")]
    #[case("a/b:c")]
    #[case("?a:b/c?d")]
    #[case("#a:b/c?d")]
    #[case("//a")]
    #[case("file:///a")]
    #[case("http://a:b@c:80/d;e=f,(g)'h'~!$&*+?i#j")]
    #[case("http://[::1]:8080/")]
    #[case("a:%20%aF")]
    fn a_uri_reference_is_accepted(#[case] text: &str) {
        assert!(is_uri_reference(text));
    }

    #[rstest]
    #[case::space("a b")]
    #[case::space_alone(" ")]
    #[case::line_end("urn:a\n")]
    #[case::beyond_ascii("urn:é")]
    #[case::brackets("a[b]")]
    #[case::braces("urn:{a}")]
    #[case::backslash("http:\\\\a")]
    #[case::no_scheme(":a")]
    #[case::digit_first("1:a")]
    #[case::invalid_scheme("a_b:c")]
    #[case::two_fragments("a#b#c")]
    #[case::half_a_byte("a:%2")]
    #[case::no_byte("a:%zz")]
    #[case::no_port("http://a:/")]
    #[case::invalid_port("http://a:b/")]
    #[case::signed_port("http://a:+80/")]
    #[case::far_port("http://a:99999999999/")]
    #[case::two_ports("http://a:1:2/")]
    #[case::two_users("http://a@b@c/")]
    #[case::open_bracket("http://[::1/")]
    #[case::after_brackets("http://[::1]a/")]
    fn any_other_text_is_refused(#[case] text: &str) {
        assert!(!is_uri_reference(text));
    }
}
