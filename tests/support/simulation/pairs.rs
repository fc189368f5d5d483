//! Finds rows that contradict each other, by the rules of `bindery check`.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use shared::clock;
use shared::domain::bulk::Bulk;
use shared::domain::consistency::{Finding, ItemCounts};
use shared::domain::ids::{CardId, OrgId};
use shared::partners::Partners;
use shared::store::{Row, RowKey, keyed};

/// Returns the violations that the rules find in this table.
pub fn violations(table: &BTreeMap<(String, String), Value>) -> Vec<String> {
    let now = clock::now();
    let rows: HashMap<RowKey, Row> =
        table.values().filter_map(|row| keyed(serde_dynamo::to_item(row).unwrap())).collect();
    let partners = Partners::from(rows.clone());
    let mut found = Vec::new();
    let mut tell = |key: &RowKey, findings: Vec<Finding>| {
        found.extend(findings.iter().map(|finding| format!("{finding} {key:?}: {}", table[&key.texts()])));
    };
    let mut highest: BTreeMap<&OrgId, CardId> = BTreeMap::new();
    for (key, row) in &rows {
        tell(key, partners.findings(key, row, now));
        match (key, row) {
            (RowKey::Bulk(org, _), Row::Bulk(bulk)) => {
                let items: Vec<_> = rows.iter().filter(|(key, _)| is_of(bulk, org, key)).collect();
                let mut counts = Some(ItemCounts::default());
                for (item_key, item) in items {
                    tell(item_key, partners.findings_of_item(bulk, item_key, item, now));
                    counts = counts.and_then(|counts| partners.add(counts, bulk, org, item, now));
                }
                tell(key, counts.map(|counts| counts.compare(bulk)).unwrap_or_default());
            }
            (RowKey::Card(org, id), Row::Card(card)) if card.facts.bulk_id.is_some() => {
                let highest = highest.entry(org).or_insert(*id);
                *highest = (*highest).max(*id);
            }
            _ => {}
        }
    }
    for (org, highest) in highest {
        let key = RowKey::Counter(org.clone());
        tell(&key, partners.findings_of_counter(&key, highest).into_iter().collect());
    }
    found
}

fn is_of(bulk: &Bulk, org: &OrgId, key: &RowKey) -> bool {
    matches!(key, RowKey::Item(of_org, of, _) if (of_org, of) == (org, &bulk.bulk_id))
}
