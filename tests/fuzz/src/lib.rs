//! Fuzz targets for Bindery. Each target is a module here, with a binary in `targets` that passes it to libFuzzer.
//! The script [`run`](../run) runs them all.
//!
//! - [`endpoints`]: requests to any endpoint, from the gateway's event to the response.
//! - [`workers`]: batches of messages for any worker.
//! - [`orders`]: bodies and headers of the one endpoint with its own formats.
//! - [`aws`]: a fake AWS, whose responses and failures the input determines.
//! - [`examples`]: inputs made from the examples of the API's documents.
//! - [`input`]: the form of inputs, including the files in `seeds`.
//! - [`mutate`]: changes of inputs that leave them readable.
//! - [`world`]: code that all targets share: an identity, secrets, a clock, and logs.
//!
//! A target panics if a promise is broken. libFuzzer counts every panic as a finding, even one that is caught.
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

/// Counts allocated memory. The memory of libFuzzer itself is not counted, because it is C++.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Memory that reading may take regardless of the input's size, in bytes.
const READING: usize = 64 * 1024;
/// Memory that reading may take for each byte of the input. A body of 4 MiB may take 100 MB: less than half of a
/// function's 256 MB.
const READING_A_BYTE: usize = 24;

/// Runs `read`, and returns how many bytes are left of the memory that reading this number of bytes may take. The
/// number is negative if it took more.
fn left_of_memory<T>(bytes: usize, read: impl FnOnce() -> T) -> (T, i128) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let read = read();
    let taken = MEMORY.peak_usage().saturating_sub(before);
    (read, (READING + READING_A_BYTE * bytes) as i128 - taken as i128)
}

/// The outcome of an input.
#[derive(Debug)]
pub struct Outcome {
    /// The outcome in a word. A seed states it with the setting `:expect`.
    pub word: String,
    /// True if the input got past the first checks of its form, so that it is worth mutating.
    pub came_far: bool,
}
