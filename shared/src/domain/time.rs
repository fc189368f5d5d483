//! Points in time and calendar dates, in the form used in rows, messages and events.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Duration, Month, OffsetDateTime, UtcOffset};

const MILLISECONDS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
const MIDNIGHT: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]T00:00:00Z");

/// A point in time in UTC, in whole milliseconds. It is written as in RFC 3339: `2026-11-22T03:04:05.678Z`.
///
/// It has exactly the written precision, so a value that was stored and read again is equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(OffsetDateTime);

impl Timestamp {
    /// Returns the millisecond that contains `at`.
    #[must_use]
    pub fn new(at: OffsetDateTime) -> Self {
        let at = at.to_offset(UtcOffset::UTC);
        Self(at - Duration::nanoseconds(i64::from(at.nanosecond() % 1_000_000)))
    }

    /// Returns the whole seconds since 1970.
    #[must_use]
    pub const fn epoch_seconds(self) -> i64 {
        self.0.unix_timestamp()
    }

    /// Returns the whole milliseconds since 1970.
    #[must_use]
    pub const fn epoch_milliseconds(self) -> i64 {
        self.0.unix_timestamp() * 1000 + self.0.millisecond() as i64
    }

    /// Returns the point in time this many milliseconds after 1970, or `None` if it cannot be written.
    #[must_use]
    pub fn of_epoch_milliseconds(milliseconds: i64) -> Option<Self> {
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000).ok()?;
        (0..=9999).contains(&at.year()).then(|| Self::new(at))
    }

    /// Returns the whole milliseconds since `earlier`, or 0 if that is later, because clocks differ.
    #[must_use]
    pub fn milliseconds_since(self, earlier: Self) -> u64 {
        u64::try_from((self.0 - earlier.0).whole_milliseconds()).unwrap_or(0)
    }

    /// Returns the day in UTC.
    #[must_use]
    pub const fn date(self) -> Date {
        Date(self.0.date())
    }

    /// Returns the time this number of days later.
    #[must_use]
    pub fn plus_days(self, days: i64) -> Self {
        Self(self.0.saturating_add(Duration::days(days)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.format(MILLISECONDS).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let at = OffsetDateTime::parse(&text, &Rfc3339).map_err(de::Error::custom)?;
        // At the limits of the range, a time with another offset may have no UTC equivalent, or none that can be
        // written.
        let at = at.checked_to_offset(UtcOffset::UTC).filter(|at| (0..=9999).contains(&at.year()));
        at.map(Self::new).ok_or_else(|| de::Error::custom("a time must lie in the years 0 to 9999, UTC"))
    }
}

/// A calendar date, written as the date-time at which it begins (RFC 3339): `2026-11-22T00:00:00Z`. This is the
/// contract's form, because consumers with a typed date-time reject a date alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(time::Date);

impl Date {
    /// Creates a date.
    #[must_use]
    pub const fn new(date: time::Date) -> Self {
        Self(date)
    }

    /// Returns the same day of the month this many months later, or that month's last day if it is shorter.
    #[must_use]
    pub fn plus_months(self, months: u32) -> Self {
        let month = self.0.month() as u32 - 1 + months;
        let year = self.0.year().saturating_add_unsigned(month / 12).min(time::Date::MAX.year());
        let month = Month::December.nth_next(u8::try_from(month % 12 + 1).unwrap_or(12));
        let day = self.0.day().min(month.length(year));
        // The day was limited to the month's length.
        Self(time::Date::from_calendar_date(year, month, day).unwrap_or(self.0))
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.format(MIDNIGHT).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        time::Date::parse(&text, MIDNIGHT).map(Self).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use time::macros::{date, datetime};

    use super::*;

    #[test]
    fn a_timestamp_is_utc_with_three_digits() {
        let at = Timestamp::new(datetime!(2026-11-22 05:04:05.000_999 +2));
        assert_eq!(serde_json::to_string(&at).unwrap(), r#""2026-11-22T03:04:05.000Z""#);
    }

    #[rstest]
    #[case(datetime!(1970-01-01 00:00 UTC), 0, 0)]
    #[case(datetime!(1970-01-01 00:00:01.001 UTC), 1, 1_001)]
    #[case(datetime!(1969-12-31 23:59:59.500 UTC), -1, -500)]
    #[case(datetime!(2026-11-22 05:04:05.678 +2), 1_795_316_645, 1_795_316_645_678)]
    #[case(datetime!(0000-01-01 00:00 UTC), -62_167_219_200, -62_167_219_200_000)]
    #[case(datetime!(9999-12-31 23:59:59.999 UTC), 253_402_300_799, 253_402_300_799_999)]
    fn time_is_counted_from_1970(#[case] at: OffsetDateTime, #[case] seconds: i64, #[case] milliseconds: i64) {
        let at = Timestamp::new(at);
        assert_eq!((at.epoch_seconds(), at.epoch_milliseconds()), (seconds, milliseconds));
        assert_eq!(Timestamp::of_epoch_milliseconds(milliseconds), Some(at));
    }

    #[rstest]
    #[case::year_10000(253_402_300_800_000)]
    #[case::before_the_year_0(-62_167_219_200_001)]
    #[case::most(i64::MAX)]
    #[case::least(i64::MIN)]
    fn a_time_that_cannot_be_written_is_rejected(#[case] milliseconds: i64) {
        assert_eq!(Timestamp::of_epoch_milliseconds(milliseconds), None);
    }

    #[test]
    fn times_have_a_distance_and_a_day() {
        let [one, other] =
            [datetime!(2026-11-22 23:59:58.500 UTC), datetime!(2026-11-23 00:00:00.001 UTC)].map(Timestamp::new);
        assert_eq!((other.milliseconds_since(one), one.milliseconds_since(other)), (1_501, 0));
        assert_eq!([one, other].map(Timestamp::date), [date!(2026 - 11 - 22), date!(2026 - 11 - 23)].map(Date::new));
        assert_eq!(one.plus_days(2), Timestamp::new(datetime!(2026-11-24 23:59:58.500 UTC)));
    }

    #[rstest]
    #[case(date!(2026 - 11 - 22), 72, date!(2032 - 11 - 22))]
    #[case(date!(2026 - 12 - 31), 1, date!(2027 - 01 - 31))]
    #[case(date!(2028 - 02 - 29), 12, date!(2029 - 02 - 28))]
    #[case(date!(2026 - 01 - 31), 13, date!(2027 - 02 - 28))]
    #[case(date!(2026 - 11 - 22), 300, date!(2051 - 11 - 22))]
    #[case(date!(2026 - 01 - 31), 0, date!(2026 - 01 - 31))]
    fn months_are_added_by_the_calendar(#[case] from: time::Date, #[case] months: u32, #[case] expected: time::Date) {
        assert_eq!(Date::new(from).plus_months(months), Date::new(expected));
    }

    #[rstest]
    #[case("9999-12-31T23:59:59-02:00")]
    #[case("0000-01-01T00:00:00+02:00")]
    #[case("yesterday")]
    fn a_text_that_is_no_writable_time_is_rejected(#[case] text: &str) {
        assert!(serde_json::from_value::<Timestamp>(serde_json::json!(text)).is_err());
    }

    #[test]
    fn the_limits_of_time_can_be_read_and_not_exceeded() {
        let last: Timestamp = serde_json::from_value(serde_json::json!("9999-12-31T23:59:59.999Z")).unwrap();
        assert_eq!(last.plus_days(90), last.plus_days(91));
        assert!(serde_json::from_value::<Timestamp>(serde_json::json!("0001-01-01T00:00:00+02:00")).is_ok());
    }

    proptest! {
        #[test]
        fn a_written_time_can_be_read(nanos in 0_i64..4_000_000_000_000_000_000) {
            let at = Timestamp::new(OffsetDateTime::from_unix_timestamp_nanos(nanos.into()).unwrap());
            let text = serde_json::to_string(&at).unwrap();
            prop_assert_eq!(serde_json::from_str::<Timestamp>(&text).unwrap(), at);
            let date = Date::new(at.0.date());
            let text = serde_json::to_string(&date).unwrap();
            prop_assert_eq!(serde_json::from_str::<Date>(&text).unwrap(), date);
        }
    }
}
