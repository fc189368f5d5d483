//! `bindery check`: what in the table does not fit together, and what to do about it.
//!
//! The table is read page by page, and beside each page the rows that its rows refer to. A bulk's items are gone
//! through when its header comes: nobody promises in which order a scan brings rows.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use shared::clock;
use shared::domain::bulk::Bulk;
use shared::domain::consistency::{Finding, ItemCounts};
use shared::domain::ids::{CardId, OperationId, OrgId};
use shared::domain::time::Timestamp;
use shared::partners::{self, Partners};
use shared::store::{Row, RowKey, Store, StoreError};

use crate::error::CliError;
use crate::output::Output;
use crate::stack::Stack;

/// How often a call is made before the search ends of it: one that takes an hour should not end of a busy second.
const MAX_ATTEMPTS: u32 = 6;
/// How long it waits between.
const WAIT: Duration = Duration::from_secs(1);

/// Flags of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Another table than the deployment's: one that was restored, say.
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
}

impl Check {
    /// Prints what does not fit together, and changes nothing.
    pub async fn run(self, stack: &Stack, output: Output) -> Result<(), CliError> {
        let table = self.table.map_or_else(|| stack.output("TableName").map(ToOwned::to_owned), Ok)?;
        let store = Store::new(stack.dynamodb(), table);
        let bar = output.progress(None).with_message("rows");
        let mut search = Search {
            store: &store,
            output,
            bar,
            now: clock::now(),
            rows: 0,
            findings: 0,
            gone: HashSet::new(),
            highest: BTreeMap::new(),
        };
        let searched = search.table().await;
        search.bar.finish_and_clear();
        searched?;
        let (rows, findings) = (search.rows, search.findings);
        output.passage(
            &json!({ "rows": rows, "findings": findings }),
            &[format!("{rows} row(s) were read; {findings} finding(s).")],
        );
        if findings == 0 { Ok(()) } else { Err(CliError::new("not everything fits together: see above")) }
    }
}

struct Search<'a> {
    store: &'a Store,
    output: Output,
    bar: ProgressBar,
    now: Timestamp,
    rows: usize,
    findings: usize,
    /// Operations that are gone, of which the first row was reported: thousands may have their marks.
    gone: HashSet<(OrgId, OperationId)>,
    /// The highest card of each organisation's bulks.
    highest: BTreeMap<OrgId, CardId>,
}

impl Search<'_> {
    async fn table(&mut self) -> Result<(), CliError> {
        let mut from = None;
        loop {
            let page = patiently(|| self.store.scan(from.clone())).await?;
            self.rows += page.count;
            self.bar.inc(page.count as u64);
            let refers_to = page.rows.iter().flat_map(|(key, row)| partners::of_row(key, row));
            let partners = self.read(refers_to.collect()).await?;
            for (key, row) in &page.rows {
                self.report(key, partners.findings(key, row, self.now));
                match (key, row) {
                    (RowKey::Card(org, card), Row::Card(row)) if row.facts.bulk_id.is_some() => {
                        let highest = self.highest.entry(org.clone()).or_insert(*card);
                        *highest = (*highest).max(*card);
                    }
                    (RowKey::Bulk(org, _), Row::Bulk(bulk)) => self.bulk(org, bulk, key).await?,
                    _ => {}
                }
            }
            match page.next {
                Some(next) => from = Some(next),
                None => return self.counters().await,
            }
        }
    }

    /// Goes through the bulk's items and their cards, and compares what they come to with its header.
    async fn bulk(&mut self, org: &OrgId, bulk: &Bulk, header: &RowKey) -> Result<(), CliError> {
        let (mut counts, mut from) = (Some(ItemCounts::default()), None);
        loop {
            let page = patiently(|| self.store.scan_bulk(org, &bulk.bulk_id, from.clone())).await?;
            let mut partners =
                self.read(page.rows.iter().flat_map(|(_, row)| partners::of_item(org, row)).collect()).await?;
            partners.extend(self.read(partners.cancels(org)).await?);
            for (key, row) in &page.rows {
                self.report(key, partners.findings_of_item(bulk, key, row, self.now));
                counts = counts.and_then(|counts| partners.add(counts, bulk, org, row, self.now));
            }
            match page.next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        // A bulk with a row that cannot be read is not counted: that row has its own finding.
        self.report(header, counts.map(|counts| counts.compare(bulk)).unwrap_or_default());
        Ok(())
    }

    async fn counters(&mut self) -> Result<(), CliError> {
        let counters = self.read(self.highest.keys().cloned().map(RowKey::Counter).collect()).await?;
        for (org, highest) in std::mem::take(&mut self.highest) {
            let key = RowKey::Counter(org);
            self.report(&key, counters.findings_of_counter(&key, highest));
        }
        Ok(())
    }

    async fn read(&self, keys: HashSet<RowKey>) -> Result<Partners, CliError> {
        Ok(Partners::from(patiently(|| self.store.rows(keys.iter().cloned())).await?))
    }

    fn report(&mut self, key: &RowKey, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            if self.is_reported(key, &finding) {
                continue;
            }
            self.findings += 1;
            let (pk, sk) = key.texts();
            let lines = [format!("{pk} {sk}"), finding.to_string(), format!("Do: {}", finding.remedy())];
            let mut record = json!({ "pk": pk, "sk": sk, "what": finding.to_string(), "do": finding.remedy() });
            if let (Value::Object(record), Ok(Value::Object(facts))) = (&mut record, serde_json::to_value(&finding)) {
                record.extend(facts);
            }
            self.bar.suspend(|| self.output.passage(&record, &lines));
        }
    }

    fn is_reported(&mut self, key: &RowKey, finding: &Finding) -> bool {
        match (finding, key) {
            (Finding::OperationGone { operation_id }, RowKey::Card(org, _) | RowKey::Item(org, ..)) => {
                !self.gone.insert((org.clone(), *operation_id))
            }
            _ => false,
        }
    }
}

/// Makes a call, again if DynamoDB is busy or does not answer.
async fn patiently<T, Calling>(call: impl Fn() -> Calling) -> Result<T, CliError>
where
    Calling: Future<Output = Result<T, StoreError>>,
{
    let failure = |error: StoreError| CliError::new(error.to_string());
    for _ in 1..MAX_ATTEMPTS {
        match call().await {
            Err(StoreError::Retry { .. }) => tokio::time::sleep(WAIT).await,
            result => return result.map_err(failure),
        }
    }
    call().await.map_err(failure)
}
