//! `bindery`, the operator's tool: inspects queues, reads and redrives dead letters, replays events, checks the table.
//!
//! It finds all resources through the deployment's stack. Like the AWS CLI, it uses the credentials and the region of
//! the environment. `AWS_ENDPOINT_URL` points it to the local stack. It asks before it changes anything. It prints no
//! secrets: no token, no PIN, and no account or customer from a message.

mod api;
mod check;
mod confirm;
mod dead_letters;
mod dlq_reader;
mod error;
mod moving;
mod operation;
mod output;
mod parking;
mod pin;
mod queues;
mod replay;
mod resume;
mod stack;
mod tenants;
mod terminal;
mod workers;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use error::CliError;
use output::Output;
use stack::Stack;

/// Inspects and operates a deployment of Bindery.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The name of the deployment's stack.
    #[arg(long, env = "BINDERY_STACK", global = true, default_value = "")]
    stack: String,
    /// Prints JSON for other programs.
    #[arg(long, global = true)]
    json: bool,
    /// Makes changes without asking first.
    #[arg(long, global = true)]
    yes: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints the approximate number of waiting, in-flight and dead-lettered messages of each queue.
    Queues,
    /// Prints whether each worker receives messages, and stops or starts the workers (the kill switch).
    Workers(workers::Workers),
    /// Prints whether each endpoint is open, and closes or opens those that accept instructions.
    Api(api::Api),
    /// Prints the messages of a dead-letter queue: operation, age and reason. Also parks them, and moves them back.
    DeadLetters(dead_letters::DeadLetters),
    /// Sends messages of a dead-letter queue back to the queue they came from.
    Redrive(dead_letters::Redrive),
    /// Publishes archived events again, to the rules of the event bus.
    Replay(replay::Replay),
    /// Prints an operation's progress and outcome.
    Operation(operation::Read),
    /// Plans a stuck operation on a bulk again: one that does not end, but has no message left in any queue.
    ///
    /// Work that is done is not repeated. But each time you resume an operation, its events are published again, with
    /// their old IDs. So first check that the operation really makes no progress.
    Resume(resume::Resume),
    /// Shuts organizations out, admits them again, or lists those that are shut out.
    Tenants(tenants::Tenants),
    /// Sets a person's PIN.
    Pin(pin::Set),
    /// Finds rows that contradict each other, as a restore can leave them, and prints how to repair each.
    ///
    /// Changes nothing. Exits with 1 if it finds something. Work in progress can look inconsistent too, so stop the
    /// workers first if the table is in use. If an operation's row is missing, only one of the rows that refer to it is
    /// reported. With --json, each finding is one line, and the last line is the summary.
    ///
    /// The command reads the whole table consistently, at one read unit per 4 KB. It then reads the rows that other
    /// rows refer to, at one unit each. A million cards of bulks cost some 2.2 million read units, and a million
    /// binds cost as many.
    Check(check::Check),
}

/// The exit status for invalid arguments, the same as clap's.
const USAGE: u8 = 2;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // The error quotes the invalid argument, which a script may have taken from a message.
        Err(error) if error.use_stderr() => {
            eprintln!("{}", terminal::escaped_lines(&error.render().to_string()));
            return ExitCode::from(USAGE);
        }
        Err(help) => help.exit(),
    };
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bindery: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), CliError> {
    let output = Output { json: arguments.json };
    let stack = Stack::find(&arguments.stack).await?;
    let yes = arguments.yes;
    match arguments.command {
        Command::Queues => queues::run(&stack, output).await,
        Command::Workers(workers) => workers.run(&stack, output, yes).await,
        Command::Api(api) => api.run(&stack, output, yes).await,
        Command::DeadLetters(letters) => letters.run(&stack, output, yes).await,
        Command::Redrive(redrive) => redrive.run(&stack, output, yes).await,
        Command::Replay(replay) => replay.run(&stack, output, yes).await,
        Command::Operation(read) => read.run(&stack, output).await,
        Command::Resume(resume) => resume.run(&stack, output, yes).await,
        Command::Tenants(tenants) => tenants.run(&stack, output, yes).await,
        Command::Pin(set) => set.run(&stack, output, yes).await,
        Command::Check(check) => check.run(&stack, output).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn is_accepted(line: &str) -> bool {
        Arguments::try_parse_from(format!("bindery {line}").split(' ')).is_ok()
    }

    #[test]
    fn dead_letters_are_printed_by_queue_or_parked_or_moved_back() {
        Arguments::command().debug_assert();
        for line in [
            "dead-letters bind-card",
            "--json dead-letters bind-card --limit 3",
            "dead-letters bind-card --json",
            "dead-letters parked",
            "dead-letters parked bind-card --limit 3 --json",
            "dead-letters park bind-card --all --reason x",
            "dead-letters park bind-card --message a b --reason x --yes",
            "dead-letters park bind-card --operation a --reason x",
            "dead-letters unpark --all",
            "dead-letters unpark bind-card --message a b",
        ] {
            assert!(is_accepted(line), "{line}");
        }
        for line in [
            "dead-letters",
            "dead-letters --limit 3",
            "dead-letters bind-card parked",
            "dead-letters park bind-card --all",
            "dead-letters park bind-card --reason x",
            "dead-letters park --all --reason x",
            "dead-letters park bind-card --all --message a --reason x",
            "dead-letters unpark",
            "dead-letters unpark bind-card",
            "dead-letters unpark --all --reason x",
        ] {
            assert!(!is_accepted(line), "{line}");
        }
    }
}
