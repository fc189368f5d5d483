//! Integers in the forms that other systems' serializers write.
//!
//! JSON has only one type of number: `5`, `5.0` and `5e0` are equal. Integers are parsed from their text, because a
//! floating-point number would round `9007199254740991.4` to an integer.

use std::fmt::Display;

use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

/// An integer in any form that JSON permits. It can be deserialized only from JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Integer<T>(pub T);

impl<'de, T: TryFrom<i128, Error: Display>> Deserialize<'de> for Integer<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let number = whole(text.get()).ok_or_else(|| de::Error::custom("an integer is expected"))?;
        T::try_from(number).map(Self).map_err(de::Error::custom)
    }
}

/// Returns the integer that this JSON text represents, or `None` if it has a fraction or does not fit the type.
#[must_use]
pub fn whole(text: &str) -> Option<i128> {
    let (number, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (sign, number) = number.strip_prefix('-').map_or((1, number), |number| (-1, number));
    let (before, after) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{before}{after}");
    if before.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    // The trailing zeros are added to the exponent, which may be negative.
    let zeros = i64::try_from(digits.len() - significant.len()).ok()?;
    let exponent = exponent.parse::<i64>().ok()?.checked_add(zeros)?.checked_sub(i64::try_from(after.len()).ok()?)?;
    let power = 10_i128.checked_pow(u32::try_from(exponent).ok()?)?;
    significant.parse::<i128>().ok()?.checked_mul(power)?.checked_mul(sign)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("5", Some(5))]
    #[case("-5", Some(-5))]
    #[case("5.0", Some(5))]
    #[case("5e0", Some(5))]
    #[case("5E+0", Some(5))]
    #[case("0.5e1", Some(5))]
    #[case("500.00e-2", Some(5))]
    #[case("1.5e1", Some(15))]
    #[case("0", Some(0))]
    #[case("-0.0", Some(0))]
    #[case("0e99999999999999999999", Some(0))]
    #[case("9007199254740991.0", Some(9_007_199_254_740_991))]
    #[case("170141183460469231731687303715884105727", Some(i128::MAX))]
    #[case::fraction("5.5", None)]
    #[case::smallest_fraction("9007199254740991.00000000000000000001", None)]
    #[case::fraction_by_exponent("5e-1", None)]
    #[case::too_large("170141183460469231731687303715884105728", None)]
    #[case::exponent_too_large("1e39", None)]
    #[case::exponent_far_too_large("1e99999999999999999999", None)]
    #[case::exponent_far_too_small("1e-9223372036854775808", None)]
    #[case::text("\"5\"", None)]
    #[case::bool("true", None)]
    #[case::null("null", None)]
    #[case::list("[5]", None)]
    #[case::nothing("", None)]
    #[case::no_digit("-", None)]
    fn any_form_of_an_integer_is_read(#[case] text: &str, #[case] expected: Option<i128>) {
        assert_eq!(whole(text), expected);
    }

    #[rstest]
    #[case("2147483647.0", Some(i32::MAX))]
    #[case("-2147483648", Some(i32::MIN))]
    #[case("2147483648", None)]
    #[case("5.1", None)]
    #[case("\"5\"", None)]
    #[case("null", None)]
    fn an_integer_has_its_types_range(#[case] json: &str, #[case] expected: Option<i32>) {
        assert_eq!(serde_json::from_str(json).ok().map(|Integer(number)| number), expected);
        let value = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::from_value(value).ok().map(|Integer(number)| number), expected);
    }

    #[test]
    fn null_is_the_absence_of_an_integer() {
        assert_eq!(serde_json::from_str::<Option<Integer<i32>>>("null").unwrap(), None);
    }

    proptest! {
        #[test]
        fn any_written_integer_is_read(number in any::<i64>(), zeros in 0..30_usize) {
            let padding = "0".repeat(zeros);
            let expected = Some(i128::from(number));
            prop_assert_eq!(whole(&number.to_string()), expected);
            prop_assert_eq!(whole(&format!("{number}.0{padding}")), expected);
            prop_assert_eq!(whole(&format!("{number}{padding}e-{zeros}")), expected);
            prop_assert_eq!(whole(&format!("{number}.{padding}1")), None);
        }

        #[test]
        fn no_text_causes_a_panic(text in "[0-9eE.+-]{0,40}") {
            let _ = whole(&text);
        }
    }
}
