//! Tests of the model, and of the code against the model.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod code;
mod holds;
mod scenarios;
