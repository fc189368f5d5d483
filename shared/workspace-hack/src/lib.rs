//! Nothing but features of dependencies, the same for whatever is built.
//!
//! Cargo builds a dependency with the features that the selected packages want. So `./infra/local/up`, a test and
//! `cargo check -p bind-card` would each want the same crate with other features, and each compile it, and all that
//! depends on it, anew. `shared` depends on this package, and thereby all functions do: they always have what the tests
//! have. `tests/features` says what is missing in Cargo.toml; CI runs it. A function is not larger for it: link-time
//! optimisation drops what is not called (shared/DECISIONS.md has the sizes).
//!
//! The name is the one that [cargo-hakari](https://docs.rs/cargo-hakari) has made usual.
