//! Changes of inputs that leave them readable. When libFuzzer changes bytes, the result is seldom JSON. Here, one
//! value of a body, a message or a setting becomes another.

use std::ops::Range;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::workers::SEPARATOR;

/// Changes the input at the start of `data` in place, either one of its JSON values or its bytes. Returns its new
/// size.
pub fn mutate(
    data: &mut [u8],
    size: usize,
    max_size: usize,
    seed: u32,
    change_bytes: impl FnOnce(&mut [u8], usize, usize) -> usize,
) -> usize {
    if seed.is_multiple_of(2)
        && let Some(changed) = change(&data[..size], seed).filter(|changed| changed.len() <= max_size)
    {
        data[..changed.len()].copy_from_slice(&changed);
        return changed.len();
    }
    change_bytes(data, size, max_size)
}

/// Returns the input with one value of its JSON changed at random, based on the seed. `None` if it contains no JSON.
fn change(bytes: &[u8], seed: u32) -> Option<Vec<u8>> {
    let mut random = Rng::with_seed(seed.into());
    let text = std::str::from_utf8(bytes).ok()?;
    let parsed = |piece: Range<usize>| Some((serde_json::from_str::<Value>(&text[piece.clone()]).ok()?, piece));
    let (mut value, piece) = random.choice(pieces(text).into_iter().filter_map(parsed).collect::<Vec<_>>())?;
    let nodes = count(&value);
    let other = nth(&mut value, &mut random.usize(..nodes))?.clone();
    change_node(nth(&mut value, &mut random.usize(..nodes))?, other, &mut random);
    Some([&text[..piece.start], &value.to_string(), &text[piece.end..]].concat().into_bytes())
}

/// Returns the ranges that may contain JSON: settings, and the messages of the body.
fn pieces(text: &str) -> Vec<Range<usize>> {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut pieces = Vec::new();
    let mut start = 0;
    for line in head.split_inclusive('\n') {
        if let Some((name, _)) = line.split_once(' ').filter(|_| line.starts_with(':')) {
            pieces.push(start + name.len() + 1..start + line.trim_end().len());
        }
        start += line.len();
    }
    start = text.len() - body.len();
    for message in body.split(SEPARATOR) {
        pieces.push(start..start + message.len());
        start += message.len() + SEPARATOR.len();
    }
    pieces.retain(|piece| piece.start < piece.end);
    pieces
}

fn children(value: &mut Value) -> Vec<&mut Value> {
    match value {
        Value::Array(values) => values.iter_mut().collect(),
        Value::Object(members) => members.values_mut().collect(),
        _ => Vec::new(),
    }
}

/// Counts the values in this one, including itself.
fn count(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(count).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

/// Returns the value with this number, in the order of [`count`].
fn nth<'a>(value: &'a mut Value, number: &mut usize) -> Option<&'a mut Value> {
    if *number == 0 {
        return Some(value);
    }
    *number -= 1;
    children(value).into_iter().find_map(|child| nth(child, number))
}

/// Changes a node, possibly to `other`, which is another value of the same input.
fn change_node(node: &mut Value, other: Value, random: &mut Rng) {
    match (random.u8(..5), &mut *node) {
        (0, Value::Array(values)) if !values.is_empty() => _ = values.swap_remove(random.usize(..values.len())),
        (0, Value::Object(members)) if !members.is_empty() => {
            let name = random.choice(members.keys().cloned()).unwrap();
            members.remove(&name);
        }
        (1, Value::Array(values)) => values.push(other),
        (1, Value::Object(members)) => _ = members.insert(random.choice(NAMES).unwrap().to_owned(), other),
        (0, Value::Number(number)) => {
            let number = number.as_i64().unwrap_or_default();
            *node = number.wrapping_add(random.i64(-2..=2)).into();
        }
        (1 | 2, Value::Number(_)) => *node = random.choice(NUMBERS).unwrap().into(),
        (3, node) => *node = other,
        (_, node) => *node = interesting(random),
    }
}

const NUMBERS: [i64; 9] =
    [0, 1, -1, 100_000, 2_147_483_648, 4_294_967_295, 9_007_199_254_740_991, 9_007_199_254_740_992, i64::MIN];

/// Names of optional members.
const NAMES: [&str; 16] = [
    "after",
    "bulk_status",
    "cancel_rejected",
    "card",
    "chunks",
    "done",
    "ended_at",
    "international_order_uid",
    "issued",
    "missing",
    "open",
    "outcome",
    "pending",
    "pin_required",
    "reissued_card_id",
    "sealed_by",
];

/// Returns a value at a limit, or one that often breaks parsers.
fn interesting(random: &mut Rng) -> Value {
    const TEXTS: [&str; 12] = [
        "",
        "#",
        "\0",
        "\u{ffff}",
        "é",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999Z",
        "2026-11-22",
        "01a20000-0000-7000-8000-000000000001",
        "CANCELED",
        "ISSUED",
        "UNBOUND",
    ];
    match random.u8(..8) {
        0 => Value::Null,
        1 => random.bool().into(),
        2 => json!([]),
        3 => json!({}),
        4 => random.choice([json!(u64::MAX), json!(1.5), json!(1e300), json!("é".repeat(256))]).unwrap(),
        5 | 6 => random.choice(NUMBERS).unwrap().into(),
        _ => random.choice(TEXTS).unwrap().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_of_one_value_and_leaves_the_rest() {
        let input = ":worker w\n:card {\"a\": 1}\nh: {}\n\n{\"b\": [2, 3]}\n---\nno JSON";
        for seed in 0..1000 {
            let changed = String::from_utf8(change(input.as_bytes(), seed).unwrap()).unwrap();
            assert!(changed.starts_with(":worker w\n:card ") && changed.contains("\nh: {}\n\n"), "{changed}");
            assert!(changed.ends_with("\n---\nno JSON"), "{changed}");
            let pieces = pieces(&changed).into_iter();
            let read = pieces.filter(|piece| serde_json::from_str::<Value>(&changed[piece.clone()]).is_ok());
            assert_eq!(read.count(), 2, "{changed}");
        }
        assert_eq!(change(b":worker w\n\nno JSON", 1), None);
    }
}
