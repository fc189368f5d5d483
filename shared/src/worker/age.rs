//! The age of a message that is retried.

use std::time::Duration;

use aws_lambda_events::sqs::SqsMessage;

use crate::domain::time::Timestamp;

/// Returns how long the message will have waited when its delay ends, in seconds: since the time that it states, or
/// since SQS took it. With the delay, a message that waits for six hours is seen before these have passed. Returns
/// `None` if neither time is known.
pub(super) fn at_retry(
    record: &SqsMessage,
    waits_since: Option<Timestamp>,
    delay: Option<Duration>,
    now: Timestamp,
) -> Option<u64> {
    let sent = || Timestamp::of_epoch_milliseconds(record.attributes.get("SentTimestamp")?.parse().ok()?);
    let waited = Duration::from_millis(now.milliseconds_since(waits_since.or_else(sent)?));
    // Rounded up: a message that has waited for a moment longer than an alarm's threshold is above it.
    Some(u64::try_from(waited.saturating_add(delay.unwrap_or_default()).as_millis().div_ceil(1000)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const NOW: i64 = 1_795_316_645_678;

    #[rstest]
    #[case::since_sqs_took_it(Some("1795316585678"), None, None, Some(60))]
    #[case::and_until_its_delay_ends(Some("1795316585678"), None, Some(320), Some(380))]
    #[case::since_the_time_that_it_states(Some("1795316585678"), Some(NOW - 900_000), Some(20), Some(920))]
    #[case::rounded_up(Some("1795316645677"), None, None, Some(1))]
    #[case::never_negative(Some("1795316585678"), Some(NOW + 5_000), None, Some(0))]
    #[case::without_an_attribute(None, None, Some(20), None)]
    #[case::with_an_unreadable_attribute(Some("soon"), None, None, None)]
    fn an_age_is_known_from_either_time(
        #[case] sent: Option<&str>,
        #[case] stated: Option<i64>,
        #[case] delay: Option<u64>,
        #[case] expected: Option<u64>,
    ) {
        let mut record = SqsMessage::default();
        record.attributes.extend(sent.map(|sent| ("SentTimestamp".to_owned(), sent.to_owned())));
        let at = |milliseconds| Timestamp::of_epoch_milliseconds(milliseconds).unwrap();
        assert_eq!(at_retry(&record, stated.map(at), delay.map(Duration::from_secs), at(NOW)), expected);
    }
}
