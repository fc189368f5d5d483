//! Reads the settings of a bulk from a request.

use shared::domain::bulk::{BulkSettings, ModeType, PinLength};
use shared::domain::ids::{MAX_INTEGER_ID, ProgramId, is_of_one_line};
use shared::http::{Invalid, Members};
use shared::number::whole;

/// The maximum length of a template ID, in characters (our limit).
pub const MAX_TEMPLATE_ID_CHARS: usize = 255;
/// The maximum length of a custom field, in characters (contract).
pub const MAX_CUSTOM_FIELD_CHARS: usize = 1000;
/// The minimum length of an embossing group's name, in characters (contract).
pub const MIN_GROUP_CHARS: usize = 2;
/// The maximum length of an embossing group's name, in characters (contract).
pub const MAX_GROUP_CHARS: usize = 32;
/// The maximum size of metadata, in bytes of JSON as the client sent it (contract).
pub const MAX_METADATA_BYTES: usize = 3200;

/// Returns the settings, if they name a program. Adds all errors to `invalid`.
pub(crate) fn read(members: &Members<'_>, invalid: &mut Vec<Invalid>) -> Option<BulkSettings> {
    if !members.contains("program_id") {
        invalid.push(Invalid::body("/program_id", "is required"));
    }
    let mut reader = Reader { members, invalid };
    let program_id = reader.integer("program_id", ProgramId::new);
    let hours = reader.integer("validity_period_hours", |hours| (1..=MAX_INTEGER_ID).contains(&hours).then_some(hours));
    let pin_length = |text: &str| PinLength::try_from(u8::try_from(whole(text)?).ok()?).ok();
    let is_metadata = |text: &str| text.starts_with('{') && text.len() <= MAX_METADATA_BYTES;
    let metadata = format!("must be an object of at most {MAX_METADATA_BYTES} bytes");
    let settings = BulkSettings {
        contactless_enabled: reader.boolean("contactless_enabled").unwrap_or(true),
        pin_length: reader.member("pin_length", "must be 4 or 6", pin_length).unwrap_or(PinLength::Four),
        template_id: reader.text("template_id", (0, MAX_TEMPLATE_ID_CHARS)),
        abu_enabled: reader.boolean("abu_enabled"),
        embossing_custom_field: reader.text("embossing_custom_field", (0, MAX_CUSTOM_FIELD_CHARS)),
        embossing_group: reader.text("embossing_group", (MIN_GROUP_CHARS, MAX_GROUP_CHARS)),
        mode_type: reader
            .member("mode_type", "must be SINGLE or COMBO", |text| serde_json::from_str::<ModeType>(text).ok()),
        validity_period_hours: hours,
        metadata: reader.member("metadata", &metadata, |text| is_metadata(text).then(|| text.to_owned())),
        program_id: program_id?,
    };
    Some(settings)
}

/// A reader of single members, which collects their errors.
struct Reader<'a> {
    members: &'a Members<'a>,
    invalid: &'a mut Vec<Invalid>,
}

impl Reader<'_> {
    /// Reads a member from its JSON text.
    fn member<T>(&mut self, name: &str, expected: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let read = read(self.members.text(name)?);
        if read.is_none() {
            self.invalid.push(Invalid::body(format!("/{name}"), expected));
        }
        read
    }

    fn integer<T>(&mut self, name: &str, read: impl Fn(u64) -> Option<T>) -> Option<T> {
        let expected = format!("must be an integer from 1 to {MAX_INTEGER_ID}");
        self.member(name, &expected, |text| read(u64::try_from(whole(text)?).ok()?))
    }

    fn boolean(&mut self, name: &str) -> Option<bool> {
        self.member(name, "must be a boolean", |text| text.parse().ok())
    }

    /// Reads a string for the embosser.
    fn text(&mut self, name: &str, (least, most): (usize, usize)) -> Option<String> {
        let excluded = "without control characters and line breaks";
        let expected = format!("must be a string of {least} to {most} characters, {excluded}");
        let fits = |text: &String| (least..=most).contains(&text.chars().count()) && is_of_one_line(text);
        self.member(name, &expected, |text| serde_json::from_str(text).ok().filter(fits))
    }
}
