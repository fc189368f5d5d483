//! Escapes all output, so that it cannot control the terminal. A queue, a row or a response can hold text from anyone,
//! with sequences that move the cursor or reverse the text.

use serde_json::Value;
use shared::queue::ascii_json;

/// Escapes the characters that are not visible as themselves: control characters (including ESC, line feed and C1),
/// characters without a width, and those that change the direction of text.
pub fn escaped(text: &str) -> String {
    let shown = |c: char| if matches!(c, '"' | '\'' | '\\') { c.to_string() } else { c.escape_debug().to_string() };
    text.chars().map(shown).collect()
}

/// Escapes each line of the text, but not the line breaks.
pub fn escaped_lines(text: &str) -> String {
    text.lines().map(escaped).collect::<Vec<_>>().join("\n")
}

/// Returns the value as JSON in ASCII, for programs and terminals.
pub fn json(value: &Value) -> String {
    // Serializing a `Value` never fails.
    ascii_json(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Returns characters from each Unicode class that can move the cursor, hide text or reverse it.
    fn control_characters() -> impl Iterator<Item = char> {
        let controls = ('\0'..='\u{1f}').chain('\u{7f}'..='\u{9f}');
        let lines = '\u{2028}'..='\u{2029}';
        let directions = ['\u{61c}', '\u{200e}', '\u{200f}'].into_iter();
        let directions = directions.chain('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}');
        let no_width = ['\u{ad}', '\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}', '\u{feff}', '\u{e0041}'];
        controls.chain(lines).chain(directions).chain(no_width)
    }

    #[test]
    fn no_terminal_control_sequence_is_printed() {
        for c in control_characters() {
            let text = format!("a{c}b");
            let printed = [escaped(&text), json(&json!({ &text: [text] }))];
            assert!(printed.iter().all(|shown| shown.bytes().all(|byte| (b' '..=b'~').contains(&byte))), "{c:?}");
        }
        assert_eq!(escaped("käse \"x\"\u{1b}[2J\u{9b}1A\r\u{202e}"), "käse \"x\"\\u{1b}[2J\\u{9b}1A\\r\\u{202e}");
        assert_eq!(escaped_lines("a\u{1b}\nb"), "a\\u{1b}\nb");
    }

    #[test]
    fn json_in_ascii_has_the_same_value() {
        let value = json!({ "ä\u{9b}": ["😀\u{202e}", 1.5, null] });
        assert_eq!(serde_json::from_str::<Value>(&json(&value)).unwrap(), value);
    }
}
