//! `bindery`, the operator's tool: what stands in a deployment's queues, why, and how to go on.
//!
//! It finds everything through the outputs of the deployment's stack, with the AWS credentials and region of the
//! environment, as the AWS CLI does; with `AWS_ENDPOINT_URL`, in the local stack. It asks before it changes
//! anything, and prints no secrets: no tokens, no PINs, and of messages neither account nor customer.

mod api;
mod check;
mod confirm;
mod dead_letters;
mod dlq_reader;
mod error;
mod operation;
mod output;
mod pin;
mod queues;
mod replay;
mod resume;
mod stack;
mod terminal;
mod workers;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use error::CliError;
use output::Output;
use stack::Stack;

/// Looks after a deployment of Bindery.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The deployment's stack.
    #[arg(long, env = "BINDERY_STACK", global = true, default_value = "")]
    stack: String,
    /// Print JSON, for other programs.
    #[arg(long, global = true)]
    json: bool,
    /// Do not ask before changing anything.
    #[arg(long, global = true)]
    yes: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// How many messages wait, are worked on, and are dead, in every queue.
    Queues,
    /// Prints whether each worker takes messages, and stops or starts them: the kill switch.
    Workers(workers::Workers),
    /// Prints whether each endpoint is open, and closes or opens those that accept instructions.
    Api(api::Api),
    /// The messages of a dead-letter queue: which operation, how old, why.
    DeadLetters(dead_letters::Show),
    /// Sends messages of a dead-letter queue back to the queue that they came from.
    Redrive(dead_letters::Redrive),
    /// Publishes archived events again, to the rules of the bus.
    Replay(replay::Replay),
    /// An operation: how far it has come, and what came of it.
    Operation(operation::Read),
    /// Has an operation on a bulk planned again, which does not end although no message of it waits or is dead.
    ///
    /// What is done is not done again, but told again, each time that it is resumed: consumers get events once more, under
    /// their old IDs. So look first whether it goes on.
    Resume(resume::Resume),
    /// Sets a person's PIN.
    Pin(pin::Set),
    /// Looks for rows that do not fit together, as a restore can leave them, and says what to do about each.
    ///
    /// It changes nothing, and ends with 1 if it finds something. In a table that is worked on, what is under way may
    /// look so too: let the workers rest. Of an operation that is gone it tells one row. With --json, each finding is a
    /// line, and so is the end.
    ///
    /// It reads the whole table consistently, a read unit for every 4 KB, and then, by their keys, the rows that others
    /// refer to, a unit each. A million cards of bulks cost some 2.2 million read units, and a million binds as many.
    Check(check::Check),
}

/// The exit status of arguments that are none, as clap has it.
const USAGE: u8 = 2;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // What is wrong is quoted, and a script may have taken it from a message.
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
        Command::DeadLetters(show) => show.run(&stack, output).await,
        Command::Redrive(redrive) => redrive.run(&stack, output, yes).await,
        Command::Replay(replay) => replay.run(&stack, output, yes).await,
        Command::Operation(read) => read.run(&stack, output).await,
        Command::Resume(resume) => resume.run(&stack, output, yes).await,
        Command::Pin(set) => set.run(&stack, output, yes).await,
        Command::Check(check) => check.run(&stack, output).await,
    }
}
