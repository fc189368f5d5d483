//! Runs the simulation for long, and prints a table of the results. See `./tests/scripts/simulate.sh --help`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tests::fault_schedule::Fault;
use tests::simulation::checker::violations;
use tests::simulation::{Flow, Simulation};

/// Sends random instructions under faults, checks all rows, events and responses, and prints a table.
#[derive(Debug, Parser)]
#[command(name = "simulation")]
struct Arguments {
    /// Seed of everything that is drawn. Each further run takes the next number.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of runs of each fault and flow.
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Least number of instructions of a run.
    #[arg(long, default_value_t = 300)]
    instructions: usize,
    /// Duration of an outage, in seconds.
    #[arg(long, default_value_t = 60)]
    outage: u64,
    /// Kinds of instructions. Default: all flows, one after another.
    #[arg(long, value_enum)]
    flow: Vec<Flow>,
    /// Faults to simulate. Default: each fault alone, then all but outages together.
    #[arg(long, value_enum)]
    fault: Vec<Fault>,
}

/// Returns the sets of faults to run, each with its name.
fn fault_sets(asked: &[Fault]) -> Vec<(String, Vec<Fault>)> {
    let alone = |fault: &Fault| (fault.to_string(), vec![*fault]);
    if !asked.is_empty() {
        return asked.iter().map(alone).collect();
    }
    let mut fault_sets: Vec<_> = Fault::ALL.iter().chain(&Fault::OUTAGES).map(alone).collect();
    fault_sets.push(("all but outages at once".to_owned(), Fault::ALL.to_vec()));
    fault_sets
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let flows = if arguments.flow.is_empty() { Flow::ALL.to_vec() } else { arguments.flow.clone() };
    let mut all_found = Vec::new();
    println!(
        "| Fault | Flow | Runs | Instructions | Accepted | Deliveries | Faults met | Crashes | 503; slowest response \
        | Violations | Seconds |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for (name, faults) in fault_sets(&arguments.fault) {
        for flow in &flows {
            let mut sum = Sum::default();
            for seed in arguments.seed..arguments.seed + arguments.runs {
                let (instructions, outage) = (arguments.instructions, Duration::from_secs(arguments.outage));
                let simulation = Simulation { seed, flow: *flow, faults: faults.clone(), instructions, outage };
                let report = simulation.run().await;
                let found = violations(&report.evidence);
                sum.add(&report, found.len());
                all_found.extend(found.into_iter().map(|found| format!("seed {seed}, {flow}, {name}: {found}")));
            }
            println!("| {name} | {flow} | {} | {sum} |", arguments.runs);
        }
    }
    for found in &all_found {
        eprintln!("VIOLATION: {found}");
    }
    if all_found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The sums for a line of the table.
#[derive(Debug, Default)]
struct Sum {
    instructions: usize,
    accepted: usize,
    deliveries: usize,
    met: usize,
    crashes: usize,
    unavailable: usize,
    slowest: Duration,
    violations: usize,
    took: Duration,
}

impl Sum {
    fn add(&mut self, report: &tests::simulation::Report, violations: usize) {
        self.instructions += report.evidence.records.len();
        self.accepted += report.accepted();
        self.deliveries += report.run.deliveries;
        self.met += report.met.values().sum::<usize>();
        self.crashes += report.crashes();
        self.unavailable += report.retry_later_responses();
        self.slowest = self.slowest.max(report.slowest_response());
        self.violations += violations;
        self.took += report.took;
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { instructions, accepted, deliveries, met, crashes, unavailable, violations, .. } = self;
        let (slowest, seconds) = (self.slowest.as_secs_f64(), self.took.as_secs());
        write!(f, "{instructions} | {accepted} | {deliveries} | {met} | {crashes} | ")?;
        write!(f, "{unavailable}, {slowest:.1} s | {violations} | {seconds}")
    }
}
