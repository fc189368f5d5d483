//! `bindery check`: finds rows of the table that contradict each other, and prints how to repair them.
//!
//! The command scans the table page by page. With each page, it reads the rows that the page's rows refer to. It checks
//! a bulk's items when it finds the bulk's header, because a scan returns rows in no particular order.

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

/// Attempts at a call before the search fails. A search can take an hour, and one busy second must not end it.
const MAX_ATTEMPTS: u32 = 6;
/// The pause between two attempts.
const WAIT: Duration = Duration::from_secs(1);

/// Flags of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The table to check, if it is not the deployment's own: for example, a restored one.
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
}

impl Check {
    /// Prints the inconsistencies that it finds. Changes nothing.
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
            &[format!("{rows} row(s) read, {findings} finding(s).")],
        );
        if findings == 0 { Ok(()) } else { Err(CliError::new("the table is inconsistent: see the findings above")) }
    }
}

struct Search<'a> {
    store: &'a Store,
    output: Output,
    bar: ProgressBar,
    now: Timestamp,
    rows: usize,
    findings: usize,
    /// Missing operations that were reported already. Thousands of rows may carry the mark of one, so only the first
    /// of these rows is reported.
    gone: HashSet<(OrgId, OperationId)>,
    /// The highest card ID among each organization's bulk cards.
    highest: BTreeMap<OrgId, CardId>,
}

impl Search<'_> {
    async fn table(&mut self) -> Result<(), CliError> {
        let mut from = None;
        loop {
            let page = with_retries(|| self.store.scan(from.clone())).await?;
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

    /// Checks the bulk's items and their cards, and compares their counts with the bulk's header.
    async fn bulk(&mut self, org: &OrgId, bulk: &Bulk, header: &RowKey) -> Result<(), CliError> {
        let (mut counts, mut from) = (Some(ItemCounts::default()), None);
        loop {
            let page = with_retries(|| self.store.scan_bulk(org, &bulk.bulk_id, from.clone())).await?;
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
        // If a row of the bulk cannot be read, the counts are not compared: that row has its own finding.
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
        Ok(Partners::from(with_retries(|| self.store.rows(keys.iter().cloned())).await?))
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

/// Makes a call, and repeats it while DynamoDB is busy or does not respond.
async fn with_retries<T, Call>(call: impl Fn() -> Call) -> Result<T, CliError>
where
    Call: Future<Output = Result<T, StoreError>>,
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
