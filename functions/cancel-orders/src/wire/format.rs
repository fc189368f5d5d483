//! Finds the format of a request's body, and negotiates that of the response.

/// A format of bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON: `application/json` or `text/json`.
    Json,
    /// XML: `application/xml` or `text/xml`.
    Xml,
}

/// The known media types. The preferred one of each format is first.
const MEDIA_TYPES: [(&str, Format); 4] = [
    ("application/json", Format::Json),
    ("text/json", Format::Json),
    ("application/xml", Format::Xml),
    ("text/xml", Format::Xml),
];

/// Returns the format of a `Content-Type`, whatever its parameters are.
#[must_use]
pub fn of_content_type(value: &str) -> Option<Format> {
    media_type_of(value).map(|known| known.format)
}

fn media_type_of(value: &str) -> Option<ResponseFormat> {
    let essence = value.split(';').next().unwrap_or_default().trim();
    let known = MEDIA_TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(essence));
    known.map(|(media_type, format)| ResponseFormat { format: *format, media_type })
}

/// The format of a response, and its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseFormat {
    /// The format of the body.
    pub format: Format,
    /// The media type for the `Content-Type` header.
    pub media_type: &'static str,
}

impl ResponseFormat {
    /// Returns the format for the response: as the client accepts, or else as it sent its body, or else JSON.
    #[must_use]
    pub fn negotiate(accept: Option<&str>, content_type: Option<&str>) -> Self {
        let (media_type, format) = MEDIA_TYPES[0];
        let fallback = content_type.and_then(media_type_of).unwrap_or(Self { format, media_type });
        let ranges: Vec<Accepted> =
            accept.map(|accept| accept.split(',').filter_map(Accepted::read).collect()).unwrap_or_default();
        let mut best: Option<(u16, u8, Self)> = None;
        for (media_type, format) in MEDIA_TYPES {
            // The most specific range that covers a type determines its quality.
            let Some(range) =
                ranges.iter().filter(|range| range.covers(media_type)).max_by_key(|range| range.specificity)
            else {
                continue;
            };
            let better = best
                .is_none_or(|(quality, specificity, _)| (range.quality, range.specificity) > (quality, specificity));
            if range.quality > 0 && better {
                best = Some((range.quality, range.specificity, Self { format, media_type }));
            }
        }
        best.map_or(fallback, |(_, _, format)| format)
    }
}

/// One range of an `Accept` header.
struct Accepted<'a> {
    range: &'a str,
    /// The quality in thousandths.
    quality: u16,
    /// The specificity: 0 for `*/*`, 1 for `type/*`, 2 for a type.
    specificity: u8,
}

impl<'a> Accepted<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let range = parts.next()?;
        let specificity = match range.split_once('/')? {
            ("*", "*") => 0,
            (_, "*") => 1,
            _ => 2,
        };
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let quality = quality.map_or(Some(1000), thousandths)?;
        Some(Self { range, quality, specificity })
    }

    fn covers(&self, media_type: &str) -> bool {
        match self.specificity {
            0 => true,
            1 => {
                let kind = self.range.trim_end_matches("/*");
                media_type.split('/').next().is_some_and(|of_type| of_type.eq_ignore_ascii_case(kind))
            }
            _ => self.range.eq_ignore_ascii_case(media_type),
        }
    }
}

/// Parses a quality: 0 to 1, with at most three decimals. Returns it in thousandths.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if !matches!(whole, "0" | "1") || decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u16 = format!("{whole}{decimals:0<3}").parse().ok()?;
    (value <= 1000).then_some(value)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("application/json", Some(Format::Json))]
    #[case("Text/JSON; charset=utf-8", Some(Format::Json))]
    #[case("application/xml", Some(Format::Xml))]
    #[case("text/xml;charset=\"utf-8\"", Some(Format::Xml))]
    #[case("text/plain", None)]
    #[case("", None)]
    #[case("application/jsonx", None)]
    fn the_content_type_determines_the_format_of_a_body(#[case] content_type: &str, #[case] expected: Option<Format>) {
        assert_eq!(of_content_type(content_type), expected);
    }

    #[rstest]
    #[case::any(Some("*/*"), Some("text/xml"), "application/json")]
    #[case::nothing(None, Some("text/xml"), "text/xml")]
    #[case::nothing_at_all(None, None, "application/json")]
    #[case::none_that_is_known(Some("text/html"), Some("text/xml"), "text/xml")]
    #[case::exact(Some("text/xml"), Some("application/json"), "text/xml")]
    #[case::best_quality(Some("application/json;q=0.5, text/xml;q=0.9"), None, "text/xml")]
    #[case::excluded(Some("application/json;q=0, */*"), None, "text/json")]
    #[case::all_json_excluded(Some("application/json;q=0, text/json;q=0, */*"), None, "application/xml")]
    #[case::excluded_alone(Some("application/json;q=0"), Some("text/xml"), "text/xml")]
    #[case::three_decimals(Some("application/json;q=0.123, text/xml;q=0.124"), None, "text/xml")]
    #[case::four_decimals(Some("text/xml;q=0.0001"), None, "application/json")]
    #[case::more_than_one(Some("text/xml;q=1.001"), None, "application/json")]
    #[case::tie(Some("application/xml, application/json"), None, "application/json")]
    #[case::exact_beats_range(Some("*/*, application/xml"), None, "application/xml")]
    #[case::half_beats_range(Some("*/*, text/*"), None, "text/json")]
    #[case::specific_says_quality(
        Some("application/*;q=0.1, application/xml;q=0.8, text/*;q=0.2"),
        None,
        "application/xml"
    )]
    #[case::browser(Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), None, "application/xml")]
    #[case::invalid(Some("rubbish, ;;, application/xml;q=x"), Some("text/json"), "text/json")]
    #[case::case(Some("APPLICATION/XML;Q=1.0"), None, "application/xml")]
    fn the_response_has_the_format_that_the_client_accepts(
        #[case] accept: Option<&str>,
        #[case] content_type: Option<&str>,
        #[case] expected: &str,
    ) {
        assert_eq!(ResponseFormat::negotiate(accept, content_type).media_type, expected);
    }
}
