//! AWS's prices: on demand, the first tier, without free tiers, taxes and discounts.
//!
//! They are those of us-east-1 on 2026-11-25. Those of `DynamoDB` and `EventBridge` were compared with copies of
//! AWS's pages from 2025 and 2026, those of SQS and logs with third-party lists of 2026, and those of Lambda and HTTP
//! API with older copies. Other regions have other prices: see aws.amazon.com/SERVICE/pricing before you budget.

/// `DynamoDB`, a million write request units, since the price cut of 2024-11-01.
const WRITES: f64 = 0.625;
/// `DynamoDB`, a million read request units, since the same price cut.
const READS: f64 = 0.125;
/// HTTP API, a million requests of at most 512 KB, of the first 300 million a month.
const REQUESTS: f64 = 1.00;
/// Lambda, a million invocations.
const INVOCATIONS: f64 = 0.20;
/// Lambda, a GB-second on arm64, of the first 7.5 billion a month.
const GB_SECOND: f64 = 0.000_013_333_4;
/// SQS, a million requests to standard queues, of 64 KB each.
const QUEUE_REQUESTS: f64 = 0.40;
/// `EventBridge`, a million custom events, of 64 KB each.
const EVENTS: f64 = 1.00;
/// `EventBridge`, a GB put into an archive.
const ARCHIVED_GB: f64 = 0.10;
/// `CloudWatch` Logs, a GB ingested.
const LOGGED_GB: f64 = 0.50;

const MILLION: f64 = 1e6;
const GB: f64 = 1e9;

/// The quantities that AWS bills.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Requests to the API.
    pub requests: f64,
    /// Invocations of functions.
    pub invocations: f64,
    /// The duration of invocations multiplied by their memory.
    pub gb_seconds: f64,
    /// The table's write units.
    pub writes: f64,
    /// The table's read units.
    pub reads: f64,
    /// Requests to queues, in chunks of 64 KB.
    pub queue_requests: f64,
    /// Events, in chunks of 64 KB.
    pub events: f64,
    /// Bytes of events, which are archived.
    pub event_bytes: f64,
    /// Bytes of log lines.
    pub log_bytes: f64,
}

/// A bill in dollars.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bill {
    /// The table's units.
    pub dynamodb: f64,
    /// Invocations and their duration.
    pub lambda: f64,
    /// Requests to the API.
    pub api: f64,
    /// Requests to the queues.
    pub sqs: f64,
    /// The bus and its archive.
    pub eventbridge: f64,
    /// Logs, with the metrics in them.
    pub watching: f64,
}

impl Usage {
    /// Returns the usage divided by this count.
    pub fn of_one(self, count: f64) -> Self {
        let Self { requests, invocations, gb_seconds, writes, reads, queue_requests, events, event_bytes, log_bytes } =
            self;
        Self {
            requests: requests / count,
            invocations: invocations / count,
            gb_seconds: gb_seconds / count,
            writes: writes / count,
            reads: reads / count,
            queue_requests: queue_requests / count,
            events: events / count,
            event_bytes: event_bytes / count,
            log_bytes: log_bytes / count,
        }
    }

    /// Returns the bill for a million times this usage.
    pub fn of_a_million(&self) -> Bill {
        Bill {
            dynamodb: self.writes * WRITES + self.reads * READS,
            lambda: self.invocations * INVOCATIONS + self.gb_seconds * GB_SECOND * MILLION,
            api: self.requests * REQUESTS,
            sqs: self.queue_requests * QUEUE_REQUESTS,
            eventbridge: self.events * EVENTS + self.event_bytes * MILLION / GB * ARCHIVED_GB,
            watching: self.log_bytes * MILLION / GB * LOGGED_GB,
        }
    }
}

impl Bill {
    /// Returns the sum of the bill.
    pub fn total(&self) -> f64 {
        self.dynamodb + self.lambda + self.api + self.sqs + self.eventbridge + self.watching
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_of_each_costs_its_price() {
        let usage = Usage { writes: 3.0, reads: 1.0, events: 1.0, queue_requests: 1.2, ..Usage::default() };
        let bill = usage.of_a_million();
        assert!((bill.dynamodb - 2.0).abs() < 1e-9 && (bill.total() - 3.48).abs() < 1e-9, "{bill:?}");
        let time = Usage { invocations: 1.0, gb_seconds: 0.25, ..Usage::default() };
        assert!((time.of_a_million().lambda - (0.2 + 3.333_35)).abs() < 1e-6);
    }
}
