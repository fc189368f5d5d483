//! Bindery, given what a fuzzer makes up. Each target is a module here, and in `targets` the binary that hands it to
//! libFuzzer; [`run`](../run) runs them all.
//!
//! - [`endpoints`]: a request, from the gateway's event to the answer, at any of the endpoints.
//! - [`workers`]: a batch of messages, at any of the workers.
//! - [`orders`]: bodies and headers of the one endpoint that reads and writes formats of its own.
//! - [`aws`]: what answers in AWS's place: as the input has it, badly too.
//! - [`examples`]: inputs made from the examples of the API's documents.
//! - [`input`]: the form of inputs, which is that of the files in `seeds`.
//! - [`mutate`]: changes of inputs that leave them readable.
//! - [`world`]: what all targets share: an identity, secrets, a clock, and logs.
//!
//! A target panics where what it promises is broken. libFuzzer takes every panic for a finding, one that is caught too.
#![allow(clippy::expect_used, clippy::missing_panics_doc, clippy::unwrap_used, clippy::panic)]

pub mod aws;
pub mod endpoints;
pub mod examples;
pub mod input;
pub mod mutate;
pub mod orders;
pub mod workers;
pub mod world;

use peak_alloc::PeakAlloc;

/// Counts what is allocated. What libFuzzer itself takes is not: it is C++'s.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What reading may take that grows with nothing, in bytes.
const READING: usize = 64 * 1024;
/// What it may take besides, for each byte of the input. A body of 4 MiB would take 100 MB then: below half of a function's
/// 256 MB.
const READING_A_BYTE: usize = 24;

/// Does this, and answers how much of what may be taken to read so many bytes it has left: below zero, if it took more.
fn left_of_memory<T>(bytes: usize, read: impl FnOnce() -> T) -> (T, i128) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let read = read();
    let taken = MEMORY.peak_usage().saturating_sub(before);
    (read, (READING + READING_A_BYTE * bytes) as i128 - taken as i128)
}

/// What came of an input.
#[derive(Debug)]
pub struct Outcome {
    /// In a word, which a seed's setting `:expect` says before.
    pub word: String,
    /// Whether it came so far that others are worth making of it: past the first look at its form.
    pub came_far: bool,
}
