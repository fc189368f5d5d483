//! Paged lists: `limit` items that follow the `cursor` of an earlier page.

use std::fmt::Display;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::RequestContext;
use super::problem::Invalid;

/// Items in a page if the client sets no limit (contract).
pub const DEFAULT_LIMIT: usize = 100;
/// Maximum items in a page (contract).
pub const MAX_LIMIT: usize = 1000;

/// Returns the requested page: its maximum number of items, and the place that it follows.
///
/// # Errors
/// Returns [`Invalid`] if `limit` or `cursor` is malformed.
pub fn page<Place: FromStr>(context: &RequestContext) -> Result<(usize, Option<Place>), Invalid> {
    read(context.query("limit", LIMIT)?, context.query("cursor", "text")?)
}

const LIMIT: &str = "an integer from 1 to 1000";

fn read<Place: FromStr>(limit: Option<usize>, cursor: Option<String>) -> Result<(usize, Option<Place>), Invalid> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Invalid::parameter("limit", format!("must be {LIMIT}")));
    }
    let Some(cursor) = cursor else { return Ok((limit, None)) };
    let place = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let place = place.and_then(|place| place.parse().ok());
    let place = place.ok_or_else(|| Invalid::parameter("cursor", "must come from an earlier response"))?;
    Ok((limit, Some(place)))
}

/// Returns the cursor of the page that follows this place.
pub fn cursor(place: &impl Display) -> String {
    URL_SAFE_NO_PAD.encode(place.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::http::ApiGatewayRequest;

    #[rstest]
    #[case("", Some((100, None)))]
    #[case("limit=7", Some((7, None)))]
    #[case("cursor=NQ&limit=7", Some((7, Some(5))))]
    #[case("limit=x", None)]
    #[case("limit=0&cursor=NQ", None)]
    #[case("cursor=%25", None)]
    fn a_page_is_what_the_query_asks_for(#[case] query: &str, #[case] expected: Option<(usize, Option<u32>)>) {
        let event: ApiGatewayRequest = serde_json::from_value(serde_json::json!({ "rawQueryString": query })).unwrap();
        let context = RequestContext::of(lambda_http::request::LambdaRequest::from(event).into());
        assert_eq!(page::<u32>(&context).ok(), expected);
    }

    #[rstest]
    #[case(None, Some(100))]
    #[case(Some(0), None)]
    #[case(Some(1), Some(1))]
    #[case(Some(1000), Some(1000))]
    #[case(Some(1001), None)]
    fn a_page_has_one_item_to_a_thousand(#[case] limit: Option<usize>, #[case] expected: Option<usize>) {
        assert_eq!(read::<u32>(limit, None).ok(), expected.map(|limit| (limit, None)));
    }

    #[rstest]
    #[case::not_base64("%")]
    #[case::padded("NQ==")]
    #[case::not_utf8("_w")]
    #[case::no_place("YQ")]
    #[case::empty("")]
    fn another_cursor_is_refused(#[case] cursor: &str) {
        assert!(read::<u32>(None, Some(cursor.to_owned())).is_err());
    }

    proptest! {
        #[test]
        fn a_page_begins_at_the_place_of_its_cursor(place in "\\PC{0,40}", limit in 1..=MAX_LIMIT) {
            let cursor = cursor(&place);
            prop_assert!(cursor.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')));
            prop_assert_eq!(read::<String>(Some(limit), Some(cursor)), Ok((limit, Some(place))));
        }
    }
}
