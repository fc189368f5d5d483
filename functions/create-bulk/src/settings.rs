//! Reading what a client sets.

use serde_json::{Map, Value};
use shared::domain::bulk::{BulkSettings, ModeType, PinLength};
use shared::domain::ids::ProgramId;
use shared::http::{Invalid, integer};

/// Longest template ID, in characters. Ours.
pub const MAX_TEMPLATE_ID_CHARS: usize = 255;
/// Longest custom field, in characters (contract).
pub const MAX_CUSTOM_FIELD_CHARS: usize = 1000;
/// Shortest name of an embossing group, in characters (contract).
pub const MIN_GROUP_CHARS: usize = 2;
/// Longest name of an embossing group, in characters (contract).
pub const MAX_GROUP_CHARS: usize = 32;
/// Largest metadata, in bytes of JSON as they came (contract).
pub const MAX_METADATA_BYTES: usize = 3200;

/// Returns the settings, if none of them is wrong in itself; what is wrong is added. `metadata` is that member's text.
pub(crate) fn read(
    members: &Map<String, Value>,
    metadata: Option<String>,
    invalid: &mut Vec<Invalid>,
) -> Option<BulkSettings> {
    let mut reader = Reader { members, invalid };
    let program_id = reader.member("program_id", "must be an integer from 1 to 9007199254740991", |value| {
        integer(value).and_then(ProgramId::new)
    });
    if program_id.is_none() && !members.contains_key("program_id") {
        reader.invalid.push(Invalid::body("/program_id", "is required"));
    }
    let metadata_is_object = |value: &Value| value.is_object().then(|| metadata.clone()).flatten();
    let fits = |text: &String| text.len() <= MAX_METADATA_BYTES;
    let is_pin_length = |value: &Value| PinLength::try_from(u8::try_from(integer(value)?).ok()?).ok();
    let settings = BulkSettings {
        program_id: program_id?,
        contactless_enabled: reader.boolean("contactless_enabled").unwrap_or(true),
        pin_length: reader.member("pin_length", "must be 4 or 6", is_pin_length).unwrap_or(PinLength::Four),
        template_id: reader.text("template_id", (0, MAX_TEMPLATE_ID_CHARS)),
        abu_enabled: reader.boolean("abu_enabled"),
        embossing_custom_field: reader.text("embossing_custom_field", (0, MAX_CUSTOM_FIELD_CHARS)),
        embossing_group: reader.text("embossing_group", (MIN_GROUP_CHARS, MAX_GROUP_CHARS)),
        mode_type: reader.member("mode_type", "must be SINGLE or COMBO", |value| match value.as_str()? {
            "SINGLE" => Some(ModeType::Single),
            "COMBO" => Some(ModeType::Combo),
            _ => None,
        }),
        validity_period_hours: reader.member(
            "validity_period_hours",
            "must be an integer from 1 to 9007199254740991",
            |value| integer(value).filter(|hours| *hours > 0),
        ),
        metadata: reader.member(
            "metadata",
            &format!("must be an object of at most {MAX_METADATA_BYTES} bytes"),
            |value| metadata_is_object(value).filter(fits),
        ),
    };
    Some(settings)
}

/// Reads members one by one, and notes what is wrong.
struct Reader<'a> {
    members: &'a Map<String, Value>,
    invalid: &'a mut Vec<Invalid>,
}

impl Reader<'_> {
    fn member<T>(&mut self, name: &str, expected: &str, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let read = read(self.members.get(name)?);
        if read.is_none() {
            self.invalid.push(Invalid::body(format!("/{name}"), expected));
        }
        read
    }

    fn boolean(&mut self, name: &str) -> Option<bool> {
        self.member(name, "must be a boolean", Value::as_bool)
    }

    fn text(&mut self, name: &str, (least, most): (usize, usize)) -> Option<String> {
        let expected = format!("must be a string of {least} to {most} characters");
        let fits = |text: &&str| (least..=most).contains(&text.chars().count());
        self.member(name, &expected, |value| value.as_str().filter(fits).map(ToOwned::to_owned))
    }
}
