//! Lists are read in pages: `limit` items after `cursor`, which an earlier page held.

use std::fmt::Display;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Call;
use super::problem::Invalid;

/// Items of a page, unless the client says (contract).
pub const DEFAULT_LIMIT: usize = 100;
/// Most items of a page (contract).
pub const MAX_LIMIT: usize = 1000;

/// The page that is asked for: how many items, and after which place.
///
/// # Errors
/// [`Invalid`] if `limit` or `cursor` is malformed.
pub fn page<Place: FromStr>(call: &Call) -> Result<(usize, Option<Place>), Invalid> {
    const LIMIT: &str = "an integer from 1 to 1000";
    let limit = call.query("limit", LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Invalid::parameter("limit", format!("must be {LIMIT}")));
    }
    let Some(cursor) = call.query::<String>("cursor", "text")? else { return Ok((limit, None)) };
    let place = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let place = place.and_then(|place| place.parse().ok());
    let place = place.ok_or_else(|| Invalid::parameter("cursor", "must be one that an answer held"))?;
    Ok((limit, Some(place)))
}

/// The cursor of the page that follows this place.
pub fn cursor(place: &impl Display) -> String {
    URL_SAFE_NO_PAD.encode(place.to_string())
}
