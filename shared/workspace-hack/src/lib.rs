//! An empty crate that unifies the features of dependencies across all builds.
//!
//! Cargo builds a dependency with the features that the selected packages request. So `./infra/local/up`, a test and
//! `cargo check -p bind-card` would each request different features of the same crate. Each would then compile that
//! crate, and all that depend on it, again. `shared` depends on this package, and so do all functions through it:
//! they always have the tests' features. `tests/scripts/check_builds.py` reports
//! features missing in Cargo.toml; CI runs it. This
//! does not make functions larger, because link-time optimization removes unused code (shared/DECISIONS.md has the
//! sizes).
//!
//! The name is the usual one, introduced by [cargo-hakari](https://docs.rs/cargo-hakari).
