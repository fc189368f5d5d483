//! The rules of the business and the facts they speak of.
//!
//! Everything here is a value or a function from values to values: no I/O, no clock, no randomness,
//! no AWS. A rule gets what it needs (a card as it was read, the time it was accepted) handed in.

pub mod acceptance;
pub mod bind;
pub mod bulk;
pub mod cancel;
pub mod card;
pub mod consistency;
pub mod event;
pub mod ids;
pub mod operation;
pub mod order;
pub mod person;
pub mod status;
pub mod time;
