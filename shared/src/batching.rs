//! Division of entries into calls within AWS's limits on entries and bytes.

/// Divides the entries, in their order, into calls of at most `most` entries and `bytes` bytes. An entry larger than
/// that becomes a call of its own, which AWS rejects.
pub(crate) fn calls<T>(entries: &[T], most: usize, bytes: usize, size: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut calls = Vec::new();
    let (mut start, mut sum) = (0, 0);
    for (position, entry) in entries.iter().enumerate() {
        let size = size(entry);
        if position > start && (position - start == most || sum + size > bytes) {
            calls.push(&entries[start..position]);
            (start, sum) = (position, 0);
        }
        sum += size;
    }
    if start < entries.len() {
        calls.push(&entries[start..]);
    }
    calls
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn calls_are_within_the_limits_and_complete(sizes in prop::collection::vec(0_usize..1000, 0..60)) {
            let calls = calls(&sizes, 10, 2500, |size| *size);
            for call in &calls {
                prop_assert!(!call.is_empty() && call.len() <= 10 && call.iter().sum::<usize>() <= 2500);
            }
            prop_assert_eq!(calls.concat(), sizes);
        }
    }
}
